//! A registry in memory that takes its time, and counts what it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Door, LeaseName, Manager, MemoryStore, Prefix, Result,
};
use leasehold_testkit::sim::SimDoor;

/// Clones are the same registry.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    inner: MemoryStore,
    door: Arc<SimDoor>,
    takes: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    changes: Arc<AtomicU64>,
    watches: Arc<AtomicU64>,
}

/// What was asked so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) reads: u64,
    pub(crate) changes: u64,
    pub(crate) watches: u64,
}

impl Counted {
    pub(crate) fn new(door: &Arc<SimDoor>, takes: Duration) -> Self {
        let counted = Self {
            inner: MemoryStore::new(door.clone()),
            door: door.clone(),
            takes: Arc::default(),
            reads: Arc::default(),
            changes: Arc::default(),
            watches: Arc::default(),
        };
        counted.take(takes);
        counted
    }

    /// Another way to the same registry, counted with this one, whose requests take so long.
    pub(crate) fn beside(&self, takes: Duration) -> Self {
        let beside = Self {
            takes: Arc::default(),
            ..self.clone()
        };
        beside.take(takes);
        beside
    }

    /// How long each request takes from now on.
    pub(crate) fn take(&self, takes: Duration) {
        let nanos = u64::try_from(takes.as_nanos()).unwrap();
        self.takes.store(nanos, Ordering::SeqCst);
    }

    /// A manager of the registry, as a process of its own has it.
    pub(crate) fn manager(&self, id: &str) -> Manager {
        let manager = Manager::builder(Arc::new(self.clone()), self.door.clone());
        manager.machine_id(id).build().unwrap()
    }

    pub(crate) fn count(&self) -> Count {
        Count {
            reads: self.reads.load(Ordering::SeqCst),
            changes: self.changes.load(Ordering::SeqCst),
            watches: self.watches.load(Ordering::SeqCst),
        }
    }

    async fn one(&self, what: &AtomicU64) {
        what.fetch_add(1, Ordering::SeqCst);
        let takes = Duration::from_nanos(self.takes.load(Ordering::SeqCst));
        self.door.sleep_until(self.door.now().plus(takes)).await;
    }
}

impl Store for Counted {
    fn declared(&self) -> Capabilities {
        self.inner.declared()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        async move {
            self.one(&self.reads).await;
            self.inner.get(name, until).await
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            self.one(&self.changes).await;
            self.inner.apply(changes, until).await
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        self.inner.list(prefix, after, max, until)
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.watches.fetch_add(1, Ordering::SeqCst);
        self.inner.watch(scope)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(until)
    }
}
