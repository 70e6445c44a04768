//! Waiting one's turn.

use leasehold::ErrorKind;
use leasehold::blocking::{LockAttempt, Stop};

use crate::{LONG, MS, SECOND, each, held, memory, now, sleep};

#[test]
fn a_waiter_is_told_who_holds_it_and_is_woken_by_the_release() {
    each(|one, other| {
        let first = one.lock("a").period(LONG).note("first").acquire().unwrap();
        let lock = other.lock("a").period(LONG);
        for attempt in [lock.try_acquire(), lock.acquire_within(MS * 50)] {
            let LockAttempt::Busy(busy) = attempt.unwrap() else {
                panic!("it is held");
            };
            assert_eq!(busy.note(), Some("first"));
        }
        let released = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let second = held(lock.acquire_within(LONG).unwrap());
                (now(other), second)
            });
            sleep(MS * 100);
            let (at, fence) = (now(one), first.fence());
            first.release().unwrap();
            let (woken, second) = waiter.join().unwrap();
            assert!(second.fence() > fence);
            second.release().unwrap();
            woken.since(at)
        });
        assert!(released < SECOND * 5, "{released:?}");
    });
}

#[test]
fn a_wait_ends_when_it_is_told_to_and_leaves_nothing_behind() {
    each(|one, other| {
        let first = one.lock("b").period(LONG).acquire().unwrap();
        let stop = Stop::new();
        std::thread::scope(|scope| {
            let lock = scope.spawn(|| other.lock("b").acquire_until(&stop).unwrap());
            let election = scope.spawn(|| other.election("b").campaign_until(&stop).unwrap());
            sleep(MS * 100);
            assert!(!lock.is_finished() && !election.is_finished());
            stop.clone().stop();
            assert!(lock.join().unwrap().is_none());
            assert!(election.join().unwrap().is_none());
        });
        first.release().unwrap();
        sleep(MS * 50);
        assert!(one.status("b").unwrap().unwrap().is_vacant());
        // Who was told before does not begin.
        assert!(one.lock("b").acquire_until(&stop).unwrap().is_none());
        let held = one.lock("b").acquire_until(&Stop::new()).unwrap().unwrap();
        held.release().unwrap();
    });
}

#[test]
fn a_shutdown_ends_the_waits_of_other_threads_and_tells_what_was_left() {
    let leases = memory();
    let first = leases.lock("c").period(LONG).acquire().unwrap();
    let term = first.term();
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| leases.lock("c").acquire().unwrap_err());
        let candidate = scope.spawn(|| leases.election("c").lead_until(&stop, |_| ()));
        sleep(MS * 100);
        assert!(!term.is_ending());
        let left = leases.shutdown(SECOND).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].fence(), left[0].is_current()),
            (first.fence(), true)
        );
        assert!(term.is_ending() && term.ending_within(LONG));
        assert_eq!(waiter.join().unwrap().kind(), ErrorKind::Unavailable);
        candidate.join().unwrap().unwrap();
    });
    let error = leases.lock("d").try_acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(leases.shutdown(SECOND).unwrap().is_empty());
}

#[test]
fn a_slot_that_had_its_run_is_skipped() {
    each(|one, other| {
        let run = one.lock("d").period(LONG).once_per(SECOND * 3600);
        let first = held(run.try_acquire().unwrap());
        assert!(first.ended().is_none());
        first.release().unwrap();
        let again = other.lock("d").period(LONG);
        let LockAttempt::Skipped(skipped) =
            again.clone().once_per(SECOND * 3600).try_acquire().unwrap()
        else {
            panic!("it has had its run");
        };
        assert!(skipped.left() > SECOND * 3000);
        // Who does not ask for that is not refused by it.
        let second = held(again.try_acquire().unwrap());
        assert!(second.ended().is_some());
        assert!(other.health().is_ok());
        second.release().unwrap();
    });
}
