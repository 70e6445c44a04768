//! The raw floor: one bare rusqlite compare-and-swap transaction with the store's own pragmas, tables and statements.

use std::path::Path;

use rusqlite::{Connection, params};

/// A bare connection to a file that the store has made.
#[derive(Debug)]
pub struct Raw {
    conn: Connection,
    boot: u64,
    written: u64,
}

impl Raw {
    /// Opens the file with the store's pragmas.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let conn = Connection::open(path)?;
        conn.execute_batch(
            "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL; PRAGMA trusted_schema=OFF;",
        )?;
        // SQLite with STAT4 would otherwise prepare every statement again at each execution.
        conn.set_db_config(
            rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG,
            true,
        )?;
        conn.set_prepared_statement_cache_capacity(32);
        Ok(Self {
            conn,
            boot: 1,
            written: 0,
        })
    }

    /// A row of its own, to swap.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn insert(&self, name: &str) -> rusqlite::Result<()> {
        self.conn.execute(
            "INSERT INTO lease(name, body) VALUES (?1, ?2)",
            params![name, &[b'{'; 200][..]],
        )?;
        let id = self.conn.last_insert_rowid();
        self.conn.execute(
            "INSERT INTO hot(id, idx, attempt, period_ns, held, believe_from, vacant_from, wait_ns, hold_ns)
             VALUES (?1, 1, ?2, 15000000000, 1, 0, 0, 0, 15000000000)",
            params![id, &[0_u8; 16][..]],
        )?;
        Ok(())
    }

    /// Reads the row of a name.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn get(&self, name: &str) -> rusqlite::Result<(i64, i64, Vec<u8>)> {
        self.conn
            .prepare_cached(
                "SELECT l.id, h.id, h.idx, h.fence, h.attempt, h.period_ns, h.held, h.believe_from, h.vacant_from, \
                 l.body FROM lease l LEFT JOIN hot h ON h.id = l.id WHERE l.name = ?1",
            )?
            .query_row(params![name], |row| Ok((row.get(0)?, row.get(2)?, row.get(9)?)))
    }

    /// Reads every row, a page at a time.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn list(&self) -> rusqlite::Result<usize> {
        let mut count = 0;
        let mut after = String::new();
        loop {
            let mut statement = self.conn.prepare_cached(
                "SELECT l.id, h.id, h.idx, h.fence, h.attempt, h.period_ns, h.held, h.believe_from, h.vacant_from, \
                 l.body, l.name FROM lease l LEFT JOIN hot h ON h.id = l.id WHERE l.name > ?1 ORDER BY l.name LIMIT 1000",
            )?;
            let mut rows = statement.query(params![after])?;
            let mut page = 0;
            let mut last = None;
            while let Some(row) = rows.next()? {
                let _: (i64, Vec<u8>) = (row.get(2)?, row.get(9)?);
                last = Some(row.get(10)?);
                page += 1;
            }
            count += page;
            match last {
                Some(last) if page == 1000 => after = last,
                _ => return Ok(count),
            }
        }
    }

    /// Copies the log into the file where it has grown, and makes the first write after that, which syncs the log's
    /// header: what the store does in the background. Not to be counted.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn upkeep(&mut self) -> rusqlite::Result<()> {
        if self.written < 500 {
            return Ok(());
        }
        self.written = 0;
        self.conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        self.conn
            .execute("UPDATE meta SET high_water = high_water WHERE id = 1", [])?;
        Ok(())
    }

    fn begin(&self) -> rusqlite::Result<()> {
        loop {
            match self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]) {
                Ok(_) => return Ok(()),
                Err(error)
                    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) =>
                {
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Swaps the rows of some names in one transaction; `body` also rewrites the rest of the record, as an acquire or
    /// a release does.
    ///
    /// # Errors
    /// As rusqlite's.
    pub fn swap<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
        body: bool,
    ) -> rusqlite::Result<()> {
        self.begin()?;
        let (mut next, mark): (i64, i64) = self
            .conn
            .prepare_cached("SELECT next_index, high_water, reserved_until FROM meta WHERE id = 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.boot += 1;
        for name in names {
            self.written += 1;
            let (id, index): (i64, i64) = self
                .conn
                .prepare_cached(
                    "SELECT l.id, h.id, h.idx, h.fence, h.attempt, h.period_ns, h.held, h.believe_from, h.vacant_from
                     FROM lease l LEFT JOIN hot h ON h.id = l.id WHERE l.name = ?1",
                )?
                .query_row(params![name], |row| Ok((row.get(0)?, row.get(2)?)))?;
            if index >= next {
                return Err(rusqlite::Error::InvalidQuery);
            }
            if body {
                self.conn
                    .prepare_cached("UPDATE lease SET body = ?2 WHERE id = ?1")?
                    .execute(params![id, &[b'{'; 200][..]])?;
            }
            self.conn
                .prepare_cached(
                    "UPDATE hot SET idx = ?2, fence = ?3, attempt = ?4, period_ns = ?5, held = ?6, believe_from = ?7,
                     vacant_from = ?8, wait_ns = ?9, hold_ns = ?10 WHERE id = ?1",
                )?
                .execute(params![
                    id,
                    next,
                    next,
                    &self.boot.to_le_bytes().repeat(2)[..],
                    15_000_000_000_i64,
                    1,
                    0,
                    mark + 15_000_000_000,
                    0,
                    15_000_000_000_i64
                ])?;
            next += 1;
        }
        self.conn
            .prepare_cached("UPDATE meta SET next_index = ?1, high_water = ?2 WHERE id = 1")?
            .execute(params![next, mark + 1])?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}
