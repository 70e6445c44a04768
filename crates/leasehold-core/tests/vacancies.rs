//! An acquire names the vacancy it saw, and learns of another one from the refusal.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::store::{Change, Expect, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Door, ErrorKind, Lease, LeaseName, Manager, MemoryStore, Prefix,
    Result,
};
use leasehold_testkit::Faulty;
use leasehold_testkit::sim::{Sim, SimDoor};

const PERIOD: Duration = Duration::from_secs(12);

/// A store whose tombstones can be cleared away, and that can refuse for nothing at all.
#[derive(Debug, Clone)]
struct Cleared {
    inner: Arc<Mutex<MemoryStore>>,
    refuses: Arc<Mutex<bool>>,
}

impl Cleared {
    fn inner(&self) -> MemoryStore {
        self.inner.lock().unwrap().clone()
    }
}

impl Store for Cleared {
    fn declared(&self) -> Capabilities {
        self.inner().declared()
    }

    fn location(&self) -> String {
        self.inner().location()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        async move { self.inner().get(name, until).await }.boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            if *self.refuses.lock().unwrap() {
                let refused = |_| Outcome::Refused { found: None };
                return changes.iter().map(refused).collect();
            }
            self.inner().apply(changes, until).await
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        _: &'a Prefix,
        _: Option<&'a LeaseName>,
        _: usize,
        _: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        async { Ok(Page::default()) }.boxed()
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.inner().watch(scope)
    }

    fn close(&self, _: BootInstant) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }
}

fn world(seed: u64) -> (Sim, Arc<SimDoor>, Cleared, Faulty, Manager) {
    let sim = Sim::new(seed);
    let door = sim.door();
    let store = Cleared {
        inner: Arc::new(Mutex::new(MemoryStore::new(door.clone()))),
        refuses: Arc::default(),
    };
    let faulty = Faulty::new(Arc::new(store.clone()), door.clone());
    let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
        .build()
        .unwrap();
    (sim, door, store, faulty, manager)
}

async fn take(manager: &Manager) -> Lease {
    let lease = manager.acquire_lease("x", "m", 0, PERIOD).await.unwrap();
    lease.unwrap()
}

/// The vacancies that the acquires named which were sent after the first `count` changes.
fn named(faulty: &Faulty, count: usize) -> Vec<Expect> {
    let sent = faulty.sent();
    let named = sent.iter().skip(count).map(|sent| sent.change.expect());
    named.collect()
}

/// A vacancy that is not known yet costs one refusal, and no time; one that is known costs nothing.
#[test]
fn a_vacancy_is_learnt_from_the_refusal() {
    let (sim, door, _, faulty, manager) = world(1);
    sim.block_on(async {
        let lease = take(&manager).await;
        let index = lease.index();
        door.sleep_until(door.now().plus(PERIOD)).await;
        let before = door.now();
        let lease = take(&manager).await;
        let expected = [Expect::Vacant(None), Expect::Vacant(Some(index))];
        assert_eq!(named(&faulty, 1), expected);
        let released = faulty.sent().len();
        lease.release().await.unwrap();
        let tombstone = manager.status("x").await.unwrap().unwrap().index();
        drop(take(&manager).await);
        assert_eq!(
            named(&faulty, released + 1),
            [Expect::Vacant(Some(tombstone))]
        );
        assert_eq!(door.now(), before, "nothing was waited for");
    });
}

/// A tombstone that was cleared away since it was seen costs one refusal.
#[test]
fn a_vacancy_that_was_cleared_away_is_taken() {
    let (sim, door, store, faulty, manager) = world(2);
    sim.block_on(async {
        take(&manager).await.release().await.unwrap();
        *store.inner.lock().unwrap() = MemoryStore::new(door.clone());
        let before = door.now();
        assert!(take(&manager).await.is_current());
        assert!(matches!(
            named(&faulty, 2)[..],
            [Expect::Vacant(Some(_)), Expect::Vacant(None)]
        ));
        assert_eq!(door.now(), before);
    });
}

/// A name that is refused though nothing is there is tried again with a pause, and not longer than the time-out.
#[test]
fn a_vacancy_that_comes_and_goes_is_tried_with_pauses() {
    let (sim, door, store, faulty, manager) = world(3);
    sim.block_on(async {
        *store.refuses.lock().unwrap() = true;
        let before = door.now();
        let acquire = manager.acquire_lease("x", "m", 0, PERIOD);
        let error = acquire.await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        let took = door.now().since(before);
        let tries = faulty.sent().len();
        assert!(
            u128::try_from(tries).unwrap() <= took.as_millis() + 1,
            "{tries} in {took:?}"
        );
        *store.refuses.lock().unwrap() = false;
        door.sleep_until(door.now().plus(PERIOD)).await;
        drop(take(&manager).await);
    });
}
