//! Waits are bounded, and what was given up before it was sent is not sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/odd.rs"]
mod odd;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use leasehold_core::store::{Signal, Store};
use leasehold_core::{
    Attempt, BootInstant, Displace, Door, ErrorKind, LeaseName, LockAttempt, Manager, MemoryStore,
    Request, Result,
};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty};
use odd::Odd;

const PERIOD: Duration = Duration::from_secs(12);
const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64) -> (Sim, Arc<SimDoor>, Faulty, Manager) {
    let sim = Sim::new(seed);
    let door = sim.door();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(door.clone()));
    let faulty = Faulty::new(store, door.clone());
    let manager = manager(faulty.clone(), &door);
    (sim, door, faulty, manager)
}

fn manager(store: impl Store, door: &Arc<SimDoor>) -> Manager {
    Manager::builder(Arc::new(store), door.clone())
        .build()
        .unwrap()
}

/// A steal or break that timed out while an earlier change was outstanding said that nothing was sent: so it is.
#[test]
fn what_was_given_up_before_it_was_sent_is_never_sent() {
    for steal in [true, false] {
        let (sim, door, faulty, ours) = world(1);
        let other = manager(faulty.clone(), &door);
        sim.block_on(async {
            let held = other
                .acquire_lease("x", "holder", 0, PERIOD * 10)
                .await
                .unwrap()
                .unwrap();
            let mut proxy = ours.get_lease("x").await.unwrap().unwrap();
            // The name's turn is taken until the renewal's own end, which comes after the second one's time-out.
            faulty.always(Some(Fault::Lose));
            let renewing = async { drop(proxy.renew(PERIOD).await) };
            let second = async {
                door.sleep_until(door.now().plus(SECOND)).await;
                let displace = Displace::index(held.index());
                let error = if steal {
                    let request = leasehold_core::Request::new("x", PERIOD);
                    ours.steal(request, displace).await.map(drop).unwrap_err()
                } else {
                    ours.break_lease("x", displace).await.map(drop).unwrap_err()
                };
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.to_string().contains("nothing was sent"), "{error}");
            };
            futures_util::future::join(renewing, second).await;
            let sent = faulty.sent().last().unwrap().change.attempt();
            door.sleep_until(door.now().plus(PERIOD * 2)).await;
            let last = faulty.sent().last().unwrap().change.clone();
            assert_eq!(
                last.attempt(),
                sent,
                "only the renewal was sent again: {last:?}"
            );
        });
    }
}

/// A release that waits for its turn goes on after the time-out: then nobody knows its outcome.
#[test]
fn a_release_that_goes_on_is_told_as_unknown() {
    let (sim, door, faulty, manager) = world(2);
    sim.block_on(async {
        let mut lease = manager
            .acquire_lease("x", "m", 0, PERIOD * 10)
            .await
            .unwrap()
            .unwrap();
        faulty.always(Some(Fault::Lose));
        assert!(lease.renew(PERIOD * 10).await.is_err());
        let error = lease.release().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        faulty.heal();
        door.sleep_until(door.now().plus(SECOND * 3)).await;
        assert!(manager.get_lease("x").await.unwrap().is_none());
    });
}

/// A break that was applied is told as applied, whether or not the registry can still be read.
#[test]
fn a_break_needs_no_read_afterwards() {
    let (sim, door, faulty, manager) = world(3);
    sim.block_on(async {
        for assume_dead in [false, true] {
            let lease = manager
                .acquire_lease("x", "m", 0, PERIOD)
                .await
                .unwrap()
                .unwrap();
            let mut displace = Displace::index(lease.index()).reason("why");
            if assume_dead {
                displace = displace.assume_dead("it is");
            }
            // The change is made, and then the way to the registry is gone.
            faulty.then(Fault::DelayReply(SECOND));
            let cut = async {
                door.sleep_until(door.now().plus(SECOND / 2)).await;
                faulty.hang_reads(true);
            };
            let (status, ()) =
                futures_util::future::join(manager.break_lease("x", displace), cut).await;
            let status = status.unwrap();
            faulty.heal();
            let read = manager.status("x").await.unwrap().unwrap();
            assert!(!status.is_held() && status.machine_id().is_none());
            assert_eq!(status.index(), read.index());
            assert_eq!(status.ended(), read.ended());
            assert_eq!(status.is_vacant(), read.is_vacant());
            assert_eq!(status.is_vacant(), assume_dead);
            assert!(status.left().unwrap() >= read.left().unwrap());
            door.sleep_until(door.now().plus(PERIOD)).await;
        }
    });
}

/// Waiting for a lock on a registry that hangs ends within the limit, or within the second that the first try has.
#[test]
fn a_lock_on_a_hanging_registry_ends_within_its_limit() {
    for (limit, most) in [
        (Duration::ZERO, SECOND),
        (SECOND / 2, SECOND),
        (SECOND * 7, SECOND * 7),
    ] {
        for fault in [Fault::Hang, Fault::HangApplied, Fault::Lose, Fault::Refuse] {
            let (sim, door, faulty, manager) = world(4);
            sim.block_on(async {
                faulty.always(Some(fault));
                faulty.hang_reads(true);
                let start = door.now();
                let result = manager.lock("x").acquire_within(limit).await;
                assert!(!matches!(result, Ok(LockAttempt::Held(_))), "{fault:?}");
                let took = door.now().since(start);
                assert!(
                    took <= most + Duration::from_millis(1),
                    "{fault:?}: {took:?}"
                );
            });
        }
    }
}

/// A store whose close hangs does not hold up a shutdown past its limit.
#[test]
fn a_shutdown_ends_by_its_limit() {
    let (sim, door, ..) = world(5);
    let manager = manager(odd(&door), &door);
    sim.block_on(async {
        let start = door.now();
        assert!(manager.shutdown(SECOND).await.is_err());
        assert!(door.now().since(start) <= SECOND + Duration::from_millis(1));
    });
}

/// A forked child can do nothing with its parent's manager, nor with its leases: nothing is sent.
#[test]
fn a_forked_child_sends_nothing() {
    let (sim, door, faulty, manager) = world(6);
    sim.block_on(async {
        let take = async |name| {
            let lease = manager.acquire_lease(name, "m", 0, PERIOD).await.unwrap();
            lease.unwrap()
        };
        let (mut renewed, released, index) =
            (take("a").await, take("b").await, take("c").await.index());
        let sent = faulty.sent().len();
        door.set_process(4242);
        let refused = |result: Result<()>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        };
        refused(renewed.renew(PERIOD).await);
        for result in manager.renew_all([&mut renewed], PERIOD).await {
            refused(result);
        }
        refused(released.release().await);
        refused(manager.get_lease("a").await.map(drop));
        refused(manager.status("a").await.map(drop));
        refused(manager.resume("a", renewed.fence()).await.map(drop));
        refused(manager.acquire_lease("d", "m", 0, PERIOD).await.map(drop));
        refused(
            manager
                .steal_lease("c", "m", 0, PERIOD, index)
                .await
                .map(drop),
        );
        refused(
            manager
                .break_lease("c", Displace::index(index))
                .await
                .map(drop),
        );
        refused(manager.lock("d").acquire_within(SECOND).await.map(drop));
        refused(manager.list("").unwrap().next().await.map(drop));
        refused(manager.watch("a").unwrap().next().await.map(drop));
        refused(manager.shutdown(SECOND).await.map(drop));
        assert_eq!(faulty.sent().len(), sent);
    });
}

/// A watch that is never left in peace still tells when a lease runs out.
#[test]
fn a_busy_watch_tells_expiry() {
    let (sim, door, ..) = world(7);
    let store = odd(&door);
    let manager = manager(store, &door);
    sim.block_on(async {
        let lease = manager
            .acquire_lease("x/1", "m", 0, PERIOD)
            .await
            .unwrap()
            .unwrap();
        let end = lease.deadline().unwrap();
        let mut watch = manager.watch_prefix("x").unwrap();
        assert!(watch.next().await.unwrap().status.unwrap().is_held());
        let told = async { watch.next().await.unwrap() };
        let timer = door.sleep_until(end.plus(SECOND));
        match futures_util::future::select(std::pin::pin!(told), timer).await {
            futures_util::future::Either::Left((event, _)) => {
                assert!(!event.status.unwrap().is_held());
            }
            futures_util::future::Either::Right(_) => panic!("not told"),
        }
    });
}

/// Events that were read are told at once, however long the reading took; only the next reading waits.
#[test]
fn a_slow_listing_is_told_at_once() {
    let (sim, door, ..) = world(8);
    let mut store = odd(&door);
    store.listing = SECOND / 4;
    let manager = manager(store, &door);
    sim.block_on(async {
        let lease = manager.acquire_lease("x/1", "m", 0, PERIOD).await.unwrap();
        let mut watch = manager.watch_prefix("x").unwrap();
        let start = door.now();
        assert!(watch.next().await.unwrap().status.unwrap().is_held());
        let took = door.now().since(start);
        assert!(took <= SECOND / 4 + Duration::from_millis(1), "{took:?}");
        drop(lease);
    });
}

/// A watch and a waiting lock outlive a store whose signals end: they are errors or waits, not panics.
#[test]
fn ended_signals_are_no_panic() {
    let (sim, door, ..) = world(9);
    let mut store = odd(&door);
    store.ended = true;
    let manager = manager(store, &door);
    sim.block_on(async {
        let held = manager
            .acquire_lease("x", "m", 0, PERIOD)
            .await
            .unwrap()
            .unwrap();
        let mut watch = manager.watch("x").unwrap();
        assert!(watch.next().await.unwrap().status.unwrap().is_held());
        assert!(!watch.next().await.unwrap().status.unwrap().is_held());
        assert!(!held.is_current());
        let held = manager.lock("x").acquire().await.unwrap();
        let lock = manager.lock("x");
        let (attempt, ()) = futures_util::future::join(lock.acquire_within(PERIOD * 8), async {
            door.sleep_until(door.now().plus(PERIOD * 5)).await;
            held.release().await.unwrap();
        })
        .await;
        assert!(matches!(attempt.unwrap(), LockAttempt::Held(_)));
    });
}

/// A name that comes and goes is told as often, and its absence once.
#[test]
fn a_watch_tells_an_absence_once() {
    let (sim, door, _, manager) = world(10);
    sim.block_on(async {
        let mut watch = manager.watch("x").unwrap();
        assert!(watch.next().await.unwrap().status.is_none());
        let timer = door.sleep_until(door.now().plus(SECOND * 100));
        let next = std::pin::pin!(watch.next());
        let next = futures_util::future::select(next, timer).await;
        assert!(matches!(next, futures_util::future::Either::Right(_)));
    });
}

/// A steal whose outcome stays unknown is given back once it is seen to have been applied: the name is held by nobody
/// until the replaced term is waited out, and not longer.
#[test]
fn an_unknown_steal_is_given_back_and_still_waits() {
    let (sim, door, faulty, ours) = world(11);
    let other = manager(faulty.clone(), &door);
    sim.block_on(async {
        let held = other
            .acquire_lease("x", "holder", 0, PERIOD * 5)
            .await
            .unwrap()
            .unwrap();
        let end = held.deadline().unwrap();
        faulty.then(Fault::LoseReply).always(Some(Fault::Lose));
        let healer = async {
            door.sleep_until(door.now().plus(SECOND * 8)).await;
            faulty.heal().fail_reads(3);
            door.sleep_until(door.now().plus(SECOND)).await;
            faulty.fail_reads(0);
        };
        let steal = ours.steal_lease("x", "thief", 0, SECOND * 8, held.index());
        let (stolen, ()) = futures_util::future::join(steal, healer).await;
        assert_eq!(stolen.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        door.sleep_until(door.now().plus(SECOND * 3)).await;
        let status = ours.status("x").await.unwrap().unwrap();
        assert_eq!(status.machine_id(), None);
        assert!(!status.is_vacant(), "the holder may still believe");
        door.sleep_until(end.minus(SECOND / 10)).await;
        assert!(held.is_current());
        let early = ours.acquire_lease("x", "m", 0, PERIOD).await.unwrap();
        assert!(early.is_none());
        door.sleep_until(end).await;
        let lease = ours.acquire_lease("x", "m", 0, PERIOD).await.unwrap();
        assert!(lease.unwrap().begin().unwrap() >= end);
    });
}

/// An acquire whose outcome stays unknown is fenced off: a send of it that arrives still later finds its vacancy gone.
#[test]
fn an_unknown_acquire_is_fenced_off() {
    for failing_reads in [0, 2] {
        let (sim, door, faulty, manager) = world(12);
        sim.block_on(async {
            let start = door.now();
            let second = |n: u32| start.plus(SECOND * n);
            faulty
                .then(Fault::Late(SECOND * 10))
                .always(Some(Fault::Lose));
            faulty.fail_reads(failing_reads);
            let healer = async {
                door.sleep_until(second(8).plus(SECOND / 5)).await;
                faulty.heal();
            };
            let acquire = manager.acquire_lease("x", "m", 0, SECOND * 8);
            let (acquired, ()) = futures_util::future::join(acquire, healer).await;
            let error = acquired.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
            door.sleep_until(second(11)).await;
            let status = manager.status("x").await.unwrap();
            assert!(status.unwrap().is_vacant(), "the late send was applied");
        });
    }
}

/// A registry's clock that can be set back.
#[derive(Debug)]
struct SetBack {
    inner: Arc<SimDoor>,
    back: Mutex<Duration>,
}

impl Door for SetBack {
    fn now(&self) -> BootInstant {
        self.inner.now().minus(*self.back.lock().unwrap())
    }
    fn wall(&self) -> SystemTime {
        self.inner.wall()
    }
    fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()> {
        self.inner.sleep_until(at.plus(*self.back.lock().unwrap()))
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        Door::spawn(&*self.inner, task);
    }
    fn random(&self, buffer: &mut [u8]) {
        self.inner.random(buffer);
    }
    fn process(&self) -> u32 {
        self.inner.process()
    }
}

/// A refusal while the vacancy that an acquire names still stands, and is none for the moment, says nothing about an
/// earlier send of it: that one may arrive when the name is vacant again, and nobody would know of the grant.
#[test]
fn unknown_a_refusal_while_the_named_vacancy_stands_does_not_decide() {
    let sim = Sim::new(13);
    let door = sim.door();
    let clock = Arc::new(SetBack {
        inner: door.clone(),
        back: Mutex::default(),
    });
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let faulty = Faulty::new(store, door.clone());
    let manager = manager(faulty.clone(), &door);
    sim.block_on(async {
        let start = door.now();
        let held = manager.acquire_lease("x", "a", 0, PERIOD).await.unwrap();
        assert_eq!(held.unwrap().index(), 1);
        let half = SECOND / 2;
        door.sleep_until(start.plus(PERIOD + half)).await;
        faulty
            .then(Fault::DelayReply(SECOND))
            .then(Fault::Late(SECOND * 5));
        let step = async {
            door.sleep_until(start.plus(PERIOD + SECOND)).await;
            *clock.back.lock().unwrap() = SECOND * 3;
        };
        let request = Request::new("x", PERIOD).machine_id("b");
        let (attempt, ()) = futures_util::future::join(manager.try_acquire(request), step).await;
        let Ok(Attempt::Acquired(lease)) = attempt else {
            panic!("a grant that nobody knows of is under way: {attempt:?}");
        };
        door.sleep_until(start.plus(PERIOD + SECOND * 7)).await;
        assert!(lease.is_current());
        let status = manager.status("x").await.unwrap().unwrap();
        assert_eq!(status.index(), lease.index(), "the late send was refused");
    });
}

/// A registry that is never still, takes a moment for a reading, and is never closed.
fn odd(door: &Arc<SimDoor>) -> Odd {
    // It tells of a name that never changes.
    let busy = Signal::Name(LeaseName::new("x/busy").unwrap());
    Odd {
        reading: Duration::from_millis(1),
        signal: Some((busy, Duration::ZERO)),
        open: true,
        ..Odd::new(door)
    }
}

/// Finding out what became of an unknown acquire ends by the time-out too, where the registry cannot be read either.
#[test]
fn an_unknown_acquire_is_given_up_in_the_end() {
    let (sim, door, faulty, manager) = world(13);
    sim.block_on(async {
        faulty.always(Some(Fault::Lose)).fail_reads(u32::MAX);
        let acquire = manager.acquire_lease("x", "m", 0, SECOND * 2);
        let error = acquire.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        door.sleep_until(door.now().plus(SECOND * 20)).await;
        manager.shutdown(SECOND).await.unwrap();
    });
}

/// A shutdown waits for the changes that are outstanding, as long as it may, and says so where it may not.
#[test]
fn a_shutdown_waits_for_what_is_outstanding() {
    for (limit, done) in [(SECOND * 5, true), (SECOND / 2, false)] {
        let (sim, door, faulty, manager) = world(12);
        sim.block_on(async {
            let mut lease = manager
                .acquire_lease("x", "m", 0, PERIOD)
                .await
                .unwrap()
                .unwrap();
            faulty.then(Fault::DelayReply(SECOND));
            let start = door.now();
            let shutdown = async {
                let result = manager.shutdown(limit).await;
                (result, door.now().since(start))
            };
            let (renewed, (shut, took)) =
                futures_util::future::join(lease.renew(PERIOD), shutdown).await;
            renewed.unwrap();
            if done {
                shut.unwrap();
                assert!(took >= SECOND && took < SECOND * 3 / 2, "{took:?}");
            } else {
                let error = shut.unwrap_err();
                assert!(error.to_string().contains("outstanding"), "{error}");
                assert!(took >= limit && took < SECOND, "{took:?}");
            }
        });
    }
}
