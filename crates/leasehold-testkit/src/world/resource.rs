//! What leases protect: something that takes writes and checks their fence.

use std::collections::BTreeMap;

use leasehold_core::LeaseName;

/// A protected side that does what the contract asks of it: it refuses a write whose fence is smaller than one that it
/// has seen.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    names: BTreeMap<LeaseName, Marked>,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// Writes that passed although a later term had written before.
    pub(crate) stale: u64,
}

#[derive(Debug, Default)]
struct Marked {
    fence: u64,
    /// The latest term that has written, counted by the world and not by fences.
    term: u64,
}

/// What came of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Accepted,
    Refused,
    /// Accepted, and it should not have been.
    Stale,
}

impl Resource {
    /// A write under a fence, by the term of this number.
    pub(crate) fn write(&mut self, name: &LeaseName, fence: u64, term: u64) -> Write {
        let marked = self.names.entry(name.clone()).or_default();
        if fence < marked.fence {
            self.refused += 1;
            return Write::Refused;
        }
        self.accepted += 1;
        marked.fence = fence;
        if term < marked.term {
            self.stale += 1;
            return Write::Stale;
        }
        marked.term = term;
        Write::Accepted
    }
}
