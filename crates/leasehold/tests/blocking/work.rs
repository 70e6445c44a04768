//! Work under a lease, which nothing can drop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use leasehold::{Displace, EndedHow, ErrorKind, KeepAlive, Lost, TermState};

use crate::{LONG, MS, SECOND, each, held, memory, now, sleep, soon};

#[test]
fn work_longer_than_the_period_keeps_its_lease_and_releases_it() {
    each(|one, other| {
        let held = one.lock("a").period(SECOND).acquire().unwrap();
        let fence = held.fence();
        // Not of a kind that can be sent: the work stays on this thread.
        let seen = std::rc::Rc::new(std::cell::Cell::new(0));
        let done = held.run(|term| {
            for _ in 0..12 {
                sleep(MS * 250);
                term.check().unwrap();
                assert!(other.lock("a").try_acquire().is_ok_and(is_busy));
                seen.set(term.fence());
            }
            seen.clone()
        });
        assert_eq!(done.unwrap().get(), fence);
        let status = other.status("a").unwrap().unwrap();
        assert!(status.is_vacant());
        assert_eq!(status.ended().unwrap().how, EndedHow::Released);
    });
}

fn is_busy(attempt: leasehold::blocking::LockAttempt) -> bool {
    matches!(attempt, leasehold::blocking::LockAttempt::Busy(_))
}

#[test]
fn a_thread_that_is_stuck_keeps_its_lease_until_progress_is_asked_for() {
    let leases = memory();
    let lock = leases.lock("a").period(SECOND);
    let stuck = lock.acquire().unwrap().run(|term| {
        sleep(SECOND * 3);
        term.is_current()
    });
    assert!(stuck.unwrap());

    let options = KeepAlive::new().progress_within(SECOND);
    let lock = lock.keep_alive(options);
    let (stuck, mut next) = (lock.acquire().unwrap(), None);
    let error = stuck.run(|term| {
        // As long as it goes on it is held.
        for _ in 0..10 {
            sleep(MS * 200);
            term.progress();
            term.check().unwrap();
        }
        let lost = term.lost_within(SECOND * 10).unwrap();
        assert!(matches!(lost.lost(), Some(Lost::Stalled { .. })));
        // Stuck, still, and somebody else holds it.
        next = Some(held(
            leases
                .lock("a")
                .period(LONG)
                .acquire_within(SECOND * 10)
                .unwrap(),
        ));
        assert_eq!(term.state(), TermState::Lost);
    });
    assert!(matches!(
        error.unwrap_err().lost(),
        Some(Lost::Stalled { .. })
    ));
    // The end of the work has released nothing of the next one's.
    next.unwrap().release().unwrap();
}

#[test]
fn work_is_told_that_its_lease_is_lost_and_how() {
    each(|one, other| {
        let held = one.lock("b").period(SECOND).acquire().unwrap();
        let lost = held.run(|term| {
            assert!(!term.is_ending() && !term.ending_within(MS));
            // A renewal may come between.
            soon("broken", || {
                let displace = Displace::index(term.index()).reason("enough");
                other.break_lease("b", displace).is_ok()
            });
            assert!(term.ending_within(SECOND * 10));
            assert_eq!(term.changed_within(TermState::Held, LONG), TermState::Lost);
            term.check().unwrap_err()
        });
        let error = lost.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
        assert!(error.to_string().contains("enough"), "{error}");
    });
}

#[test]
fn the_lease_of_work_that_panics_is_released_and_nothing_is_poisoned() {
    each(|one, other| {
        let lock = one.lock("a").period(LONG);
        for _ in 0..3 {
            let held = lock.acquire().unwrap();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                held.run(|term| {
                    assert!(term.is_current());
                    std::panic::resume_unwind(Box::new("as intended"));
                })
            }));
            assert!(panicked.is_err());
            let next = other.lock("a").period(LONG).acquire_within(SECOND * 10);
            crate::held(next.unwrap()).release().unwrap();
        }
    });
}

#[test]
fn work_that_panics_releases_nothing_that_it_still_uses() {
    let leases = memory();
    let held = leases.lock("a").period(SECOND).acquire().unwrap();
    let (give, given) = mpsc::channel();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        held.run(|term| {
            give.send(term.clone()).unwrap();
            std::panic::resume_unwind(Box::new("as intended"));
        })
    }));
    assert!(panicked.is_err());
    // Another thread is at work, still. Nobody renews for it.
    let term = given.recv().unwrap();
    let next = leases.lock("a").period(LONG).acquire_within(LONG).unwrap();
    assert!(now(&leases) >= term.deadline().unwrap());
    assert_eq!(term.state(), TermState::Lost);
    crate::held(next).release().unwrap();
}

#[test]
fn the_lease_is_released_when_all_who_work_under_it_are_done() {
    each(|one, other| {
        let held = one.lock("a").period(SECOND).acquire().unwrap();
        let helper = held.run(|term| {
            let (other, helping) = (other.clone(), term.clone());
            std::thread::spawn(move || {
                sleep(SECOND * 3);
                assert!(helping.is_current());
                assert!(other.lock("a").try_acquire().is_ok_and(is_busy));
                drop(helping);
            })
        });
        let helper = helper.unwrap();
        assert!(other.status("a").unwrap().unwrap().is_vacant());
        helper.join().unwrap();
    });
}

#[test]
fn work_begins_when_the_stolen_term_is_waited_out() {
    let leases = memory();
    let first = leases.acquire_lease("a", "m", 1, SECOND).unwrap().unwrap();
    let lock = leases.lock("a").period(LONG).version(2);
    let lock = lock.take_over(leasehold::TakeOver::HigherVersion);
    // The first one's policy is not the same: it is not taken from it.
    assert!(lock.try_acquire().is_ok_and(is_busy));
    let stolen = leases
        .steal_lease("a", "n", 2, LONG, first.index())
        .unwrap();
    let held = stolen.keep_alive(KeepAlive::new());
    assert_eq!(held.state(), TermState::Waiting);
    assert!(!held.term().begun_within(MS).unwrap());
    let (end, begin) = (first.deadline().unwrap(), held.run(|_| now(&leases)));
    assert!(begin.unwrap() >= end);
}

#[test]
fn a_dropped_guard_releases_unless_its_term_is_in_use() {
    each(|one, other| {
        let held = one.lock("a").period(LONG).acquire().unwrap();
        drop(held);
        soon("released", || {
            other.status("a").unwrap().unwrap().is_vacant()
        });
        let held = one.lock("a").period(LONG).acquire().unwrap();
        let term = held.term();
        drop(held);
        sleep(MS * 100);
        assert!(term.is_current() && other.status("a").unwrap().unwrap().is_held());
        let lost = other.status("a").unwrap().unwrap();
        let displace = Displace::index(lost.index()).assume_dead("a test");
        other.break_lease("a", displace).unwrap();
    });
}
