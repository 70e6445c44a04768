//! The thread that does what would make callers wait: checkpoints, new blocks of indexes, and clearing away what
//! ended long ago. It has a connection of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::contract::Found;
use leasehold_core::{Origin, Record};
use rusqlite::{Connection, params};

use crate::fault::{Fault, classify};
use crate::machine::check_identity;
use crate::row::{BODY, HOT, Row};
use crate::schema::{connect, integer, read_meta, reserve};
use crate::store::Shared;

/// The log is copied into the file after about so many pages.
const PAGES: u64 = 1000;
/// What the copy leaves behind while others go on writing: beyond this, writers wait for the rest of it.
const MANY_PAGES: i64 = 4 * PAGES.cast_signed();
/// A log larger than this is cut short.
const GREAT: u64 = 64 << 20;
/// Short-lived processes leave the log behind; whoever closes and finds more than this copies it. Small, because whoever
/// opens the file while nobody else has it open reads the whole log: about 4 us a page.
const LEFT_BEHIND: u64 = 256 << 10;
/// How long after its end a record is cleared away.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often to look for such records.
const SWEEP: Duration = Duration::from_secs(3600);
/// How many are cleared away in one transaction.
const SWEPT: i64 = 200;

/// What there is to do.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Pages written since the last checkpoint, about.
    pages: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    poked: bool,
    stopped: bool,
}

impl Upkeep {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread, after a last checkpoint where the log is large.
    pub(crate) fn stop(shared: &Arc<Shared>) {
        let left_behind = shared.log_bytes() > LEFT_BEHIND;
        let mut state = shared.upkeep.lock();
        if left_behind && !state.running && !state.stopped {
            start(shared, &mut state);
        }
        state.stopped = true;
        drop(state);
        shared.upkeep.wake.notify_all();
    }
}

/// Counts a commit, and calls the thread where there is something to do.
pub(crate) fn committed(shared: &Arc<Shared>, pages: u64, reserve: u64) {
    let upkeep = &shared.upkeep;
    let before = upkeep.pages.fetch_add(pages, Ordering::Relaxed);
    let due = before / PAGES != (before + pages) / PAGES;
    let scarce = reserve < shared.block / 2;
    if !due && !scarce {
        return;
    }
    let mut state = upkeep.lock();
    if state.stopped || state.poked {
        return;
    }
    if !state.running {
        start(shared, &mut state);
    }
    state.poked = true;
    upkeep.wake.notify_one();
}

fn start(shared: &Arc<Shared>, state: &mut State) {
    let thread = shared.clone();
    match shared
        .threads
        .start("leasehold-upkeep", move || run(&thread))
    {
        Ok(()) => state.running = true,
        Err(error) => tracing::warn!(%error, "no upkeep: the log of the registry grows"),
    }
}

fn run(shared: &Shared) {
    let mut conn = None;
    let mut swept = None;
    loop {
        let stopped = {
            let mut state = shared.upkeep.lock();
            if !state.poked && !state.stopped {
                state = shared
                    .upkeep
                    .wake
                    .wait_timeout(state, SWEEP)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            state.poked = false;
            state.stopped
        };
        let now = shared.door.now();
        let sweep = !stopped && swept.is_none_or(|at| now.since(at) >= SWEEP);
        if sweep {
            swept = Some(now);
        }
        match turn(shared, &mut conn, stopped, sweep) {
            Ok(()) => {}
            // Others have the lock: the next commits call again.
            Err(Fault::Busy) => {}
            Err(Fault::Failed(failure)) => {
                tracing::warn!(error = %failure.error(), "upkeep of the registry failed");
                conn = None;
            }
        }
        if stopped {
            return;
        }
    }
}

fn turn(
    shared: &Shared,
    slot: &mut Option<Connection>,
    stopped: bool,
    sweep: bool,
) -> Result<(), Fault> {
    check_identity(&shared.path, shared.opened)?;
    if stopped && shared.log_bytes() <= LEFT_BEHIND {
        return Ok(());
    }
    let conn = match slot {
        Some(conn) => conn,
        none => {
            let conn = connect(&shared.path)?;
            // Here somebody may wait.
            conn.busy_timeout(Duration::from_millis(100))
                .map_err(|error| classify(&shared.path, error))?;
            none.insert(conn)
        }
    };
    let meta = read_meta(&shared.path, conn)?;
    let scarce = meta.reserved_until.saturating_sub(meta.next_index) < shared.block / 2;
    if !stopped && scarce {
        reserve(&shared.path, conn, shared.block, shared.block / 2)?;
    }
    shared.upkeep.pages.store(0, Ordering::Relaxed);
    let left = checkpoint(shared, conn, "PRAGMA wal_checkpoint(PASSIVE)")?;
    if stopped || shared.log_bytes() > GREAT {
        checkpoint(shared, conn, "PRAGMA wal_checkpoint(TRUNCATE)")?;
    } else if left > MANY_PAGES {
        checkpoint(shared, conn, "PRAGMA wal_checkpoint(RESTART)")?;
    }
    if !stopped {
        // The first to write after a whole copy begins the log anew and syncs its header: rather here.
        conn.prepare_cached("UPDATE meta SET high_water = high_water WHERE id = 1")
            .and_then(|mut touch| touch.execute([]))
            .map_err(|error| classify(&shared.path, error))?;
    }
    if sweep {
        let swept = clear_away(shared, conn)?;
        tracing::debug!(path = %shared.path.display(), swept, "cleared away what ended long ago");
    }
    Ok(())
}

/// Copies the log into the file; the pages in the log.
fn checkpoint(shared: &Shared, conn: &Connection, sql: &str) -> Result<i64, Fault> {
    let read = || conn.prepare_cached(sql)?.query_row([], |row| row.get(1));
    read().map_err(|error| classify(&shared.path, error))
}

/// Clears away tombstones and expired records that ended more than a day ago. The file's counter keeps the law of
/// the index without them. What says until when a slot is closed stays, and so does all that is not ours.
pub(crate) fn clear_away(shared: &Shared, conn: &Connection) -> Result<usize, Fault> {
    let Some(before) = shared
        .door
        .now()
        .as_nanos()
        .checked_sub(u64::try_from(KEPT.as_nanos()).unwrap_or(u64::MAX))
    else {
        return Ok(0);
    };
    let select = format!(
        "SELECT {HOT}, l.body FROM hot h JOIN lease l ON l.id = h.id
         WHERE h.id > ?1 AND h.vacant_from <= ?2 ORDER BY h.id LIMIT ?3"
    );
    let step = |after: i64| -> rusqlite::Result<(Option<i64>, usize)> {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut last = None;
        let mut old = Vec::new();
        {
            let mut statement = conn.prepare_cached(&select)?;
            let mut rows = statement.query(params![after, integer(before), SWEPT])?;
            while let Some(row) = rows.next()? {
                let found = Row::read(row)?;
                last = Some(found.id);
                let is_sound = found.check(&shared.path).is_ok();
                let (found, record) =
                    found.with_body(row.get_ref(BODY)?.as_blob().unwrap_or_default());
                if is_sound && is_over(&found.found(), &record, before) {
                    old.push(found.id);
                }
            }
        }
        for id in &old {
            for sql in [
                "DELETE FROM hot WHERE id = ?1",
                "DELETE FROM lease WHERE id = ?1",
            ] {
                conn.prepare_cached(sql)?.execute(params![id])?;
            }
        }
        conn.execute_batch("COMMIT")?;
        Ok((last, old.len()))
    };
    let mut after = -1;
    let mut swept = 0;
    loop {
        match step(after) {
            Ok((Some(last), count)) => {
                after = last;
                swept += count;
            }
            Ok((None, count)) => return Ok(swept + count),
            Err(error) => {
                if !conn.is_autocommit() {
                    drop(conn.execute_batch("ROLLBACK"));
                }
                return Err(classify(&shared.path, error));
            }
        }
    }
}

fn is_over(found: &Found, record: &Record, before: u64) -> bool {
    found.is_vacant(before) && record.origin == Origin::Leasehold && record.body.closed.is_none()
}
