//! What a lease tells of itself, and what becomes of a claim that is answered too late.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::store::Store;
use leasehold_core::{Door, ErrorKind, Lease, Manager, MemoryStore};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty};

const PERIOD: Duration = Duration::from_secs(12);
const MOMENT: Duration = Duration::from_millis(10);

fn client(door: &Arc<SimDoor>, store: &MemoryStore) -> (Faulty, Manager) {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let faulty = Faulty::new(store, door.clone());
    let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
        .timeout(PERIOD * 4)
        .build()
        .unwrap();
    (faulty, manager)
}

async fn take(manager: &Manager) -> Lease {
    let lease = manager.acquire_lease("x", "m", 0, PERIOD).await.unwrap();
    lease.unwrap()
}

/// What is left is counted down by the own clock; `time_remaining` stays what it was when it was granted.
#[test]
fn what_is_left_is_told() {
    let sim = Sim::new(1);
    let door = sim.door();
    let (_, manager) = client(&door, &MemoryStore::new(door.clone()));
    sim.block_on(async {
        let mut lease = take(&manager).await;
        let term = lease.term();
        for period in [PERIOD, PERIOD * 3] {
            lease.renew(period).await.unwrap();
            assert_eq!(lease.time_remaining(), period);
            assert!(lease.left() > period - MOMENT && lease.left() <= period);
            door.sleep_until(door.now().plus(PERIOD / 2)).await;
            assert_eq!(lease.time_remaining(), period);
            assert_eq!(term.left(), lease.deadline().unwrap().since(door.now()));
            assert!(term.left() <= period - PERIOD / 2);
        }
        // A thief's own period is short, but nobody else has the name before its wait is over.
        let mut thief = manager
            .steal_lease("x", "thief", 0, PERIOD, lease.index())
            .await
            .unwrap();
        let begin = thief.begin().unwrap();
        thief.renew(PERIOD).await.unwrap();
        assert_eq!(thief.time_remaining(), begin.since(door.now()));
        assert!(thief.time_remaining() > PERIOD);
    });
}

/// A claim whose renewal is answered after the deadline that it would have had is no belief: it is given back.
#[test]
fn a_claim_that_is_answered_too_late_is_given_back() {
    let sim = Sim::new(2);
    let (door, others) = (sim.door(), sim.door());
    let store = MemoryStore::new(door.clone());
    let (faulty, manager) = client(&door, &store);
    let (_, other) = client(&others, &store);
    let mut claim = sim.block_on(async {
        let lease = take(&other).await;
        manager.resume("x", lease.fence()).await.unwrap()
    });
    let term = claim.term();
    let told = Arc::new(Mutex::new(None));
    faulty.then(Fault::DelayReply(MOMENT));
    sim.spawn(&door, {
        let told = told.clone();
        async move {
            let renewed = claim.renew(PERIOD).await;
            *told.lock().unwrap() = Some(renewed.map_err(|error| error.kind()));
        }
    });
    // It was applied; then the process is stopped with the answer under way.
    sim.advance(MOMENT / 2);
    door.freeze();
    sim.advance(PERIOD - MOMENT);
    assert!(sim.block_on(other.get_lease("x")).unwrap().is_some());
    // Still held by the registry's word, but no longer by the claim's own deadline: its margin is none here, so both
    // end at once, and what is left to see is that it does not believe and says so.
    sim.advance(MOMENT * 2);
    door.thaw();
    sim.advance(MOMENT);
    assert_eq!(*told.lock().unwrap(), Some(Err(ErrorKind::Expired)));
    assert!(!term.is_current());
    assert_eq!(term.begin(), None, "it never began");
}
