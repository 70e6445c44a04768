//! leasehold beside its raw floor, in one run. The last lines are the ratios.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a benchmark measures time and may stop at any failure"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use leasehold::{Attempt, Door, Lease, Manager, MemoryStore, RealDoor, Request, Store};
use leasehold_benches::raw::Raw;
use leasehold_benches::{median, resident_kib};
use tokio::runtime::Runtime;

const PERIOD: Duration = Duration::from_secs(3600);

fn main() {
    if let Some(path) = std::env::var_os("LEASEHOLD_BENCH_WATCHER") {
        return watcher(Path::new(&path));
    }
    if let Some(path) = std::env::var_os("LEASEHOLD_BENCH_HOLDER") {
        return holder(Path::new(&path));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut criterion = Criterion::default()
        .output_directory(&folder.path().join("criterion"))
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    memory(&mut criterion, &runtime);
    sqlite(&mut criterion, &runtime, folder.path());
    criterion.final_summary();
    if std::env::args().any(|arg| matches!(arg.as_str(), "--test" | "--list" | "--profile-time")) {
        return;
    }
    ratios(&runtime, folder.path());
    contended(&runtime, folder.path());
    wake_up(&runtime, folder.path());
    held(folder.path());
}

fn manager(runtime: &Runtime, make: impl FnOnce(Arc<dyn Door>) -> Arc<dyn Store>) -> Manager {
    let door: Arc<dyn Door> = RealDoor::on(runtime.handle().clone());
    Manager::builder(make(door.clone()), door)
        .machine_id("bench")
        .build()
        .unwrap()
}

fn open(runtime: &Runtime, path: &Path) -> Manager {
    manager(runtime, |door| {
        Arc::new(leasehold_sqlite::SqliteStore::open(path, door).unwrap())
    })
}

async fn take(manager: &Manager, name: &str) -> Lease {
    match manager
        .try_acquire(Request::new(name, PERIOD))
        .await
        .unwrap()
    {
        Attempt::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// Runs an async operation as often as asked, without the runtime's cost for each.
fn timed<F: Future<Output = ()>>(
    runtime: &Runtime,
    iterations: u64,
    mut once: impl FnMut() -> F,
) -> Duration {
    runtime.block_on(async {
        let start = Instant::now();
        for _ in 0..iterations {
            once().await;
        }
        start.elapsed()
    })
}

fn operations(criterion: &mut Criterion, runtime: &Runtime, group: &str, manager: &Manager) {
    let mut group = criterion.benchmark_group(group);
    group.bench_function("acquire+release", |b| {
        b.iter_custom(|n| {
            timed(runtime, n, || async {
                take(manager, "one").await.release().await.unwrap()
            })
        });
    });
    let lease = Arc::new(tokio::sync::Mutex::new(
        runtime.block_on(take(manager, "renewed")),
    ));
    group.bench_function("renew", |b| {
        b.iter_custom(|n| {
            timed(runtime, n, || async {
                lease.lock().await.renew(PERIOD).await.unwrap()
            })
        });
    });
    group.bench_function("get", |b| {
        b.iter_custom(|n| {
            timed(runtime, n, || async {
                drop(manager.get_lease("renewed").await.unwrap().unwrap())
            })
        });
    });
    let names: Vec<_> = (0..1000).map(|i| format!("many/{i:04}")).collect();
    let mut leases: Vec<Lease> = runtime.block_on(async {
        let mut leases = Vec::new();
        for name in &names {
            leases.push(take(manager, name).await);
        }
        leases
    });
    for size in [1, 64, 1000] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("renew_all", size), |b| {
            b.iter_custom(|n| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for _ in 0..n {
                        for result in manager
                            .renew_all(leases.iter_mut().take(size), PERIOD)
                            .await
                        {
                            result.unwrap();
                        }
                    }
                    start.elapsed()
                })
            });
        });
    }
    // The same thousand leases, one by one.
    group.throughput(Throughput::Elements(1000));
    group.bench_function("renew_each/1000", |b| {
        b.iter_custom(|n| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..n {
                    for lease in &mut leases {
                        lease.renew(PERIOD).await.unwrap();
                    }
                }
                start.elapsed()
            })
        });
    });
    runtime.block_on(async {
        lease.lock().await.renew(PERIOD).await.unwrap();
        for lease in leases {
            lease.release().await.unwrap();
        }
    });
    group.finish();
}

fn list(criterion: &mut Criterion, runtime: &Runtime, group: &str, manager: &Manager) {
    let leases = std::cell::OnceCell::new();
    // Only where this benchmark is asked for.
    let fill = || -> Vec<Lease> {
        runtime.block_on(async {
            let mut leases = Vec::new();
            for i in 0..100_000 {
                leases.push(take(manager, &format!("list/{i:06}")).await);
            }
            leases
        })
    };
    let mut group = criterion.benchmark_group(group);
    group.sample_size(10);
    group.bench_function("list/100000", |b| {
        leases.get_or_init(fill);
        b.iter_custom(|n| {
            timed(runtime, n, || async {
                let mut listing = manager.list("list").unwrap();
                let mut count = 0;
                while listing.next().await.unwrap().is_some() {
                    count += 1;
                }
                assert_eq!(count, 100_000);
            })
        });
    });
    group.finish();
}

fn memory(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("memory raw");
    let map = std::sync::Mutex::new(HashMap::from([("one".to_owned(), (1_u64, [0_u8; 16]))]));
    group.bench_function("swap", |b| {
        b.iter(|| {
            let mut map = map.lock().unwrap();
            let slot = map.get_mut("one").unwrap();
            let expected = slot.0;
            if slot.0 == expected {
                *slot = (expected + 1, [1; 16]);
            }
        });
    });
    group.finish();
    let manager = manager(runtime, |door| Arc::new(MemoryStore::new(door)));
    operations(criterion, runtime, "memory", &manager);
    list(criterion, runtime, "memory", &manager);
}

fn sqlite(criterion: &mut Criterion, runtime: &Runtime, folder: &Path) {
    let path = folder.join("leases.db");
    let manager = open(runtime, &path);
    let raw_path = folder.join("raw.db");
    drop(open(runtime, &raw_path));
    let mut raw = Raw::open(&raw_path).unwrap();
    let names: Vec<_> = (0..1000).map(|i| format!("many/{i:04}")).collect();
    raw.insert("one").unwrap();
    for name in &names {
        raw.insert(name).unwrap();
    }
    let mut group = criterion.benchmark_group("sqlite raw");
    group.bench_function("swap", |b| {
        b.iter_custom(|n| floor(&mut raw, n, &["one"], false))
    });
    group.bench_function("swap+body", |b| {
        b.iter_custom(|n| floor(&mut raw, n, &["one"], true))
    });
    group.bench_function("get", |b| b.iter(|| raw.get("one").unwrap()));
    for size in [64, 1000] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("swap", size), |b| {
            b.iter_custom(|n| floor(&mut raw, n, &names[..size], false));
        });
    }
    group.finish();
    operations(criterion, runtime, "sqlite", &manager);
    list(criterion, runtime, "sqlite", &manager);
    let listed = Raw::open(&path).unwrap();
    let mut group = criterion.benchmark_group("sqlite raw");
    group.sample_size(10);
    group.bench_function("list/100000", |b| {
        b.iter(|| assert!(listed.list().unwrap() > 0))
    });
    group.finish();
}

/// The raw transaction, its log copied now and then, which is not counted.
fn floor<S: AsRef<str>>(raw: &mut Raw, iterations: u64, names: &[S], body: bool) -> Duration {
    let mut taken = Duration::ZERO;
    for i in 0..iterations {
        let start = Instant::now();
        raw.swap(names.iter().map(AsRef::as_ref), body).unwrap();
        taken += start.elapsed();
        if i % 50 == 49 {
            raw.upkeep().unwrap();
        }
    }
    taken
}

/// Ours and the raw floor in turns, so that other work on the machine disturbs both alike: the median of many small
/// rounds.
fn beside(
    what: &str,
    bar: &str,
    rounds: usize,
    mut ours: impl FnMut() -> Duration,
    mut raw: impl FnMut() -> Duration,
) {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // Nobody contends: not even the store's own upkeep, which a loop without a pause would keep busy.
        std::thread::sleep(Duration::from_millis(10));
        times.0.push(ours());
        std::thread::sleep(Duration::from_millis(10));
        times.1.push(raw());
    }
    let (ours, raw) = (median(times.0), median(times.1));
    let ratio = ours.as_secs_f64() / raw.as_secs_f64();
    println!(
        "{ratio:7.2}x  {what}: {:.1} us / {:.1} us{bar}",
        ours.as_secs_f64() * 1e6,
        raw.as_secs_f64() * 1e6
    );
}

fn time(mut operation: impl FnMut(), times: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        operation();
    }
    start.elapsed() / times
}

fn ratios(runtime: &Runtime, folder: &Path) {
    println!("\nratios to the raw floor, measured in turns (medians)");
    let map = std::sync::Mutex::new(HashMap::from([("one".to_owned(), (1_u64, [0_u8; 16]))]));
    let swap = || {
        let mut map = map.lock().unwrap();
        let slot = map.get_mut("one").unwrap();
        *slot = (slot.0 + 1, [1; 16]);
    };
    let memory = manager(runtime, |door| Arc::new(MemoryStore::new(door)));
    let mut lease = runtime.block_on(take(&memory, "renewed"));
    let renew = |lease: &mut Lease| runtime.block_on(async { lease.renew(PERIOD).await.unwrap() });
    let cycle = |manager: &Manager, name: &str| {
        runtime.block_on(async { take(manager, name).await.release().await.unwrap() });
    };
    beside(
        "memory: renew / HashMap swap",
        "",
        200,
        || time(|| renew(&mut lease), 50),
        || time(swap, 50),
    );
    beside(
        "memory: acquire+release / 2 swaps",
        "",
        200,
        || time(|| cycle(&memory, "one"), 50),
        || 2 * time(swap, 50),
    );

    let manager = open(runtime, &folder.join("ratios.db"));
    let raw_path = folder.join("ratios-raw.db");
    drop(open(runtime, &raw_path));
    let mut raw = Raw::open(&raw_path).unwrap();
    let names: Vec<_> = (0..1000).map(|i| format!("many/{i:04}")).collect();
    names.iter().for_each(|name| raw.insert(name).unwrap());
    let mut leases: Vec<Lease> = runtime.block_on(async {
        let mut leases = Vec::new();
        for name in &names {
            leases.push(take(&manager, name).await);
        }
        leases
    });
    let one = names[500].as_str();
    let bar = "  (bar: at most 1.5)";
    let mut floor = |names: &[String], body: bool, times: u32| {
        let taken = time(
            || raw.swap(names.iter().map(String::as_str), body).unwrap(),
            times,
        );
        // The store copies its log in the background; here it is not counted.
        raw.upkeep().unwrap();
        taken
    };
    let single = std::slice::from_ref(&names[500]);
    beside(
        "sqlite: renew / transaction",
        bar,
        200,
        || time(|| renew(&mut leases[500]), 50),
        || floor(single, false, 50),
    );
    beside(
        "sqlite: acquire+release / 2 transactions",
        bar,
        200,
        || time(|| cycle(&manager, "one"), 50),
        || 2 * floor(single, true, 50),
    );
    for (size, times) in [(64, 10), (1000, 2)] {
        beside(
            &format!("sqlite: {size} renewals batched / one raw transaction of {size}"),
            "",
            60,
            || {
                time(
                    || {
                        let renewed = runtime
                            .block_on(manager.renew_all(leases.iter_mut().take(size), PERIOD));
                        renewed.into_iter().for_each(Result::unwrap);
                    },
                    times,
                )
            },
            || floor(&names[..size], false, times),
        );
    }
    let leases = std::cell::RefCell::new(leases);
    beside(
        "sqlite: 1000 renewals one by one / batched",
        "  (bar: at least 5)",
        30,
        || time(|| leases.borrow_mut().iter_mut().for_each(renew), 1),
        || {
            time(
                || {
                    let renewed =
                        runtime.block_on(manager.renew_all(leases.borrow_mut().iter_mut(), PERIOD));
                    renewed.into_iter().for_each(Result::unwrap);
                },
                1,
            )
        },
    );
    let get = || drop(runtime.block_on(manager.get_lease(one)).unwrap().unwrap());
    let raw = Raw::open(&raw_path).unwrap();
    beside(
        "sqlite: get / row read",
        "",
        200,
        || time(get, 50),
        || time(|| drop(raw.get(one).unwrap()), 50),
    );
}

/// Somebody else writes all the time: ours against the raw transaction plus two hand-offs between threads.
fn contended(runtime: &Runtime, folder: &Path) {
    let path = folder.join("contended.db");
    let manager = open(runtime, &path);
    let mut raw = Raw::open(&path).unwrap();
    raw.insert("raw").unwrap();
    raw.insert("other").unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let other = std::thread::spawn({
        let (stop, path) = (stop.clone(), path.clone());
        move || {
            let mut raw = Raw::open(&path).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                raw.swap(["other"], false).unwrap();
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    });
    let mut lease = runtime.block_on(take(&manager, "ours"));
    let (mut ours, mut floor, mut hand_off) = (Vec::new(), Vec::new(), Vec::new());
    let (ask, asked) = std::sync::mpsc::channel::<tokio::sync::oneshot::Sender<()>>();
    let echo = std::thread::spawn(move || {
        asked
            .iter()
            .for_each(|reply| reply.send(()).unwrap_or_default())
    });
    for _ in 0..5000 {
        let start = Instant::now();
        runtime.block_on(lease.renew(PERIOD)).unwrap();
        ours.push(start.elapsed());
        let start = Instant::now();
        raw.swap(["raw"], false).unwrap();
        floor.push(start.elapsed());
        let start = Instant::now();
        let (reply, answer) = tokio::sync::oneshot::channel();
        ask.send(reply).unwrap();
        runtime.block_on(answer).unwrap();
        hand_off.push(start.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(ask);
    other.join().unwrap();
    echo.join().unwrap();
    let mean = |times: &[Duration]| times.iter().sum::<Duration>() / times.len() as u32;
    println!(
        "sqlite, contended: renew median {:?} mean {:?}; raw transaction median {:?} mean {:?}; two hand-offs median {:?} mean {:?} \
         (bar: renew at most raw + two hand-offs)",
        median(ours.clone()),
        mean(&ours),
        median(floor.clone()),
        mean(&floor),
        median(hand_off.clone()),
        mean(&hand_off)
    );
}

/// The other process of [`wake_up`]: tells the boot clock's time when it learns that the name is vacant.
fn watcher(path: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let manager = open(&runtime, path);
    runtime.block_on(async {
        let mut watch = manager.watch("watched").unwrap();
        loop {
            let event = watch.next().await.unwrap();
            let now = manager.door().now().as_nanos();
            let held = event.status.is_some_and(|status| status.is_held());
            println!("{} {now}", u8::from(held));
            std::io::stdout().flush().unwrap();
        }
    });
}

/// A release in this process, a watch in another.
fn wake_up(runtime: &Runtime, folder: &Path) {
    let path = folder.join("watched.db");
    let manager = open(runtime, &path);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env("LEASEHOLD_BENCH_WATCHER", &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |held: char| loop {
        let line = lines.next().unwrap().unwrap();
        if line.starts_with(held) {
            return line[2..].parse::<u64>().unwrap();
        }
    };
    until('0');
    let mut times = Vec::new();
    for _ in 0..200 {
        let lease = runtime.block_on(take(&manager, "watched"));
        until('1');
        std::thread::sleep(Duration::from_millis(3));
        let start = manager.door().now().as_nanos();
        runtime.block_on(lease.release()).unwrap();
        times.push(Duration::from_nanos(until('0').saturating_sub(start)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let worst = times.iter().max().copied().unwrap_or_default();
    println!(
        "sqlite: another process woken by a release: median {:?}, worst {worst:?} (bar: median 5 ms)",
        median(times)
    );
}

/// The memory of 100,000 leases held by one manager, in a process of its own.
fn held(folder: &Path) {
    let path = folder.join("held.db");
    let status = Command::new(std::env::current_exe().unwrap())
        .env("LEASEHOLD_BENCH_HOLDER", &path)
        .status()
        .unwrap();
    assert!(status.success());
}

fn holder(path: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let manager = open(&runtime, path);
    drop(runtime.block_on(take(&manager, "first")));
    let before = resident_kib();
    let leases: Vec<Lease> = runtime.block_on(async {
        let mut leases = Vec::with_capacity(100_000);
        for i in 0..100_000 {
            leases.push(take(&manager, &format!("held/{i:06}")).await);
        }
        leases
    });
    let after = resident_kib();
    println!(
        "sqlite: {} leases held by one manager: {} MiB (bar: under 100 MB)",
        leases.len(),
        after.saturating_sub(before) / 1024
    );
}
