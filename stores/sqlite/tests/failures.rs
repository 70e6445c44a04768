//! What can be wrong with a file, its folder and its disk: each has a clear error.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use common::*;
use leasehold_core::store::Outcome;
use leasehold_core::{Door, ErrorKind, RealDoor, Store};
use leasehold_sqlite::Config;

fn refused(config: Config, kind: ErrorKind, words: &[&str]) {
    let error = open_with(config).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} in: {error}");
    }
}

/// Prints what opening (and a first acquire) comes to, for tests that look at it from outside.
async fn report(path: &Path) {
    match open_with(Config::new(path).patience(Duration::from_millis(300))) {
        Ok(db) => match db.one(acquire("a", None, PERIOD)).await {
            Outcome::Applied(_) | Outcome::Refused { .. } => println!("\nreport: ok"),
            Outcome::NotApplied(error) | Outcome::Unknown(error) => {
                println!("\nreport: write {:?} {error}", error.kind());
            }
        },
        Err(error) => println!("\nreport: {:?} {error}", error.kind()),
    }
}

/// The report of a process of its own, run by `wrapper`.
fn reported(wrapper: &[&str], test: &str, path: &Path) -> String {
    let output = succeeded(part(wrapper, test, "report", path).output().unwrap());
    said(&output, "report: ").pop().unwrap()
}

/// Runs a part of a test in a mount namespace of its own, after a shell script with `$DIR` made it ready.
fn in_mounts(
    test: &str,
    role: &str,
    script: &str,
    dir: &Path,
    path: &Path,
) -> std::process::Output {
    let script = format!(
        "{{ {script}; }} || {{ echo 'this test has to mount: run it as root' >&2; exit 77; }}; exec \"$@\""
    );
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let output = part(&wrapper, test, role, path)
        .env("DIR", dir)
        .output()
        .unwrap();
    succeeded(output)
}

#[tokio::test]
async fn files_that_are_not_ours_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("text"), "dear diary, ".repeat(500)).unwrap();
    std::fs::write(file("short"), "x").unwrap();
    std::fs::write(file("page"), "y".repeat(600)).unwrap();
    for name in ["text", "short", "page"] {
        let before = std::fs::read(file(name)).unwrap();
        refused(
            Config::new(file(name)),
            ErrorKind::Foreign,
            &["no SQLite database", name],
        );
        assert_eq!(std::fs::read(file(name)).unwrap(), before);
    }
    raw(&file("other"))
        .execute_batch("CREATE TABLE notes(x)")
        .unwrap();
    let before = std::fs::read(file("other")).unwrap();
    refused(
        Config::new(file("other")),
        ErrorKind::Foreign,
        &["of another program", "other"],
    );
    assert_eq!(std::fs::read(file("other")).unwrap(), before);
    refused(
        Config::new(dir.path()),
        ErrorKind::InvalidInput,
        &["no file"],
    );
    refused(
        Config::new(file("none")).create(false),
        ErrorKind::InvalidInput,
        &["no registry at", "none"],
    );
    assert!(!file("none").exists());
    refused(
        Config::new(file("text/below")),
        ErrorKind::InvalidInput,
        &["text/below"],
    );
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    open(&path).close().await;
    raw(&path)
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    refused(
        Config::new(&path),
        ErrorKind::Foreign,
        &["newer leasehold", "99", "upgrade"],
    );
    raw(&path).execute_batch("PRAGMA user_version = 1").unwrap();
    open(&path);
}

#[tokio::test]
async fn a_corrupt_file_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    for i in 0..200 {
        db.applied(acquire(&format!("n{i}"), None, PERIOD)).await;
    }
    db.close().await;
    raw(&path)
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 6 * 4096);
    for byte in &mut bytes[4096..] {
        *byte ^= 0x5A;
    }
    std::fs::write(&path, &bytes).unwrap();
    match open_with(Config::new(&path)) {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
            assert!(error.to_string().contains("damaged"), "{error}");
        }
        Ok(_) => panic!("opened"),
    }
    // Only the leases' pages: the file opens, operations say what is wrong.
    for byte in &mut bytes[4096..] {
        *byte ^= 0x5A;
    }
    let root: u32 = {
        std::fs::write(&path, &bytes).unwrap();
        raw(&path)
            .query_row(
                "SELECT rootpage FROM sqlite_master WHERE name = 'lease'",
                [],
                |r| r.get(0),
            )
            .unwrap()
    };
    let start = (root as usize - 1) * 4096;
    bytes[start..start + 4096].fill(0xA5);
    std::fs::write(&path, &bytes).unwrap();
    let db = open(&path);
    let error = db.store.get(&name("n1"), db.until()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
    let outcome = db.one(renew("n1", 1, 1, PERIOD)).await;
    let Outcome::NotApplied(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
    assert!(error.to_string().contains("damaged"), "{error}");
    // The counter's row is gone.
    let path = dir.path().join("m.db");
    open(&path).close().await;
    raw(&path).execute_batch("DELETE FROM meta").unwrap();
    refused(
        Config::new(&path),
        ErrorKind::Foreign,
        &["damaged", "counter"],
    );
}

#[tokio::test]
async fn a_file_that_was_replaced_or_removed_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    let held = db.applied(acquire("a", None, PERIOD)).await.index;
    let other = dir.path().join("other.db");
    open(&other).applied(acquire("b", None, PERIOD)).await;
    let moved = dir.path().join("moved.db");
    std::fs::rename(&path, &moved).unwrap();
    for replaced in [false, true] {
        if replaced {
            std::fs::rename(&other, &path).unwrap();
        }
        let error = db.store.get(&name("a"), db.until()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("replaced or removed"), "{error}");
        let Outcome::NotApplied(error) = db.one(renew("a", held, held, PERIOD)).await else {
            panic!()
        };
        assert!(error.to_string().contains("reopen"), "{error}");
        assert!(
            db.store
                .list(&leasehold_core::Prefix::all(), None, 9, db.until())
                .await
                .is_err()
        );
    }
    std::fs::rename(&moved, &path).unwrap();
    db.applied(renew("a", held, held, PERIOD)).await;
}

#[tokio::test]
async fn files_are_created_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().join("x/y/l.db");
    let db = open(&path);
    let _watch = db
        .store
        .watch(leasehold_core::store::Scope::Name(name("a")));
    db.applied(acquire("a", None, PERIOD)).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    for folder in ["x", "x/y"] {
        assert_eq!(mode(&dir.path().join(folder)), 0o700);
    }
    assert_eq!(mode(dir.path()), 0o755);
    for suffix in ["", "-wal", "-shm", "-notify"] {
        let path = dir.path().join(format!("x/y/l.db{suffix}"));
        assert_eq!(mode(&path), 0o600, "{suffix}");
    }
}

#[tokio::test]
async fn without_permission_the_error_names_user_and_file() {
    const TEST: &str = "without_permission_the_error_names_user_and_file";
    if let Some((_, path)) = role() {
        return report(&path).await;
    }
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    db.applied(acquire("z", None, PERIOD)).await;
    db.close().await;
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    set(dir.path(), 0o700);
    let report = reported(&nobody, TEST, &path);
    assert!(report.starts_with("Permission cannot look at"), "{report}");
    set(dir.path(), 0o755);
    let report = reported(&nobody, TEST, &path);
    assert!(
        report.starts_with("Permission") && report.contains("65534"),
        "{report}"
    );
    assert!(report.contains("the file"), "{report}");
    for suffix in ["", "-wal", "-shm", "-notify"] {
        set(&dir.path().join(format!("l.db{suffix}")), 0o666);
    }
    let report = reported(&nobody, TEST, &path);
    assert!(
        report.starts_with("Permission") && report.contains("the folder"),
        "{report}"
    );
    // A new file, where none may be created.
    let report = reported(&nobody, TEST, &dir.path().join("new.db"));
    assert!(report.starts_with("Permission cannot create"), "{report}");
    set(dir.path(), 0o777);
    assert_eq!(reported(&nobody, TEST, &path), "ok");
    assert_eq!(reported(&nobody, TEST, &dir.path().join("new.db")), "ok");
}

#[tokio::test]
async fn a_read_only_file_system_is_told_as_such() {
    const TEST: &str = "a_read_only_file_system_is_told_as_such";
    if let Some((_, path)) = role() {
        return report(&path).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    open(&path).close().await;
    let script = "mount --bind \"$DIR\" \"$DIR\" && mount -o remount,bind,ro \"$DIR\"";
    for name in ["l.db", "new.db"] {
        let output = in_mounts(TEST, "report", script, dir.path(), &dir.path().join(name));
        let report = said(&output, "report: ").pop().unwrap();
        assert!(report.starts_with("Permission"), "{report}");
        assert!(report.to_lowercase().contains("read-only"), "{report}");
    }
}

#[tokio::test]
async fn an_unknown_file_system_is_refused() {
    const TEST: &str = "an_unknown_file_system_is_refused";
    if let Some((_, path)) = role() {
        return report(&path).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t hugetlbfs none \"$DIR\"";
    let path = dir.path().join("sub/l.db");
    let output = in_mounts(TEST, "report", script, dir.path(), &path);
    let report = said(&output, "report: ").pop().unwrap();
    assert!(report.starts_with("Unsupported"), "{report}");
    assert!(
        report.contains("0x958458f6") && report.contains("local disk"),
        "{report}"
    );
}

#[tokio::test]
async fn a_shifted_boot_clock_is_refused() {
    const TEST: &str = "a_shifted_boot_clock_is_refused";
    if let Some((_, path)) = role() {
        return report(&path).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let shifted = ["unshare", "--time", "--fork", "--boottime", "1000"];
    let report = reported(&shifted, TEST, &path);
    assert!(report.starts_with("Unsupported"), "{report}");
    assert!(
        report.contains("time namespace") && report.contains("1000 s"),
        "{report}"
    );
    assert!(!path.exists(), "nothing was created");
    // A time namespace without a shift is fine.
    assert_eq!(
        reported(&["unshare", "--time", "--fork"], TEST, &path),
        "ok"
    );
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_heals() {
    const TEST: &str = "a_full_disk_changes_nothing_and_heals";
    if let Some((_, path)) = role() {
        return on_a_full_disk(&path).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let script = "mount -t tmpfs -o size=1m tmpfs \"$DIR\"";
    let output = in_mounts(TEST, "full", script, dir.path(), &path);
    assert_eq!(said(&output, "report: "), ["done"]);
}

async fn on_a_full_disk(path: &Path) {
    use std::io::Write;
    let db = open(path);
    let mut held = db.applied(acquire("a", None, PERIOD)).await.index;
    let filler = path.with_file_name("filler");
    let fill = || {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&filler)
            .unwrap();
        while file.write(&[0; 512]).is_ok_and(|n| n > 0) {}
    };
    for round in 0..3 {
        fill();
        let mut refused = 0;
        for i in 0..200 {
            // What is applied is really there, what is not is not; nothing in between.
            let change = acquire(&format!("r{round}/{i}"), None, PERIOD);
            match db.one(change).await {
                Outcome::Applied(applied) => held = held.max(applied.index),
                Outcome::NotApplied(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    assert!(error.to_string().contains("full"), "{error}");
                    assert_eq!(db.get(&format!("r{round}/{i}")).await, None);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(refused > 0, "the disk was full");
        // A new registry on the full disk.
        let error = open_with(Config::new(path.with_file_name("new.db"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("full"), "{error}");
        std::fs::remove_file(&filler).unwrap();
        let seen = db.get("a").await.unwrap();
        let renewed = db
            .applied(renew("a", seen.index, seen.fence(), PERIOD))
            .await;
        assert!(renewed.index > held);
        held = renewed.index;
    }
    open(&path.with_file_name("new.db"))
        .applied(acquire("a", None, PERIOD))
        .await;
    println!("\nreport: done");
}

#[tokio::test]
async fn a_locked_database_is_waited_for_no_longer_than_asked() {
    const TEST: &str = "a_locked_database_is_waited_for_no_longer_than_asked";
    if let Some((role, path)) = role() {
        // Holds a lock until it is killed.
        let conn = raw(&path);
        if role == "everything" {
            conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE")
                .unwrap();
        }
        conn.execute_batch("BEGIN EXCLUSIVE; UPDATE meta SET high_water = high_water")
            .unwrap();
        std::fs::write(path.with_extension("locked"), "").unwrap();
        std::thread::park();
        return;
    }
    let door = RealDoor::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let locked = path.with_extension("locked");
    let lock = |role| {
        let child = spawn(TEST, role, &path);
        while !locked.exists() {
            std::thread::yield_now();
        }
        std::fs::remove_file(&locked).unwrap();
        child
    };
    open(&path).close().await;
    let mut holder = lock("everything");
    let start = door.now();
    refused(
        Config::new(&path).patience(Duration::from_millis(300)),
        ErrorKind::Unavailable,
        &["locked by another process", "lsof"],
    );
    assert!(door.now().since(start) < Duration::from_secs(2));
    holder.kill().unwrap();
    holder.wait().unwrap();

    let db = open(&path);
    let held = db.applied(acquire("a", None, PERIOD)).await.index;
    let mut holder = lock("writes");
    let start = door.now();
    let until = start.plus(Duration::from_millis(300));
    let batch = vec![renew("a", held, held, PERIOD), acquire("b", None, PERIOD)];
    let outcomes = db.store.apply(batch, until).await;
    let took = door.now().since(start);
    assert!(
        took >= Duration::from_millis(290) && took < Duration::from_secs(1),
        "{took:?}"
    );
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let Outcome::NotApplied(error) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.to_string().contains("locked by another process"),
            "{error}"
        );
    }
    // Reads, and refusals, go on.
    assert_eq!(db.get("a").await.unwrap().index, held);
    assert!(matches!(
        db.one(acquire("a", None, PERIOD)).await,
        Outcome::Refused { .. }
    ));
    // What waits is done as soon as the lock is free.
    let waiting = db.one(renew("a", held, held, PERIOD));
    let free = async {
        door.sleep_until(door.now().plus(Duration::from_millis(100)))
            .await;
        holder.kill().unwrap();
        holder.wait().unwrap();
        door.now()
    };
    let (outcome, freed) = futures_util::future::join(waiting, free).await;
    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
    assert!(door.now().since(freed) < Duration::from_millis(500));
    // Closing does not wait for others.
    let mut holder = lock("writes");
    let seen = db.get("a").await.unwrap();
    let waiting = db.one(renew("a", seen.index, held, PERIOD));
    let (outcome, ()) = futures_util::future::join(waiting, db.close()).await;
    assert!(matches!(outcome, Outcome::NotApplied(_)), "{outcome:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
}
