//! Reboots and power loss: what the file promises when the clock starts anew and un-synced writes are gone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use leasehold_core::store::{Believe, Outcome};
use leasehold_core::{LockAttempt, Manager};
use leasehold_sqlite::Config;

const S: Duration = Duration::from_secs(1);

#[tokio::test]
async fn after_a_provable_reboot_terms_end_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let clock = SetClock::new(1000 * S);
    let db = clock.open(Config::new(&path).boot_id("one"));
    let held = db.applied(acquire("held", None, 3600 * S)).await.index;
    let stolen = db.applied(acquire("stolen", None, 3600 * S)).await.index;
    let stolen = db
        .applied(steal("stolen", stolen, Believe::AfterReplaced, 7200 * S))
        .await
        .index;
    db.store.plant(&name("junk"), b"\xff").unwrap();
    db.close().await;
    let clock = SetClock::new(20 * S);
    let db = clock.open(Config::new(&path).boot_id("two"));
    for (lease, index) in [("held", held), ("stolen", stolen)] {
        let seen = db.get(lease).await.unwrap();
        assert!(seen.is_vacant() && seen.wait == Duration::ZERO, "{seen:?}");
        // The end is known: the lessee is still named.
        assert!(seen.record.is_held());
        let renewed = db.one(renew(lease, index, index, S)).await;
        assert!(matches!(renewed, Outcome::Refused { .. }));
        assert!(db.applied(acquire(lease, Some(index), S)).await.index > stolen);
    }
    assert_eq!(db.get("junk").await.unwrap().left, None);
    // The mark was reset: the next opener of this boot changes nothing.
    let again = clock.open(Config::new(&path).boot_id("two"));
    assert_eq!(again.get("held").await.unwrap().left, Some(S));
}

#[tokio::test]
async fn after_a_reboot_that_cannot_be_proven_terms_end_after_a_full_period() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let clock = SetClock::new(1000 * S);
    let db = clock.open(Config::new(&path).boot_id("one"));
    let held = db.applied(acquire("held", None, 60 * S)).await.index;
    let stolen = db.applied(acquire("stolen", None, 40 * S)).await.index;
    clock.advance(10 * S);
    db.applied(steal("stolen", stolen, Believe::AfterReplaced, 100 * S))
        .await;
    db.applied(acquire("over", None, 5 * S)).await;
    let gone = db.applied(acquire("released", None, 60 * S)).await.index;
    db.applied(release("released", gone)).await;
    db.store.plant(&name("junk"), b"\xff").unwrap();
    // Another container of the same machine, or a machine that has been up for longer than before.
    clock.advance(10 * S);
    let other = clock.open(Config::new(&path).boot_id("two"));
    let seen = other.get("held").await.unwrap();
    assert_eq!(
        seen.left,
        Some(60 * S),
        "a full period from the first sight"
    );
    assert_eq!(seen.index, held);
    let seen = other.get("stolen").await.unwrap();
    assert_eq!((seen.wait, seen.left), (30 * S, Some(100 * S)));
    assert!(other.get("over").await.unwrap().is_vacant());
    assert!(other.get("released").await.unwrap().is_vacant());
    assert_eq!(other.get("junk").await.unwrap().left, None);
    // The holder, alive in its container, goes on.
    db.applied(renew("held", held, held, 60 * S)).await;
    // Each opener of its own boot resets the mark; nothing ever ends sooner by that.
    let third = clock.open(Config::new(&path).boot_id("one"));
    assert_eq!(third.get("held").await.unwrap().left, Some(60 * S));
    clock.advance(60 * S);
    assert!(third.get("held").await.unwrap().is_vacant());
}

#[tokio::test]
async fn a_clock_behind_the_mark_under_one_boot_id_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let clock = SetClock::new(1000 * S);
    let db = clock.open(Config::new(&path).boot_id("frozen"));
    let held = db.applied(acquire("held", None, 60 * S)).await.index;
    db.close().await;
    let clock = SetClock::new(20 * S);
    let db = clock.open(Config::new(&path).boot_id("frozen"));
    assert_eq!(db.get("held").await.unwrap().left, Some(60 * S));
    assert!(db.applied(acquire("new", None, S)).await.index > held + 1000);
}

fn copy(from: &Path, to: &Path, log: Option<&[u8]>) {
    std::fs::create_dir(to).unwrap();
    std::fs::copy(from.join("l.db"), to.join("l.db")).unwrap();
    let own = std::fs::read(from.join("l.db-wal")).unwrap();
    std::fs::write(to.join("l.db-wal"), log.unwrap_or(&own)).unwrap();
}

/// Every index of a file found after the power loss is larger than `last`.
async fn goes_on_after(dir: &Path, last: u64) {
    let clock = SetClock::new(20 * S);
    let db = clock.open(Config::new(dir.join("l.db")).boot_id("after"));
    let seen = db.get("a").await;
    let next = match &seen {
        Some(seen) => db.applied(acquire("a", Some(seen.index), S)).await,
        None => db.applied(acquire("a", None, S)).await,
    };
    assert!(
        next.index > last,
        "{} after {last}: it went back",
        next.index
    );
    db.close().await;
}

#[tokio::test]
async fn no_index_goes_back_when_power_loss_takes_what_was_not_synced() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    let clock = SetClock::new(1000 * S);
    let db = clock.open(Config::new(from.join("l.db")).boot_id("before"));
    // The state that the reserving commit has synced: all that a power loss is sure to leave.
    copy(&from, &dir.path().join("synced"), None);
    let synced = std::fs::read(from.join("l.db-wal")).unwrap().len();
    let mut last = db.applied(acquire("a", None, PERIOD)).await.index;
    for _ in 0..200 {
        last = db.applied(renew("a", last, last, PERIOD)).await.index;
    }
    let log = std::fs::read(from.join("l.db-wal")).unwrap();
    assert!(
        log.len() > synced + 100_000,
        "nothing was written that could be lost"
    );
    goes_on_after(&dir.path().join("synced"), last).await;
    // The log cut anywhere behind that, and its tail torn, as a disk may leave it.
    let step = (log.len() - synced) / 60 + 1;
    for (i, cut) in (synced..log.len()).step_by(step).enumerate() {
        let to = dir.path().join(format!("cut{i}"));
        let mut torn = log[..cut].to_vec();
        if i % 2 == 1 {
            torn.resize(log.len(), 0);
        }
        copy(&from, &to, Some(&torn));
        goes_on_after(&to, last).await;
    }
}

#[tokio::test]
async fn no_index_goes_back_across_blocks_checkpoints_and_losses() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    let clock = SetClock::new(1000 * S);
    let db = clock.open(Config::new(from.join("l.db")).boot_id("before").block(64));
    let look = raw(&from.join("l.db"));
    let reserved = || -> i64 {
        look.query_row("SELECT reserved_until FROM meta", [], |r| r.get(0))
            .unwrap()
    };
    let mut last = db.applied(acquire("a", None, PERIOD)).await.index;
    let mut known = 0;
    let mut copies = 0;
    let mut at_risk: Option<(std::path::PathBuf, u64)> = None;
    for _ in 0..1500 {
        let next = db.applied(renew("a", last, last, PERIOD)).await.index;
        assert!(next > last);
        last = next;
        let now = reserved();
        if now != known {
            // A block was reserved, so everything up to here was synced; what came after the last time is at risk.
            if let Some((copied, last)) = at_risk.take() {
                goes_on_after(&copied, last).await;
            }
            known = now;
            copies += 1;
            let to = dir.path().join(format!("copy{copies}"));
            copy(&from, &to, None);
            if reserved() == known {
                at_risk = Some((to, last));
            }
        }
        // Only what this reservation covers was promised by it.
        if let Some((_, promised)) = &mut at_risk
            && last.cast_signed() < known
        {
            *promised = last;
        }
    }
    assert!(copies > 10, "{copies}");
}

/// Cuts off the file system of a folder without a sync, as a loss of power does.
fn cut_off(dir: &Path) {
    // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH
    let cut = "import fcntl,os,struct,sys; fd=os.open(sys.argv[1],os.O_RDONLY); \
               fcntl.ioctl(fd,0x8004587d,struct.pack('I',2))";
    let done = std::process::Command::new("python3")
        .args(["-c", cut])
        .arg(dir)
        .status()
        .unwrap();
    assert!(done.success(), "the file system could not be cut off");
}

/// Runs a part of a test with its file on a file system of its own, and gives what it said last.
fn on_a_disk(test: &'static str) -> impl Fn(&str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let script = "[ -s \"$IMAGE\" ] || { truncate -s 32M \"$IMAGE\" && mkfs.ext4 -q \"$IMAGE\"; } && \
                  mount -o loop \"$IMAGE\" \"$DIR\"";
    let script = format!(
        "{{ {script}; }} >&2 || {{ echo 'this test has to mount: run it as root' >&2; exit 77; }}; \"$@\"; \
         code=$?; umount \"$DIR\"; exit $code"
    );
    move |role: &str| {
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
        let output = part(&wrapper, test, role, &mount.join("l.db"))
            .env("DIR", &mount)
            // The folder goes with the closure.
            .env("IMAGE", dir.path().join("image"))
            .output()
            .unwrap();
        said(&succeeded(output), "last: ").pop().unwrap()
    }
}

/// The real thing: a file system that is shut down without a sync, as by power loss.
#[tokio::test]
async fn no_index_goes_back_when_the_disk_is_cut_off() {
    const TEST: &str = "no_index_goes_back_when_the_disk_is_cut_off";
    if let Some((role, path)) = role() {
        if role == "write" {
            let clock = SetClock::new(1000 * S);
            let db = clock.open(Config::new(&path).boot_id("before"));
            let mut last = db.applied(acquire("a", None, PERIOD)).await.index;
            for _ in 0..400 {
                last = db.applied(renew("a", last, last, PERIOD)).await.index;
            }
            println!("\nlast: {last}");
            cut_off(path.parent().unwrap());
            let outcome = db.one(renew("a", last, last, PERIOD)).await;
            assert!(!matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        } else {
            let last: u64 = role.parse().unwrap();
            let left: i64 = raw(&path)
                .query_row("SELECT max(idx) FROM hot", [], |r| {
                    Ok(r.get(0).unwrap_or(0))
                })
                .unwrap();
            assert!(left < last.cast_signed(), "nothing was lost: {left}");
            goes_on_after(path.parent().unwrap(), last).await;
            println!("\nlast: survived");
        }
        return;
    }
    let run = on_a_disk(TEST);
    let last = run("write");
    assert_eq!(run(&last), "survived");
}

/// A grant that closes a slot survives what others do not.
#[tokio::test]
async fn once_per_slot_survives_when_the_disk_is_cut_off() {
    const TEST: &str = "once_per_slot_survives_when_the_disk_is_cut_off";
    if let Some((role, path)) = role() {
        let clock = SetClock::new(1000 * S);
        let db = clock.open(Config::new(&path).boot_id(&role));
        let manager = Manager::builder(Arc::new(db.store.clone()), clock.clone());
        let manager = manager.machine_id(&role).build().unwrap();
        let lock = manager.lock("job").once_per(3600 * S);
        if role == "before" {
            let Ok(LockAttempt::Held(held)) = lock.try_acquire().await else {
                panic!("nobody has run it");
            };
            let plain = db.applied(acquire("plain", None, PERIOD)).await;
            println!("\nlast: {}", plain.index);
            cut_off(path.parent().unwrap());
            drop(held);
        } else {
            assert!(db.get("plain").await.is_none(), "nothing was lost");
            // The lessee is gone with its boot, and its term over.
            clock.advance(3600 * S / 2);
            let LockAttempt::Skipped(skipped) = lock.try_acquire().await.unwrap() else {
                panic!("it has run in this slot");
            };
            assert_eq!(skipped.ran_by(), Some("before"));
            println!("\nlast: survived");
        }
        return;
    }
    let run = on_a_disk(TEST);
    run("before");
    assert_eq!(run("after"), "survived");
}
