//! The transactions: a read, a page, a batch of changes. Everything here is synchronous and never waits for a lock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::contract::{Instants, decide};
use leasehold_core::mutants::{Mutant, mutant};
use leasehold_core::store::{Applied, Change, Expect, Outcome, Page, Seen};
use leasehold_core::{Door, Error, ErrorKind, LeaseName, MAX_INDEX, Prefix, Record};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::fault::{Failure, Fault, classify, is_of_one_change, leaves_nothing};
use crate::machine::{Identity, check_identity};
use crate::row::{BODY, HOT, Row};
use crate::schema::{Meta, integer, read_meta, reserve};

/// One connection, used by one thread at a time.
#[derive(Debug)]
pub(crate) struct Db {
    pub(crate) conn: Connection,
    pub(crate) path: Arc<Path>,
    pub(crate) opened: Identity,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) block: u64,
    sql: Sql,
}

/// The statements whose text is put together.
#[derive(Debug)]
struct Sql {
    hot: String,
    whole: String,
    range: String,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) outcomes: Vec<Outcome>,
    /// How many indexes are left in the reserved block.
    pub(crate) reserve: u64,
}

/// What the step inside a transaction came to.
enum Step {
    Done {
        batch: Batch,
        changed: bool,
    },
    /// The reserved block is used up.
    Reserve,
}

impl Db {
    pub(crate) fn new(
        conn: Connection,
        path: Arc<Path>,
        opened: Identity,
        door: Arc<dyn Door>,
        block: u64,
    ) -> Self {
        let from = "FROM lease l LEFT JOIN hot h ON h.id = l.id WHERE";
        let sql = Sql {
            hot: format!("SELECT {HOT} {from} l.name = ?1"),
            whole: format!("SELECT {HOT}, l.body {from} l.name = ?1"),
            range: format!(
                "SELECT {HOT}, l.body, l.name {from} l.name > ?1 AND l.name < ?2 ORDER BY l.name"
            ),
        };
        Self {
            conn,
            path,
            opened,
            door,
            block,
            sql,
        }
    }

    /// The record of a name.
    pub(crate) fn get(&self, name: &LeaseName) -> Result<Option<Seen>, Fault> {
        check_identity(&self.path, self.opened)?;
        let found = self.whole(name).map_err(|error| self.fault(error))?;
        let now = self.door.now().as_nanos();
        Ok(found.map(|(row, record)| row.seen(record, now)))
    }

    /// A page of names in the order of their bytes: the prefix itself, then what begins with it and a `/`.
    pub(crate) fn list(
        &self,
        prefix: &Prefix,
        after: Option<&LeaseName>,
        max: usize,
    ) -> Result<Page, Fault> {
        check_identity(&self.path, self.opened)?;
        let mut page = Page::default();
        let after = after.map(LeaseName::as_str).unwrap_or_default();
        let own = prefix.as_str();
        if !own.is_empty()
            && own > after
            && max > 0
            && let Ok(name) = LeaseName::reserved(own)
        {
            let found = self.whole(&name).map_err(|error| self.fault(error))?;
            if let Some((row, record)) = found {
                let seen = row.seen(record, self.door.now().as_nanos());
                page.entries.push((name, seen));
            }
        }
        self.range(own, after, max, &mut page)
            .map_err(|error| self.fault(error))?;
        Ok(page)
    }

    fn range(
        &self,
        prefix: &str,
        after: &str,
        max: usize,
        page: &mut Page,
    ) -> rusqlite::Result<()> {
        let low = format!("{prefix}{}", if prefix.is_empty() { "" } else { "/" });
        let low = if after > low.as_str() { after } else { &low };
        let mut statement = self.conn.prepare_cached(&self.sql.range)?;
        // Read in the index's own order, so only as far as it is asked. Any blob sorts after any text.
        let mut rows = if prefix.is_empty() {
            statement.query(params![low, &b""[..]])?
        } else {
            statement.query(params![low, format!("{prefix}0")])?
        };
        while let Some(row) = rows.next()? {
            if page.entries.len() >= max {
                page.more = true;
                break;
            }
            // A name that is no lease's was put there by somebody else, who may keep it.
            let name = match row.get_ref(BODY + 1)? {
                ValueRef::Text(name) => std::str::from_utf8(name).ok(),
                _ => None,
            };
            let Some(name) = name.and_then(|name| LeaseName::reserved(name).ok()) else {
                continue;
            };
            let (found, record) = Row::read(row)?.with_body(bytes(row.get_ref(BODY)?));
            let seen = found.seen(record, self.door.now().as_nanos());
            page.entries.push((name, seen));
        }
        Ok(())
    }

    /// A batch of changes in one transaction, each with an outcome of its own. [`Fault::Busy`]: nothing was done.
    ///
    /// The commit of what has to survive a loss of power is synced, and with it all that came before.
    pub(crate) fn apply(&self, changes: &[Change]) -> Result<Batch, Fault> {
        check_identity(&self.path, self.opened)?;
        let durable = |change: &Change| matches!(change, Change::Take(take) if take.durable);
        if mutant(Mutant::SlotIsNotSynced) || !changes.iter().any(durable) {
            return self.apply_as_set(changes);
        }
        self.run("PRAGMA synchronous=FULL")?;
        let applied = self.apply_as_set(changes);
        // Were it to stay, later commits would only be slower.
        if let Err(error) = self.run_raw("PRAGMA synchronous=NORMAL") {
            tracing::warn!(path = %self.path.display(), %error, "commits go on being synced");
        }
        applied
    }

    fn apply_as_set(&self, changes: &[Change]) -> Result<Batch, Fault> {
        if let [change] = changes
            // Who names a vacancy by its index has seen it: the change itself will do.
            && change.expect() == Expect::Vacant(None)
            && let Some(found) = self.plainly_refused(change)?
        {
            let outcomes = vec![Outcome::Refused { found: Some(found) }];
            let reserve = u64::MAX;
            return Ok(Batch { outcomes, reserve });
        }
        for _ in 0..8 {
            let drawn = if mutant(Mutant::IndexBeforeTheRowLock) {
                // Waits for the lock with the index in its hand.
                _ = self.conn.busy_timeout(Duration::from_secs(10));
                Some(read_meta(&self.path, &self.conn)?)
            } else {
                None
            };
            self.run("BEGIN IMMEDIATE")?;
            match self.step(changes, drawn) {
                Ok(Step::Done { batch, changed }) => {
                    if !changed {
                        self.roll_back();
                        return Ok(batch);
                    }
                    return match self.run_raw("COMMIT") {
                        Ok(()) => Ok(batch),
                        Err(error) => self.doubt(changes, batch, error),
                    };
                }
                Ok(Step::Reserve) => {
                    self.roll_back();
                    let least = changes.len() as u64;
                    reserve(&self.path, &self.conn, self.block, least)?;
                }
                Err(fault) => {
                    self.roll_back();
                    return Err(fault);
                }
            }
        }
        // Others use the blocks up faster than they are reserved here.
        Err(Fault::Busy)
    }

    /// What stands in the way of an acquire, by a plain read: a refusal costs no write lock.
    fn plainly_refused(&self, change: &Change) -> Result<Option<Seen>, Fault> {
        let found = self.whole(change.name()).map_err(|e| self.fault(e))?;
        let Some((row, record)) = found else {
            return Ok(None);
        };
        row.check(&self.path)?;
        let now = self.door.now().as_nanos();
        Ok(match decide(Some(&row.found()), now, change) {
            Some(_) => None,
            None => Some(row.seen(record, now)),
        })
    }

    fn step(&self, changes: &[Change], drawn: Option<Meta>) -> Result<Step, Fault> {
        let meta = match drawn {
            Some(meta) => meta,
            None => read_meta(&self.path, &self.conn)?,
        };
        let count = changes.len() as u64;
        if meta.next_index + count > meta.reserved_until {
            return Ok(Step::Reserve);
        }
        // The clock is read under the write lock: whoever came before has written an earlier instant.
        let now = self.door.now().as_nanos();
        let mut next = meta.next_index;
        if meta.next_index + count > MAX_INDEX {
            return Err(Failure::new(ErrorKind::Foreign, "the file's counter has ended").into());
        }
        let outcomes = match changes {
            [change] => {
                let found = self.find(change)?;
                vec![self.change(change, found, now, &mut next, true)?]
            }
            _ => {
                // In the order of the rows, so that neighbours are written together.
                let mut found = Vec::with_capacity(changes.len());
                for (position, change) in changes.iter().enumerate() {
                    found.push((position, self.find(change)?));
                }
                found.sort_by_key(|(_, found)| match found {
                    Some((row, _)) => row.id,
                    None => i64::MAX,
                });
                let mut outcomes: Vec<Option<Outcome>> = changes.iter().map(|_| None).collect();
                for (position, found) in found {
                    if let (Some(change), Some(outcome)) =
                        (changes.get(position), outcomes.get_mut(position))
                    {
                        *outcome = Some(self.change(change, found, now, &mut next, false)?);
                    }
                }
                outcomes.into_iter().flatten().collect()
            }
        };
        let changed = next > meta.next_index;
        if changed {
            self.write_meta(meta, next, now)?;
        }
        let reserve = meta.reserved_until - next;
        let batch = Batch { outcomes, reserve };
        Ok(Step::Done { batch, changed })
    }

    fn write_meta(&self, meta: Meta, next: u64, now: u64) -> Result<(), Fault> {
        let write = || {
            self.conn
                .prepare_cached("UPDATE meta SET next_index = ?1, high_water = ?2 WHERE id = 1")?
                .execute(params![integer(next), integer(now.max(meta.high_water))])
        };
        write().map_err(|error| self.fault(error)).map(drop)
    }

    /// The row that a change is about; with its record where the change depends on it.
    fn find(&self, change: &Change) -> Result<Option<(Row, Option<Record>)>, Fault> {
        let find = || {
            if by_row_alone(change) {
                let mut statement = self.conn.prepare_cached(&self.sql.hot)?;
                let mut rows = statement.query(params![change.name().as_str()])?;
                return match rows.next()? {
                    Some(row) => Ok(Some((Row::read(row)?, None))),
                    None => Ok(None),
                };
            }
            Ok(self.whole(change.name())?.map(|(row, r)| (row, Some(r))))
        };
        find().map_err(|error| self.fault(error))
    }

    fn whole(&self, name: &LeaseName) -> rusqlite::Result<Option<(Row, Record)>> {
        let mut statement = self.conn.prepare_cached(&self.sql.whole)?;
        let mut rows = statement.query(params![name.as_str()])?;
        match rows.next()? {
            Some(row) => Ok(Some(Row::read(row)?.with_body(bytes(row.get_ref(BODY)?)))),
            None => Ok(None),
        }
    }

    /// One change: decided and, where it is in place, written.
    fn change(
        &self,
        change: &Change,
        found: Option<(Row, Option<Record>)>,
        now: u64,
        next: &mut u64,
        alone: bool,
    ) -> Result<Outcome, Fault> {
        if let Some((row, _)) = &found
            && let Err(damage) = row.check(&self.path)
        {
            return Ok(Outcome::NotApplied(damage.error()));
        }
        // A renewal and a release stand on the narrow row alone; all else, and every refusal, needs the body too.
        let by_row = match &found {
            Some((row, None)) if row.instants.is_some() => decide(Some(&row.found()), now, change),
            _ => None,
        };
        let found = match (found, by_row) {
            (Some((_, None)), None) => self
                .whole(change.name())
                .map_err(|error| self.fault(error))?
                .map(|(row, record)| (row, Some(record))),
            (found, _) => found,
        };
        let decided = by_row.or_else(|| {
            let found = found.as_ref().map(|(row, _)| row.found());
            decide(found.as_ref(), now, change)
        });
        let Some(instants) = decided else {
            let found = found.and_then(|(row, record)| Some(row.seen(record?, now)));
            return Ok(Outcome::Refused { found });
        };
        let row = found.map(|(row, _)| row);
        let index = *next;
        let same_body = by_row.is_some() && matches!(change, Change::Take(take) if take.same_body);
        let written = match &row {
            Some(row) if same_body => self.write_hot(row.id, true, change, index, instants, now),
            row if alone => self.write_both(row.as_ref(), change, index, instants, now),
            row => self.write(row.as_ref(), change, index, instants, now),
        };
        if let Err(error) = written {
            // The statement was undone; what it belongs to goes on, unless the transaction went with it.
            if is_of_one_change(&error) && !self.conn.is_autocommit() {
                let Fault::Failed(failure) = self.fault(error) else {
                    return Err(Fault::Busy);
                };
                return Ok(Outcome::NotApplied(failure.error()));
            }
            return Err(self.fault(error));
        }
        *next += 1;
        Ok(Outcome::Applied(Applied {
            index,
            granted: change.record().period.unwrap_or_default(),
            counted_from: None,
            extended: true,
            wait: instants.wait_at(now),
        }))
    }

    /// Both parts of a record, or neither: what goes wrong with one change leaves the others of its batch alone.
    fn write(
        &self,
        row: Option<&Row>,
        change: &Change,
        index: u64,
        instants: Instants,
        now: u64,
    ) -> rusqlite::Result<()> {
        self.run_raw("SAVEPOINT one")?;
        let written = self.write_both(row, change, index, instants, now);
        if written.is_err() && !self.conn.is_autocommit() {
            self.run_raw("ROLLBACK TO one")?;
        }
        if !self.conn.is_autocommit() {
            self.run_raw("RELEASE one")?;
        }
        written
    }

    /// Both parts of a record; after an error the first may have been written.
    fn write_both(
        &self,
        row: Option<&Row>,
        change: &Change,
        index: u64,
        instants: Instants,
        now: u64,
    ) -> rusqlite::Result<()> {
        let body = change.record().encode_body();
        let id = if let Some(row) = row {
            self.conn
                .prepare_cached("UPDATE lease SET body = ?2 WHERE id = ?1")?
                .execute(params![row.id, body])?;
            row.id
        } else {
            self.conn
                .prepare_cached("INSERT INTO lease(name, body) VALUES (?1, ?2)")?
                .execute(params![change.name().as_str(), body])?;
            self.conn.last_insert_rowid()
        };
        let has_hot = row.is_some_and(|row| row.has_hot);
        self.write_hot(id, has_hot, change, index, instants, now)
    }

    fn write_hot(
        &self,
        id: i64,
        exists: bool,
        change: &Change,
        index: u64,
        instants: Instants,
        now: u64,
    ) -> rusqlite::Result<()> {
        let sql = if exists {
            "UPDATE hot SET idx = ?2, fence = ?3, attempt = ?4, period_ns = ?5, held = ?6, believe_from = ?7,
             vacant_from = ?8, wait_ns = ?9, hold_ns = ?10 WHERE id = ?1"
        } else {
            "INSERT OR REPLACE INTO hot(id, idx, fence, attempt, period_ns, held, believe_from, vacant_from, wait_ns,
             hold_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        };
        let record = change.record();
        let attempt = change.attempt();
        let period = record
            .period
            .map(|p| i64::try_from(p.as_nanos()).unwrap_or(i64::MAX));
        self.conn.prepare_cached(sql)?.execute(params![
            id,
            integer(index),
            record.fence.map(integer),
            &attempt.0[..],
            period,
            i64::from(record.is_held()),
            integer(instants.believe_from),
            integer(instants.vacant_from),
            // The lengths, for a boot that cannot place the instants.
            integer(instants.believe_from.saturating_sub(now)),
            integer(instants.vacant_from.saturating_sub(now)),
        ])?;
        Ok(())
    }

    /// A commit failed. SQLite has undone it here, but what is in the log may be found by whoever recovers it.
    fn doubt(
        &self,
        changes: &[Change],
        batch: Batch,
        error: rusqlite::Error,
    ) -> Result<Batch, Fault> {
        if !self.conn.is_autocommit() {
            // Still open, so never committed.
            self.roll_back();
            return Err(self.fault(error));
        }
        if leaves_nothing(&error) {
            return Err(self.fault(error));
        }
        tracing::warn!(path = %self.path.display(), %error, "a commit failed: looking for what became of it");
        let outcome = |(change, outcome): (&Change, Outcome)| {
            let Outcome::Applied(applied) = outcome else {
                return outcome;
            };
            match self.whole(change.name()) {
                Ok(Some((_, record))) if record.attempt == Some(change.attempt()) => {
                    Outcome::Applied(applied)
                }
                _ => Outcome::Unknown(Error::new(
                    ErrorKind::OutcomeUnknown,
                    format!(
                        "the commit failed, and nobody knows whether {} holds the change: {error}",
                        self.path.display()
                    ),
                )),
            }
        };
        let outcomes = changes.iter().zip(batch.outcomes).map(outcome).collect();
        Ok(Batch { outcomes, ..batch })
    }

    /// Counts changes of the file by others than this connection.
    pub(crate) fn data_version(&self) -> Result<i64, Fault> {
        check_identity(&self.path, self.opened)?;
        let read = || {
            self.conn
                .prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))
        };
        read().map_err(|error| self.fault(error))
    }

    /// Puts bytes under a name, as a foreign writer would.
    pub(crate) fn plant(&self, name: &LeaseName, body: &[u8]) -> Result<(), Fault> {
        self.run("BEGIN IMMEDIATE")?;
        let write = || -> Result<(), Fault> {
            let meta = read_meta(&self.path, &self.conn)?;
            self.write_meta(meta, meta.next_index + 1, self.door.now().as_nanos())?;
            self.conn
                .execute(
                    "INSERT INTO lease(name, body) VALUES (?1, ?2)
                     ON CONFLICT(name) DO UPDATE SET body = excluded.body",
                    params![name.as_str(), body],
                )
                .and_then(|_| {
                    self.conn.execute(
                        "INSERT OR REPLACE INTO hot(id, idx) SELECT id, ?2 FROM lease WHERE name = ?1",
                        params![name.as_str(), integer(meta.next_index)],
                    )
                })
                .map_err(|error| self.fault(error))?;
            self.run("COMMIT")
        };
        write().inspect_err(|_| self.roll_back())
    }

    fn roll_back(&self) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.run_raw("ROLLBACK")
        {
            tracing::warn!(path = %self.path.display(), %error, "a transaction could not be rolled back");
        }
    }

    fn run(&self, sql: &str) -> Result<(), Fault> {
        self.run_raw(sql).map_err(|error| self.fault(error))
    }

    fn run_raw(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn fault(&self, error: rusqlite::Error) -> Fault {
        classify(&self.path, error)
    }
}

/// Whether a change stands on the narrow row alone: it names the index of a grant, and keeps or ends its body.
fn by_row_alone(change: &Change) -> bool {
    match change {
        Change::Take(take) => take.same_body,
        Change::Vacate(_) => true,
    }
}

/// A column's bytes, however they were written.
fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => b"",
    }
}
