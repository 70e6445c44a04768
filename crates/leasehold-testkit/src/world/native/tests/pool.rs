//! The pool of native leases that are ready, and what must never go back to it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use leasehold_core::{Displace, ErrorKind};

use super::{Mishap, PERIOD, SECOND, World, take};

#[test]
fn an_acquire_is_one_request_once_warm() {
    let world = World::new();
    world.sim.block_on(async {
        take(&world.a, "x", PERIOD).await.release().await.unwrap();
        assert_eq!(world.way.script().grants, 1, "none is kept ready for one");
        for _ in 0..2 {
            take(&world.a, "x", PERIOD).await.release().await.unwrap();
        }
        world.sleep(SECOND).await;
        let (grants, txns) = {
            let script = world.way.script();
            (script.grants, script.sent.len())
        };
        for _ in 0..20 {
            let lease = take(&world.a, "x", PERIOD).await;
            let lease_deadline = lease.deadline().unwrap();
            let exact = world.door.now().plus(world.believed(PERIOD));
            assert!(
                lease_deadline.plus(SECOND / 100) > exact,
                "counted from the keep-alive"
            );
            lease.release().await.unwrap();
        }
        let script = world.way.script();
        assert_eq!(
            script.sent.len(),
            txns + 40,
            "one to acquire, one to release"
        );
        assert_eq!(script.grants, grants);
        assert!(script.revoked.is_empty());
    });
}

#[test]
fn a_warm_native_lease_counts_from_its_grant_where_the_keep_alive_is_lost() {
    let world = World::new();
    world.sim.block_on(async {
        take(&world.a, "x", PERIOD).await.release().await.unwrap();
        let granted = world.door.now();
        world.sleep(SECOND * 3).await;
        world.keeps(&[Mishap::LoseReply]);
        let lease = take(&world.a, "x", PERIOD).await;
        assert!(lease.deadline().unwrap() <= granted.plus(world.believed(PERIOD)));
        assert!(lease.is_current());
    });
}

#[test]
fn nothing_leaks() {
    let world = World::new();
    world.sim.block_on(async {
        for i in 0..50 {
            let name = format!("x/{}", i % 7);
            let period = SECOND * (5 + i % 3);
            let lease = take(&world.a, &name, period).await;
            if i % 2 == 0 {
                lease.release().await.unwrap();
            }
            world.sleep(SECOND * 10).await;
            let (leases, _) = world.server.counts();
            assert!(leases < 12, "{leases} native leases after {i}");
        }
        // What nobody asks for any more is not kept ready for ever.
        world.sleep(SECOND * 3600).await;
        assert_eq!(world.server.counts(), (0, 0));
        let kept = world.way.script().kept.len();
        world.sleep(SECOND * 3600).await;
        assert_eq!(world.way.script().kept.len(), kept, "nothing is renewed");
    });
}

/// What comes back after the store was closed is kept ready for nobody.
#[test]
fn a_closed_pool_takes_nothing_back() {
    let world = World::new();
    world.sim.block_on(async {
        let lease = take(&world.a, "x", PERIOD).await;
        world.twin.shutdown(SECOND).await.unwrap();
        lease.release().await.unwrap();
        world.sleep(SECOND).await;
        assert_eq!(world.server.counts().0, 0);
    });
}

/// A leader of an older term answers, and what it says counts for nothing: it is asked again, and not without a pause.
#[test]
fn what_is_ready_is_renewed_with_pauses() {
    let world = World::new();
    world.sim.block_on(async {
        for _ in 0..3 {
            take(&world.a, "x", PERIOD).await.release().await.unwrap();
        }
        world.server.change_leader(Duration::ZERO);
        world.sleep(PERIOD * 7 / 10).await;
        let mishaps = [Mishap::OldTerm; 100];
        world.keeps(&mishaps);
        world.sleep(PERIOD * 2).await;
        let left = world.way.script().keeps.len();
        assert!((80..100).contains(&left), "{left} of 100 are left");
    });
}

#[test]
fn what_was_handed_out_is_renewed_by_nobody_else() {
    let world = World::new();
    world.sim.block_on(async {
        let lease = take(&world.a, "x", PERIOD).await;
        let carried = world.way.script().sent[0][0];
        world.sleep(PERIOD * 2).await;
        assert!(!lease.is_current());
        assert!(!world.way.script().kept.contains(&carried));
        assert!(world.b.get_lease("x").await.unwrap().is_none());
    });
}

#[test]
fn one_dead_native_lease_does_not_sink_the_batch() {
    let world = World::new();
    world.sim.block_on(async {
        // One is ready for each length.
        let periods: Vec<_> = (0..4).map(|i| PERIOD + SECOND * i).collect();
        for period in &periods {
            take(&world.a, "w", *period).await.release().await.unwrap();
        }
        world.sleep(SECOND / 2).await;
        let mut renewed = take(&world.a, "renewed", PERIOD * 9).await;
        let ready: BTreeSet<u64> = {
            let script = world.way.script();
            script.sent.iter().flatten().copied().collect()
        };
        // An operator revokes some of them; what carries a lease stays.
        let carried = *world.way.script().sent.last().unwrap().last().unwrap();
        let dead: Vec<u64> = ready
            .into_iter()
            .filter(|id| *id != carried)
            .take(2)
            .collect();
        dead.iter().for_each(|id| world.server.revoke(*id).unwrap());
        world.way.script().sent.clear();
        let before = renewed.index();
        let takes = periods.iter().enumerate().map(|(i, period)| {
            let manager = &world.a;
            async move { take(manager, &format!("x/{i}"), *period).await }
        });
        let (leases, result) = join(join_all(takes), renewed.renew(PERIOD * 9)).await;
        result.unwrap();
        assert!(renewed.index() > before);
        assert!(leases.iter().all(leasehold_core::Lease::is_current));
        let together = {
            let sent = &world.way.script().sent;
            sent.iter()
                .any(|ids| ids.iter().any(|id| dead.contains(id)) && ids.len() > 1)
        };
        assert!(together);
        for (i, _) in leases.iter().enumerate() {
            let seen = world.b.get_lease(format!("x/{i}")).await.unwrap();
            assert!(seen.is_some(), "{i}");
        }
    });
}

#[test]
fn the_native_lease_of_an_unresolved_acquire_is_never_used_again() {
    let world = World::new();
    world.sim.block_on(async {
        let period = PERIOD * 3;
        take(&world.a, "w", period).await.release().await.unwrap();
        world.sleep(SECOND).await;
        world.way.script().sent.clear();
        // Applied, and nobody is told; then nothing gets through for long.
        world.txns(&[Mishap::LoseReply]);
        world.way.script().always = Some(Mishap::Lose);
        let error = world
            .a
            .acquire_lease("x", "a", 0, period)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        let doubtful = world.way.script().sent[0][0];
        assert!(
            world.b.get_lease("x").await.unwrap().is_some(),
            "it was applied"
        );
        world.sleep(PERIOD * 9).await;
        world.way.script().always = None;
        assert!(
            world.b.get_lease("x").await.unwrap().is_none(),
            "nothing keeps it"
        );
        world.way.script().sent.clear();
        for i in 0..5 {
            drop(take(&world.a, &format!("y/{i}"), period).await);
        }
        let sent = world.way.script().sent.clone();
        assert!(sent.iter().flatten().all(|id| *id != doubtful));
    });
}

#[test]
fn the_native_lease_of_an_unresolved_steal_is_left_to_run_out() {
    let world = World::new();
    world.sim.block_on(async {
        let mut first = take(&world.b, "x", PERIOD).await;
        let index = first.index();
        let deadline = first.deadline().unwrap();
        world.way.script().always = Some(Mishap::LoseReply);
        let steal = world.a.steal_lease("x", "a", 0, SECOND * 2, index);
        // The first does not know yet, and believes to its own deadline: until then the name is not free.
        let looking = async {
            let mut looks = 0;
            while first.is_current() {
                let busy = world.b.acquire_lease("x", "c", 0, PERIOD).await.unwrap();
                assert!(busy.is_none(), "two lessees at once");
                world.sleep(SECOND / 10).await;
                looks += 1;
            }
            looks
        };
        let (steal, looks) = join(steal, looking).await;
        assert_eq!(steal.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert!(looks > 90, "{looks}");
        let stolen = world.way.script().sent[0][0];
        assert!(!world.way.script().revoked.contains(&stolen));
        assert!(world.door.now() >= deadline);
        assert!(first.renew(PERIOD).await.is_err());
        world.way.script().always = None;
    });
}

#[test]
fn a_tombstones_native_lease_covers_its_wait() {
    let world = World::new();
    world.sim.block_on(async {
        for release in [false, true] {
            let name = format!("x/{release}");
            let first = take(&world.b, &name, PERIOD).await;
            if release {
                // A thief's release keeps the wait that it inherited.
                let thief = world
                    .a
                    .steal_lease(&name, "a", 0, PERIOD * 50, first.index())
                    .await;
                thief.unwrap().release().await.unwrap();
            } else {
                let displace = Displace::index(first.index());
                world.a.break_lease(&name, displace).await.unwrap();
            }
            let broken = world.door.now();
            loop {
                let next = world.b.acquire_lease(&name, "b", 0, PERIOD).await.unwrap();
                if next.is_some() {
                    break;
                }
                world.sleep(SECOND / 10).await;
            }
            assert!(!first.is_current(), "two lessees at once");
            let took = world.door.now().since(broken);
            assert!(took >= world.believed(PERIOD) - SECOND / 10, "{took:?}");
            assert!(
                took <= PERIOD + world.a.capabilities().granularity,
                "{took:?}"
            );
        }
    });
}

/// What was kept ready under an earlier leader, past its last counted renewal, can never be believed again: it is found
/// out once, and not handed out for ever.
#[test]
fn a_leader_change_spoils_what_is_ready_once() {
    let world = World::new();
    world.sim.block_on(async {
        take(&world.a, "x", PERIOD).await.release().await.unwrap();
        world.sleep(PERIOD * 2).await;
        world.server.change_leader(Duration::ZERO);
        let mut failures = 0;
        for _ in 0..10 {
            match world.a.acquire_lease("x", "a", 0, PERIOD).await {
                Ok(lease) => lease.unwrap().release().await.unwrap(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Expired);
                    failures += 1;
                }
            }
        }
        assert!(failures <= 1, "{failures} of 10 acquires were in vain");
        // Found out by the pool itself, where nobody asks meanwhile.
        world.sleep(PERIOD * 2).await;
        world.server.change_leader(Duration::ZERO);
        world.sleep(PERIOD).await;
        take(&world.a, "x", PERIOD).await.release().await.unwrap();
    });
}

/// A grant that can never be believed is given back, and whoever waits for a lock goes on waiting.
#[test]
fn a_lock_outlives_what_a_leader_change_spoilt() {
    let world = World::new();
    world.sim.block_on(async {
        take(&world.a, "x", PERIOD).await.release().await.unwrap();
        world.sleep(PERIOD * 2).await;
        world.server.change_leader(Duration::ZERO);
        let held = world.a.lock("x").period(PERIOD).acquire().await.unwrap();
        assert!(held.is_current());
        held.release().await.unwrap();
    });
}
