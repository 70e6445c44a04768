//! A driver that panics: what it took down with it, the renewals, comes back; nobody is left with a lease that nobody renews.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, join_all, select};
use futures_util::stream::BoxStream;
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Door, ErrorKind, Held, KeepAlive, LeaseName, Lost, Manager,
    MemoryStore, Prefix, RealDoor, Result,
};
use leasehold_testkit::sim::Sim;

const PERIOD: Duration = Duration::from_secs(3);

/// Where a request panics.
#[derive(Clone, Copy, Debug)]
enum Where {
    /// When it is made.
    Call,
    /// When it is waited for; nothing was sent.
    Sending,
    /// When it is waited for; it was applied.
    Answer,
}

/// A registry whose driver panics a number of times, in requests with a change of one name.
#[derive(Debug)]
struct Panicking {
    inner: MemoryStore,
    name: LeaseName,
    at: Where,
    batch: usize,
    left: AtomicUsize,
    panicked: AtomicUsize,
}

impl Panicking {
    fn new(door: &Arc<dyn Door>, at: Where, batch: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(door.clone()),
            name: LeaseName::new("bad").unwrap(),
            at,
            batch,
            left: AtomicUsize::new(0),
            panicked: AtomicUsize::new(0),
        })
    }

    fn panics(&self, changes: &[Change]) -> bool {
        let panics = changes.iter().any(|change| change.name() == &self.name)
            && self.left.load(Ordering::SeqCst) > 0;
        if panics {
            self.left.fetch_sub(1, Ordering::SeqCst);
            self.panicked.fetch_add(1, Ordering::SeqCst);
        }
        panics
    }
}

/// A panic that nothing is printed of.
fn panic() -> ! {
    resume_unwind(Box::new("on purpose"))
}

impl Store for Panicking {
    fn declared(&self) -> Capabilities {
        let mut capabilities = self.inner.declared();
        capabilities.batch = self.batch;
        capabilities
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        self.inner.get(name, until)
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        match (self.panics(&changes), self.at) {
            (false, _) => self.inner.apply(changes, until),
            (true, Where::Call) => panic(),
            (true, Where::Sending) => async { panic() }.boxed(),
            (true, Where::Answer) => async move {
                self.inner.apply(changes, until).await;
                panic()
            }
            .boxed(),
        }
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
        self.inner.watch(scope)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(until)
    }
}

async fn hold(manager: &Manager) -> Vec<Held> {
    let mut held = Vec::new();
    for name in ["a", "bad", "c"] {
        let lease = manager.acquire_lease(name, "m", 0, PERIOD).await;
        held.push(lease.unwrap().unwrap().keep_alive(KeepAlive::new()));
    }
    held
}

fn manager(store: &Arc<Panicking>, door: &Arc<dyn Door>) -> Manager {
    let builder = Manager::builder(store.clone(), door.clone());
    builder.machine_id("m").build().unwrap()
}

fn real(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// Complaint 5: the task that renews dies silently. One that is taken down by a panic of the driver, wherever that comes, is
/// followed by the next: no lease is lost, neither that one nor another, and each can be released afterwards.
#[test]
fn complaint_05_renewals_go_on_after_a_panic() {
    real(async {
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let cases = [Where::Call, Where::Sending, Where::Answer]
            .into_iter()
            .flat_map(|at| [(at, 1), (at, 1000)]);
        join_all(cases.map(async |(at, batch)| {
            let store = Panicking::new(&door, at, batch);
            let manager = manager(&store, &door);
            let held = hold(&manager).await;
            store.left.store(2, Ordering::SeqCst);
            door.sleep_until(door.now().plus(PERIOD * 3)).await;
            assert_eq!(store.panicked.load(Ordering::SeqCst), 2, "{at:?}");
            for held in held {
                held.check()
                    .unwrap_or_else(|error| panic!("{at:?}, {batch}: {error}"));
                let name = held.name().clone();
                held.release().await.unwrap();
                assert!(manager.get_lease(&name).await.unwrap().is_none());
            }
        }))
        .await;
    });
}

/// Complaint 5, where no renewal gets through any more: they are tried again and again, the loss is told at the deadline, and
/// leases of other requests are kept.
#[test]
fn complaint_05_loss_is_told_although_each_renewal_panics() {
    real(async {
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let cases = [Where::Call, Where::Sending];
        join_all(cases.map(async |at| {
            let store = Panicking::new(&door, at, 1);
            let manager = manager(&store, &door);
            let held = hold(&manager).await;
            store.left.store(usize::MAX, Ordering::SeqCst);
            let deadline = held[1].deadline().unwrap();
            let late = door.sleep_until(deadline.plus(PERIOD));
            let Either::Left((lost, _)) = select(pin!(held[1].lost()), late).await else {
                panic!("{at:?}: not told")
            };
            assert_eq!(lost.kind(), ErrorKind::Expired, "{at:?}: {lost}");
            assert!(
                matches!(lost.lost(), Some(Lost::Unreachable { .. })),
                "{at:?}: {lost}"
            );
            let now = door.now();
            assert!(now >= deadline, "{at:?}");
            assert!(now < deadline.plus(PERIOD / 3), "{at:?}: told too late");
            assert!(store.panicked.load(Ordering::SeqCst) > 1, "tried again");
            door.sleep_until(now.plus(PERIOD * 2)).await;
            assert!(!held[1].is_current());
            for held in [&held[0], &held[2]] {
                held.check()
                    .unwrap_or_else(|error| panic!("{at:?}: {error}"));
            }
        }))
        .await;
    });
}

/// What panics is not hushed up: in a simulation the test fails by it.
#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_of_the_store_is_seen_in_a_simulation() {
    let sim = Sim::new(1);
    let door: Arc<dyn Door> = sim.door();
    let store = Panicking::new(&door, Where::Answer, 1);
    store.left.store(1, Ordering::SeqCst);
    let manager = manager(&store, &door);
    drop(sim.block_on(manager.acquire_lease("bad", "m", 0, PERIOD)));
}
