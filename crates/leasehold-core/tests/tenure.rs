//! What those at work under a lease are told: held, at risk, lost and why; and work that is run under one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/world.rs"]
mod world;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, FutureExt, select};
use leasehold_core::fence::Mark;
use leasehold_core::{
    BootInstant, Changes, Displace, Door, EndedHow, ErrorKind, Held, KeepAlive, Lost, Manager,
    TermState,
};
use leasehold_testkit::{Fault, seeds};
use world::World;

const SECOND: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(12);
/// What the simulator's scheduling may add.
const MOMENT: Duration = Duration::from_millis(1);

/// Its manager's time-out is longer than a period, so that deadlines come first.
fn world(seed: u64) -> World {
    World::new(seed, 1000, PERIOD * 4)
}

async fn held(world: &World) -> Held {
    world.take("x", PERIOD).await.keep_alive(KeepAlive::new())
}

/// The future has not ended after so long; then it is dropped.
async fn outlasts<T>(world: &World, length: Duration, future: impl Future<Output = T>) {
    let (future, timer) = (pin!(future), pin!(world.sleep(length)));
    let ended = select(future, timer).await;
    assert!(matches!(ended, Either::Right(_)), "it has ended");
}

/// What the future gives, within so long.
async fn within<T>(world: &World, length: Duration, future: impl Future<Output = T>) -> T {
    let (future, timer) = (pin!(future), pin!(world.sleep(length)));
    match select(future, timer).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("it has not ended after {length:?}"),
    }
}

async fn is_held(manager: &Manager) -> bool {
    manager.get_lease("x").await.unwrap().is_some()
}

/// Held, at risk when half of what a renewal gave has passed without the next one, held again by that, lost at the deadline.
#[test]
fn states_follow_the_renewals() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let held = held(&world).await;
            let term = held.term();
            let granted = world.door.now();
            assert_eq!(
                (held.state(), term.state()),
                (TermState::Held, TermState::Held)
            );
            world.faulty.always(Some(Fault::Refuse));
            assert_eq!(term.changed(TermState::Held).await, TermState::AtRisk);
            let half = granted.plus(PERIOD / 2);
            assert!(world.door.now() >= half && world.door.now() <= half.plus(MOMENT));
            assert!(held.is_current());
            held.check().unwrap();
            world.faulty.always(None);
            assert_eq!(term.changed(TermState::AtRisk).await, TermState::Held);
            assert!(world.door.now() < granted.plus(PERIOD));
            // As long as it is renewed it stays so.
            outlasts(&world, PERIOD * 5, term.changed(TermState::Held)).await;
            world.faulty.always(Some(Fault::Refuse));
            assert_eq!(term.changed(TermState::Held).await, TermState::AtRisk);
            let deadline = held.deadline().unwrap();
            assert_eq!(term.changed(TermState::AtRisk).await, TermState::Lost);
            assert!(world.door.now() >= deadline && world.door.now() <= deadline.plus(MOMENT));
            assert!(!held.is_current());
        });
    }
}

/// A thief's term waits, then is held; a fetched one waits for ever.
#[test]
fn a_term_that_has_not_begun_waits() {
    let world = world(1);
    world.sim.block_on(async {
        let old = world.take("x", PERIOD).await;
        let fetched = world.manager.get_lease("x").await.unwrap().unwrap();
        assert_eq!(fetched.term().state(), TermState::Waiting);
        let error = fetched.term().check().unwrap_err().to_string();
        assert!(error.contains("whoever acquired it"), "{error}");
        let steal = world
            .manager
            .steal_lease("x", "thief", 0, PERIOD * 4, old.index());
        let stolen = steal.await.unwrap();
        let term = stolen.term();
        assert_eq!(term.state(), TermState::Waiting);
        assert_eq!(term.changed(TermState::Waiting).await, TermState::Held);
        assert!(term.is_current() && !old.is_current());
        assert!(world.door.now() <= term.begin().unwrap().plus(MOMENT));
    });
}

/// How a lease was lost is told apart.
#[test]
fn losses_are_told_apart() {
    for seed in seeds() {
        let world = world(seed);
        let manager = &world.manager;
        world.sim.block_on(async {
            let held = held(&world).await;
            let index = held.term().index();
            let steal = manager.steal_lease("x", "thief", 0, PERIOD, index);
            let stolen = steal.await.unwrap();
            let lost = held.lost().await;
            assert_eq!(lost.kind(), ErrorKind::Changed);
            let Some(Lost::Ended(ended)) = lost.lost() else {
                panic!("{lost:?}")
            };
            assert_eq!(
                (ended.how, ended.by.as_deref()),
                (EndedHow::Stolen, Some("thief"))
            );
            assert_eq!(lost.lost().unwrap().to_string(), "stolen by thief");
            // Everybody is told the same, at once.
            assert_eq!(held.check().unwrap_err().lost(), lost.lost());
            assert_eq!(held.release().await.unwrap_err().lost(), lost.lost());
            stolen.release().await.unwrap();
            world.sleep(PERIOD).await;
        });
        world.sim.block_on(async {
            let held = held(&world).await;
            let displace = Displace::index(held.term().index()).reason("upgrade");
            _ = manager.break_lease("x", displace).await.unwrap();
            let lost = held.lost().await;
            let text = lost.lost().unwrap().to_string();
            assert!(
                text.starts_with("broken by ") && text.ends_with(" (upgrade)"),
                "{text}"
            );
            world.sleep(PERIOD).await;
        });
        world.sim.block_on(async {
            let held = held(&world).await;
            let mut fetched = manager.get_lease("x").await.unwrap().unwrap();
            fetched.renew(PERIOD).await.unwrap();
            assert_eq!(held.lost().await.lost(), Some(&Lost::Renewed));
            fetched.release().await.unwrap();
            world.sleep(PERIOD * 2).await;
        });
        world.sim.block_on(async {
            let held = held(&world).await;
            let start = world.door.now();
            world.faulty.always(Some(Fault::Refuse));
            let lost = held.lost().await;
            assert_eq!(lost.kind(), ErrorKind::Expired);
            let Some(Lost::Unreachable { since }) = lost.lost() else {
                panic!("{lost:?}")
            };
            let sent = start.plus(PERIOD / 3);
            assert!(
                *since <= sent.plus(MOMENT) && *since >= start.plus(PERIOD / 4),
                "{since:?}"
            );
            // With what the last renewal failed with.
            assert!(lost.to_string().contains("not reached"), "{lost}");
            world.faulty.always(None);
        });
        world.sim.block_on(async {
            let held = held(&world).await;
            let json = br#"{"MachineID":"newer","Version":3,"needs":99}"#;
            world.memory.plant(held.name(), json);
            let lost = held.lost().await;
            assert_eq!(
                (lost.kind(), lost.lost()),
                (ErrorKind::Foreign, Some(&Lost::Foreign))
            );
        });
        let world = self::world(seed);
        world.sim.block_on(async {
            // Nobody renews it.
            let lease = world.take("x", PERIOD).await;
            let lost = lease.term().lost().await;
            assert_eq!(lost.lost().map(Lost::as_str), Some("expired"), "{lost}");
        });
    }
}

/// Those at work are told a grace before the deadline; a renewal puts that off.
#[test]
fn the_work_is_told_a_grace_before_the_deadline() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let options = KeepAlive::new().grace(SECOND * 5);
            let held = world.take("x", PERIOD).await.keep_alive(options);
            let term = held.term();
            outlasts(&world, PERIOD * 5, term.ending()).await;
            world.faulty.always(Some(Fault::Refuse));
            term.ending().await;
            let left = held.deadline().unwrap().since(world.door.now());
            assert!(
                left <= SECOND * 5 && left >= SECOND * 5 - MOMENT,
                "{left:?}"
            );
            // Lost at once: told at once, however much was left.
            world.faulty.always(None);
            let steal = world
                .manager
                .steal_lease("x", "thief", 0, PERIOD, term.index());
            drop(steal.await.unwrap());
            let told = async {
                term.ending().await;
                term.lost().await
            };
            assert_eq!(told.await.kind(), ErrorKind::Changed);
        });
    }
}

/// Complaint 6: released while the guarded work still runs.
///
/// The lease is released when the work has ended, and not before whoever it has handed its term to is done.
#[test]
fn complaint_06_work_runs_under_the_lease_and_releases_it_in_the_end() {
    let world = world(2);
    world.sim.block_on(async {
        let held = held(&world).await;
        let fence = held.fence();
        let spawned = Arc::new(AtomicBool::new(false));
        let (door, done) = (world.door.clone(), spawned.clone());
        let manager = world.manager.clone();
        let result = held.run(|term| async move {
            assert_eq!(term.fence(), fence);
            door.sleep_until(door.now().plus(PERIOD * 3)).await;
            let handed = term.clone();
            let inner = door.clone();
            door.spawn(Box::pin(async move {
                inner.sleep_until(inner.now().plus(PERIOD * 3)).await;
                handed.check().unwrap();
                assert!(is_held(&manager).await, "released while it is in use");
                done.store(true, Ordering::SeqCst);
            }));
            "done"
        });
        assert_eq!(result.await.unwrap(), "done");
        assert!(spawned.load(Ordering::SeqCst));
        assert!(!is_held(&world.manager).await);
    });
}

/// Work is dropped when its lease is lost, at the deadline at the latest, and what it does until then is covered.
#[test]
fn work_ends_with_its_lease() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let held = held(&world).await;
            world.faulty.always(Some(Fault::Refuse));
            let last = Arc::new(AtomicU64::new(0));
            let (door, at) = (world.door.clone(), last.clone());
            let work = held.run(|term| async move {
                loop {
                    term.check().unwrap();
                    at.store(door.now().as_nanos(), Ordering::SeqCst);
                    door.sleep_until(door.now().plus(SECOND / 10)).await;
                }
            });
            let error: leasehold_core::Error = match work.await {
                Ok(()) => panic!("it never ends by itself"),
                Err(error) => error,
            };
            assert!(
                matches!(error.lost(), Some(Lost::Unreachable { .. })),
                "{error:?}"
            );
            let last = BootInstant::from_nanos(last.load(Ordering::SeqCst));
            let since = world.door.now().since(last);
            assert!(
                since <= SECOND / 10 + MOMENT,
                "it was dropped {since:?} after its last act"
            );
        });
    }
}

/// A call that is dropped drops the work and releases the lease; so does work that panics.
#[test]
fn dropped_work_gives_the_lease_back() {
    let world = world(3);
    world.sim.block_on(async {
        let held = held(&world).await;
        let work = held.run(|term| async move { term.lost().await });
        outlasts(&world, PERIOD * 2, work).await;
        world.sleep(MOMENT).await;
        assert!(!is_held(&world.manager).await);

        let held = self::held(&world).await;
        let work = held.run(|_| async { panic!("on purpose") });
        let work = std::panic::AssertUnwindSafe(work);
        let caught: Result<leasehold_core::Result<()>, _> = work.catch_unwind().await;
        caught.unwrap_err();
        world.sleep(MOMENT).await;
        assert!(!is_held(&world.manager).await);
    });
}

/// Complaint 8: renewed while the work is stuck.
///
/// Work that makes no progress loses its lease; then it is dropped, and the name is free at once.
#[test]
fn complaint_08_stuck_work_loses_its_lease() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let options = KeepAlive::new().progress_within(SECOND * 5);
            let held = world.take("x", PERIOD).await.keep_alive(options);
            let start = world.door.now();
            let door = world.door.clone();
            let work = held.run(|term| async move {
                // As slow as it may be, with a pause that the lease survives.
                for pause in [4, 4, 4, 4, 9, 4, 4, 4] {
                    door.sleep_until(door.now().plus(SECOND * pause)).await;
                    term.progress();
                }
                std::future::pending::<()>().await;
            });
            let error = within(&world, PERIOD * 10, work).await.unwrap_err();
            let Some(Lost::Stalled { since }) = error.lost() else {
                panic!("{error:?}")
            };
            let last = start.plus(SECOND * 37);
            assert!(*since >= last && *since <= last.plus(MOMENT), "{since:?}");
            let stuck = world.door.now().since(*since);
            assert!(
                stuck >= PERIOD / 2 && stuck <= PERIOD + SECOND * 5,
                "{stuck:?}"
            );
            assert!(!is_held(&world.manager).await);
        });
    }
}

/// However well it goes, nobody holds a lease for longer than he may.
#[test]
fn a_hold_has_an_end() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let options = || KeepAlive::new().max_hold(PERIOD * 10).grace(SECOND * 3);
            let held = world.take("x", PERIOD).await.keep_alive(options());
            let end = world.door.now().plus(PERIOD * 10);
            let door = world.door.clone();
            let work = held.run(|term| async move {
                term.ending().await;
                let told = end.minus(SECOND * 3);
                assert!(door.now() >= told && door.now() <= told.plus(MOMENT));
                assert!(term.is_current());
                std::future::pending::<()>().await;
            });
            let error = within(&world, PERIOD * 11, work).await.unwrap_err();
            assert_eq!(error.lost(), Some(&Lost::HeldTooLong), "{error}");
            assert!(world.door.now() <= end.plus(MOMENT));
            assert!(!is_held(&world.manager).await, "given up, and released");
            // No more renewals than its length needs.
            let sent = world.sent("x").len();
            assert!(sent <= 2 + 34, "{sent} requests");

            // Whoever has the guard may still be at work: it goes with the guard.
            let held = world.take("x", PERIOD).await.keep_alive(options());
            assert_eq!(held.lost().await.lost(), Some(&Lost::HeldTooLong));
            assert!(!held.is_current() && is_held(&world.manager).await);
            drop(held);
            world.sleep(MOMENT).await;
            assert!(!is_held(&world.manager).await);
        });
    }
}

/// Period and data may change while a lease is held; what is refused changes nothing.
#[test]
fn period_and_data_change_while_it_is_held() {
    let world = world(4);
    world.sim.block_on(async {
        let held = held(&world).await;
        let changes = Changes::none().data(Some("v2".into()));
        held.renew_with(PERIOD * 10, changes).await.unwrap();
        let now = world.door.now();
        assert_eq!(held.deadline(), Some(now.plus(PERIOD * 10)));
        let status = world.manager.status("x").await.unwrap().unwrap();
        assert_eq!(status.data(), Some(&b"v2"[..]));
        assert_eq!(status.period(), Some(PERIOD * 10));

        let error = held.renew(Duration::ZERO).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        held.check().unwrap();
        // The next renewal is one of the new period.
        let sent = world.sent("x").len();
        world.sleep(PERIOD * 10 / 3).await;
        assert_eq!(world.sent("x").len(), sent + 1);
        let now = world.door.now();
        assert!(held.deadline().unwrap() >= now.plus(PERIOD * 9));

        world.faulty.always(Some(Fault::Refuse));
        let error = held.renew(PERIOD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        world.faulty.always(None);
        let steal = world
            .manager
            .steal_lease("x", "thief", 0, PERIOD, held.term().index());
        drop(steal.await.unwrap());
        assert!(held.renew(PERIOD).await.unwrap_err().is_lost());
        assert!(
            held.renew(PERIOD).await.unwrap_err().is_lost(),
            "and stays so"
        );
    });
}

/// Complaint 1: two holders at once, and nothing that protects what they write to.
///
/// A holder that was paused between its check and its act is refused by what it acts on, once its successor has marked that.
#[test]
fn complaint_01_a_paused_holders_late_act_is_refused() {
    let world = world(6);
    let mark = Mark::new();
    world.sim.block_on(async {
        let old = world.take("x", PERIOD).await;
        old.term().check().unwrap();
        mark.admit(old.fence()).unwrap();
        // Here it stands still for longer than its period.
        world.sleep(PERIOD * 2).await;
        let new = world.take("x", PERIOD).await;
        // Before it reads.
        mark.admit(new.fence()).unwrap();
        let error = mark.admit(old.fence()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed);
        let both = [old.fence(), new.fence()].map(|fence| fence.to_string());
        assert!(
            both.iter()
                .all(|fence| error.to_string().contains(&**fence)),
            "{error}"
        );
        mark.admit(new.fence()).unwrap();
        assert_eq!(mark.greatest(), new.fence());
    });
}

/// What was given up before it ran out in the registry is given back in earnest: its release may take its time, too.
#[test]
fn what_is_given_up_is_released_by_a_slow_way() {
    let world = world(7);
    world.sim.block_on(async {
        let options = KeepAlive::new().max_hold(PERIOD / 2);
        let held = world.take("x", PERIOD).await.keep_alive(options);
        assert_eq!(held.lost().await.lost(), Some(&Lost::HeldTooLong));
        world.faulty.then(Fault::DelaySend(SECOND));
        held.release().await.unwrap();
        assert!(!is_held(&world.manager).await);
    });
}

/// Whoever waits already for a term's end is told by what its guard is made with later: an end of its hold, and a grace.
#[test]
fn a_hold_and_a_grace_reach_those_who_wait_already() {
    let world = world(8);
    world.sim.block_on(async {
        let lease = world.take("x", PERIOD).await;
        let (term, also) = (lease.term(), lease.term());
        let end = world.door.now().plus(SECOND * 2);
        let keep = async {
            world.sleep(MOMENT).await;
            let options = KeepAlive::new().grace(SECOND).max_hold(SECOND * 2);
            lease.keep_alive(options)
        };
        let ending = async {
            term.ending().await;
            world.door.now()
        };
        let lost = async {
            also.lost().await;
            world.door.now()
        };
        let (held, ending, lost) = futures_util::join!(keep, ending, lost);
        assert!(ending <= end.minus(SECOND).plus(MOMENT * 2), "{ending:?}");
        assert!(lost <= end.plus(MOMENT * 2), "{lost:?}");
        drop(held);
    });
}

/// The end of a hold is that of a guard: whoever takes the lease out of it and keeps it anew has the new options.
#[test]
fn what_is_kept_anew_has_no_end_of_before() {
    let world = world(9);
    world.sim.block_on(async {
        let options = KeepAlive::new().max_hold(SECOND * 8);
        let held = world.take("x", PERIOD).await.keep_alive(options);
        let held = held.into_lease().unwrap().keep_alive(KeepAlive::new());
        world.sleep(PERIOD * 2).await;
        held.check().unwrap();
        held.release().await.unwrap();
    });
}

/// A claim whose renewal is known too late has no term: those who wait for its begin are told.
#[test]
fn a_claim_that_is_renewed_too_late_is_told_to_who_waits_for_its_begin() {
    let world = world(10);
    let claim = world.sim.block_on(async {
        let lease = world.take("x", PERIOD).await;
        world.manager.resume("x", lease.fence()).await.unwrap()
    });
    let (term, told) = (claim.term(), Arc::new(AtomicBool::new(false)));
    world.faulty.then(Fault::DelayReply(SECOND));
    let mut claim = claim;
    world.sim.spawn(&world.door, async move {
        assert_eq!(
            claim.renew(PERIOD).await.unwrap_err().kind(),
            ErrorKind::Expired
        );
        // The claim lives on.
        std::future::pending::<()>().await;
    });
    let tell = told.clone();
    world.sim.spawn(&world.door, async move {
        assert!(term.begun().await.is_err());
        tell.store(true, Ordering::SeqCst);
    });
    world.sim.advance(SECOND / 2);
    world.door.freeze();
    world.sim.advance(PERIOD * 2);
    world.door.thaw();
    world.sim.advance(PERIOD);
    assert!(told.load(Ordering::SeqCst), "not told");
}

/// The notice before the deadline is a tenth of the period that is kept to, also after that was changed, unless it was set.
#[test]
fn the_grace_follows_the_period() {
    for (set, then, grace) in [
        (None, PERIOD / 12, PERIOD / 120),
        (None, PERIOD * 10, PERIOD),
        (Some(SECOND / 2), PERIOD * 10, SECOND / 2),
    ] {
        let world = world(11);
        world.sim.block_on(async {
            let options = KeepAlive::new();
            let options = match set {
                Some(grace) => options.grace(grace),
                None => options,
            };
            let held = world.take("x", PERIOD).await.keep_alive(options);
            held.renew(then).await.unwrap();
            let term = held.term();
            outlasts(&world, then * 3, term.ending()).await;
            world.faulty.always(Some(Fault::Refuse));
            let deadline = held.deadline().unwrap();
            within(&world, then, term.ending()).await;
            let told = world.door.now();
            let due = deadline.minus(grace);
            assert!(
                told >= due && told <= due.plus(MOMENT),
                "{:?} before",
                deadline.since(told)
            );
        });
    }
}

/// Whoever was given a clone of the term is waited for after the work, but not for longer than the lease lasts.
#[test]
fn nobody_is_waited_for_when_the_lease_is_lost() {
    let world = world(12);
    world.sim.block_on(async {
        let held = held(&world).await;
        let clone = held.term();
        let work = held.run(async |_| {
            world.faulty.always(Some(Fault::Refuse));
            7
        });
        assert_eq!(within(&world, PERIOD * 2, work).await.unwrap(), 7);
        assert!(!clone.is_current());
    });
}

/// Whoever keeps a clock of their own hears of every renewal, and of the end.
#[test]
fn a_changed_deadline_is_told() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let held = held(&world).await;
            let term = held.term();
            let first = term.deadline();
            assert!(first.is_some());
            outlasts(&world, SECOND, term.deadline_changed(first)).await;
            let second = within(&world, PERIOD / 2, term.deadline_changed(first)).await;
            assert!(second > first && second == term.deadline());
            drop(held.release().await);
            let last = within(&world, SECOND, term.deadline_changed(second)).await;
            assert!(last.is_some_and(|last| last <= world.door.now()));
        });
    }
}
