//! Who comes next, among processes that share a file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, Manager, RealDoor};
use leasehold_sqlite::SqliteStore;
use leasehold_testkit::procs;

/// Longer than anything here takes: nothing ends by expiry.
const PERIOD: Duration = Duration::from_secs(600);
/// What a busy machine may add.
const SOON: Duration = Duration::from_secs(1);

fn manager(path: &str, id: &str) -> Manager {
    let door = RealDoor::new().unwrap();
    let store = SqliteStore::open(path, door.clone()).unwrap();
    let builder = Manager::builder(Arc::new(store), door).machine_id(id);
    builder.build().unwrap()
}

fn real<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// A child's line, as soon as it has told so many.
async fn told(door: &dyn Door, children: &procs::Children, number: usize, line: usize) -> String {
    let end = door.now().plus(Duration::from_secs(30));
    loop {
        if let Some(told) = children.told()[number].get(line) {
            return told.clone();
        }
        assert!(door.now() < end, "child {number} does not tell line {line}");
        door.sleep_until(door.now().plus(Duration::from_millis(5)))
            .await;
    }
}

/// Complaint 14: a graceful failover takes a lease's period, fifteen seconds at each rollout. Here four processes lead one
/// after the other, each is told to stop, and the next one leads within milliseconds.
#[test]
fn complaint_14_a_leader_that_stops_is_followed_in_milliseconds() {
    const TEST: &str = "complaint_14_a_leader_that_stops_is_followed_in_milliseconds";
    if let Some(me) = procs::child() {
        return real(async {
            let manager = manager(&me.input, &format!("m-{}", me.number));
            let door = manager.door().clone();
            me.tell("waits");
            let election = manager.election("e").period(PERIOD / 20);
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let mut stop = Some(stop);
            let lead = |term: leasehold_core::Term| {
                let (me, door, stop) = (me.clone(), door.clone(), stop.take());
                async move {
                    me.tell(&door.now().as_nanos().to_string());
                    door.sleep_until(door.now().plus(Duration::from_millis(300)))
                        .await;
                    // A rollout: told to stop, and done.
                    drop(stop);
                    term.ending().await;
                    me.tell(&door.now().as_nanos().to_string());
                }
            };
            let led = election.lead_until(async { drop(stopped.await) }, lead);
            led.await.unwrap();
            manager.shutdown(Duration::from_secs(10)).await.unwrap();
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let children = procs::spawn(TEST, 4, path.to_str().unwrap()).wait();
    let mut terms: Vec<(u64, u64)> = children
        .iter()
        .map(|told| (told[1].parse().unwrap(), told[2].parse().unwrap()))
        .collect();
    terms.sort_unstable();
    let gaps: Vec<Duration> = terms
        .windows(2)
        .map(|pair| {
            let gap = pair[1].0.checked_sub(pair[0].1);
            Duration::from_nanos(gap.expect("two lead at once"))
        })
        .collect();
    eprintln!("without a leader for {gaps:?}");
    assert_eq!(gaps.len(), 3);
    assert!(gaps.iter().all(|gap| *gap < SOON), "{gaps:?}");
}

/// All that stands in the registry: name, index, lessee.
async fn records(manager: &Manager) -> Vec<(String, u64, Option<String>)> {
    let mut listing = manager.list("").unwrap();
    let mut records = Vec::new();
    while let Some(status) = listing.next().await.unwrap() {
        let lessee = status.machine_id().map(str::to_owned);
        records.push((status.name().to_string(), status.index(), lessee));
    }
    records
}

/// Complaint 7: a waiter dies, and is the next leader all the same. What waits has nothing in the registry: after its end by
/// `kill -9` nothing of it is left, and the name goes to who is there, at once.
#[test]
fn complaint_07_a_killed_waiter_leaves_no_phantom() {
    const TEST: &str = "complaint_07_a_killed_waiter_leaves_no_phantom";
    if let Some(me) = procs::child() {
        return real(async {
            let manager = manager(&me.input, &format!("m-{}", me.number));
            me.tell("waits");
            let held = manager.lock("x").period(PERIOD).acquire().await.unwrap();
            me.tell("holds");
            held.release().await.unwrap();
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let path = path.to_str().unwrap();
    real(async {
        let manager = manager(path, "first");
        let door = manager.door().clone();
        let held = manager.lock("x").period(PERIOD).acquire().await.unwrap();
        let before = records(&manager).await;
        let mut children = procs::spawn(TEST, 3, path);
        for number in 0..3 {
            told(&*door, &children, number, 0).await;
        }
        // They are in the midst of it.
        door.sleep_until(door.now().plus(Duration::from_millis(500)))
            .await;
        children.kill(0);
        children.kill(1);
        let now = records(&manager).await;
        assert_eq!(now, before, "waiting has left a trace");
        let start = door.now();
        held.release().await.unwrap();
        assert_eq!(told(&*door, &children, 2, 1).await, "holds");
        let waited = door.now().since(start);
        assert!(waited < SOON, "{waited:?}: a dead waiter's turn");
        let told = children.told();
        assert_eq!((told[0].len(), told[1].len()), (1, 1), "{told:?}");
    });
}
