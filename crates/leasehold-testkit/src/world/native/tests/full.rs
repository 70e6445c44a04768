//! A registry without space: what it refuses it may have done.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use leasehold_core::store::{Believe, Change, Expect, Outcome, Store, Take};
use leasehold_core::{AttemptId, Body, Displace, ErrorKind, LeaseName, Record, Request};

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

/// What was done stays done where the question by which that is found out never leaves.
#[test]
fn what_was_done_is_found_out_later() {
    let world = World::new();
    world.sim.block_on(async {
        world.txns(&[Mishap::FullAndDone, Mishap::NotSent]);
        let mut lease = take(&world.a, "x", PERIOD).await;
        let other = take(&world.a, "y", PERIOD).await;
        let sent = world.way.script().sent.concat();
        assert_ne!(sent.first(), sent.last(), "one native lease for both");
        let (index, deadline) = (lease.index(), lease.deadline());
        world.sleep(SECOND).await;
        world.txns(&[Mishap::FullAndDone, Mishap::NotSent]);
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.index() > index && lease.deadline() > deadline);
        other.release().await.unwrap();
        lease.release().await.unwrap();
    });
}

/// What was done, and replaced before the question came by which that is found out, was no refusal.
#[test]
fn what_was_done_and_is_replaced_is_not_refused() {
    let world = World::new();
    world.sim.block_on(async {
        world.txns(&[Mishap::FullAndDone, Mishap::Late]);
        let name = LeaseName::new("x").unwrap();
        let attempt = AttemptId([7; 16]);
        let body = Body {
            machine_id: Some("a".into()),
            needs: 1,
            ..Body::default()
        };
        let change = Change::Take(Take {
            name: name.clone(),
            attempt,
            expect: Expect::Vacant(None),
            record: Record {
                period: Some(PERIOD),
                ..Record::new(Arc::new(body), attempt)
            },
            same_body: false,
            believe: Believe::Now,
            durable: false,
            hold: PERIOD,
        });
        let until = world.door.now().plus(PERIOD / 2);
        let applied = world.store.apply(vec![change], until);
        let replaced = async {
            world.sleep(SECOND / 2).await;
            let done = world.b.status(&name).await.unwrap().unwrap();
            assert_eq!(done.machine_id(), Some("a"));
            let displaced = Displace::index(done.index()).assume_dead("test");
            let thief = world.b.steal(Request::new("x", PERIOD), displaced).await;
            assert!(thief.unwrap().is_current());
        };
        let (outcomes, ()) = join(applied, replaced).await;
        assert!(
            matches!(outcomes[..], [Outcome::Unknown(_)]),
            "{outcomes:?}"
        );
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

/// By the cluster itself: nothing is put any more, native leases and releases excepted, until there is space again.
#[test]
fn a_full_cluster_serves_what_takes_no_space() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        world.server.run_out(Duration::MAX, 0, false);
        let deadline = lease.deadline();
        let full = |error: leasehold_core::Error| {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("space exceeded"), "{error}");
        };
        full(lease.renew(PERIOD).await.unwrap_err());
        assert_eq!(lease.deadline(), deadline);
        full(
            world
                .b
                .acquire_lease("y", "b", 0, PERIOD)
                .await
                .unwrap_err(),
        );
        assert!(world.b.get_lease("x").await.unwrap().is_some());
        // An old one refuses even transactions that only read; plain reads it serves.
        world.server.run_out(Duration::MAX, 0, true);
        assert!(world.b.get_lease("x").await.unwrap().is_some());
        let deadline = lease.deadline();
        full(lease.renew(PERIOD).await.unwrap_err());
        assert_eq!(lease.deadline(), deadline);
        world.server.make_space();
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.deadline() > deadline);
        lease.release().await.unwrap();
        drop(take(&world.b, "y", PERIOD).await);
    });
}

/// By the cluster itself: the requests that find the quota exceeded are done all the same.
#[test]
fn what_finds_the_quota_exceeded_is_done() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let (index, deadline) = (lease.index(), lease.deadline());
        world.sleep(SECOND).await;
        world.server.run_out(Duration::MAX, 1, false);
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.index() > index && lease.deadline() > deadline);
        lease.renew(PERIOD).await.unwrap_err();
    });
}

/// An old one refuses the question, too, whether what it refused was done: it is asked once, and the outcome stays unknown.
#[test]
fn an_old_full_cluster_leaves_what_was_done_unknown() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let deadline = lease.deadline();
        world.sleep(SECOND).await;
        world.server.run_out(Duration::MAX, 1, true);
        let before = world.way.script().sent.len();
        let error = lease.renew(PERIOD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert_eq!(lease.deadline(), deadline);
        let sent = world.way.script().sent.len() - before;
        assert!(sent < 60, "{sent} requests");
    });
}
