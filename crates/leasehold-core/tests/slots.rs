//! Once per slot; a delay after an end that was not clean; how the previous term ended; what is said to a log.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/world.rs"]
mod world;

use std::time::Duration;

use leasehold_core::{
    Attempt, Displace, Door, EndedHow, ErrorKind, Held, Lock, LockAttempt, Manager, Request,
    Skipped, TakeOver,
};
use leasehold_testkit::{Fault, seeds};
use world::World;

const SECOND: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

fn world(seed: u64) -> World {
    World::new(seed, 10, SECOND * 5)
}

/// Another process.
fn other(world: &World, id: &str) -> Manager {
    let store = std::sync::Arc::new(world.memory.clone());
    let manager = Manager::builder(store, world.door.clone());
    manager.machine_id(id).build().unwrap()
}

fn job(manager: &Manager) -> Lock {
    manager.lock("job").period(PERIOD).once_per(HOUR)
}

async fn runs(lock: &Lock) -> Held {
    match lock.try_acquire().await.unwrap() {
        LockAttempt::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

async fn skips(lock: &Lock) -> Skipped {
    match lock.try_acquire().await.unwrap() {
        LockAttempt::Skipped(skipped) => skipped,
        other => panic!("{other:?}"),
    }
}

/// However a run ends, and whatever comes after it, the name is closed until nearly the slot is over; then it runs again.
#[test]
fn once_per_slot_whatever_becomes_of_the_run() {
    for end in 0..6 {
        let world = world(end);
        let (a, b) = (other(&world, "a"), other(&world, "b"));
        world.sim.block_on(async {
            let start = world.door.now();
            let wall = world.door.wall();
            let held = runs(&job(&a)).await;
            // While it runs the name is busy, as ever.
            let busy = job(&b).try_acquire().await.unwrap();
            assert!(matches!(busy, LockAttempt::Busy(_)), "{busy:?}");
            world.sleep(SECOND).await;
            match end {
                0 => held.release().await.unwrap(),
                // It crashes.
                1 => std::mem::forget(held.into_lease().unwrap()),
                2 => {
                    let displace = Displace::index(held.term().index()).reason("stuck");
                    drop(b.break_lease("job", displace).await.unwrap());
                }
                3 => {
                    // Stolen by somebody who does not ask for once a slot.
                    let index = held.term().index();
                    let thief = b.steal_lease("job", "thief", 0, PERIOD, index).await;
                    world.sleep(PERIOD / 2).await;
                    thief.unwrap().release().await.unwrap();
                }
                4 => {
                    // Followed by terms of such.
                    held.release().await.unwrap();
                    let plain = b.acquire_lease("job", "plain", 0, PERIOD).await.unwrap();
                    let mut plain = plain.unwrap();
                    plain.renew(PERIOD).await.unwrap();
                    plain.release().await.unwrap();
                    drop(b.acquire_lease("job", "plain", 0, SECOND).await.unwrap());
                }
                _ => {
                    let proxy = b.get_lease("job").await.unwrap().unwrap();
                    proxy.release().await.unwrap();
                }
            }
            world.sleep(PERIOD * 3).await;
            for manager in [&b, &a, &b] {
                let skipped = skips(&job(manager)).await;
                assert_eq!(skipped.ran_by(), Some("a"), "{end}");
                assert_eq!(skipped.ran_at(), Some(wall));
                assert_eq!(skipped.until(), wall + HOUR * 9 / 10);
                let left = HOUR * 9 / 10 - world.door.now().since(start);
                assert!(skipped.left() <= left && skipped.left() + SECOND >= left);
                // Nor does waiting help within the limit.
                let limited = job(manager).acquire_within(SECOND).await.unwrap();
                assert!(matches!(limited, LockAttempt::Skipped(_)), "{limited:?}");
            }
            // Whoever does not ask for it is not refused, by whatever way.
            let plain = b.lock("job").try_acquire().await.unwrap();
            assert!(matches!(plain, LockAttempt::Held(_)), "{plain:?}");
            drop(plain);
            // A shorter slot is over sooner, by what the asker says.
            let shorter = b.lock("job").once_per(HOUR / 4);
            let shorter = shorter.acquire_within(PERIOD * 2).await.unwrap();
            let LockAttempt::Held(held) = shorter else {
                panic!("closed for more than two slots: {shorter:?}");
            };
            held.release().await.unwrap();
        });
    }
}

/// Waiting for a lock that runs once a slot is waiting for the next slot: one run a slot, whoever makes it.
#[test]
fn once_per_slot_whoever_waits_runs_in_the_next_one() {
    for seed in seeds() {
        let world = world(seed);
        let managers = ["a", "b", "c"].map(|id| other(&world, id));
        let ran = std::sync::Mutex::new(Vec::new());
        world.sim.block_on(async {
            let runs = managers.iter().map(async |manager| {
                loop {
                    let held = job(manager).acquire().await.unwrap();
                    ran.lock().unwrap().push(world.door.now());
                    world.sleep(SECOND).await;
                    held.release().await.unwrap();
                }
            });
            let runs = std::pin::pin!(futures_util::future::join_all(runs));
            let end = std::pin::pin!(world.sleep(HOUR * 10));
            futures_util::future::select(runs, end).await;
        });
        let ran = ran.lock().unwrap();
        assert_eq!(ran.len(), 12, "{ran:?}");
        for pair in ran.windows(2) {
            let apart = pair[1].since(pair[0]);
            assert!(apart >= HOUR * 9 / 10 && apart <= HOUR * 9 / 10 + SECOND * 2);
        }
    }
}

/// A grant that nobody takes up opens the slot again, also where its answer was lost or came too late; and what was closed
/// before stays so.
#[test]
fn once_per_slot_what_nobody_took_up_does_not_close_it() {
    let faults = [
        Fault::None,
        Fault::LoseReply,
        Fault::DelayReply(SECOND),
        Fault::DelayReply(PERIOD * 2),
        Fault::HangApplied,
        Fault::Late(SECOND),
    ];
    for fault in faults {
        for polls in [1, 2, 3, 50] {
            let world = world(polls);
            let b = other(&world, "b");
            world.sim.block_on(async {
                // One slot, long ago.
                runs(&job(&b)).await.release().await.unwrap();
                world.sleep(HOUR * 2).await;
                let before = b.status("job").await.unwrap().unwrap();
                // The first learns of the vacancy.
                world.faulty.then(Fault::None).then(fault);
                let lock = job(&world.manager);
                let kept = {
                    let mut call = Box::pin(lock.try_acquire());
                    let mut kept = None;
                    for _ in 0..polls {
                        let once = std::future::poll_fn(|context| {
                            std::task::Poll::Ready(call.as_mut().poll(context))
                        });
                        if let std::task::Poll::Ready(answer) = once.await {
                            kept = answer.ok();
                            break;
                        }
                        world.sleep(SECOND / 5).await;
                    }
                    kept
                };
                let kept = match kept {
                    Some(LockAttempt::Held(held)) => Some(held),
                    _ => None,
                };
                world.sleep(PERIOD * 4).await;
                let after = b.status("job").await.unwrap().unwrap();
                if kept.is_some() {
                    assert!(after.closed() > before.closed(), "{fault:?}");
                    return;
                }
                assert!(!after.is_held(), "{fault:?} {polls}: {after:?}");
                assert_eq!(after.closed(), before.closed(), "{fault:?}, {polls} polls");
                assert_eq!(after.ran(), before.ran());
                runs(&job(&b)).await.release().await.unwrap();
            });
        }
    }
}

/// A take-over by version does not run a job twice in its slot.
#[test]
fn once_per_slot_a_higher_version_waits_for_the_next_one() {
    let world = world(1);
    let (a, b) = (other(&world, "a"), other(&world, "b"));
    world.sim.block_on(async {
        let policy = TakeOver::HigherVersion;
        let held = runs(&job(&a).version(1).take_over(policy)).await;
        let newer = job(&b).version(2).take_over(policy);
        let busy = newer.try_acquire().await.unwrap();
        assert!(matches!(busy, LockAttempt::Busy(_)), "{busy:?}");
        world.sleep(HOUR).await;
        // Its own slot is over, and it is at work still: it is taken over.
        let taken = newer.try_acquire().await.unwrap();
        assert!(matches!(taken, LockAttempt::Held(_)), "{taken:?}");
        drop(held);
    });
}

#[test]
fn once_per_slot_of_an_impossible_length_is_refused() {
    let world = world(2);
    world.sim.block_on(async {
        for bad in [Duration::ZERO, HOUR * 24 * 3661, Duration::MAX] {
            let lock = world.manager.lock("job").once_per(bad);
            for answer in [lock.try_acquire().await, lock.acquire_within(SECOND).await] {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::InvalidInput);
            }
        }
        assert!(world.sent("job").is_empty());
    });
}

/// A delay that a store could not keep is refused, by a request and by a renewal, with nothing sent.
#[test]
fn a_delay_that_cannot_be_kept_is_refused() {
    let world = world(3);
    world.sim.block_on(async {
        let most = world.manager.capabilities().greatest_period;
        let request = |delay| Request::new("x", PERIOD).delay(delay);
        for delay in [most, Duration::MAX] {
            let error = world.manager.try_acquire(request(delay)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        assert!(world.sent("x").is_empty());
        let attempt = world.manager.try_acquire(request(most - PERIOD)).await;
        let Attempt::Acquired(mut lease) = attempt.unwrap() else {
            panic!("nobody holds it");
        };
        assert_eq!(lease.time_remaining(), most);
        lease.renew(PERIOD).await.unwrap();
        assert_eq!(lease.time_remaining(), most);
        let error = lease.renew(PERIOD * 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(lease.is_current());
        lease.renew(PERIOD / 2).await.unwrap();
    });
}

/// The next one is told how the term before ended, by whom and why.
#[test]
fn each_is_told_how_the_term_before_ended() {
    let world = world(4);
    let (a, b) = (other(&world, "a"), other(&world, "b"));
    world.sim.block_on(async {
        let lock = |manager: &Manager| manager.lock("x").period(PERIOD);
        assert_eq!(world.take("y", PERIOD).await.ended(), None);
        let held = runs(&lock(&a)).await;
        assert_eq!(held.ended(), None, "there was none");
        held.release().await.unwrap();
        let held = runs(&lock(&b)).await;
        let ended = held.ended().unwrap();
        assert_eq!(ended.how, EndedHow::Released);
        assert_eq!(ended.to_string(), "released by a");
        // A renewal keeps it.
        world.sleep(PERIOD).await;
        assert_eq!(held.ended(), Some(ended));
        held.renew(PERIOD).await.unwrap();
        let displace = Displace::index(held.term().index()).reason("stuck\u{7}");
        assert!(a.break_lease("x", displace).await.is_err(), "a control character");
        let displace = Displace::index(held.term().index()).reason("stuck");
        drop(a.break_lease("x", displace).await.unwrap());
        let LockAttempt::Busy(busy) = lock(&a).try_acquire().await.unwrap() else {
            panic!("it is waited out");
        };
        assert_eq!(
            busy.to_string(),
            "x is held by nobody, but is not vacant yet, 10s left: the last term was broken by a (stuck)"
        );
        world.sleep(PERIOD).await;
        let held = runs(&lock(&a)).await;
        assert_eq!(held.ended().unwrap().to_string(), "broken by a (stuck)");
        let stolen = b.steal_lease("x", "b", 0, PERIOD, held.term().index()).await;
        let stolen = stolen.unwrap();
        assert_eq!(stolen.ended().unwrap().to_string(), "stolen by b");
        drop(held);
        drop(stolen);
        world.sleep(PERIOD * 2).await;
        let held = runs(&lock(&a)).await;
        assert_eq!(held.ended().unwrap().how, EndedHow::Expired);
        assert_eq!(held.ended().unwrap().to_string(), "expired");
        let unknown = leasehold_core::Ended {
            how: EndedHow::Unknown,
            by: None,
            reason: None,
            fence: None,
        };
        assert_eq!(unknown.to_string(), "expired or unknown");
    });
}

/// Busy says in a sentence who holds it, since when, how long still, and why; and what is others' words moves no cursor.
#[test]
fn busy_reads_as_a_sentence() {
    let world = world(5);
    world.sim.block_on(async {
        let wall = jiff::Timestamp::try_from(world.door.wall()).unwrap();
        let lock = world.manager.lock("jobs/nightly").period(PERIOD);
        let held = runs(&lock.clone().machine_id("host-a").note("nightly report")).await;
        let LockAttempt::Busy(busy) = lock.try_acquire().await.unwrap() else {
            panic!("it is held");
        };
        assert_eq!(
            busy.to_string(),
            format!("jobs/nightly is held by host-a since {wall:.0}, 10s left (nightly report)")
        );
        drop(held);
        let name = leasehold_core::LeaseName::new("odd").unwrap();
        let planted = b"{\"MachineID\":\"a\\u001b[2J\\u202eb\",\"Version\":1}";
        world.memory.plant(&name, planted);
        let LockAttempt::Busy(busy) = world.manager.lock("odd").try_acquire().await.unwrap() else {
            panic!("it is held");
        };
        assert_eq!(
            busy.to_string(),
            "odd is held by a\\u{1b}[2J\\u{202e}b, with no known end"
        );
    });
}
