//! A registry without space: what it refuses it may have done.

use leasehold_core::{Displace, ErrorKind};

use super::{Mishap, PERIOD, SECOND, World, take};

#[test]
fn what_was_done_is_found_out() {
    let world = World::new();
    world.sim.block_on(async {
        world.txns(&[Mishap::FullAndDone]);
        let mut lease = take(&world.a, "x", PERIOD).await;
        assert!(lease.is_current());
        world.sleep(SECOND * 2).await;
        let (index, deadline) = (lease.index(), lease.deadline());
        world.txns(&[Mishap::FullAndDone]);
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.index() > index && lease.deadline() > deadline);
        world.txns(&[Mishap::FullAndDone]);
        lease.release().await.unwrap();
        // What carried it is free again for the next one, who gets the name at once.
        let lease = take(&world.b, "x", PERIOD).await;
        world.txns(&[Mishap::FullAndDone]);
        let stolen = Displace::index(lease.index());
        world.a.break_lease("x", stolen).await.unwrap();
        assert!(world.b.get_lease("x").await.unwrap().is_none());
    });
}

#[test]
fn what_was_not_done_is_said_at_once() {
    let world = World::new();
    world.sim.block_on(async {
        world.txns(&[Mishap::Full]);
        let start = world.door.now();
        let refused = world.a.acquire_lease("x", "a", 0, PERIOD).await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("space exceeded"), "{error}");
        assert!(world.door.now().since(start) < SECOND);
        let mut lease = take(&world.a, "x", PERIOD).await;
        world.sleep(SECOND).await;
        let deadline = lease.deadline();
        world.txns(&[Mishap::Full]);
        let error = lease.renew(PERIOD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(lease.deadline(), deadline);
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.deadline() > deadline);
        lease.release().await.unwrap();
        assert!(world.way.script().revoked.is_empty());
    });
}

/// An earlier send of it may still be under way: then nobody knows.
#[test]
fn what_is_still_under_way_stays_unknown() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let deadline = lease.deadline();
        world.sleep(SECOND).await;
        world.txns(&[Mishap::LoseReply, Mishap::Full]);
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.deadline() > deadline && lease.is_current());
        lease.release().await.unwrap();
    });
}
