//! When a lease that is kept alive is renewed: a third of its period apart, sooner after failures, to the last moment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/world.rs"]
mod world;

use std::time::Duration;

use leasehold_core::{BootInstant, Door, ErrorKind, KeepAlive, Lease, LeaseName, Result};
use leasehold_testkit::{Fault, seeds};
use world::World;

const PERIOD: Duration = Duration::from_secs(120);
const SECOND: Duration = Duration::from_secs(1);
/// What the simulator's scheduling may add.
const MOMENT: Duration = Duration::from_millis(1);

/// Its manager's time-out is long, so that a reply may be as late as a deadline.
fn world(seed: u64) -> World {
    World::new(seed, 1000, PERIOD * 4)
}

fn gaps(sent: &[BootInstant]) -> Vec<Duration> {
    sent.windows(2).map(|pair| pair[1].since(pair[0])).collect()
}

/// Renewals are a third of the period apart, less a tenth of jitter, which is not the same every time.
#[test]
fn renewals_are_a_third_of_the_period_apart() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
            world.sleep(PERIOD * 10).await;
            held.check().unwrap();
        });
        let gaps = gaps(&world.sent("x"));
        assert!(gaps.len() >= 30, "{gaps:?}");
        let third = PERIOD / 3;
        for gap in &gaps {
            assert!(*gap >= third * 9 / 10 && *gap <= third + MOMENT, "{gap:?}");
        }
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(*most > *least + third / 50, "{gaps:?}");
    }
}

/// The lease is renewed to the period that was asked for; the first time by the one it was granted with if that is shorter.
#[test]
fn another_period_is_kept_from_the_first_renewal_on() {
    for (granted, asked) in [(PERIOD, PERIOD / 4), (PERIOD / 4, PERIOD)] {
        let world = world(1);
        world.sim.block_on(async {
            let lease = world.take("x", granted).await;
            let held = lease.keep_alive(KeepAlive::new().period(asked));
            world.sleep(PERIOD * 5).await;
            let last = *world.sent("x").last().unwrap();
            assert_eq!(held.deadline(), Some(last.plus(asked)));
        });
        let gaps = gaps(&world.sent("x"));
        assert!(gaps[0] <= granted.min(asked) / 3 + MOMENT, "{gaps:?}");
        for gap in &gaps[1..] {
            assert!(*gap >= asked / 3 * 9 / 10, "{gaps:?}");
            assert!(*gap <= asked / 3 + MOMENT, "{gaps:?}");
        }
    }
}

/// After a failure the next renewal comes sooner, then later each time; near the deadline what is left is halved, to the
/// last millisecond.
#[test]
fn failed_renewals_are_tried_again_sooner_and_to_the_last_moment() {
    for seed in seeds() {
        let world = world(seed);
        let deadline = world.sim.block_on(async {
            let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
            let deadline = held.deadline().unwrap();
            world.faulty.always(Some(Fault::Refuse));
            let error = held.lost().await;
            assert_eq!(error.kind(), ErrorKind::Expired);
            world.sleep(MOMENT).await;
            let error = held.check().unwrap_err().to_string();
            assert!(error.contains("not reached"), "{error}");
            deadline
        });
        // The acquire is the first; the first renewal is the first that fails.
        let sent = world.sent("x");
        let tries = &sent[1..];
        for (n, pair) in tries.windows(2).enumerate() {
            let backoff = (PERIOD / 40 * (2 << n.min(6))).min(PERIOD / 3);
            let half = (deadline.since(pair[0]) / 2).max(MOMENT);
            let gap = pair[1].since(pair[0]);
            let (least, most) = ((backoff * 9 / 10).min(half), backoff.min(half));
            assert!(gap + MOMENT >= least, "{n}: {gap:?} < {least:?}");
            assert!(gap <= most + MOMENT, "{n}: {gap:?} > {most:?}");
        }
        let last = *tries.last().unwrap();
        assert!(last < deadline && last >= deadline.minus(MOMENT * 3));
        // No more of them than that takes.
        assert!(tries.len() < 25, "{}", tries.len());
    }
}

/// A success ends the hurry: what comes after is a third of the period apart again.
#[test]
fn a_success_after_failures_ends_the_hurry() {
    let world = world(2);
    world.sim.block_on(async {
        let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
        world.faulty.then(Fault::Refuse).then(Fault::Refuse);
        world.sleep(PERIOD * 3).await;
        held.check().unwrap();
    });
    let gaps = gaps(&world.sent("x"));
    assert!(gaps[1] < PERIOD / 10 && gaps[2] < PERIOD / 5, "{gaps:?}");
    for gap in &gaps[3..] {
        assert!(*gap >= PERIOD / 3 * 9 / 10, "{gaps:?}");
    }
}

/// A success that was known late is followed by the next renewal soon, but not at once: a fortieth of the period later, or
/// half of what is left if that is less.
#[test]
fn a_success_known_late_is_followed_soon_but_not_at_once() {
    let world = world(3);
    world.sim.block_on(async {
        // Just before it would be sent again.
        let late = SECOND * 79 / 2;
        let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
        world.faulty.then(Fault::DelayReply(late));
        world.sleep(PERIOD).await;
        held.check().unwrap();
        let gap = gaps(&world.sent("x"))[1];
        let pause = PERIOD / 40;
        assert!(gap >= late + pause && gap <= late + pause + MOMENT);
    });
    let world = self::world(4);
    world.sim.block_on(async {
        // The renewal ends belief sooner than the grant did, and is known a moment before.
        let (short, left) = (MOMENT * 240, MOMENT * 4);
        let lease = world.take("x", PERIOD).await;
        let held = lease.keep_alive(KeepAlive::new().period(short));
        world.faulty.then(Fault::DelayReply(short - left));
        world.sleep(short * 3).await;
        held.check().unwrap();
        let gap = gaps(&world.sent("x"))[1];
        assert!(gap >= short - left / 2 && gap <= short - left / 2 + MOMENT);
    });
}

/// What cannot be judged is not renewed again and again: the lease is lost at once, and the error says what was found.
#[test]
fn a_lease_of_what_cannot_be_judged_is_lost_at_once() {
    let world = world(5);
    let name = LeaseName::new("x").unwrap();
    let json = br#"{"MachineID":"fleet","Version":3}"#;
    world.memory.plant(&name, json);
    world.sim.block_on(async {
        let lease = world.manager.get_lease("x").await.unwrap().unwrap();
        let start = world.door.now();
        let held = lease.keep_alive(KeepAlive::new().period(PERIOD));
        let error = held.lost().await;
        assert_eq!(error.kind(), ErrorKind::Foreign);
        assert!(world.door.now() <= start.plus(PERIOD / 3 + MOMENT));
        assert!(held.release().await.is_err());
    });
    assert!(world.sent("x").is_empty());
}

/// A guard tells the same of its term as the lease did.
#[test]
fn a_guard_knows_its_term() {
    let world = world(6);
    world.sim.block_on(async {
        world.take("x", PERIOD).await.release().await.unwrap();
        let lease = world.take("x", PERIOD).await;
        let (fence, deadline) = (lease.fence(), lease.deadline());
        assert!(fence > 1);
        let held = lease.keep_alive(KeepAlive::new());
        assert_eq!(held.name().as_str(), "x");
        assert_eq!((held.fence(), held.deadline()), (fence, deadline));
        let view = held.term();
        assert!(held.is_current() && view.is_current());
        let lease: Result<Lease> = held.into_lease();
        assert_eq!(lease.unwrap().fence(), fence);
    });
}

/// Why a lease is not ours now: a thief's term has not begun yet, or it is over, also where nobody was awake to say so.
#[test]
fn a_guard_tells_not_yet_from_over() {
    let world = world(7);
    let held = world.sim.block_on(async {
        let lease = world.take("x", PERIOD / 2).await;
        let steal = world
            .manager
            .steal_lease("x", "thief", 0, PERIOD, lease.index());
        let held = steal.await.unwrap().keep_alive(KeepAlive::new());
        let error = held.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        world.sleep(PERIOD).await;
        held.check().unwrap();
        world.door.freeze();
        held
    });
    world.sim.advance(PERIOD * 2);
    world.door.thaw();
    assert_eq!(held.check().unwrap_err().kind(), ErrorKind::Expired);
}

/// Runs it, on a thread of its own: a loop that never ends, in the simulator's time, is a failure and not a test that hangs.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        test();
        drop(done);
    });
    let ended = ended.recv_timeout(SECOND * 10);
    assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    thread.join().unwrap();
}

/// A period that cannot be granted is asked for no more often than one that can: the lease runs out.
#[test]
fn a_period_that_cannot_be_granted_is_no_hurry() {
    for period in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        ends(move || {
            let world = world(7);
            world.sim.block_on(async {
                let options = KeepAlive::new().period(period);
                let held = world.take("x", PERIOD).await.keep_alive(options);
                let (deadline, steps) = (held.deadline().unwrap(), world.sim.steps());
                let error = held.lost().await;
                assert_eq!(error.kind(), ErrorKind::Expired);
                assert!(world.door.now() <= deadline.plus(MOMENT));
                assert_eq!(world.sent("x").len(), 1);
                let steps = world.sim.steps() - steps;
                assert!(steps < 1000, "{period:?}: {steps} steps");
            });
        });
    }
}

/// A fetched lease whose end nobody knows cannot be renewed: whoever keeps it alive is told so, once.
#[test]
fn a_fetched_lease_without_an_end_is_not_kept() {
    ends(|| {
        let world = world(8);
        let name = LeaseName::new("x").unwrap();
        world
            .memory
            .plant(&name, br#"{"MachineID":"fleet","Version":3}"#);
        world.sim.block_on(async {
            let proxy = world.manager.get_lease("x").await.unwrap().unwrap();
            let held = proxy.keep_alive(KeepAlive::new());
            let error = held.lost().await;
            assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
            assert!(world.sent("x").is_empty());
            drop(held);
            world.sleep(MOMENT).await;
            assert!(world.sent("x").is_empty());
        });
    });
}

/// A renewal of the keeper's that waited for one by hand, and was of the old period, is soon followed by one of the new.
#[test]
fn a_renewal_by_hand_while_another_is_due_is_kept_to() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
            world.sleep(PERIOD / 4).await;
            world.faulty.then(Fault::DelaySend(PERIOD / 6));
            held.renew(PERIOD * 10).await.unwrap();
            world.sleep(PERIOD / 30).await;
            let left = held.deadline().unwrap().since(world.door.now());
            assert!(left > PERIOD * 9, "{left:?}");
        });
    }
}
