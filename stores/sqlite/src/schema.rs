//! The file: its tables, how it is created, recognised and opened, and what a new boot does to it.

use std::path::Path;
use std::time::Duration;

use leasehold_core::{Door, ErrorKind};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use crate::fault::{Failure, Fault, classify};

/// `leas`: how a leasehold file is told from other programs' SQLite files.
const APPLICATION_ID: i64 = 0x6C65_6173;
/// The version of the tables.
const SCHEMA: i64 = 1;
/// How many indexes are reserved with one sync.
pub(crate) const BLOCK: u64 = 1 << 20;

/// `lease` holds what stays during a term, `hot` what a renewal changes: narrow, and without a further index.
/// Names are compared by their bytes.
const TABLES: &str = "
CREATE TABLE meta(
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot_id TEXT NOT NULL,
    high_water INTEGER NOT NULL,
    next_index INTEGER NOT NULL,
    reserved_until INTEGER NOT NULL
);
CREATE TABLE lease(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE BINARY,
    body BLOB NOT NULL
);
CREATE TABLE hot(
    id INTEGER PRIMARY KEY,
    idx INTEGER,
    fence INTEGER,
    attempt BLOB,
    period_ns INTEGER,
    held INTEGER,
    believe_from INTEGER,
    vacant_from INTEGER,
    wait_ns INTEGER,
    hold_ns INTEGER
);
";

/// The one row of `meta`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) next_index: u64,
    pub(crate) reserved_until: u64,
    pub(crate) high_water: u64,
}

/// A connection with everything set that is not kept in the file.
pub(crate) fn connect(path: &Path) -> Result<Connection, Fault> {
    let failed = |error| classify(path, error);
    // The file exists: never created here, so never with another mode than 0600.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.busy_timeout(Duration::ZERO).map_err(failed)?;
    // Whoever closes the last connection would otherwise sync the file on the caller's thread.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(failed)?;
    // Without it, SQLite compiled with STAT4 (as the bundled one is) makes every plan depend on the values bound, and
    // so prepares every statement anew each time: three times the cost.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(32);
    // The main schema only, and none of the file's own code but what a check needs.
    conn.execute_batch(
        "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL; PRAGMA trusted_schema=OFF;",
    )
    .map_err(failed)?;
    Ok(conn)
}

/// What `setup` needs to know.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) path: &'a Path,
    pub(crate) door: &'a dyn Door,
    pub(crate) boot_id: &'a str,
    pub(crate) block: u64,
}

impl Setup<'_> {
    /// Creates the tables in an empty file, refuses files that are not ours, and notices a new boot. May be repeated
    /// after [`Fault::Busy`].
    pub(crate) fn run(&self, conn: &Connection) -> Result<(), Fault> {
        if self.is_empty(conn)? {
            let mode: String =
                self.sql(conn.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0)))?;
            if mode != "wal" {
                return Err(self.fail(
                    ErrorKind::Unsupported,
                    format!("SQLite cannot use its write-ahead log here (it stays in mode {mode})"),
                ));
            }
            self.create(conn)?;
        }
        self.notice_boot(conn)
    }

    /// Whether the file is still empty; an error where it is not ours. One look, while others may be creating it.
    fn is_empty(&self, conn: &Connection) -> Result<bool, Fault> {
        if !conn.is_autocommit() {
            return self.looks_empty(conn);
        }
        self.sql(conn.execute_batch("BEGIN"))?;
        let empty = self.looks_empty(conn);
        self.sql(conn.execute_batch("ROLLBACK"))?;
        empty
    }

    fn looks_empty(&self, conn: &Connection) -> Result<bool, Fault> {
        let number = |sql| self.sql(conn.query_row(sql, [], |r| r.get::<_, i64>(0)));
        let application = number("PRAGMA application_id")?;
        let version = number("PRAGMA user_version")?;
        if application == APPLICATION_ID {
            return match version {
                SCHEMA => Ok(false),
                newer if newer > SCHEMA => Err(self.fail(
                    ErrorKind::Foreign,
                    format!(
                        "it was written by a newer leasehold (schema {newer}; this one reads {SCHEMA}): it was left \
                         alone; upgrade leasehold here"
                    ),
                )),
                other => Err(self.fail(
                    ErrorKind::Foreign,
                    format!("it is damaged: it has the impossible schema version {other}"),
                )),
            };
        }
        if application == 0 && version == 0 && number("SELECT count(*) FROM sqlite_master")? == 0 {
            return Ok(true);
        }
        Err(self.fail(
            ErrorKind::Foreign,
            "it is an SQLite file of another program: it was left alone; choose another path",
        ))
    }

    /// Everything in one synced transaction, so that two processes may do it at once.
    fn create(&self, conn: &Connection) -> Result<(), Fault> {
        let since_epoch = self
            .door
            .wall()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        // At least the wall clock: if a file before this one was lost, its indexes were smaller.
        let first = u64::try_from(since_epoch.as_micros()).unwrap_or(0).max(1);
        self.synced(conn, || {
            if !self.is_empty(conn)? {
                return Ok(());
            }
            self.sql(conn.execute_batch(TABLES))?;
            self.sql(conn.execute(
                "INSERT INTO meta VALUES (1, ?1, ?2, ?3, ?4)",
                params![
                    self.boot_id,
                    integer(self.door.now().as_nanos()),
                    integer(first),
                    integer(first + self.block)
                ],
            ))?;
            self.sql(conn.execute_batch(&format!(
                "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA};"
            )))
        })
    }

    /// After a reboot the indexes go on behind the reserved block, because what was not synced may be lost; and the
    /// instants are on a clock that is gone. Where that is provable (our clock is below the highest instant the file
    /// has seen) the lessees are gone too and their terms end at once. Else this may be a container with a boot id
    /// of its own, and every term that is not over is given one full period from now.
    fn notice_boot(&self, conn: &Connection) -> Result<(), Fault> {
        let read = |conn: &Connection| {
            self.sql(conn.query_row(
                "SELECT boot_id, high_water, next_index, reserved_until FROM meta WHERE id = 1",
                [],
                |r| {
                    Ok((
                        r.get::<_, String>(0)?,
                        r.get::<_, i64>(1)?,
                        (r.get::<_, i64>(2)?, r.get::<_, i64>(3)?),
                    ))
                },
            ))
        };
        let clock = || integer(self.door.now().as_nanos());
        let is_ours = |(id, high_water, _): &(String, i64, _)| {
            // The same boot id with an earlier clock: a boot id that was frozen, or a machine set back in time.
            id == self.boot_id && *high_water <= clock()
        };
        if is_ours(&read(conn)?) {
            return Ok(());
        }
        self.synced(conn, || {
            let found = read(conn)?;
            if is_ours(&found) {
                return Ok(());
            }
            let (id, high_water, (next, reserved)) = found;
            let now = clock();
            let provable = id != self.boot_id && now < high_water;
            let restamp = if provable {
                "UPDATE hot SET believe_from = min(believe_from, 0), vacant_from = min(vacant_from, 0)
                 WHERE ?1 IS NOT NULL"
            } else {
                "UPDATE hot SET
                     vacant_from = ?1 + max(coalesce(hold_ns, 0), coalesce(wait_ns, 0)),
                     believe_from = CASE WHEN believe_from > ?1 THEN ?1 + coalesce(wait_ns, 0)
                                    ELSE believe_from END
                 WHERE vacant_from > ?1"
            };
            self.sql(conn.execute(restamp, params![now]))?;
            let next = next.max(reserved);
            self.sql(conn.execute(
                "UPDATE meta SET boot_id = ?1, high_water = ?2, next_index = ?3, reserved_until = ?4
                 WHERE id = 1",
                params![self.boot_id, now, next, next.saturating_add(integer(self.block))],
            ))?;
            tracing::info!(
                path = %self.path.display(),
                provable,
                "another boot than the one that wrote the file last"
            );
            Ok(())
        })
    }

    /// A write transaction that is on disk when this returns.
    fn synced(
        &self,
        conn: &Connection,
        step: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        synced(self.path, conn, step)
    }

    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T, Fault> {
        result.map_err(|error| classify(self.path, error))
    }

    fn fail(&self, kind: ErrorKind, what: impl AsRef<str>) -> Fault {
        let message = format!(
            "{} cannot hold leases: {}",
            self.path.display(),
            what.as_ref()
        );
        Failure::new(kind, message).into()
    }
}

/// Makes sure that at least half a block of indexes is reserved, durably: an index that was given out is never
/// given out again, even if the machine loses power and with it every commit since.
pub(crate) fn reserve(path: &Path, conn: &Connection, block: u64, least: u64) -> Result<(), Fault> {
    synced(path, conn, || {
        let meta = read_meta(path, conn)?;
        if meta.reserved_until.saturating_sub(meta.next_index) >= least {
            return Ok(());
        }
        let until = meta.next_index.max(meta.reserved_until) + block.max(least);
        conn.execute(
            "UPDATE meta SET reserved_until = ?1 WHERE id = 1",
            params![integer(until)],
        )
        .map_err(|error| classify(path, error))?;
        Ok(())
    })
}

fn synced(
    path: &Path,
    conn: &Connection,
    step: impl FnOnce() -> Result<(), Fault>,
) -> Result<(), Fault> {
    let run = |sql| {
        conn.execute_batch(sql)
            .map_err(|error| classify(path, error))
    };
    run("PRAGMA synchronous=FULL; BEGIN IMMEDIATE;")
        .and_then(|()| step())
        .and_then(|()| run("COMMIT"))
        .inspect_err(|_| {
            if !conn.is_autocommit() {
                drop(conn.execute_batch("ROLLBACK"));
            }
        })
        .and(Ok(()))
        .and_then(|()| run("PRAGMA synchronous=NORMAL"))
        .inspect_err(|_| drop(conn.execute_batch("PRAGMA synchronous=NORMAL")))
}

/// The file's counter.
pub(crate) fn read_meta(path: &Path, conn: &Connection) -> Result<Meta, Fault> {
    let read = || {
        conn.prepare_cached("SELECT next_index, reserved_until, high_water FROM meta WHERE id = 1")?
            .query_row([], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            })
    };
    let (next, reserved, high) = read().map_err(|error| classify(path, error))?;
    let number = |value: i64, column| {
        u64::try_from(value)
            .ok()
            .filter(|value| column == "high_water" || *value <= leasehold_core::MAX_INDEX)
            .ok_or_else(|| {
                Failure::new(
                    ErrorKind::Foreign,
                    format!("{} is damaged: meta.{column} is {value}", path.display()),
                )
            })
    };
    Ok(Meta {
        next_index: number(next, "next_index")?,
        reserved_until: number(reserved, "reserved_until")?,
        high_water: number(high, "high_water")?,
    })
}

/// SQLite's integers are signed: the greatest stands for all that are greater.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
