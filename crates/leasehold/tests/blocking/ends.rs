//! The thread ends with the last value that needs it.

use std::path::Path;
use std::sync::Arc;

use leasehold::blocking::Manager;
use leasehold::{ErrorKind, KeepAlive};
use leasehold_testkit::{Fault, procs};

use crate::{LONG, MS, SECOND, faulty, file, held, memory, now, soon};

#[track_caller]
fn has_ended(thread: &Path) {
    soon("the thread has ended", || !thread.exists());
}

/// Something to be dropped.
type Value = Box<dyn Send>;

fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for value in 0..count {
        let insert = |order: Vec<usize>| {
            (0..=order.len()).map(move |place| {
                let mut order = order.clone();
                order.insert(place, value);
                order
            })
        };
        orders = orders.into_iter().flat_map(insert).collect();
    }
    orders
}

#[test]
fn everything_may_be_dropped_in_every_order() {
    let orders = orders(6);
    assert_eq!(orders.len(), 720);
    for order in orders {
        let (leases, _, thread) = faulty();
        let kept = leases.lock("a").period(LONG).acquire().unwrap();
        let term = kept.term();
        let lease = leases.acquire_lease("b", "m", 0, LONG).unwrap();
        let mut watch = leases.watch("a").unwrap();
        watch.next_within(SECOND).unwrap();
        let election = leases.election("c");
        let mut values: Vec<Option<Value>> = vec![
            Some(Box::new(kept)),
            Some(Box::new(term)),
            Some(Box::new(lease)),
            Some(Box::new(watch)),
            Some(Box::new(election)),
            Some(Box::new(leases)),
        ];
        // A term by itself keeps no thread.
        let last = order.iter().rposition(|value| *value != 1).unwrap();
        for (number, value) in order.into_iter().enumerate() {
            assert!(thread.exists());
            values[value] = None;
            if number == last {
                break;
            }
        }
        has_ended(&thread);
    }
}

#[test]
fn the_last_drop_waits_for_what_was_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let other = file(&folder);
    for _ in 0..20 {
        let leases = file(&folder);
        let lock = leases.lock("a").period(LONG);
        let (kept, also) = (lock.acquire(), leases.lock("b").period(LONG).acquire());
        drop((leases, lock));
        drop((kept.unwrap(), also.unwrap()));
        for name in ["a", "b"] {
            assert!(other.status(name).unwrap().unwrap().is_vacant());
        }
    }
}

#[test]
fn a_registry_that_hangs_holds_up_the_end_for_a_bounded_time() {
    for (fault, hold) in [
        (Fault::Hang, true),
        (Fault::HangApplied, true),
        (Fault::Lose, false),
    ] {
        let (leases, faulty, thread) = faulty();
        let clock = memory();
        let kept = leases.lock("a").period(LONG).acquire().unwrap();
        faulty.always(Some(fault));
        faulty.hang_reads(hold);
        let start = now(&clock);
        drop((leases, kept));
        let took = now(&clock).since(start);
        assert!(took < SECOND * 4, "{took:?}");
        has_ended(&thread);
    }
}

/// Whatever blocks the thread itself, a store's fault, holds up nobody for ever.
#[test]
fn a_thread_that_is_blocked_is_left_alone() {
    let (leases, _, thread) = faulty();
    let (tell, told) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    leases.door().spawn(Box::pin(async move {
        tell.send(()).unwrap();
        _ = released.recv();
    }));
    told.recv().unwrap();
    let clock = memory();
    let start = now(&clock);
    drop(leases);
    let took = now(&clock).since(start);
    assert!(took < SECOND * 5 && thread.exists(), "{took:?}");
    drop(release);
    has_ended(&thread);
}

#[test]
fn work_that_panics_with_the_last_value_in_use_is_released_too() {
    let folder = tempfile::tempdir().unwrap();
    let other = file(&folder);
    let panicked = std::panic::catch_unwind(|| {
        let leases = file(&folder);
        let kept = leases.lock("a").period(LONG).acquire().unwrap();
        drop(leases);
        kept.run(|_| std::panic::resume_unwind(Box::new("as intended")))
    });
    assert!(panicked.is_err());
    assert!(other.status("a").unwrap().unwrap().is_vacant());
}

#[test]
fn a_term_outlives_its_thread_and_still_ends() {
    let (leases, _, thread) = faulty();
    let options = KeepAlive::new().period(SECOND * 3);
    let lease = leases
        .acquire_lease("a", "m", 0, SECOND * 3)
        .unwrap()
        .unwrap();
    let kept = lease.keep_alive(options);
    let (term, own) = (kept.term(), kept.term());
    drop(own);
    drop((kept, leases));
    has_ended(&thread);
    assert!(term.is_current());
    assert!(term.begun_within(MS).unwrap());
    assert!(term.ending_within(LONG));
    assert!(term.lost_within(LONG).is_some());
    assert!(term.check().unwrap_err().is_lost());
}

/// Whoever is called on leasehold's own thread, a store or a subscriber to its events, say, must not wait for it.
#[test]
fn a_call_on_the_thread_itself_is_refused_and_a_drop_there_does_not_wait() {
    let (leases, _, thread) = faulty();
    let (door, own) = (leases.door().clone(), leases.clone());
    let kept = leases.lock("a").acquire().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    drop(leases);
    door.spawn(Box::pin(async move {
        tell.send(own.status("a").unwrap_err().kind()).unwrap();
        tell.send(kept.run(|_| ()).unwrap_err().kind()).unwrap();
        drop(own);
    }));
    for _ in 0..2 {
        assert_eq!(told.recv().unwrap(), ErrorKind::InvalidInput);
    }
    has_ended(&thread);
}

#[test]
fn a_drop_while_a_thread_panics_or_ends_neither_hangs_nor_aborts() {
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Value>> = const { std::cell::RefCell::new(None) };
    }
    let (leases, _, thread) = faulty();
    let own = leases.clone();
    let panicked = std::thread::spawn(move || {
        let _kept = own.lock("a").period(LONG).acquire().unwrap();
        let _own = own;
        std::panic::resume_unwind(Box::new("as intended"));
    });
    assert!(panicked.join().is_err());
    drop(held(leases.lock("a").acquire_within(SECOND * 10).unwrap()));
    // With the thread's own values, when it has none else any more.
    let ends = std::thread::spawn(move || {
        let kept = leases.lock("b").period(LONG).acquire().unwrap();
        KEPT.set(Some(Box::new((kept, leases))));
    });
    ends.join().unwrap();
    has_ended(&thread);
}

#[test]
fn many_threads_share_one_and_any_of_them_may_be_the_last() {
    for _ in 0..50 {
        let (leases, _, thread) = faulty();
        let leases = Arc::new(leases);
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let leases: Manager = (*leases).clone();
                std::thread::spawn(move || {
                    let lock = leases.lock(format!("a/{}", number % 2)).period(LONG);
                    let kept = held(lock.acquire_within(LONG).unwrap());
                    kept.run(|term| assert!(term.is_current())).unwrap();
                })
            })
            .collect();
        drop(leases);
        for thread in threads {
            thread.join().unwrap();
        }
        has_ended(&thread);
    }
}

/// A process that ends while a manager is in a static, and another thread waits: nothing is dropped, nothing hangs.
#[test]
fn a_process_may_end_with_everything_in_use() {
    static KEPT: std::sync::OnceLock<Manager> = std::sync::OnceLock::new();
    if let Some(me) = procs::child() {
        let leases = KEPT.get_or_init(memory);
        let kept = leases.lock("a").period(LONG).acquire().unwrap();
        std::mem::forget(kept);
        std::thread::spawn(|| drop(leases.lock("a").acquire()));
        me.tell("ends");
        return;
    }
    let told = procs::spawn("ends::a_process_may_end_with_everything_in_use", 2, "").wait();
    assert_eq!(told, [["ends"], ["ends"]]);
}
