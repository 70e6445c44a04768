//! Who waits for a name, in a process of its own.
#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, Drift, Manager, RealDoor};
use leasehold_etcd::{Cluster, Config, EtcdClient, EtcdStore};
use leasehold_testkit::procs;
use leasehold_testkit::servers::{Etcd, EtcdVersion};

/// Longer than anything here takes: nothing ends by expiry.
const PERIOD: Duration = Duration::from_secs(600);
/// What a busy machine may add.
const SOON: Duration = Duration::from_secs(2);

fn manager(address: &str, id: &str) -> Manager {
    let door = RealDoor::new().unwrap();
    let client = EtcdClient::new(Config::new([address]), door.clone()).unwrap();
    let cluster = Cluster {
        location: "etcd:".into(),
        prefix: "/waiters".into(),
        least: Duration::from_secs(1),
        drift: Drift::Unknown,
    };
    let store = EtcdStore::new(Arc::new(client), door.clone(), cluster);
    let builder = Manager::builder(Arc::new(store), door).machine_id(id);
    builder.build().unwrap()
}

fn real<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
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

/// Complaint 7: a waiter's session expires, and it leads all the same, or waits for ever in front of others. Here who waits has
/// neither a key nor a session: after its end by `kill -9` the name goes to who is there, at once.
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
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let address = etcd.address().to_string();
    let keys = || etcd.ctl(&["get", "--prefix", "--keys-only", "/"]).unwrap();
    real(async {
        let manager = manager(&address, "first");
        let door = manager.door().clone();
        let held = manager.lock("x").period(PERIOD).acquire().await.unwrap();
        let before = keys();
        assert!(before.contains("/waiters/"), "{before}");
        let mut children = procs::spawn(TEST, 3, &address);
        for number in 0..3 {
            told(&*door, &children, number, 0).await;
        }
        // They are in the midst of it.
        door.sleep_until(door.now().plus(SOON)).await;
        children.kill(0);
        children.kill(1);
        assert_eq!(keys(), before, "waiting has left a trace");
        let start = door.now();
        held.release().await.unwrap();
        assert_eq!(told(&*door, &children, 2, 1).await, "holds");
        let waited = door.now().since(start);
        eprintln!("taken after {waited:?}");
        assert!(waited < SOON, "{waited:?}: a dead waiter's turn");
        let told = children.told();
        assert_eq!((told[0].len(), told[1].len()), (1, 1), "{told:?}");
    });
}
