//! What is kept in an SQLite database of the user's own refuses those whose term is over.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, Error, ErrorKind, Lease, Manager, RealDoor, Result};
use leasehold_sqlite::{SqliteStore, fence};
use leasehold_testkit::procs;
use rusqlite::{Connection, TransactionBehavior};

const PERIOD: Duration = Duration::from_secs(1);

/// The user's database: who wrote last, under a guard and without one.
fn database(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    fence::create(&connection).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS work (place TEXT PRIMARY KEY, by TEXT, sum INTEGER);
             INSERT INTO work VALUES ('guarded', 'nobody', 0), ('bare', 'nobody', 0)
             ON CONFLICT DO NOTHING",
        )
        .unwrap();
    connection
}

fn write(connection: &Connection, place: &str, by: &str) {
    let sql = "UPDATE work SET by = ?2, sum = sum + 1 WHERE place = ?1";
    assert_eq!(connection.execute(sql, (place, by)).unwrap(), 1);
}

fn last(connection: &Connection, place: &str) -> String {
    let sql = "SELECT by FROM work WHERE place = ?1";
    connection
        .query_row(sql, (place,), |row| row.get(0))
        .unwrap()
}

/// What every lessee does: admitted first, then at work, in one transaction.
fn guarded(connection: &mut Connection, by: &str, fence: u64) -> Result<()> {
    let immediate = TransactionBehavior::Immediate;
    let tx = connection.transaction_with_behavior(immediate).unwrap();
    fence::admit(&tx, "work", fence)?;
    write(&tx, "guarded", by);
    tx.commit().unwrap();
    Ok(())
}

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

fn is_over(error: &Error, old: u64, new: u64) {
    assert_eq!(error.kind(), ErrorKind::Changed);
    let told = error.to_string();
    for part in [&*old.to_string(), &new.to_string(), "\"work\""] {
        assert!(told.contains(part), "{told}");
    }
}

/// The holder checks that its term stands, and is stopped there; its successor works; it goes on, and writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_wakes_up_and_its_late_write_is_refused() {
    if let Some(me) = procs::child() {
        let folder = Path::new(&me.input);
        let mut connection = database(&folder.join("work.db"));
        let (_manager, lease) = lease(folder).await;
        guarded(&mut connection, "old", lease.fence()).unwrap();
        assert!(lease.is_current());
        me.stop_here();
        let refused = guarded(&mut connection, "old", lease.fence()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Changed);
        // Without a guard it is done: that the term stood was true when it was asked.
        write(&connection, "bare", "old");
        return me.tell(&format!("{}\n{refused}", lease.fence()));
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "a_stopped_process_wakes_up_and_its_late_write_is_refused";
    let children = procs::spawn(test, 1, folder.path().to_str().unwrap());
    children.wait_stopped(0);
    let mut connection = database(&folder.path().join("work.db"));
    assert_eq!(last(&connection, "guarded"), "old");
    let (_manager, new) = lease(folder.path()).await;
    guarded(&mut connection, "new", new.fence()).unwrap();
    write(&connection, "bare", "new");
    children.cont(0);
    let told = children.wait().remove(0);
    assert_eq!(last(&connection, "guarded"), "new");
    assert_eq!(last(&connection, "bare"), "old", "not late at all");
    let refused = &told[1];
    assert!(told[0].parse::<u64>().unwrap() < new.fence());
    for part in [told[0].as_str(), &new.fence().to_string(), "\"work\""] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn a_term_is_admitted_again_and_again_an_earlier_one_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = database(&folder.path().join("work.db"));
    for fence in [7, 7, 9, 9] {
        guarded(&mut connection, "x", fence).unwrap();
    }
    is_over(&guarded(&mut connection, "y", 7).unwrap_err(), 7, 9);
    is_over(&guarded(&mut connection, "y", 8).unwrap_err(), 8, 9);
    assert_eq!(last(&connection, "guarded"), "x");
    assert_eq!(fence::greatest(&connection, "work").unwrap(), Some(9));
    // Another guard has nothing to do with it; a mark that is rolled back was none.
    let tx = connection.transaction().unwrap();
    fence::admit(&tx, "other", 1).unwrap();
    fence::admit(&tx, "work", 100).unwrap();
    drop(tx);
    assert_eq!(fence::greatest(&connection, "other").unwrap(), None);
    guarded(&mut connection, "z", 9).unwrap();
    let error = guarded(&mut connection, "z", u64::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// The old holder's transaction is open. If it was admitted, the new one's waits for it and sees what it wrote.
#[test]
fn who_marks_waits_for_the_transaction_that_was_admitted_and_sees_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.db");
    let mut old = database(&path);
    let tx = old
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    fence::admit(&tx, "work", 7).unwrap();
    std::thread::scope(|scope| {
        let new = scope.spawn(|| {
            let mut new = database(&path);
            let immediate = TransactionBehavior::Immediate;
            let tx = new.transaction_with_behavior(immediate).unwrap();
            fence::admit(&tx, "work", 9).unwrap();
            last(&tx, "guarded")
        });
        std::thread::park_timeout(Duration::from_millis(200));
        assert!(!new.is_finished(), "it did not wait");
        write(&tx, "guarded", "old");
        tx.commit().unwrap();
        assert_eq!(new.join().unwrap(), "old");
    });
}

/// It is open and was not admitted yet, and has read: what it read is past, so it has to begin anew, and is refused then.
#[test]
fn who_was_not_admitted_yet_is_refused_once_a_later_term_has_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.db");
    let (mut old, mut new) = (database(&path), database(&path));
    let tx = old.transaction().unwrap();
    assert_eq!(last(&tx, "guarded"), "nobody");
    guarded(&mut new, "new", 9).unwrap();
    let error = fence::admit(&tx, "work", 7).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let source = std::error::Error::source(&error).and_then(|e| e.downcast_ref());
    let busy = rusqlite::ErrorCode::DatabaseBusy;
    assert_eq!(
        source.and_then(rusqlite::Error::sqlite_error_code),
        Some(busy)
    );
    drop(tx);
    is_over(&guarded(&mut old, "old", 7).unwrap_err(), 7, 9);
}

/// Why a new lessee marks before it reads: what it read before may be written by the old one until it marks.
#[test]
fn who_reads_before_it_marks_misses_the_old_ones_last_write() {
    let sum = |connection: &Connection| -> i64 {
        let sql = "SELECT sum FROM work WHERE place = 'guarded'";
        connection.query_row(sql, (), |row| row.get(0)).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    for marks_first in [false, true] {
        let path = folder.path().join(format!("{marks_first}.db"));
        let (mut old, mut new) = (database(&path), database(&path));
        let mark = |connection: &mut Connection| {
            let tx = connection.transaction().unwrap();
            fence::admit(&tx, "work", 9).unwrap();
            tx.commit().unwrap();
        };
        if marks_first {
            mark(&mut new);
        }
        let read = sum(&new);
        let late = guarded(&mut old, "old", 7);
        if !marks_first {
            mark(&mut new);
        }
        // Both orders: what the new one writes is made from what it read.
        assert_eq!(late.is_err(), marks_first);
        assert_eq!(
            sum(&new) == read,
            marks_first,
            "the old one's write is lost"
        );
    }
}
