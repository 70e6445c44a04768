//! Many names in one request: in a listing among keys of others, and in an answer that is cut off.

use bytes::Bytes;
use leasehold_core::{Attempt, Lease, Manager, Request};
use leasehold_etcd::api::{Attach, Op, Txn};
use leasehold_etcd::keys::Keyspace;

use super::{Mishap, PERIOD, World, take};

/// Somebody else's keys, more of each kind than a page has entries, which are no names of ours.
fn plant(world: &World, begin: &str) {
    let keys = Keyspace::default();
    for number in 0..2500 {
        let name = format!("{begin}//{number}");
        for key in [keys.lease_key(&name), keys.mark_key(&name)] {
            let put = Op::Put {
                key,
                value: Bytes::from_static(b"another's"),
                lease: Attach::Nothing,
            };
            let txn = Txn {
                then: vec![put],
                ..Txn::default()
            };
            world.server.txn(&txn).unwrap().unwrap();
        }
    }
}

async fn listed(manager: &Manager, prefix: &str) -> Vec<(String, bool)> {
    let mut listing = manager.list(prefix).unwrap().all();
    let mut names = Vec::new();
    while let Some(status) = listing.next().await.unwrap() {
        names.push((status.name().to_string(), status.is_held()));
    }
    names
}

/// A page that is full of them neither ends a listing nor hides who holds what.
#[test]
fn keys_of_others_end_no_listing() {
    let world = World::new();
    world.sim.block_on(async {
        let names = ["x/a", "x/c", "x/e"];
        let mut held = Vec::new();
        for name in names {
            held.push(take(&world.a, name, PERIOD * 9).await);
        }
        plant(&world, "x/b");
        plant(&world, "x/d");
        let expected = names.map(|name| (name.to_owned(), true)).to_vec();
        assert_eq!(listed(&world.b, "").await, expected);
        assert_eq!(listed(&world.b, "x").await, expected);
        assert!(held.iter().all(Lease::is_current));
    });
}

/// What an answer does not say of some changes is unknown of these, and says nothing of those in another request.
#[test]
fn an_answer_that_is_cut_off_shifts_no_other() {
    let world = World::new();
    world.sim.block_on(async {
        let mut leases = Vec::new();
        for number in 0..100 {
            // Too large for one request.
            let request = Request::new(format!("x/{number}"), PERIOD).data(vec![b'x'; 12_000]);
            let Attempt::Acquired(lease) = world.a.try_acquire(request).await.unwrap() else {
                panic!("the name is free");
            };
            leases.push(lease);
        }
        world.way.script().sent.clear();
        world.txns(&[Mishap::CutOff]);
        for renewed in world.a.renew_all(&mut leases, PERIOD).await {
            renewed.unwrap();
        }
        assert!(
            world.way.script().sent.len() > 1,
            "one request for all of them"
        );
        for lease in &leases {
            let found = world.b.get_lease(lease.name()).await.unwrap().unwrap();
            assert_eq!(found.index(), lease.index(), "{}", lease.name());
        }
    });
}
