//! What happened in a world: counted always, told in words when asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sim::SimDoor;

/// What happened in a world. Clones write into the same log; the default one keeps nothing.
#[derive(Clone, Default)]
pub struct Log(Option<Arc<Inner>>);

struct Inner {
    clock: Arc<SimDoor>,
    told: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
}

impl Log {
    /// A log by a true clock. Words are kept only if `told`: they cost more than the simulation itself.
    #[must_use]
    pub fn new(clock: Arc<SimDoor>, told: bool) -> Self {
        Self(Some(Arc::new(Inner {
            clock,
            told,
            state: Mutex::default(),
        })))
    }

    /// Something happened. The words are only made if somebody wants them.
    pub fn say(&self, words: impl FnOnce() -> String) {
        if let Some(inner) = self.0.as_ref().filter(|inner| inner.told) {
            let words = words();
            let line = format!("{} {words}", Stamp(inner.clock.truth_now()));
            inner.state().lines.push(line);
        }
    }

    /// Something went wrong on purpose: counted by its kind, and told.
    pub fn fault(&self, kind: &'static str) {
        if let Some(inner) = &self.0 {
            *inner.state().faults.entry(kind).or_default() += 1;
        }
        self.say(|| format!("~ {kind}"));
    }

    /// How often each kind of fault happened.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        let inner = self.0.as_ref();
        inner.map_or_else(BTreeMap::new, |inner| inner.state().faults.clone())
    }

    /// What was told, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let inner = self.0.as_ref();
        inner.map_or_else(Vec::new, |inner| inner.state().lines.clone())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// True time in a log: seconds with microseconds, of one width.
pub(crate) struct Stamp(pub(crate) Duration);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:4}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
