//! What `Timing` states about take-overs, against real processes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, KeepAlive, Manager, RealDoor, Timing, TimingSettings};
use leasehold_sqlite::SqliteStore;
use leasehold_testkit::procs;

const PERIOD: Duration = Duration::from_secs(2);
/// What a busy machine may add: it is no real-time system.
const BUSY: Duration = Duration::from_millis(500);

fn manager(folder: &Path) -> Manager {
    let door = RealDoor::new().unwrap();
    let store = SqliteStore::open(folder.join("leases.db"), door.clone()).unwrap();
    Manager::builder(Arc::new(store), door).build().unwrap()
}

/// A process that keeps a lease alive is killed, at several moments between its renewals; another one waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_after_a_kill_lasts_no_longer_than_stated() {
    if let Some(me) = procs::child() {
        let manager = manager(Path::new(&me.input));
        let lease = manager.acquire_lease("x", "m", 0, PERIOD).await.unwrap();
        let held = lease.unwrap().keep_alive(KeepAlive::new());
        me.tell("held");
        held.lost().await;
        panic!("lost");
    }
    let test = "a_take_over_after_a_kill_lasts_no_longer_than_stated";
    for part in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let mut children = procs::spawn(test, 1, folder.path().to_str().unwrap());
        let manager = manager(folder.path());
        let door: Arc<dyn Door> = manager.door().clone();
        let sleep = async |length: Duration| door.sleep_until(door.now().plus(length)).await;
        while children.told()[0].is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        let settings = TimingSettings::new();
        let timing = Timing::new(PERIOD, manager.capabilities(), settings).unwrap();
        let lock = manager.lock("x").period(PERIOD);
        let (held, killed) = futures_util::join!(
            async {
                let held = lock.acquire().await.unwrap();
                (door.now(), held)
            },
            async {
                sleep(PERIOD + timing.renewal() * part / 4).await;
                children.kill(0);
                door.now()
            },
        );
        let took = held.0.since(killed);
        assert!(took <= timing.takeover_after_crash() + BUSY, "{took:?}");
        // Not before the last grant has run out, which is younger than an interval and a bit.
        let least = timing.period() - timing.renewal() - BUSY;
        assert!(took >= least, "{took:?}");
        let other = manager.lock("x").period(PERIOD);
        let (next, released) = futures_util::join!(
            async {
                let next = other.acquire().await.unwrap();
                (door.now(), next)
            },
            async {
                sleep(PERIOD / 4).await;
                held.1.release().await.unwrap();
                door.now()
            },
        );
        let took = next.0.since(released);
        assert!(took <= timing.takeover_after_release() + BUSY, "{took:?}");
    }
}
