//! Many processes and one file.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use futures_util::{FutureExt, StreamExt};
use leasehold_core::store::{Outcome, Scope};
use leasehold_core::{Manager, Prefix, Store};
use leasehold_sqlite::Config;

fn wait_for(path: &std::path::Path) {
    while !path.exists() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn processes_open_a_new_file_at_once() {
    const TEST: &str = "processes_open_a_new_file_at_once";
    if let Some((role, path)) = role() {
        wait_for(&path.with_file_name("go"));
        let db = open(&path);
        let own = db.applied(acquire(&role, None, PERIOD)).await.index;
        println!("\nindex: {own}");
        let won = db.one(acquire("shared", None, PERIOD)).await;
        println!("\nwon: {}", matches!(won, Outcome::Applied(_)));
        return;
    }
    for round in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/l.db");
        if round % 2 == 0 {
            std::fs::create_dir(dir.path().join("sub")).unwrap();
        }
        let children: Vec<_> = (0..6)
            .map(|i| spawn(TEST, &format!("p{i}"), &path))
            .collect();
        std::thread::yield_now();
        std::fs::create_dir_all(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/go"), "").unwrap();
        let outputs: Vec<_> = children
            .into_iter()
            .map(|child| succeeded(child.wait_with_output().unwrap()))
            .collect();
        let indexes: BTreeSet<_> = outputs.iter().flat_map(|o| said(o, "index: ")).collect();
        assert_eq!(indexes.len(), 6, "an index was given out twice");
        let won = outputs
            .iter()
            .flat_map(|o| said(o, "won: "))
            .filter(|w| w == "true");
        assert_eq!(won.count(), 1);
    }
}

#[tokio::test]
async fn threads_open_a_new_file_at_once() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let runtime = tokio::runtime::Handle::current();
        std::thread::scope(|scope| {
            for i in 0..6 {
                let (path, runtime) = (&path, &runtime);
                scope.spawn(move || {
                    let _in = runtime.enter();
                    let db = open(path);
                    let own = db.one(acquire(&format!("t{i}"), None, PERIOD));
                    assert!(matches!(
                        futures_util::FutureExt::now_or_never(own),
                        None | Some(Outcome::Applied(_))
                    ));
                });
            }
        });
    }
}

#[tokio::test]
async fn watches_wake_other_processes_in_milliseconds() {
    const TEST: &str = "watches_wake_other_processes_in_milliseconds";
    if let Some((_, path)) = role() {
        let db = open(&path);
        let mut index = None;
        for _ in 0..20 {
            db.door
                .sleep_until(db.door.now().plus(Duration::from_millis(30)))
                .await;
            let change = match index {
                None | Some((_, false)) => acquire("a", index.map(|(i, _)| i), PERIOD),
                Some((index, true)) => release("a", index),
            };
            let start = db.door.now();
            let applied = db.applied(change).await.index;
            println!("\nsent: {}", start.as_nanos());
            index = Some((applied, index.is_none_or(|(_, held)| !held)));
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    // No net: notifications alone.
    let db = open_with(Config::new(&path).poll(Duration::from_secs(3600))).unwrap();
    let mut watch = db.store.watch(Scope::Prefix(Prefix::new("a").unwrap()));
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    let child = spawn(TEST, "write", &path);
    let mut heard = Vec::new();
    let end = db.door.now().plus(Duration::from_secs(2));
    loop {
        tokio::select! {
            _ = watch.next() => heard.push(db.door.now().as_nanos()),
            () = db.door.sleep_until(end) => break,
        }
    }
    let output = succeeded(child.wait_with_output().unwrap());
    let sent: Vec<u64> = said(&output, "sent: ")
        .iter()
        .map(|at| at.parse().unwrap())
        .collect();
    assert_eq!(sent.len(), 20);
    let mut delays: Vec<_> = sent
        .iter()
        .map(|sent| match heard.iter().find(|heard| *heard >= sent) {
            Some(heard) => Duration::from_nanos(heard - sent),
            None => panic!("never heard of: {sent} in {heard:?}"),
        })
        .collect();
    delays.sort();
    eprintln!(
        "woken after {:?} (median), {:?} (worst)",
        delays[10], delays[19]
    );
    assert!(delays[10] < Duration::from_millis(10), "{delays:?}");
    assert!(delays[19] < Duration::from_millis(200), "{delays:?}");
    assert!(ticks() - before < 100, "busy: {} ticks", ticks() - before);
}

#[tokio::test]
async fn without_notifications_the_slow_look_finds_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open_with(Config::new(&path).poll(Duration::from_millis(50))).unwrap();
    let mut watch = db.store.watch(Scope::Name(name("a")));
    db.door
        .sleep_until(db.door.now().plus(Duration::from_millis(150)))
        .await;
    while watch.next().now_or_never().is_some() {}
    // Another program's write, which tells nobody.
    raw(&path)
        .execute("INSERT INTO lease(name, body) VALUES ('a', 'engine')", [])
        .unwrap();
    let late = db
        .door
        .sleep_until(db.door.now().plus(Duration::from_secs(3)));
    tokio::select! {
        signal = watch.next() => assert!(signal.is_some()),
        () = late => panic!("no signal"),
    }
    // And silence where nothing changes.
    db.door
        .sleep_until(db.door.now().plus(Duration::from_millis(120)))
        .await;
    while watch.next().now_or_never().is_some() {}
    db.door
        .sleep_until(db.door.now().plus(Duration::from_millis(300)))
        .await;
    assert_eq!(watch.next().now_or_never(), None);
}

#[tokio::test]
async fn processes_that_write_without_a_pause_each_get_their_share() {
    const TEST: &str = "processes_that_write_without_a_pause_each_get_their_share";
    const RUN: Duration = Duration::from_secs(4);
    if let Some((role, path)) = role() {
        let db = open(&path);
        let mut held = db
            .applied(acquire(&role, None, Duration::from_secs(60)))
            .await
            .index;
        let fence = held;
        std::fs::write(path.with_file_name(format!("ready-{role}")), "").unwrap();
        wait_for(&path.with_file_name("go"));
        let end = db.door.now().plus(RUN);
        let mut count = 0;
        let mut worst = Duration::ZERO;
        loop {
            let start = db.door.now();
            if start >= end {
                break;
            }
            held = db
                .applied(renew(&role, held, fence, Duration::from_secs(60)))
                .await
                .index;
            worst = worst.max(db.door.now().since(start));
            count += 1;
        }
        println!("\ncount: {count}");
        println!("\nworst: {worst:?}");
        db.close().await;
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    open(&path).close().await;
    let children: Vec<_> = (0..8)
        .map(|i| spawn(TEST, &format!("p{i}"), &path))
        .collect();
    for i in 0..8 {
        wait_for(&dir.path().join(format!("ready-p{i}")));
    }
    std::fs::write(dir.path().join("go"), "").unwrap();
    let outputs: Vec<_> = children
        .into_iter()
        .map(|child| succeeded(child.wait_with_output().unwrap()))
        .collect();
    let counts: Vec<u64> = outputs
        .iter()
        .flat_map(|o| said(o, "count: "))
        .map(|count| count.parse().unwrap())
        .collect();
    let worst: Vec<_> = outputs.iter().flat_map(|o| said(o, "worst: ")).collect();
    let total: u64 = counts.iter().sum();
    eprintln!("{counts:?} total {total} in {RUN:?}, worst {worst:?}");
    assert_eq!(counts.len(), 8);
    for count in &counts {
        assert!(*count >= total / 8 / 4, "{counts:?}");
    }
    // The log does not grow without bound under it.
    let log = std::fs::metadata(dir.path().join("l.db-wal"))
        .unwrap()
        .len();
    assert!(log < 128 << 20, "{log}");
}

/// Two processes that release and ask again, again and again: each has the name a fair part of the time.
#[tokio::test]
async fn a_releaser_in_a_loop_does_not_starve_another_process() {
    const TEST: &str = "a_releaser_in_a_loop_does_not_starve_another_process";
    const HOLD: Duration = Duration::from_millis(5);
    if let Some((role, path)) = role() {
        wait_for(&path.with_file_name("go"));
        let db = open(&path);
        let manager = Manager::builder(std::sync::Arc::new(db.store.clone()), db.door.clone());
        let manager = manager.machine_id(role).build().unwrap();
        let sleep = |length| db.door.sleep_until(db.door.now().plus(length));
        let (lock, end) = (
            manager.lock("x"),
            db.door.now().plus(Duration::from_secs(3)),
        );
        let mut had = 0;
        while db.door.now() < end {
            let held = lock.acquire().await.unwrap();
            sleep(HOLD).await;
            held.release().await.unwrap();
            had += 1;
        }
        println!("\nhad: {had}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    open(&path).close().await;
    let children = ["a", "b"].map(|role| spawn(TEST, role, &path));
    std::fs::write(dir.path().join("go"), "").unwrap();
    let had: Vec<u32> = children
        .into_iter()
        .flat_map(|child| said(&succeeded(child.wait_with_output().unwrap()), "had: "))
        .map(|had| had.parse().unwrap())
        .collect();
    let total: u32 = had.iter().sum();
    println!("{had:?}");
    assert!(had.len() == 2 && total > 20, "{had:?}");
    // A quarter at least, where the machine is busy, too.
    assert!(had.iter().all(|had| had * 4 >= total), "{had:?}");
}
