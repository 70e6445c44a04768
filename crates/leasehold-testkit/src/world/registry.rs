//! What a simulated registry is to its world.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::Store;

use crate::chance::Chance;
use crate::sim::SimDoor;
use crate::world::assumption::Assumption;
use crate::world::ledger::Ledger;
use crate::world::log::Log;
use crate::world::net::Link;

/// What a registry is given by its world.
#[derive(Clone, Debug)]
pub struct Scene {
    /// True time, and tasks of the registry's own: they belong to no process.
    pub wire: Arc<SimDoor>,
    /// The clock of a registry's own server, where the kind has one: it runs as far from true time as is declared.
    /// True time elsewhere.
    pub clock: Arc<SimDoor>,
    /// What is written in the registry goes here too, in that very step.
    pub ledger: Ledger,
    /// What happens.
    pub log: Log,
    /// The world's seed.
    pub seed: u64,
}

/// A simulated registry.
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// Opens a process's client. Every request to the registry goes by [`Link::call`].
    fn open(&self, link: Link) -> Arc<dyn Store>;

    /// Lets something happen that the registry declares it survives: a restart, a failover, a compaction. The kind of
    /// fault, which is counted; none where nothing happened.
    fn disturb(&self, chance: &mut Chance) -> Option<&'static str>;

    /// Does what the registry declares that nobody does, if it can: what happened.
    fn break_assumption(
        &self,
        assumption: Assumption,
        chance: &mut Chance,
    ) -> Option<&'static str> {
        _ = (assumption, chance);
        None
    }

    /// Everything works again, at once.
    fn heal(&self);

    /// The machine that everything runs on was started anew: whoever held anything has died with it. Only where the
    /// registry and its processes share one machine.
    fn rebooted(&self) {}

    /// How many things the registry keeps on behalf of processes (native leases): none may be left when all are gone.
    fn kept(&self) -> usize {
        0
    }

    /// How much longer than without disturbances a vacancy may take to come, from now on: a clock that was set back,
    /// leases that a restart timed anew.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}
