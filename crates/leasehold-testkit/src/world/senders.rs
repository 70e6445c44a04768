//! Who sent a change: a store is not told which handle, claim or proxy asks, the world's witness knows it. It knows from
//! their terms what each of a process's would send; where two might have sent the same, it does not say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use leasehold_core::LeaseName;

use crate::history::Standing;
use crate::recorded::{Senders, Sent};
use crate::world::process::Common;
use crate::world::witness::Witness;

/// A process, a name and a fence.
type Key = (u64, LeaseName, u64);

/// What is known of those that the witness does not, or no longer, watch.
#[derive(Debug, Default)]
pub(crate) struct Unwatched {
    /// The number of the handle that a process's own acquire or steal made.
    made: BTreeMap<Key, u64>,
    /// A proxy or a claim was there and is watched no longer: what it sent may still be under way.
    loose: BTreeSet<Key>,
}

impl Unwatched {
    /// The handle that the process's own call made.
    pub(crate) fn made(&self, process: u64, name: &LeaseName, fence: u64) -> Option<u64> {
        self.made.get(&(process, name.clone(), fence)).copied()
    }

    /// A proxy or claim is watched no longer.
    pub(crate) fn forget(&mut self, process: u64, name: &LeaseName, fence: u64) {
        self.loose.insert((process, name.clone(), fence));
    }
}

impl Witness {
    /// Who of a process sends this.
    fn sender(&self, process: u64, sent: &Sent<'_>) -> Option<(u64, Standing)> {
        let mut watched = self.watched(process).filter(|(_, standing, term)| {
            term.name() == sent.name
                && term.fence() == sent.fence
                && term.index() == sent.index
                && sent
                    .proxy
                    .is_none_or(|proxy| proxy == (*standing == Standing::Proxy))
        });
        let one = watched.next().map(|(key, standing, _)| (key, standing));
        if watched.next().is_some() {
            return None;
        }
        let key = (process, sent.name.clone(), sent.fence);
        if sent.proxy == Some(true) {
            return one;
        }
        // A release is no proxy's, but may be that of a claim.
        if self.unwatched.loose.contains(&key) {
            return None;
        }
        let made = self.unwatched.made.get(&key);
        one.or_else(|| Some((*made?, Standing::Handle)))
    }
}

/// The senders of one process.
pub(crate) struct OfProcess {
    pub(crate) common: Arc<Common>,
    pub(crate) process: u64,
}

impl Senders for OfProcess {
    fn handle(&self) -> u64 {
        self.common.witness().number()
    }

    fn made(&self, name: &LeaseName, fence: u64, handle: u64) {
        let key = (self.process, name.clone(), fence);
        self.common.witness().unwatched.made.insert(key, handle);
    }

    fn sender(&self, sent: &Sent<'_>) -> Option<(u64, Standing)> {
        self.common.witness().sender(self.process, sent)
    }
}

impl fmt::Debug for OfProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OfProcess").field(&self.process).finish()
    }
}
