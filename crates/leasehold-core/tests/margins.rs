//! A store whose clock drifts: how much earlier the lessee stops, and that it still renews in time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, Drift, KeepAlive, Manager, MemoryStore};
use leasehold_testkit::Faulty;
use leasehold_testkit::sim::Sim;

const PERIOD: Duration = Duration::from_secs(120);

/// However little of a period the margin leaves, a lease that is kept alive is renewed before its deadline.
#[test]
fn a_lease_is_kept_whatever_the_margin() {
    // The margin is 0 %, a sixth, half, three quarters, and 95 % of the period.
    for ppm in [0, 90_909, 333_333, 600_000, 904_761] {
        let sim = Sim::new(u64::from(ppm));
        let door = sim.door();
        let store = Faulty::new(Arc::new(MemoryStore::new(door.clone())), door.clone());
        store.drift(Drift::Bounded { ppm });
        let manager = Manager::builder(Arc::new(store), door.clone());
        let manager = manager.build().unwrap();
        sim.block_on(async {
            let lease = manager.acquire_lease("x", "m", 0, PERIOD).await;
            let held = lease.unwrap().unwrap().keep_alive(KeepAlive::new());
            let margin = manager.capabilities().margin(PERIOD);
            let left = held.deadline().unwrap().since(door.now());
            assert!(left <= PERIOD - margin, "{ppm}");
            for _ in 0..100 {
                door.sleep_until(door.now().plus(PERIOD / 10)).await;
                held.check().unwrap_or_else(|e| panic!("{ppm}: {e}"));
            }
        });
    }
}
