//! Threads end with their store. Alone in its binary, so that it counts its own threads only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::*;
use leasehold_core::store::Scope;
use leasehold_core::{Prefix, Store};

#[tokio::test]
async fn a_dropped_store_leaves_no_thread_and_a_closed_one_a_small_log() {
    let count = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter(|task| {
                let comm = task.as_ref().unwrap().path().join("comm");
                let name = std::fs::read_to_string(comm).unwrap_or_default();
                name.starts_with("leasehold-") && !name.starts_with("leasehold-timer")
            })
            .count()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let mut index = None;
    for _ in 0..60 {
        let db = open(&path);
        for _ in 0..15 {
            let held = db.applied(acquire("a", index, PERIOD)).await.index;
            index = Some(db.applied(release("a", held)).await.index);
        }
        db.close().await;
        let log = std::fs::metadata(dir.path().join("l.db-wal"))
            .unwrap()
            .len();
        assert!(log <= 6 << 20, "{log}");
    }
    let before = count();
    let db = open(&path);
    let mut held = db.applied(acquire("b", None, PERIOD)).await.index;
    for _ in 0..3000 {
        held = db.applied(renew("b", held, held, PERIOD)).await.index;
    }
    let watch = db.store.watch(Scope::Prefix(Prefix::all()));
    assert!(count() > before, "the log was copied by a thread");
    drop(db.store);
    drop(watch);
    for _ in 0..100 {
        if count() <= before {
            return;
        }
        db.door
            .sleep_until(db.door.now().plus(Duration::from_millis(20)))
            .await;
    }
    panic!("threads are left");
}
