//! The memory store: the reference, for one process and for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::BoxStream;

use crate::capabilities::{Capabilities, Loss};
use crate::contract::{Found, Instants, decide};
use crate::door::Door;
use crate::error::Result;
use crate::mutants::{Mutant, mutant};
use crate::name::{LeaseName, Prefix};
use crate::record::Record;
use crate::signals::Signals;
use crate::store::{Applied, Change, Outcome, Page, Scope, Seen, Signal, Store};
use crate::sync::{Mutex, MutexGuard};
use crate::time::BootInstant;

/// A registry in this process's memory. Clones are clients of the same registry.
///
/// It is lost with the process, and its lessees with it.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    door: Arc<dyn Door>,
    registry: Arc<Mutex<Registry>>,
    signals: Signals,
}

#[derive(Debug, Default)]
struct Registry {
    last_index: u64,
    slots: BTreeMap<LeaseName, Slot>,
}

#[derive(Debug)]
struct Slot {
    index: u64,
    record: Record,
    instants: Option<Instants>,
}

impl MemoryStore {
    /// An empty registry.
    #[must_use]
    pub fn new(door: Arc<dyn Door>) -> Self {
        Self {
            door,
            registry: Arc::default(),
            signals: Signals::default(),
        }
    }

    /// Puts bytes under a name, as a foreign writer would: for tests.
    pub fn plant(&self, name: &LeaseName, bytes: &[u8]) {
        let mut registry = self.lock();
        registry.last_index += 1;
        let slot = Slot {
            index: registry.last_index,
            record: Record::decode(bytes),
            instants: None,
        };
        registry.slots.insert(name.clone(), slot);
        drop(registry);
        self.signals.name(name);
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, registry: &mut Registry, change: Change) -> Outcome {
        let now = self.door.now().as_nanos();
        let slot = registry.slots.get(change.name());
        let seen = slot.map(|slot| slot.seen(now));
        let found = slot.map(|s| Found {
            index: s.index,
            held: s.record.is_held(),
            instants: s.instants,
        });
        let Some(instants) = decide(found.as_ref(), now, &change) else {
            return Outcome::Refused { found: seen };
        };
        if mutant(Mutant::FenceCounterResets)
            && found.is_some_and(|found| found.held && found.is_vacant(now))
        {
            registry.last_index = 0;
        }
        registry.last_index += 1;
        let mut index = registry.last_index;
        if mutant(Mutant::ReleaseDeletesRecord) {
            index = found.map_or(1, |found| found.index + 1);
        }
        let slot = Slot {
            index,
            record: change.record().clone(),
            instants: Some(instants),
        };
        registry.slots.insert(change.name().clone(), slot);
        if mutant(Mutant::ReleaseDeletesRecord) && instants.vacant_from <= now {
            registry.slots.remove(change.name());
        }
        if !mutant(Mutant::LostWatchEvent) {
            self.signals.name(change.name());
        }
        Outcome::Applied(Applied {
            index,
            granted: change.record().period.unwrap_or_default(),
            counted_from: None,
            extended: true,
            wait: instants.wait_at(now),
        })
    }
}

impl Slot {
    fn seen(&self, now: u64) -> Seen {
        Seen {
            index: self.index,
            record: self.record.clone(),
            wait: self.instants.map_or(Duration::ZERO, |i| i.wait_at(now)),
            left: self.instants.map(|i| i.left_at(now)),
        }
    }
}

impl Store for MemoryStore {
    fn declared(&self) -> Capabilities {
        Capabilities {
            loss: Loss::Never,
            ..Capabilities::local()
        }
    }

    fn location(&self) -> String {
        "memory:".into()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        _until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        let now = self.door.now().as_nanos();
        ready(Ok(self.lock().slots.get(name).map(|slot| slot.seen(now)))).boxed()
    }

    fn apply(&self, changes: Vec<Change>, _until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        let mut registry = self.lock();
        ready(
            changes
                .into_iter()
                .map(|change| self.change(&mut registry, change))
                .collect(),
        )
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        _until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        let registry = self.lock();
        let now = self.door.now().as_nanos();
        let start = match after {
            Some(name) => Bound::Excluded(name.clone()),
            None => match LeaseName::reserved(prefix.as_str()) {
                Ok(first) => Bound::Included(first),
                Err(_) => Bound::Unbounded,
            },
        };
        let mut entries = Vec::new();
        let mut more = false;
        for (name, slot) in registry.slots.range((start, Bound::Unbounded)) {
            if !prefix.covers(name) {
                // `a` sorts before `a!`, which sorts before `a/b`: only past all of them the prefix has ended.
                if name.as_str().starts_with(prefix.as_str()) {
                    continue;
                }
                break;
            }
            if entries.len() == max {
                more = true;
                break;
            }
            entries.push((name.clone(), slot.seen(now)));
        }
        ready(Ok(Page { entries, more })).boxed()
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.signals.watch(scope)
    }

    fn close(&self, _until: BootInstant) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }
}
