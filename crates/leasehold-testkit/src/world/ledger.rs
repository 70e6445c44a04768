//! What was really written, in the registry's own order: the laws of index and fence, and *not early*.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_core::{LeaseName, Record};

/// What was really written in the registry, whatever anybody was told of it. Clones write into the same ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    names: BTreeMap<LeaseName, u64>,
}

impl Ledger {
    /// A record was written, in the very step that made it visible: its index, and the reading of the clock by which
    /// the registry judges expiry, in nanoseconds.
    pub fn wrote(&self, name: &LeaseName, index: u64, record: &Record, clock: u64) {
        _ = (record, clock);
        self.books().names.insert(name.clone(), index);
    }

    /// A record was erased by the registry itself (a native lease ran out).
    pub fn erased(&self, name: &LeaseName, clock: u64) {
        _ = clock;
        self.books().names.remove(name);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
