//! Keeping leases: renewals of one and of many, in time and to the last moment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::store::Store;
use leasehold_core::{Door, ErrorKind, KeepAlive, Lease, LeaseName, Manager, MemoryStore};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty};

const PERIOD: Duration = Duration::from_secs(12);

fn world(seed: u64) -> (Sim, Arc<SimDoor>, Faulty, Manager) {
    let sim = Sim::new(seed);
    let door = sim.door();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(door.clone()));
    let faulty = Faulty::new(store, door.clone());
    let manager = manager(&faulty, &door);
    (sim, door, faulty, manager)
}

fn manager(faulty: &Faulty, door: &Arc<SimDoor>) -> Manager {
    Manager::builder(Arc::new(faulty.clone()), door.clone())
        .build()
        .unwrap()
}

fn name(text: &str) -> LeaseName {
    LeaseName::new(text).unwrap()
}

async fn take(manager: &Manager, name: &str, period: Duration) -> Lease {
    let lease = manager.acquire_lease(name, "m", 0, period).await.unwrap();
    lease.unwrap()
}

/// A lost reply is resolved within the time-out, for many renewals as for one.
#[test]
fn renew_all_resolves_a_lost_reply_as_renew_does() {
    for fault in [Fault::LoseReply, Fault::Lose] {
        let (sim, _, faulty, manager) = world(1);
        sim.block_on(async {
            let mut leases = Vec::new();
            for n in ["a", "b", "c"] {
                leases.push(take(&manager, n, PERIOD).await);
            }
            faulty.then_for(&name("b"), fault);
            for result in manager.renew_all(leases.iter_mut(), PERIOD).await {
                result.unwrap();
            }
        });
    }
}

/// What stays unknown is told at the time-out, or once the leases' deadlines have passed.
#[test]
fn renew_all_ends_by_the_timeout_and_the_deadline() {
    for (period, most) in [(PERIOD, 10), (Duration::from_secs(3), 3)] {
        let (sim, door, faulty, manager) = world(2);
        sim.block_on(async {
            let mut leases = [
                take(&manager, "a", period).await,
                take(&manager, "b", period).await,
            ];
            for _ in 0..100 {
                faulty.then_for(&name("b"), Fault::Lose);
            }
            let start = door.now();
            let results = manager.renew_all(leases.iter_mut(), period).await;
            assert!(results[0].is_ok());
            let error = results[1].as_ref().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
            let took = door.now().since(start);
            assert!(took <= Duration::from_millis(most * 1000 + 1), "{took:?}");
        });
    }
}

/// A renewal that came too late is given back, and nobody else's renewal waits for that.
#[test]
fn renew_all_is_not_held_up_by_one_that_came_too_late() {
    let (sim, door, faulty, manager) = world(3);
    sim.block_on(async {
        let short = Duration::from_secs(1);
        let mut leases = [
            take(&manager, "a", short).await,
            take(&manager, "b", Duration::from_secs(4)).await,
        ];
        // The answer comes after the first one's deadline, and its release hangs.
        let a = name("a");
        faulty.then_for(&a, Fault::DelayReply(Duration::from_secs(2)));
        faulty.then_for(&a, Fault::Hang);
        let start = door.now();
        let results = manager.renew_all(leases.iter_mut(), PERIOD).await;
        assert!(door.now().since(start) <= Duration::from_secs(10));
        assert!(results[0].is_err());
        results[1].as_ref().unwrap();
        assert!(leases[1].is_current());
    });
}

/// More renewals than one request carries: those whose request was answered are known before the next one's is.
#[test]
fn renew_all_learns_of_each_request_as_it_is_answered() {
    let (sim, door, faulty, _) = world(4);
    faulty.batch(2);
    let manager = manager(&faulty, &door);
    sim.block_on(async {
        let mut leases = Vec::new();
        for n in ["a", "b", "c", "d"] {
            leases.push(take(&manager, n, Duration::from_secs(3)).await);
        }
        faulty.then_for(&name("c"), Fault::Hang);
        let results = manager.renew_all(leases.iter_mut(), PERIOD).await;
        assert!(results[0].is_ok() && results[1].is_ok(), "{results:?}");
        assert!(leases[0].is_current() && leases[1].is_current());
    });
}

/// Two leases of one name are never in one request (the faulty store sees to that), and the second one is told that it
/// is not the latest any more.
#[test]
fn renew_all_sends_one_change_a_name() {
    let (sim, _, faulty, manager) = world(8);
    sim.block_on(async {
        let mut lease = take(&manager, "x", PERIOD).await;
        let mut proxy = manager.get_lease("x").await.unwrap().unwrap();
        let before = faulty.requests().len();
        let results = manager.renew_all([&mut lease, &mut proxy], PERIOD).await;
        assert!(results[0].is_ok());
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed);
        assert_eq!(faulty.requests()[before..], [1, 1]);
        assert!(lease.is_current());
    });
}

/// A request that hangs takes no other lease with it.
#[test]
fn a_hanging_request_does_not_hold_up_the_others() {
    let (sim, door, faulty, manager) = world(9);
    sim.block_on(async {
        let short = Duration::from_secs(3);
        let mut lease = take(&manager, "b", short).await;
        faulty.then_for(&name("a"), Fault::Hang);
        let hanging = async { drop(manager.acquire_lease("a", "m", 0, PERIOD).await) };
        let renewing = async {
            let start = door.now();
            door.sleep_until(start.plus(short / 3)).await;
            lease.renew(short).await.unwrap();
            assert!(door.now().since(start) < short);
            assert!(lease.is_current());
        };
        futures_util::future::join(hanging, renewing).await;
    });
}

/// A lease that was held for a while is renewed in time when it begins to be kept alive.
#[test]
fn keep_alive_renews_in_time_what_is_nearly_over() {
    let (sim, door, _, manager) = world(5);
    sim.block_on(async {
        let lease = take(&manager, "x", PERIOD).await;
        door.sleep_until(door.now().plus(PERIOD * 4 / 5)).await;
        let held = lease.keep_alive(KeepAlive::new());
        door.sleep_until(door.now().plus(PERIOD * 3)).await;
        held.check().unwrap();
    });
}

/// A claim that is kept alive is renewed at once: only then is it current.
#[test]
fn keep_alive_renews_a_claim_at_once() {
    let (sim, door, _, manager) = world(6);
    sim.block_on(async {
        let lease = take(&manager, "x", PERIOD).await;
        door.sleep_until(door.now().plus(PERIOD * 4 / 5)).await;
        let claim = manager.resume("x", lease.fence()).await.unwrap();
        assert!(!claim.is_current());
        let held = claim.keep_alive(KeepAlive::new());
        assert!(!held.is_current(), "not before its own renewal");
        door.sleep_until(door.now().plus(Duration::from_millis(10)))
            .await;
        held.check().unwrap();
        door.sleep_until(door.now().plus(PERIOD * 3)).await;
        held.check().unwrap();
        assert_eq!(held.fence(), lease.fence());
    });
}

/// An outage that begins early and ends shortly before the deadline costs nothing: renewals are tried to the last.
#[test]
fn keep_alive_tries_until_the_deadline() {
    for fault in [Fault::Refuse, Fault::Lose, Fault::LoseReply] {
        for seed in leasehold_testkit::seeds() {
            let (sim, door, faulty, manager) = world(seed);
            sim.block_on(async {
                let held = take(&manager, "x", PERIOD)
                    .await
                    .keep_alive(KeepAlive::new());
                let deadline = held.deadline().unwrap();
                faulty.always(Some(fault));
                door.sleep_until(deadline.minus(PERIOD / 50)).await;
                faulty.always(None);
                door.sleep_until(deadline.plus(PERIOD * 2)).await;
                held.check().unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            });
        }
    }
}
