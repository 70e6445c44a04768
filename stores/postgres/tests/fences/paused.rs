//! A real process that is stopped between its check and its act.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, ErrorKind, Lease, Manager, RealDoor};
use leasehold_sqlite::SqliteStore;
use leasehold_testkit::procs;

use super::*;

const PERIOD: Duration = Duration::from_secs(1);

/// The registry need not be where the data are.
async fn lease(folder: &Path) -> (Manager, Lease) {
    let door = RealDoor::new().unwrap();
    let store = SqliteStore::open(folder.join("leases.db"), door.clone()).unwrap();
    let manager = Manager::builder(Arc::new(store), door.clone())
        .build()
        .unwrap();
    loop {
        let lease = manager.acquire_lease("work", "m", 0, PERIOD).await.unwrap();
        match lease {
            Some(lease) => return (manager, lease),
            None => door.sleep_until(door.now().plus(PERIOD / 20)).await,
        }
    }
}

/// The holder checks that its term stands, and is stopped there; its successor works; it goes on, and writes.
async fn late_write(test: &str, level: IsolationLevel) {
    if let Some(me) = procs::child() {
        let (folder, config) = me.input.split_once('\n').unwrap();
        let mut client = connect(config).await;
        let (_manager, lease) = lease(Path::new(folder)).await;
        let fence = lease.fence();
        guarded(&mut client, level, "old", fence).await.unwrap();
        assert!(lease.is_current());
        me.stop_here();
        let refused = guarded(&mut client, level, "old", fence).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Changed);
        // Without a guard it is done: that the term stood was true when it was asked.
        write(&client, "bare", "old").await;
        return me.tell(&format!("{fence}\n{refused}"));
    }
    let config = database().await;
    let folder = tempfile::tempdir().unwrap();
    let input = format!("{}\n{config}", folder.path().display());
    let children = procs::spawn(test, 1, &input);
    children.wait_stopped(0);
    let mut client = connect(&config).await;
    assert_eq!(last(&client, "guarded").await, ("old".to_owned(), 1));
    let (_manager, new) = lease(folder.path()).await;
    let fence = new.fence();
    guarded(&mut client, level, "new", fence).await.unwrap();
    write(&client, "bare", "new").await;
    children.cont(0);
    let told = children.wait().remove(0);
    assert_eq!(last(&client, "guarded").await, ("new".to_owned(), 2));
    let bare = last(&client, "bare").await;
    assert_eq!(bare, ("old".to_owned(), 2), "not late at all");
    let old: u64 = told[0].parse().unwrap();
    assert!(old < fence);
    for part in [&*old.to_string(), &fence.to_string(), "\"work\""] {
        assert!(told[1].contains(part), "{}", told[1]);
    }
}

#[tokio::test]
async fn a_stopped_process_s_late_write_is_refused_under_read_committed() {
    let test = "paused::a_stopped_process_s_late_write_is_refused_under_read_committed";
    late_write(test, READ_COMMITTED).await;
}

#[tokio::test]
async fn a_stopped_process_s_late_write_is_refused_under_serializable() {
    let test = "paused::a_stopped_process_s_late_write_is_refused_under_serializable";
    late_write(test, SERIALIZABLE).await;
}
