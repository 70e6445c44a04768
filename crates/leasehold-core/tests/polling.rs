//! What waiting costs the registry.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Door, KeepAlive, LeaseName, Manager, MemoryStore, Prefix, Result,
};
use leasehold_testkit::sim::Sim;

const PERIOD: Duration = Duration::from_secs(15);
const MOMENT: Duration = Duration::from_millis(1);

/// A registry that counts what it is asked: reads, listings and requests of changes.
#[derive(Clone, Debug)]
struct Counted {
    inner: MemoryStore,
    asked: Arc<AtomicUsize>,
}

impl Counted {
    fn count(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was asked since the last time.
    fn counted(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
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
        self.count();
        self.inner.get(name, until)
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        self.count();
        self.inner.apply(changes, until)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        self.count();
        self.inner.list(prefix, after, max, until)
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.inner.watch(scope)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(until)
    }
}

/// Complaint 20: waiters poll. A hundred processes wait for a name, each for itself: none of them asks on a timer but for the
/// net of thirty seconds under lost signals; each change of the name is read once by each, and a release is known at once.
#[test]
fn complaint_20_waiters_do_not_poll() {
    const WAITERS: usize = 100;
    const LENGTH: Duration = Duration::from_secs(600);
    const NET: usize = 600 / 30 + 1;
    // Renewed every twenty minutes; and every five seconds.
    for (period, least) in [(PERIOD * 240, 0), (PERIOD, 120)] {
        let sim = Sim::new(1);
        let door = sim.door();
        let sleep = async |length| door.sleep_until(door.now().plus(length)).await;
        let holders = Counted {
            inner: MemoryStore::new(door.clone()),
            asked: Arc::default(),
        };
        let waiters = Counted {
            inner: holders.inner.clone(),
            asked: Arc::default(),
        };
        let manager = |counted: &Counted, door: Arc<dyn Door>| {
            let builder = Manager::builder(Arc::new(counted.clone()), door);
            builder.build().unwrap()
        };
        let holder = manager(&holders, door.clone());
        let taken = Arc::new(AtomicUsize::new(0));
        sim.block_on(async {
            let lease = holder.acquire_lease("x", "m", 0, period).await;
            let held = lease.unwrap().unwrap().keep_alive(KeepAlive::new());
            for _ in 0..WAITERS {
                let (own, taken) = (sim.door(), taken.clone());
                let waiter = manager(&waiters, own.clone());
                sim.spawn(&own, async move {
                    let held = waiter.lock("x").period(PERIOD).acquire().await.unwrap();
                    taken.fetch_add(1, Ordering::SeqCst);
                    held.lost().await;
                });
            }
            sleep(PERIOD).await;
            _ = (holders.counted(), waiters.counted());
            sleep(LENGTH).await;
            let (changes, asked) = (holders.counted(), waiters.counted());
            assert!(changes >= least, "{changes} renewals");
            eprintln!("{WAITERS} waiters, {changes} renewals in {LENGTH:?}: {asked} requests");
            let most = WAITERS * (changes + NET);
            assert!(asked <= most, "{asked} requests, {most} at most");
            assert_eq!(taken.load(Ordering::SeqCst), 0);
            held.release().await.unwrap();
            sleep(MOMENT).await;
            assert_eq!(taken.load(Ordering::SeqCst), 1);
        });
    }
}
