//! The bounds of what is asked for, on both sides of each, and that nothing is sent beyond them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{
    Attempt, Builder, Changes, Displace, ErrorKind, Lease, MAX_DATA_BYTES, MAX_INDEX,
    MAX_MACHINE_ID_BYTES, MAX_NAME_BYTES, MAX_NOTE_BYTES, MAX_PERIOD, MIN_PERIOD, Manager,
    MemoryStore, Request, Result,
};
use leasehold_testkit::Faulty;
use leasehold_testkit::sim::Sim;

const NANO: Duration = Duration::from_nanos(1);
const PERIOD: Duration = Duration::from_secs(60);

fn builder(sim: &Sim) -> (Faulty, Builder) {
    let door = sim.door();
    let faulty = Faulty::new(Arc::new(MemoryStore::new(door.clone())), door.clone());
    let builder = Manager::builder(Arc::new(faulty.clone()), door);
    (faulty, builder)
}

fn refused<T>(what: &str, result: Result<T>) {
    match result {
        Ok(_) => panic!("{what} was let through"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}"),
    }
}

fn acquired(attempt: Result<Attempt>) -> Lease {
    match attempt.unwrap() {
        Attempt::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_bounds_are_what_is_promised() {
    assert_eq!(MIN_PERIOD, Duration::from_millis(10));
    let year = Duration::from_secs(365 * 24 * 3600);
    assert!(MAX_PERIOD >= 10 * year && MAX_PERIOD < 11 * year);
    assert_eq!((MAX_MACHINE_ID_BYTES, MAX_NAME_BYTES), (1024, 512));
    assert_eq!((MAX_DATA_BYTES, MAX_NOTE_BYTES), (65_536, 1024));
    assert_eq!(MAX_INDEX, 9_007_199_254_740_991);
}

/// Everything at its bound is granted, renewed and stolen as it is.
#[test]
fn what_is_within_the_bounds_is_granted() {
    let sim = Sim::new(1);
    let (_, builder) = builder(&sim);
    let manager = builder.build().unwrap();
    sim.block_on(async {
        for (i, period) in [MIN_PERIOD, MAX_PERIOD].into_iter().enumerate() {
            for id in ["m".to_owned(), "m".repeat(1024), "é".repeat(512)] {
                for name in [format!("{i}"), "n".repeat(512), "é".repeat(256)] {
                    let request = Request::new(&name, period)
                        .machine_id(&id)
                        .note("n".repeat(1024))
                        .data(vec![7; 65_536]);
                    let mut lease = acquired(manager.try_acquire(request.clone()).await);
                    assert_eq!(lease.period(), period);
                    assert_eq!(lease.machine_id(), id);
                    let changes = Changes::none()
                        .note(Some("o".repeat(1024)))
                        .data(Some(vec![8; 65_536].into()));
                    lease.renew_with(period, changes).await.unwrap();
                    assert_eq!(lease.note().unwrap(), "o".repeat(1024));
                    assert_eq!(lease.data().unwrap(), vec![8; 65_536]);
                    let displace = Displace::index(lease.index()).assume_dead("r".repeat(1024));
                    let thief = manager.steal(request, displace).await.unwrap();
                    thief.release().await.unwrap();
                }
            }
        }
    });
}

/// Everything just beyond is refused by acquire, steal and renew alike, costs nothing, and sends nothing.
#[test]
fn what_is_beyond_the_bounds_sends_nothing() {
    let sim = Sim::new(2);
    let (faulty, builder) = builder(&sim);
    let manager = builder.build().unwrap();
    sim.block_on(async {
        let mut held = acquired(manager.try_acquire(Request::new("held", PERIOD)).await);
        let deadline = held.deadline();
        let sent = faulty.sent().len();
        let index = held.index();
        for period in [
            Duration::ZERO,
            NANO,
            MIN_PERIOD - NANO,
            MAX_PERIOD + NANO,
            Duration::MAX,
        ] {
            let what = format!("{period:?}");
            refused(&what, manager.acquire_lease("x", "m", 0, period).await);
            refused(
                &what,
                manager.steal_lease("held", "m", 0, period, index).await,
            );
            refused(&what, held.renew(period).await);
            let mut all = manager.renew_all([&mut held], period).await;
            refused(&what, all.pop().unwrap());
            let lock = manager.lock("x").period(period);
            refused(&what, lock.acquire_within(PERIOD).await);
        }
        let asked = || Request::new("held", PERIOD);
        for request in [
            asked().machine_id(""),
            asked().machine_id("m".repeat(1025)),
            asked().machine_id("é".repeat(513)),
            asked().note("n".repeat(1025)),
            asked().data(vec![0; 65_537]),
        ] {
            let displace = Displace::index(index).assume_dead("tests");
            let what = format!("{request:?}").chars().take(99).collect::<String>();
            refused(&what, manager.try_acquire(request.clone()).await);
            refused(&what, manager.steal(request, displace).await);
        }
        for changes in [
            Changes::none().note(Some("n".repeat(1025))),
            Changes::none().note(Some("a\nb".into())),
            Changes::none().data(Some(vec![0; 65_537].into())),
        ] {
            refused("changes", held.renew_with(PERIOD, changes).await);
        }
        for index in [MAX_INDEX, MAX_INDEX + 1, u64::MAX] {
            let displace = Displace::index(index);
            refused("index", manager.steal(asked(), displace.clone()).await);
            refused("index", manager.break_lease("held", displace).await);
        }
        let reason = Displace::index(index).reason("r".repeat(1025));
        refused("reason", manager.break_lease("held", reason).await);
        for name in ["", "n/", &"n".repeat(513), &"é".repeat(257)] {
            refused(name, manager.acquire_lease(name, "m", 0, PERIOD).await);
            refused(name, manager.break_lease(name, Displace::index(1)).await);
            refused(name, manager.resume(name, 1).await);
            refused(name, manager.lock(name).try_acquire().await);
        }
        assert_eq!(faulty.sent().len(), sent);
        assert_eq!((held.deadline(), held.index()), (deadline, index));
        assert!(held.is_current());
    });
}

#[test]
fn a_manager_is_made_within_the_bounds() {
    let sim = Sim::new(3);
    for id in ["m".to_owned(), "m".repeat(1024)] {
        let (_, builder) = builder(&sim);
        let manager = builder.machine_id(&id).build().unwrap();
        assert_eq!(manager.machine_id(), id);
    }
    for id in [String::new(), "m".repeat(1025), "a\nb".into()] {
        let (_, builder) = builder(&sim);
        refused("machine id", builder.machine_id(id).build());
    }
    let millis = Duration::from_millis(1);
    let (_, at) = builder(&sim);
    at.timeout(millis).build().unwrap();
    let (_, under) = builder(&sim);
    refused("time-out", under.timeout(millis - NANO).build());
}
