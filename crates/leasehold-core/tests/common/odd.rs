//! A registry of some oddity, which counts how often it is read.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Door, Error, ErrorKind, LeaseName, MemoryStore, Prefix, Result,
};
use leasehold_testkit::sim::SimDoor;

/// By itself it has none: it answers at once, and signals nothing. Clones are the same registry.
#[derive(Clone, Debug)]
pub(crate) struct Odd {
    pub(crate) inner: MemoryStore,
    pub(crate) door: Arc<SimDoor>,
    /// How long a reading takes.
    pub(crate) reading: Duration,
    /// How long a listing takes.
    pub(crate) listing: Duration,
    /// What it signals without end, with such a pause before each.
    pub(crate) signal: Option<(Signal, Duration)>,
    /// Its signals end at once.
    pub(crate) ended: bool,
    /// It is never closed.
    pub(crate) open: bool,
    /// It cannot be read.
    pub(crate) fails: Arc<Mutex<bool>>,
    pub(crate) gets: Arc<Mutex<Vec<BootInstant>>>,
    pub(crate) lists: Arc<Mutex<Vec<BootInstant>>>,
}

impl Odd {
    pub(crate) fn new(door: &Arc<SimDoor>) -> Self {
        Self {
            inner: MemoryStore::new(door.clone()),
            door: door.clone(),
            reading: Duration::ZERO,
            listing: Duration::ZERO,
            signal: None,
            ended: false,
            open: false,
            fails: Arc::default(),
            gets: Arc::default(),
            lists: Arc::default(),
        }
    }

    async fn take(&self, length: Duration) {
        if !length.is_zero() {
            self.door.sleep_until(self.door.now().plus(length)).await;
        }
    }
}

impl Store for Odd {
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
            self.gets.lock().unwrap().push(self.door.now());
            self.take(self.reading).await;
            if *self.fails.lock().unwrap() {
                return Err(Error::new(ErrorKind::Unavailable, "the test says so"));
            }
            self.inner.get(name, until).await
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        self.inner.apply(changes, until)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        async move {
            self.lists.lock().unwrap().push(self.door.now());
            self.take(self.listing).await;
            self.inner.list(prefix, after, max, until).await
        }
        .boxed()
    }

    fn watch(&self, _: Scope) -> BoxStream<'static, Signal> {
        if self.ended {
            return stream::unfold((), |()| async { None }).boxed();
        }
        let Some((signal, pause)) = self.signal.clone() else {
            return stream::pending().boxed();
        };
        stream::unfold(self.clone(), move |odd| {
            let signal = signal.clone();
            async move {
                odd.take(pause).await;
                Some((signal, odd))
            }
        })
        .boxed()
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        match self.open {
            true => futures_util::future::pending().boxed(),
            false => self.inner.close(until),
        }
    }
}
