//! How often a watch and a waiting lock ask the registry, whatever it does to them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/odd.rs"]
mod odd;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold_core::store::Signal;
use leasehold_core::{BootInstant, Door, ErrorKind, Event, LeaseName, Manager, Watch};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty, seeds};
use odd::Odd;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A registry that takes its time for a listing, and signals this every millisecond.
fn world(seed: u64, slow: Duration, signal: Option<Signal>) -> (Sim, Arc<SimDoor>, Odd, Manager) {
    let sim = Sim::new(seed);
    let door = sim.door();
    let busy = Odd {
        listing: slow,
        signal: signal.map(|signal| (signal, MILLI)),
        ..Odd::new(&door)
    };
    let manager = Manager::builder(Arc::new(busy.clone()), door.clone());
    (sim, door, busy, manager.build().unwrap())
}

/// What the watch tells within that time.
async fn told(watch: &mut Watch, door: &Arc<SimDoor>, within: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    let at = door.now().plus(within);
    loop {
        let next = std::pin::pin!(watch.next());
        match select(next, door.sleep_until(at)).await {
            Either::Left((event, _)) => events.push(event.unwrap()),
            Either::Right(_) => return events,
        }
    }
}

fn gaps(at: &[BootInstant]) -> Vec<Duration> {
    at.windows(2).map(|pair| pair[1].since(pair[0])).collect()
}

/// A registry that signals without pause is listed for a fifth of the time at most, and not less than every second or so.
#[test]
fn a_busy_registry_is_not_listed_without_pause() {
    for (slow, rest) in [(100, 400), (200, 800), (400, 1000), (1000, 1000)] {
        let (slow, rest) = (MILLI * slow, MILLI * rest);
        let (sim, door, busy, manager) = world(1, slow, Some(Signal::Any));
        sim.block_on(async {
            let mut watch = manager.watch_prefix("x").unwrap();
            assert!(told(&mut watch, &door, SECOND * 20).await.is_empty());
        });
        let gaps = gaps(&busy.lists.lock().unwrap());
        assert!(gaps.len() >= 9, "{gaps:?}");
        for gap in gaps {
            assert!(
                gap >= slow + rest && gap <= slow + rest + MILLI * 3,
                "{slow:?}: {gap:?}"
            );
        }
    }
    // What takes no time is read as often as it is signalled.
    let (sim, door, busy, manager) = world(2, MILLI * 5, Some(Signal::Any));
    sim.block_on(async {
        let mut watch = manager.watch_prefix("x").unwrap();
        assert!(told(&mut watch, &door, SECOND).await.is_empty());
    });
    assert!(busy.lists.lock().unwrap().len() > 100);
}

/// What runs out while everything is not read for a while is told in time, by a read of its own.
#[test]
fn an_expiry_is_told_while_the_registry_rests() {
    let (sim, door, busy, manager) = world(3, SECOND, Some(Signal::Any));
    sim.block_on(async {
        // A listing takes from 0 s to 1 s, 2 s to 3 s, and so on.
        let period = MILLI * 5500;
        let lease = manager.acquire_lease("x/1", "m", 0, period).await;
        let end = lease.unwrap().unwrap().deadline().unwrap();
        let mut watch = manager.watch_prefix("x").unwrap();
        assert!(watch.next().await.unwrap().status.unwrap().is_held());
        let event = watch.next().await.unwrap();
        assert!(!event.status.unwrap().is_held());
        let late = door.now().since(end);
        assert!(door.now() >= end && late <= MILLI, "{late:?}");
    });
    assert!(busy.gets.lock().unwrap().len() == 1);
}

/// While everything is not read for a while, a name that is signalled is read at once.
#[test]
fn a_signalled_name_is_told_while_the_registry_rests() {
    let name = LeaseName::new("x/1").unwrap();
    let (sim, door, _, manager) = world(7, SECOND, Some(Signal::Name(name)));
    sim.block_on(async {
        let taken = manager.acquire_lease("x/1", "m", 0, SECOND * 1000).await;
        let lease = taken.unwrap().unwrap();
        let mut watch = manager.watch_prefix("x").unwrap();
        assert!(watch.next().await.unwrap().status.unwrap().is_held());
        let start = door.now();
        lease.release().await.unwrap();
        let event = watch.next().await.unwrap();
        assert!(!event.status.unwrap().is_held());
        let took = door.now().since(start);
        assert!(took <= MILLI * 2, "{took:?}");
    });
}

/// A small registry is read with one request, and again only when the net under lost notifications says so.
#[test]
fn a_quiet_registry_is_read_every_thirty_seconds() {
    let (sim, door, busy, manager) = world(4, Duration::ZERO, None);
    sim.block_on(async {
        let taken = manager.acquire_lease("x/1", "m", 0, SECOND * 1000).await;
        let _lease = taken.unwrap().unwrap();
        let mut watch = manager.watch_prefix("x").unwrap();
        assert_eq!(told(&mut watch, &door, SECOND * 100).await.len(), 1);
        assert_eq!(busy.lists.lock().unwrap().len(), 4);
        let before = busy.gets.lock().unwrap().len();
        let mut watch = manager.watch("x/1").unwrap();
        assert_eq!(told(&mut watch, &door, SECOND * 100).await.len(), 1);
        assert_eq!(busy.gets.lock().unwrap().len(), before + 4);
    });
    for gap in gaps(&busy.lists.lock().unwrap()) {
        assert!(gap >= SECOND * 30 && gap <= SECOND * 30 + MILLI);
    }
}

/// A name without a record is no event of a prefix, however often it is signalled.
#[test]
fn a_name_without_a_record_is_no_event_of_a_prefix() {
    let name = LeaseName::new("x/none").unwrap();
    let (sim, door, busy, manager) = world(5, Duration::ZERO, Some(Signal::Name(name)));
    sim.block_on(async {
        let mut watch = manager.watch_prefix("x").unwrap();
        assert!(told(&mut watch, &door, SECOND).await.is_empty());
    });
    assert!(busy.gets.lock().unwrap().len() > 100);
}

/// While the registry fails a watch asks less and less often, every five seconds in the end; after a success it begins
/// anew.
#[test]
fn a_failing_watch_backs_off() {
    let (sim, door, busy, manager) = world(6, Duration::ZERO, None);
    sim.block_on(async {
        let mut watch = manager.watch("x").unwrap();
        for _ in 0..2 {
            *busy.fails.lock().unwrap() = true;
            let mut expected = MILLI * 20;
            for _ in 0..12 {
                let start = door.now();
                assert!(watch.next().await.is_err());
                let took = door.now().since(start);
                assert!(took >= expected && took <= expected + MILLI, "{took:?}");
                expected = (expected * 2).min(SECOND * 5);
            }
            *busy.fails.lock().unwrap() = false;
            drop(told(&mut watch, &door, SECOND).await);
            // It is read again after half a minute.
            door.sleep_until(door.now().plus(SECOND * 30)).await;
        }
    });
}

/// While the registry fails, whoever waits for a lock tries less and less often, every second or so in the end, however
/// busy the signals are.
#[test]
fn a_lock_on_a_failing_registry_backs_off() {
    for seed in seeds() {
        let name = LeaseName::new("x").unwrap();
        let (sim, door, busy, _) = world(seed, Duration::ZERO, Some(Signal::Name(name)));
        let faulty = Faulty::new(Arc::new(busy), door.clone());
        let manager = Manager::builder(Arc::new(faulty.clone()), door.clone());
        let manager = manager.build().unwrap();
        faulty.always(Some(Fault::Refuse));
        sim.block_on(async {
            let lock = manager.lock("x");
            let start = door.now();
            let error = lock.acquire_within(SECOND * 30).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            let took = door.now().since(start);
            assert!(
                took >= SECOND * 30 && took <= SECOND * 30 + MILLI,
                "{took:?}"
            );
        });
        let tries: Vec<_> = faulty.sent().iter().map(|sent| sent.at).collect();
        let gaps = gaps(&tries);
        assert!(gaps.len() > 20 && gaps.len() < 70, "{}", gaps.len());
        let mut pause = MILLI * 10;
        let last = gaps.len() - 1;
        for gap in &gaps[..last] {
            assert!(
                *gap >= pause / 2 && *gap <= pause * 3 / 2 + MILLI,
                "{gap:?}"
            );
            pause = (pause * 2).min(SECOND);
        }
    }
}

/// What time does not mend ends the wait for a lock at once.
#[test]
fn a_lock_on_what_cannot_be_judged_ends_at_once() {
    let (sim, door, busy, manager) = world(8, Duration::ZERO, None);
    let name = LeaseName::new("x").unwrap();
    busy.inner.plant(&name, br#"{"MachineID":"m","needs":99}"#);
    sim.block_on(async {
        let start = door.now();
        let answer = manager.lock("x").acquire_within(SECOND * 30).await;
        let error = match answer {
            Err(error) => error,
            Ok(other) => panic!("{other:?}"),
        };
        assert_eq!(error.kind(), ErrorKind::Foreign);
        assert!(door.now().since(start) <= MILLI);
    });
}
