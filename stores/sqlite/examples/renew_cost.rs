//! What a renewal costs, against the bare transaction: `cargo run --release -p leasehold-sqlite --example renew_cost`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::allow_attributes,
    reason = "a measurement"
)]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::store::{Believe, Change, Expect, Outcome, Take};
use leasehold_core::{AttemptId, Body, Door, LeaseName, RealDoor, Record, Store};
use leasehold_sqlite::SqliteStore;
use rusqlite::params;

const ROUNDS: u64 = 20_000;
const BATCH: u64 = 50;
const PERIOD: Duration = Duration::from_secs(60);

fn take(name: &LeaseName, expect: Expect, body: &Arc<Body>, n: u64) -> Change {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    let attempt = AttemptId(id);
    let mut record = Record::new(body.clone(), attempt);
    record.period = Some(PERIOD);
    let same_body = matches!(expect, Expect::Index(_));
    let (name, believe, hold) = (name.clone(), Believe::Now, PERIOD);
    Change::Take(Take {
        name,
        attempt,
        expect,
        record,
        same_body,
        believe,
        durable: false,
        hold,
    })
}

fn index(outcomes: &[Outcome]) -> u64 {
    match outcomes {
        [Outcome::Applied(applied), ..] => applied.index,
        other => unreachable!("{other:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = dir.path().join("l.db");
    let door = RealDoor::new().unwrap();
    let start = door.now();
    let store = SqliteStore::open(&path, door.clone()).unwrap();
    println!("create and open: {:?}", door.now().since(start));
    let body = Arc::new(Body {
        machine_id: Some("m1".into()),
        needs: 1,
        ..Body::default()
    });
    let name = LeaseName::new("bench/lease").unwrap();
    let until = door.now().plus(Duration::from_secs(600));
    let mut last = index(
        &store
            .apply(vec![take(&name, Expect::Vacant(None), &body, 0)], until)
            .await,
    );
    // Bare: the same pragmas, tables and statements, on a file of its own with one row.
    let raw_path = dir.path().join("raw.db");
    drop(SqliteStore::open(&raw_path, door.clone()).unwrap());
    let raw = rusqlite::Connection::open(&raw_path).unwrap();
    raw.set_db_config(
        rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG,
        true,
    )
    .unwrap();
    raw.execute_batch(
        "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;
         INSERT INTO lease VALUES (1, 'bench/lease', '{}');
         INSERT INTO hot VALUES (1, 1, 1, x'00', 1, 1, 0, 1, 0, 1);",
    )
    .unwrap();
    // In turns and in small batches, of which the quickest tenth counts: other work on the machine disturbs both.
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..ROUNDS / BATCH {
        let start = door.now();
        for n in 0..BATCH {
            last = index(
                &store
                    .apply(vec![take(&name, Expect::Index(last), &body, n)], until)
                    .await,
            );
        }
        ours.push(door.now().since(start) / BATCH as u32);
        let start = door.now();
        for n in 0..BATCH {
            bare(&raw, n.cast_signed(), door.now().as_nanos().cast_signed());
        }
        theirs.push(door.now().since(start) / BATCH as u32);
        if turn % 10 == 0 {
            raw.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .unwrap();
        }
    }
    for part in [10, 2] {
        let (ours, theirs) = (quantile(&mut ours, part), quantile(&mut theirs, part));
        let times = ours.as_secs_f64() / theirs.as_secs_f64();
        println!("renew, quickest 1/{part}: {ours:?}, bare {theirs:?}: {times:.2} times");
    }
    let start = door.now();
    for _ in 0..ROUNDS {
        store.get(&name, until).await.unwrap();
    }
    println!("get {:?}", door.now().since(start) / ROUNDS as u32);
    store.close(until).await.unwrap();
    let mut times = Vec::new();
    for n in 0..200 {
        let start = door.now();
        let store = SqliteStore::open(&path, door.clone()).unwrap();
        let opened = door.now();
        let fresh = LeaseName::new(format!("n{n}")).unwrap();
        index(
            &store
                .apply(vec![take(&fresh, Expect::Vacant(None), &body, 0)], until)
                .await,
        );
        let written = door.now();
        store.close(until).await.unwrap();
        times.push((
            written.since(start),
            opened.since(start),
            door.now().since(written),
        ));
    }
    times.sort();
    println!(
        "open + first write, open, close: median {:?}, worst {:?}",
        times[100], times[199]
    );
}

fn quantile(times: &mut [Duration], part: usize) -> Duration {
    times.sort();
    times[times.len() / part]
}

fn bare(raw: &rusqlite::Connection, n: i64, now: i64) {
    let run = |sql| raw.prepare_cached(sql).unwrap().execute([]).unwrap();
    run("BEGIN IMMEDIATE");
    let next: i64 = raw
        .prepare_cached("SELECT next_index, reserved_until, high_water FROM meta WHERE id = 1")
        .unwrap()
        .query_row([], |row| row.get(0))
        .unwrap();
    let id: i64 = raw
        .prepare_cached(
            "SELECT l.id, h.id, h.idx, h.fence, h.attempt, h.period_ns, h.held, h.believe_from, h.vacant_from
             FROM lease l LEFT JOIN hot h ON h.id = l.id WHERE l.name = ?1",
        )
        .unwrap()
        .query_row(params!["bench/lease"], |row| row.get(0))
        .unwrap();
    raw.prepare_cached(
        "UPDATE hot SET idx = ?2, fence = ?3, attempt = ?4, period_ns = ?5, held = ?6, believe_from = ?7,
         vacant_from = ?8, wait_ns = ?9, hold_ns = ?10 WHERE id = ?1",
    )
    .unwrap()
    .execute(params![id, next, next, &[0_u8; 16][..], n, 1, 0, now, 0, n])
    .unwrap();
    raw.prepare_cached("UPDATE meta SET next_index = ?1, high_water = ?2 WHERE id = 1")
        .unwrap()
        .execute(params![next + 1, now])
        .unwrap();
    run("COMMIT");
}
