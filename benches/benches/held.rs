//! Many leases, all of them kept alive by one process: what that costs, and whether any of them is ever renewed late.
//!
//! `cargo bench -p leasehold-benches --bench held [-- memory|sqlite|etcd]`; each store in a process of its own. etcd needs the
//! server that scripts/setup installs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a benchmark measures time and may stop at any failure"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use leasehold::{
    Attempt, Door, Held, KeepAlive, Manager, MemoryStore, RealDoor, Request, TermState,
};
use leasehold_benches::{processor_time, resident_kib};
use leasehold_testkit::servers::{Etcd, EtcdVersion};

const PERIOD: Duration = Duration::from_secs(10);
/// With how many leases.
const STORES: [(&str, usize); 3] = [("memory", 100_000), ("sqlite", 100_000), ("etcd", 10_000)];
/// Of a record that is only to be there.
const SHORT: Duration = Duration::from_secs(3);
/// How many are acquired at a time.
const TASKS: usize = 64;
/// For how long it is looked on.
const STEADY: Duration = Duration::from_secs(30);

fn main() {
    if let Ok(store) = std::env::var("LEASEHOLD_BENCH_HELD") {
        let (store, count) = STORES.into_iter().find(|(name, _)| *name == store).unwrap();
        return hold(store, count);
    }
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    // A mere check that it runs: `cargo test --benches`.
    if chosen
        .iter()
        .any(|arg| matches!(arg.as_str(), "--test" | "--list"))
    {
        return;
    }
    let stores = STORES.iter().map(|(store, _)| store).filter(|store| {
        let none = chosen.iter().all(|arg| arg.starts_with('-'));
        none || chosen.iter().any(|arg| arg == *store)
    });
    for store in stores {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let status = child.env("LEASEHOLD_BENCH_HELD", store).status().unwrap();
        assert!(status.success());
    }
}

fn hold(store: &str, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut server = None;
    let manager = match store {
        "memory" => {
            let door: Arc<dyn Door> = RealDoor::on(runtime.handle().clone());
            let store = Arc::new(MemoryStore::new(door.clone()));
            Manager::builder(store, door).build().unwrap()
        }
        "etcd" => {
            let etcd = server.insert(Etcd::start(EtcdVersion::V3_7));
            let url = format!("etcd://{}/held", etcd.address());
            runtime.block_on(leasehold::open(&url)).unwrap()
        }
        _ => {
            let path = folder.path().join("leases.db");
            runtime
                .block_on(leasehold::open(&format!("sqlite://{}", path.display())))
                .unwrap()
        }
    };
    let name = |i: usize| format!("shards/{i:06}");
    let take = async |i: usize, period: Duration| {
        loop {
            let request = Request::new(name(i), period);
            match manager.try_acquire(request).await.unwrap() {
                Attempt::Acquired(lease) => return lease,
                // It is still running out.
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    // The store's own: its records, once they have been written.
    runtime.block_on(async {
        let written = stream::iter(0..count).for_each_concurrent(TASKS, async |i| {
            drop(take(i, SHORT).await);
        });
        written.await;
    });
    std::thread::sleep(SHORT * 2);
    let before = resident_kib();
    let began = Instant::now();
    let held: Vec<Held> = runtime.block_on(async {
        // As they come, in no order of the rows.
        let taken = stream::iter(0..count).map(async |i| {
            let lease = take(i * 7919 % count, PERIOD).await;
            lease.keep_alive(KeepAlive::new())
        });
        taken.buffer_unordered(TASKS).collect().await
    });
    let taken = began.elapsed();
    std::thread::sleep(PERIOD);
    let (began, spent) = (Instant::now(), processor_time());
    let (mut late, mut lost) = (0_usize, 0_usize);
    while began.elapsed() < STEADY {
        std::thread::sleep(Duration::from_secs(1));
        let mut at_risk = 0;
        lost = 0;
        for held in &held {
            match held.state() {
                TermState::AtRisk => at_risk += 1,
                TermState::Lost => lost += 1,
                _ => {}
            }
        }
        late = late.max(at_risk);
    }
    // With what the looking itself costs.
    let used = processor_time() - spent;
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    let memory = resident_kib().saturating_sub(before);
    println!(
        "{store}: {count} leases held for {:.0} s at a period of 10 s (acquired in {:.1} s): late {late}, lost {lost} (bar: 0)",
        began.elapsed().as_secs_f64(),
        taken.as_secs_f64(),
    );
    println!(
        "{store}: {share:.2} of a core (bar: 0.5), {} MB beyond the store's own (bar: 100)",
        memory * 1024 / 1_000_000
    );
    let began = Instant::now();
    runtime.block_on(async {
        drop(held);
        while manager
            .list("shards")
            .unwrap()
            .next()
            .await
            .unwrap()
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    println!(
        "{store}: all of them dropped and released in {:.1} s",
        began.elapsed().as_secs_f64()
    );
}
