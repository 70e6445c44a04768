//! The store by itself: the step, the record, the batch, the counter, the watch.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    clippy::disallowed_methods,
    reason = "tests of a store on the real clock"
)]

mod common;

use std::time::Duration;

use common::*;
use futures_util::StreamExt;
use leasehold_core::store::{Believe, Change, Outcome, Scope, Signal};
use leasehold_core::{Door, ErrorKind, Origin, Prefix, RealDoor, Store};
use leasehold_sqlite::Config;

#[tokio::test]
async fn a_term_from_acquire_to_release() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("l.db"));
    assert_eq!(db.get("a").await, None);
    let first = db.applied(acquire("a", None, PERIOD)).await;
    assert_eq!(first.granted, PERIOD);
    let seen = db.get("a").await.unwrap();
    assert_eq!(seen.index, first.index);
    assert_eq!(seen.record.body, body("m1"));
    assert_eq!(seen.record.period, Some(PERIOD));
    assert_eq!(seen.fence(), first.index);
    assert!(seen.is_held());
    let left = seen.left.unwrap();
    assert!(left <= PERIOD && left > PERIOD / 2, "{left:?}");
    // Held: refused, with what was found, by one change and in a batch.
    for change in [
        acquire("a", None, PERIOD),
        acquire("a", Some(first.index), PERIOD),
    ] {
        let Outcome::Refused { found } = db.one(change).await else {
            panic!()
        };
        assert_eq!(found.unwrap().record, seen.record);
    }
    let change = renew("a", first.index, first.index, PERIOD);
    let id = change.attempt();
    let second = db.applied(change).await;
    assert!(second.index > first.index);
    let seen = db.get("a").await.unwrap();
    assert_eq!(seen.record.attempt, Some(id));
    assert_eq!(seen.fence(), first.index);
    // A stale index is refused, and shows the record although a renewal does not read it.
    let Outcome::Refused { found } = db.one(renew("a", first.index, first.index, PERIOD)).await
    else {
        panic!()
    };
    assert_eq!(found.unwrap().record, seen.record);
    let end = db.applied(release("a", second.index)).await;
    let tomb = db.get("a").await.unwrap();
    assert_eq!(tomb.index, end.index);
    assert!(tomb.is_vacant() && !tomb.record.is_held());
    assert!(matches!(
        db.one(acquire("a", None, PERIOD)).await,
        Outcome::Refused { found: Some(_) }
    ));
    let again = db.applied(acquire("a", Some(end.index), PERIOD)).await;
    assert!(again.index > end.index);
    db.close().await;
    let error = db.store.get(&name("a"), db.until()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("closed"), "{error}");
}

#[tokio::test]
async fn a_steal_is_waited_out_and_expiry_is_by_the_boot_clock_alone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = SetClock::new(Duration::from_secs(1000));
    let db = clock.open(Config::new(dir.path().join("l.db")));
    let first = db.applied(acquire("a", None, PERIOD)).await;
    clock.advance(Duration::from_secs(4));
    let stolen = db
        .applied(steal("a", first.index, Believe::AfterReplaced, PERIOD))
        .await;
    assert_eq!(stolen.wait, Duration::from_secs(6));
    clock.advance(Duration::from_secs(1));
    let seen = db.get("a").await.unwrap();
    assert_eq!(seen.wait, Duration::from_secs(5));
    assert_eq!(seen.left, Some(Duration::from_secs(9)));
    // The wall clock may go anywhere.
    for wall in [0, 4_000_000_000] {
        clock.wall.store(wall, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(db.get("a").await.unwrap().left, seen.left);
        let again = clock.open(Config::new(dir.path().join("l.db")));
        assert_eq!(again.get("a").await.unwrap().left, seen.left);
    }
    clock.advance(Duration::from_nanos(8_999_999_999));
    assert!(matches!(
        db.one(acquire("a", Some(stolen.index), PERIOD)).await,
        Outcome::Refused { .. }
    ));
    clock.advance(Duration::from_nanos(1));
    assert!(db.get("a").await.unwrap().is_vacant());
    assert!(matches!(
        db.one(renew("a", stolen.index, stolen.index, PERIOD)).await,
        Outcome::Refused { .. }
    ));
    let next = db.applied(acquire("a", Some(stolen.index), PERIOD)).await;
    assert!(next.index > stolen.index);
}

#[tokio::test]
async fn a_poisoned_change_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    let mut held = Vec::new();
    for lease in ["a", "b", "c", "d"] {
        held.push(db.applied(acquire(lease, None, PERIOD)).await.index);
    }
    let other = raw(&path);
    // `b` has a row whose values are damaged; a write of `z` is refused half-way.
    other
        .execute_batch(
            "UPDATE hot SET vacant_from = 'soon' WHERE id = (SELECT id FROM lease WHERE name = 'b');
             CREATE TRIGGER no_z BEFORE INSERT ON hot
             WHEN NEW.id = (SELECT id FROM lease WHERE name = 'z')
             BEGIN SELECT RAISE(ABORT, 'no z'); END;",
        )
        .unwrap();
    let outcomes = db
        .store
        .apply(
            vec![
                renew("d", held[3], held[3], PERIOD),
                acquire("z", None, PERIOD),
                renew("b", held[1], held[1], PERIOD),
                acquire("e", None, PERIOD),
                renew("c", held[0], held[0], PERIOD),
                renew("a", held[0], held[0], PERIOD),
            ],
            db.until(),
        )
        .await;
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|o| match o {
            Outcome::Applied(_) => "applied",
            Outcome::Refused { .. } => "refused",
            Outcome::NotApplied(e) if e.kind() == ErrorKind::Foreign => "foreign",
            Outcome::NotApplied(_) => "not applied",
            Outcome::Unknown(_) => "unknown",
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "applied",
            "not applied",
            "foreign",
            "applied",
            "refused",
            "applied"
        ],
        "{outcomes:?}"
    );
    // Each in its place, no index twice, nothing half-written.
    let indexes: Vec<_> = outcomes
        .iter()
        .filter_map(|o| match o {
            Outcome::Applied(applied) => Some(applied.index),
            _ => None,
        })
        .collect();
    let distinct: std::collections::BTreeSet<_> = indexes.iter().collect();
    assert_eq!(distinct.len(), 3);
    assert_eq!(db.get("d").await.unwrap().index, indexes[0]);
    assert_eq!(db.get("e").await.unwrap().index, indexes[1]);
    assert_eq!(db.get("a").await.unwrap().index, indexes[2]);
    assert_eq!(db.get("z").await, None);
    // The damaged one counts as held, and says what is wrong.
    let damaged = db.get("b").await.unwrap();
    assert!(damaged.is_held() && damaged.left.is_none());
    let error = damaged.record.judged().unwrap_err();
    assert!(error.to_string().contains("hot.vacant_from"), "{error}");
    for change in [
        acquire("b", None, PERIOD),
        acquire("b", Some(held[1]), PERIOD),
    ] {
        let Outcome::NotApplied(error) = db.one(change).await else {
            panic!()
        };
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    db.store
        .plant(&name("fleet"), br#"{"MachineID":"XXX","Version":9}"#)
        .unwrap();
    db.store.plant(&name("junk"), b"\xff\xfe").unwrap();
    let other = raw(&path);
    other
        .execute(
            "INSERT INTO lease(name, body) VALUES ('bare', 'engine-1')",
            [],
        )
        .unwrap();
    for (lease, origin) in [("fleet", true), ("junk", false), ("bare", true)] {
        let seen = db.get(lease).await.unwrap();
        assert_eq!(seen.left, None);
        assert!(seen.is_held());
        assert_eq!(seen.record.origin == Origin::Fleet, origin);
        for expect in [None, Some(seen.index)] {
            let outcome = db.one(acquire(lease, expect, PERIOD)).await;
            assert!(matches!(outcome, Outcome::Refused { found: Some(_) }));
        }
        assert_eq!(db.get(lease).await.unwrap(), seen);
    }
    // A body of somebody else's over a lease of ours that has run out: no acquire touches it.
    let index = db
        .applied(acquire("ours", None, Duration::from_millis(10)))
        .await
        .index;
    other
        .execute("UPDATE lease SET body = X'ff' WHERE name = 'ours'", [])
        .unwrap();
    db.door
        .sleep_until(db.door.now().plus(Duration::from_millis(20)))
        .await;
    let outcome = db.one(acquire("ours", Some(index), PERIOD)).await;
    assert!(
        matches!(outcome, Outcome::Refused { found: Some(_) }),
        "{outcome:?}"
    );
    // A steal of a fleet lease is a deliberate act.
    let seen = db.get("fleet").await.unwrap();
    let stolen = db
        .applied(steal("fleet", seen.index, Believe::Now, PERIOD))
        .await;
    assert!(stolen.index > seen.index);
    assert_eq!(
        db.get("fleet")
            .await
            .unwrap()
            .left
            .map(|l| l > Duration::ZERO),
        Some(true)
    );
}

#[tokio::test]
async fn listing_by_whole_segments_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    for lease in ["a/b", "ab", "a", "a!", "a/b/c", "b", "a0", "ä", "a/ä"] {
        db.applied(acquire(lease, None, PERIOD)).await;
    }
    raw(&path)
        .execute_batch(
            "INSERT INTO lease(name, body) VALUES (X'00', 'x'), ('a//b', 'x'), ('', 'x')",
        )
        .unwrap();
    for (prefix, expected) in [
        ("a", vec!["a", "a/b", "a/b/c", "a/ä"]),
        ("a/b", vec!["a/b", "a/b/c"]),
        ("c", vec![]),
        (
            "",
            vec!["a", "a!", "a/b", "a/b/c", "a/ä", "a0", "ab", "b", "ä"],
        ),
    ] {
        let prefix = Prefix::new(prefix).unwrap();
        for size in [1, 2, 3, 100] {
            let mut all = Vec::new();
            let mut after = None;
            loop {
                let page = db
                    .store
                    .list(&prefix, after.as_ref(), size, db.until())
                    .await
                    .unwrap();
                assert!(page.entries.len() <= size);
                after = page.entries.last().map(|(name, _)| name.clone()).or(after);
                all.extend(page.entries.into_iter().map(|(name, _)| name.to_string()));
                if !page.more {
                    break;
                }
            }
            assert_eq!(all, expected, "{prefix:?} by {size}");
        }
    }
}

#[tokio::test]
async fn a_renewal_in_place_writes_the_narrow_table_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    let first = db.applied(acquire("a", None, PERIOD)).await;
    raw(&path)
        .execute_batch(
            "CREATE TRIGGER no_body BEFORE UPDATE ON lease BEGIN SELECT RAISE(ABORT, 'body'); END;
             CREATE TRIGGER no_new BEFORE INSERT ON hot BEGIN SELECT RAISE(ABORT, 'new'); END;",
        )
        .unwrap();
    let second = db
        .applied(renew("a", first.index, first.index, PERIOD))
        .await;
    let outcome = db.one(release("a", second.index)).await;
    assert!(
        matches!(outcome, Outcome::NotApplied(_)),
        "the trigger works: {outcome:?}"
    );
}

#[tokio::test]
async fn indexes_go_on_beyond_a_block_and_large_batches_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open_with(Config::new(&path).block(7)).unwrap();
    let wall = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_micros();
    let mut last = 0;
    for round in 0..20 {
        let changes: Vec<Change> = (0..30)
            .map(|i| acquire(&format!("r{round}/n{i}"), None, PERIOD))
            .collect();
        let outcomes = db.store.apply(changes, db.until()).await;
        let mut indexes: Vec<_> = outcomes
            .into_iter()
            .map(|o| match o {
                Outcome::Applied(applied) => applied.index,
                other => panic!("{other:?}"),
            })
            .collect();
        indexes.sort_unstable();
        assert!(indexes[0] > last);
        assert!(indexes.windows(2).all(|w| w[0] < w[1]));
        last = indexes[29];
    }
    // A new file begins at the wall clock, give or take the seconds of this test.
    assert!(u128::from(last) > wall - 60_000_000, "{last} {wall}");
    let (next, reserved): (i64, i64) = raw(&path)
        .query_row("SELECT next_index, reserved_until FROM meta", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    assert_eq!(next as u64, last + 1);
    assert!(reserved >= next);
}

#[tokio::test]
async fn a_watch_hears_of_changes_and_a_removed_notification_file_heals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let watcher = open_with(Config::new(&path).poll(Duration::from_secs(3600))).unwrap();
    let writer = open(&path);
    let mut watch = watcher.store.watch(Scope::Name(name("a")));
    // The first look may signal by itself.
    let door = writer.door.clone();
    let quiet = |ms| door.sleep_until(door.now().plus(Duration::from_millis(ms)));
    quiet(50).await;
    while futures_util::FutureExt::now_or_never(watch.next()).is_some() {}
    let mut index = None;
    for round in 0..5 {
        if round == 3 {
            std::fs::remove_file(dir.path().join("l.db-notify")).unwrap();
            quiet(20).await;
            while futures_util::FutureExt::now_or_never(watch.next()).is_some() {}
        }
        let start = door.now();
        let applied = writer.applied(acquire("a", index, PERIOD)).await;
        let signal = tokio::select! {
            signal = watch.next() => signal,
            () = quiet(5000) => panic!("no signal in round {round}"),
        };
        assert!(matches!(signal, Some(Signal::Any | Signal::Name(_))));
        assert!(door.now().since(start) < Duration::from_secs(1));
        index = Some(writer.applied(release("a", applied.index)).await.index);
        quiet(20).await;
        while futures_util::FutureExt::now_or_never(watch.next()).is_some() {}
    }
    // Its own changes are told by name.
    watcher.applied(acquire("a", index, PERIOD)).await;
    assert_eq!(watch.next().await, Some(Signal::Name(name("a"))));
    writer.close().await;
    watcher.close().await;
}

#[tokio::test]
async fn what_ended_long_ago_is_cleared_away_but_not_what_closes_a_slot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let clock = SetClock::new(Duration::from_secs(1000));
    let db = clock.open(Config::new(&path));
    let gone = db.applied(acquire("gone", None, PERIOD)).await.index;
    let tomb = db.applied(release("gone", gone)).await.index;
    db.applied(acquire("expired", None, PERIOD)).await;
    db.applied(acquire("held", None, Duration::from_secs(30 * 24 * 3600)))
        .await;
    let mut slot = acquire("slot", None, PERIOD);
    if let Change::Take(take) = &mut slot {
        let mut body = (*body("m1")).clone();
        body.closed = Some(std::time::SystemTime::UNIX_EPOCH);
        take.record.body = body.into();
    }
    db.applied(slot).await;
    db.store.plant(&name("junk"), b"\xff").unwrap();
    clock.advance(Duration::from_secs(25 * 3600));
    let mut held = db.get("held").await.unwrap().index;
    // Whoever is at work calls the upkeep again and again; it takes its time where the machine is busy.
    let real = RealDoor::new().unwrap();
    let mut names = Vec::new();
    for _ in 0..300 {
        for _ in 0..500 {
            held = db
                .applied(renew("held", held, held, Duration::from_secs(1_000_000)))
                .await
                .index;
        }
        let all = Prefix::all();
        let page = db.store.list(&all, None, 10, db.until()).await.unwrap();
        names = page.entries.iter().map(|(n, _)| n.to_string()).collect();
        if names.len() == 3 {
            break;
        }
        real.sleep_until(real.now().plus(Duration::from_millis(20)))
            .await;
    }
    assert_eq!(names, ["held", "junk", "slot"]);
    let again = db.applied(acquire("gone", None, PERIOD)).await.index;
    assert!(again > tomb);
}

/// What others commit while a change waits for the write lock comes before it: the index is drawn under the lock.
#[tokio::test]
async fn index_only_grows_past_what_others_commit_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let db = open(&path);
    let first = db.applied(acquire("a", None, PERIOD)).await.index;
    // Another process in the middle of its own changes.
    let other = raw(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = tokio::spawn({
        let db = db.clone();
        async move { db.applied(acquire("b", None, PERIOD)).await.index }
    });
    db.door
        .sleep_until(db.door.now().plus(Duration::from_millis(200)))
        .await;
    assert!(!waiting.is_finished(), "it has to wait for the lock");
    other
        .execute_batch("UPDATE meta SET next_index = next_index + 10; COMMIT")
        .unwrap();
    let index = waiting.await.unwrap();
    assert!(index > first + 10, "{index} after {first} and ten more");
}
