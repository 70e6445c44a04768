//! A small world: a registry in memory, an unreliable way to it, and a manager.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{BootInstant, Door, Lease, Manager, MemoryStore};
use leasehold_testkit::Faulty;
use leasehold_testkit::sim::{Sim, SimDoor};

pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) door: Arc<SimDoor>,
    pub(crate) memory: MemoryStore,
    pub(crate) faulty: Faulty,
    pub(crate) manager: Manager,
}

impl World {
    /// A world whose requests carry so many changes, and whose manager's operations take that long, at most.
    pub(crate) fn new(seed: u64, batch: usize, timeout: Duration) -> Self {
        let sim = Sim::new(seed);
        let door = sim.door();
        let memory = MemoryStore::new(door.clone());
        let faulty = Faulty::new(Arc::new(memory.clone()), door.clone());
        faulty.batch(batch);
        let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
            .timeout(timeout)
            .build()
            .unwrap();
        Self {
            sim,
            door,
            memory,
            faulty,
            manager,
        }
    }

    pub(crate) async fn take(&self, name: &str, period: Duration) -> Lease {
        let lease = self.manager.acquire_lease(name, "m", 0, period).await;
        lease.unwrap().unwrap()
    }

    pub(crate) async fn sleep(&self, length: Duration) {
        self.door.sleep_until(self.door.now().plus(length)).await;
    }

    /// When each change of this name was sent.
    pub(crate) fn sent(&self, name: &str) -> Vec<BootInstant> {
        let sent = self.faulty.sent().into_iter();
        sent.filter(|sent| sent.change.name().as_str() == name)
            .map(|sent| sent.at)
            .collect()
    }
}
