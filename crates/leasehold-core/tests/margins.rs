//! A store whose clock drifts: how much earlier the lessee stops, and that it still renews in time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Door, Drift, KeepAlive, LeaseName, Manager, MemoryStore, Prefix,
    Result,
};
use leasehold_testkit::sim::Sim;

const PERIOD: Duration = Duration::from_secs(120);

/// A registry whose clock may run so many parts in a million faster or slower.
#[derive(Debug)]
struct Drifting(MemoryStore, u32);

impl Store for Drifting {
    fn declared(&self) -> Capabilities {
        let mut capabilities = self.0.declared();
        capabilities.drift = Drift::Bounded { ppm: self.1 };
        capabilities
    }

    fn location(&self) -> String {
        self.0.location()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        self.0.get(name, until)
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        self.0.apply(changes, until)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        self.0.list(prefix, after, max, until)
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.0.watch(scope)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.0.close(until)
    }
}

/// However little of a period the margin leaves, a lease that is kept alive is renewed before its deadline.
#[test]
fn a_lease_is_kept_whatever_the_margin() {
    // The margin is 0 %, a sixth, half, three quarters, and 95 % of the period.
    for ppm in [0, 90_909, 333_333, 600_000, 904_761] {
        let sim = Sim::new(u64::from(ppm));
        let door = sim.door();
        let store: Arc<dyn Store> = Arc::new(Drifting(MemoryStore::new(door.clone()), ppm));
        let manager = Manager::builder(store, door.clone()).build().unwrap();
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
