//! The contract, held against the SQLite store.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use leasehold_core::{Door, LeaseName, Manager, RealDoor, Store};
use leasehold_sqlite::SqliteStore;
use leasehold_testkit::{Fixture, TestTime, procs};

struct Sqlite {
    folder: tempfile::TempDir,
    first: OnceLock<SqliteStore>,
}

impl Sqlite {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            first: OnceLock::new(),
        }
    }
}

impl Fixture for Sqlite {
    fn open(&self, door: Arc<dyn Door>) -> BoxFuture<'_, Arc<dyn Store>> {
        let open =
            || SqliteStore::open(self.folder.path().join("leases.db"), door.clone()).unwrap();
        self.first.get_or_init(open);
        ready(Arc::new(open()) as Arc<dyn Store>).boxed()
    }

    fn plant<'a>(&'a self, name: &'a LeaseName, bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        self.first.get().unwrap().plant(name, bytes).unwrap();
        ready(()).boxed()
    }

    fn time(&self) -> TestTime {
        TestTime::real()
    }
}

leasehold_testkit::conformance!(sqlite, Sqlite::new());

/// A child's work with a manager of its own on the file that the parent named.
fn with_manager(me: &procs::Me, work: impl AsyncFnOnce(&Manager)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let door = RealDoor::new().unwrap();
        let store = SqliteStore::open(&me.input, door.clone()).unwrap();
        let manager = Manager::builder(Arc::new(store), door)
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        work(&manager).await;
        manager.shutdown(Duration::from_secs(10)).await.unwrap();
    });
}

#[test]
fn one_lessee_of_8_processes() {
    if let Some(me) = procs::child() {
        return with_manager(&me, async |m| procs::race(&me, m, "x", 125).await);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let told = procs::spawn("one_lessee_of_8_processes", 8, path.to_str().unwrap()).wait();
    procs::check_race(&told, 125);
}

#[test]
fn fair_shares_of_8_processes() {
    let length = Duration::from_secs(10);
    if let Some(me) = procs::child() {
        return with_manager(&me, async |m| procs::work_alone(&me, m, length).await);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let told = procs::spawn("fair_shares_of_8_processes", 8, path.to_str().unwrap()).wait();
    procs::check_shares(&told);
}
