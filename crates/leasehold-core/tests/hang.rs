//! What must hold at exact instants: the simulator's time leaves no slack.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use leasehold_core::store::Store;
use leasehold_core::{Door, ErrorKind, KeepAlive, LockAttempt, Manager, MemoryStore};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty};

const PERIOD: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);

fn world(seed: u64) -> (Sim, Arc<SimDoor>, Faulty, Manager) {
    let sim = Sim::new(seed);
    let door = sim.door();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(door.clone()));
    let faulty = Faulty::new(store, door.clone());
    let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
        .build()
        .unwrap();
    (sim, door, faulty, manager)
}

/// Complaint 2: cut off, a holder does not notice its loss for minutes.
///
/// A registry that never answers takes a lease away at its deadline: not before, and not later.
#[test]
fn complaint_02_a_hanging_registry_ends_belief_at_the_deadline() {
    for seed in leasehold_testkit::seeds() {
        for fault in [Fault::Hang, Fault::HangApplied, Fault::Lose, Fault::Refuse] {
            let (sim, door, faulty, manager) = world(seed);
            sim.block_on(async {
                let lease = manager
                    .acquire_lease("x", "m", 0, PERIOD)
                    .await
                    .unwrap()
                    .unwrap();
                let held = lease.keep_alive(KeepAlive::new());
                faulty.always(Some(fault));
                let deadline = held.deadline().unwrap();
                door.sleep_until(deadline.minus(MOMENT)).await;
                assert!(held.is_current(), "{fault:?}");
                let (lost, late) = (pin!(held.lost()), door.sleep_until(deadline.plus(PERIOD)));
                let Either::Left((error, _)) = select(lost, late).await else {
                    panic!("{fault:?}: not told")
                };
                assert_eq!(error.kind(), ErrorKind::Expired);
                assert!(
                    door.now() >= deadline && door.now() <= deadline.plus(MOMENT),
                    "{fault:?}"
                );
                assert!(!held.is_current());
            });
        }
    }
}

/// A process that was stopped past the deadline knows it with its first instruction.
#[test]
fn a_stopped_process_has_lost_its_lease_when_it_runs_again() {
    let (sim, door, _, manager) = world(1);
    let lease = sim
        .block_on(manager.acquire_lease("x", "m", 0, PERIOD))
        .unwrap()
        .unwrap();
    let held = lease.keep_alive(KeepAlive::new());
    sim.advance(PERIOD * 3);
    assert!(held.is_current(), "kept alive");
    door.freeze();
    sim.advance(PERIOD * 2);
    door.thaw();
    assert!(!held.is_current());
    assert!(held.check().is_err());
    sim.block_on(held.lost());
}

/// An outage shorter than what is left costs nothing, however it looks from here.
#[test]
fn an_outage_shorter_than_the_deadline_costs_nothing() {
    for seed in leasehold_testkit::seeds() {
        for fault in [
            Fault::HangApplied,
            Fault::Hang,
            Fault::LoseReply,
            Fault::Lose,
            Fault::Refuse,
        ] {
            let (sim, door, faulty, manager) = world(seed);
            sim.block_on(async {
                let lease = manager
                    .acquire_lease("x", "m", 0, PERIOD)
                    .await
                    .unwrap()
                    .unwrap();
                let held = lease.keep_alive(KeepAlive::new());
                for _ in 0..5 {
                    door.sleep_until(door.now().plus(PERIOD / 2)).await;
                    faulty.always(Some(fault));
                    door.sleep_until(door.now().plus(PERIOD / 5)).await;
                    faulty.always(None);
                    door.sleep_until(door.now().plus(PERIOD / 2)).await;
                    held.check().unwrap();
                }
                held.release().await.unwrap();
                assert!(manager.get_lease("x").await.unwrap().is_none());
            });
        }
    }
}

/// A renewal whose outcome stays unknown is resolved up to the last moment: applied early, known late, not lost.
#[test]
fn an_unknown_renewal_is_resolved_up_to_the_deadline() {
    let (sim, door, faulty, manager) = world(2);
    sim.block_on(async {
        let mut lease = manager
            .acquire_lease("x", "m", 0, PERIOD)
            .await
            .unwrap()
            .unwrap();
        let deadline = lease.deadline().unwrap();
        faulty.always(Some(Fault::LoseReply));
        let healer = {
            let (door, faulty) = (door.clone(), faulty.clone());
            async move {
                door.sleep_until(deadline.minus(Duration::from_millis(200)))
                    .await;
                faulty.heal();
            }
        };
        let (renewed, ()) = futures_util::future::join(lease.renew(PERIOD), healer).await;
        // The resends show the attempt's own id, so the first of them settles it.
        renewed.unwrap();
        assert!(lease.is_current());
    });
    let (sim, door, faulty, manager) = world(3);
    sim.block_on(async {
        let mut lease = manager
            .acquire_lease("x", "m", 0, PERIOD)
            .await
            .unwrap()
            .unwrap();
        let deadline = lease.deadline().unwrap();
        faulty.always(Some(Fault::Lose));
        let healer = async {
            door.sleep_until(deadline.minus(Duration::from_millis(100)))
                .await;
            faulty.heal();
        };
        let (renewed, ()) = futures_util::future::join(lease.renew(PERIOD), healer).await;
        renewed.unwrap();
        assert!(lease.is_current());
    });
}

/// A forked child may not use its parent's manager.
#[test]
fn a_forked_child_is_refused() {
    let (sim, door, faulty, manager) = world(4);
    door.set_process(4242);
    let error = sim
        .block_on(manager.acquire_lease("x", "m", 0, PERIOD))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(faulty.sent().is_empty());
}

/// One seed, one history: the whole library follows from it.
#[test]
fn one_seed_drives_the_whole_library() {
    let run = |seed| {
        let (sim, door, faulty, manager) = world(seed);
        faulty.by_chance(seed, 300, PERIOD);
        sim.block_on(async {
            let lock = manager.lock("x").period(PERIOD);
            for _ in 0..5 {
                if let Ok(held) = lock.acquire().await {
                    door.sleep_until(door.now().plus(PERIOD)).await;
                    drop(held.release().await);
                }
            }
        });
        let attempts: Vec<_> = faulty
            .sent()
            .iter()
            .map(|sent| (sent.at, sent.change.attempt()))
            .collect();
        (sim.trace(), attempts)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

/// A registry that takes a while to answer: whoever waited for a lock in vain is told who holds it, not that the last
/// try was too short.
#[test]
fn a_lock_that_cannot_be_had_by_a_slow_way_says_who_holds_it() {
    let (sim, _, faulty, manager) = world(1);
    sim.block_on(async {
        let lease = manager.acquire_lease("x", "holder", 0, PERIOD * 10).await;
        let _lease = lease.unwrap().unwrap();
        faulty.always(Some(Fault::DelayReply(MOMENT)));
        let lock = manager.lock("x").period(PERIOD);
        let answer = lock.acquire_within(PERIOD).await.unwrap();
        let LockAttempt::Busy(busy) = answer else {
            panic!("it is held");
        };
        assert_eq!(busy.holder(), Some("holder"));
    });
}

/// A renewal to a shorter period that never comes back ends belief at its own deadline, and whoever waits for the loss is told
/// then, not when the earlier grant would have run out.
#[test]
fn a_shorter_renewal_that_hangs_is_told_at_its_own_deadline() {
    for fault in [Fault::Hang, Fault::HangApplied, Fault::Lose] {
        let (sim, door, faulty, manager) = world(7);
        sim.block_on(async {
            let lease = manager.acquire_lease("x", "m", 0, PERIOD).await;
            let mut lease = lease.unwrap().unwrap();
            let term = lease.term();
            let long = door.now().plus(PERIOD);
            faulty.always(Some(fault));
            let shorter = async {
                door.sleep_until(door.now().plus(MOMENT)).await;
                let short = door.now().plus(PERIOD / 5);
                assert!(lease.renew(PERIOD / 5).await.is_err());
                short
            };
            let told = async {
                assert_eq!(term.lost().await.kind(), ErrorKind::Expired);
                door.now()
            };
            let (short, told) = join(shorter, told).await;
            assert!(short < long);
            assert!(
                told <= short.plus(MOMENT),
                "{fault:?}: {:?} late",
                told.since(short)
            );
        });
    }
}
