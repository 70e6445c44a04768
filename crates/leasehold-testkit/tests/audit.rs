//! The audit of clients at work: it passes what is sound, and tells what is not.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, Manager, MemoryStore, RealDoor, Store};
use leasehold_testkit::{Audit, Carrier, Load};

const SECOND: Duration = Duration::from_secs(1);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

async fn sleep(door: &Arc<dyn Door>, length: Duration) {
    door.sleep_until(door.now().plus(length)).await;
}

#[test]
fn clients_of_one_registry_keep_the_contract() {
    run(async {
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let store = MemoryStore::new(door.clone());
        let stores = (0..4).map(|_| Arc::new(store.clone()) as Arc<dyn Store>);
        let audit = Audit::new(Carrier::Records);
        let load = Load::start(&audit, stores.collect(), &door, vec![SECOND / 5], 1);
        sleep(&door, SECOND).await;
        for client in load.clients() {
            assert!(client.served(SECOND * 10).await.is_some());
        }
        let terms = load.terms();
        assert!(terms > 5, "{terms} terms");
        let told = load.finish().await;
        assert!(told.contains("beliefs"), "{told}");
    });
}

#[test]
fn two_lessees_at_once_are_told() {
    run(async {
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let audit = Audit::new(Carrier::Records);
        let mut leases = Vec::new();
        for id in ["a", "b"] {
            // Each has a registry of its own, and takes it for that of both.
            let store = Arc::new(MemoryStore::new(door.clone()));
            let client = audit.client(store, door.clone());
            let manager = Manager::builder(client.store(), door.clone());
            let manager = manager.build().unwrap();
            let lease = manager.acquire_lease("x", id, 0, SECOND / 5).await;
            let lease = lease.unwrap().unwrap();
            client.watch(lease.term());
            leases.push((client, lease));
        }
        sleep(&door, SECOND).await;
        assert!(leases.iter().all(|(client, _)| client.believing() == 0));
        let broken = audit.check().unwrap_err().to_string();
        assert!(broken.contains("One lessee"), "{broken}");
    });
}

/// A belief is recorded as it is: until its deadline, or until right before its release.
#[test]
fn beliefs_end_at_the_deadline_or_the_release() {
    run(async {
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let audit = Audit::new(Carrier::Records);
        let store = Arc::new(MemoryStore::new(door.clone()));
        let client = audit.client(store, door.clone());
        let manager = Manager::builder(client.store(), door.clone());
        let manager = manager.build().unwrap();
        let forgotten = manager.acquire_lease("x", "m", 0, SECOND / 5).await;
        let forgotten = forgotten.unwrap().unwrap();
        let deadline = forgotten.deadline().unwrap();
        client.watch(forgotten.term());
        let released = manager.acquire_lease("y", "m", 0, SECOND * 60).await;
        let released = released.unwrap().unwrap();
        client.watch(released.term());
        sleep(&door, SECOND / 2).await;
        client.ends(released.fence(), released.name());
        let at = door.now();
        released.release().await.unwrap();
        let history = audit.history();
        let ends: Vec<u64> = history.beliefs().iter().filter_map(|b| b.end).collect();
        assert_eq!(ends[0], deadline.as_nanos());
        assert!(ends[1] <= at.as_nanos() && ends[1] + 250_000_000 > at.as_nanos());
        leasehold_testkit::history::check(&history).unwrap();
    });
}
