//! Stores where another object carries the expiry (a native lease): what core makes of `counted_from` and `extended`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::store::{Applied, Change, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Door, ErrorKind, KeepAlive, LeaseName, Manager, MemoryStore, Prefix,
    Result,
};
use leasehold_testkit::sim::{Sim, SimDoor};

const PERIOD: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

type Edit = Box<dyn FnMut(&mut Applied) + Send>;

/// A memory store that tells of its expiry what a test wants.
#[derive(Clone)]
struct Carried(MemoryStore, Arc<Mutex<Edit>>);

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carried")
    }
}

impl Carried {
    fn tells(&self, edit: impl FnMut(&mut Applied) + Send + 'static) {
        *self.1.lock().unwrap() = Box::new(edit);
    }
}

impl Store for Carried {
    fn declared(&self) -> Capabilities {
        self.0.declared()
    }
    fn location(&self) -> String {
        self.0.location()
    }
    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        self.0.get(name, until)
    }
    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            let mut outcomes = self.0.apply(changes, until).await;
            for outcome in &mut outcomes {
                if let Outcome::Applied(applied) = outcome {
                    (self.1.lock().unwrap())(applied);
                }
            }
            outcomes
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
        self.0.list(prefix, after, max, until)
    }
    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.0.watch(scope)
    }
    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.0.close(until)
    }
}

fn world() -> (Sim, Arc<SimDoor>, Carried, Manager) {
    let sim = Sim::new(1);
    let door = sim.door();
    let store = Carried(
        MemoryStore::new(door.clone()),
        Arc::new(Mutex::new(Box::new(|_| {}))),
    );
    let manager = Manager::builder(Arc::new(store.clone()), door.clone())
        .build()
        .unwrap();
    (sim, door, store, manager)
}

/// The deadline counts from the last counted renewal of what carries the grant, and never from later than the send.
#[test]
fn the_deadline_counts_from_what_carries_the_grant() {
    let (sim, door, store, manager) = world();
    sim.block_on(async {
        for (counted, expected) in [
            (door.now().minus(SECOND), door.now().minus(SECOND)),
            (door.now().plus(SECOND * 5), door.now()),
        ] {
            store.tells(move |applied| applied.counted_from = Some(counted));
            let lease = manager.acquire_lease("x", "m", 0, PERIOD).await;
            let mut lease = lease.unwrap().unwrap();
            let near = |deadline: BootInstant| {
                let off = deadline.since(expected.plus(PERIOD));
                assert!(off < Duration::from_millis(1), "{off:?} late");
                assert!(deadline >= expected.plus(PERIOD));
            };
            near(lease.deadline().unwrap());
            lease.renew(PERIOD).await.unwrap();
            near(lease.deadline().unwrap());
            lease.release().await.unwrap();
        }
    });
}

/// A renewal that did not move the expiry is no success for whoever renews by hand: the new index counts, the old
/// deadline stands.
#[test]
fn a_renewal_that_moved_nothing_is_to_be_tried_again() {
    let (sim, door, store, manager) = world();
    sim.block_on(async {
        let lease = manager.acquire_lease("x", "m", 0, PERIOD).await;
        let mut lease = lease.unwrap().unwrap();
        let (index, deadline) = (lease.index(), lease.deadline());
        door.sleep_until(door.now().plus(SECOND)).await;
        store.tells(|applied| applied.extended = false);
        for _ in 0..2 {
            let error = lease.renew(PERIOD).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(lease.is_current());
            assert_eq!(lease.deadline(), deadline);
        }
        let [result] = &manager.renew_all([&mut lease], PERIOD).await[..] else {
            panic!("one result");
        };
        assert!(result.is_err());
        assert!(lease.index() > index, "the next one names the new index");
        store.tells(|_| {});
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.deadline() > deadline);
    });
}

/// A kept lease tries again soon, and is lost at the old deadline if nothing moves it.
#[test]
fn a_kept_lease_that_nothing_moves_is_lost_at_its_deadline() {
    let (sim, door, store, manager) = world();
    sim.block_on(async {
        let lease = manager.acquire_lease("x", "m", 0, PERIOD).await;
        let held = lease.unwrap().unwrap().keep_alive(KeepAlive::new());
        let mut left = 3;
        store.tells(move |applied| {
            applied.extended = left == 0;
            left = (left + 3) % 4;
        });
        door.sleep_until(door.now().plus(PERIOD * 5)).await;
        held.check().unwrap();
        store.tells(|applied| applied.extended = false);
        let deadline = held.deadline().unwrap();
        assert_eq!(held.lost().await.kind(), ErrorKind::Expired);
        assert!(door.now() >= deadline && door.now() < deadline.plus(SECOND));
    });
}

/// What carries the grant may be gone when a renewal is learnt: that is no success, and the name is given back.
#[test]
fn a_renewal_whose_new_deadline_has_passed_ends_the_term() {
    let (sim, _, store, manager) = world();
    sim.block_on(async {
        let lease = manager.acquire_lease("x", "m", 0, PERIOD).await;
        let mut lease = lease.unwrap().unwrap();
        store.tells(|applied| applied.counted_from = Some(BootInstant::ZERO));
        let error = lease.renew(PERIOD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired);
        assert!(!lease.is_current());
        assert!(manager.get_lease("x").await.unwrap().is_none());
    });
}
