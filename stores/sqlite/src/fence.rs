//! Fences for what is kept in an SQLite database of one's own: the check and the act in one transaction.
//!
//! `is_current()` does not cover the act after it: whoever is paused between the two acts late. So every transaction that
//! only the lessee may make begins with [`admit`], which marks its fence and refuses one that is smaller than a mark that
//! is there. A new lessee's first transaction marks before it reads, by the same call. From its commit on nothing of an
//! earlier term is let through; and what an earlier term has committed before, it sees.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut connection = rusqlite::Connection::open_in_memory()?;
//! # connection.execute_batch("CREATE TABLE job (done INTEGER); INSERT INTO job VALUES (0)")?;
//! # let fence = 7; // held.fence()
//! use leasehold_sqlite::fence;
//! use rusqlite::TransactionBehavior;
//!
//! fence::create(&connection)?; // once, with the other tables
//!
//! let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
//! fence::admit(&tx, "job", fence)?; // first: before anything is read
//! tx.execute("UPDATE job SET done = done + 1", ())?;
//! tx.commit()?;
//! # Ok(())
//! # }
//! ```
//!
//! The database is the user's own, on the same machine as the leases or not, and any registry's leases will do. Whoever
//! uses sqlx or diesel has the same in plain SQL: [`CREATE`], [`ADMIT`], of which one row must be affected, and
//! [`GREATEST`].

use leasehold_core::mutants::{Mutant, mutant};
use leasehold_core::{Error, ErrorKind, Result, fence};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction};

/// Creates the table of guards, if there is none yet.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS leasehold_fence \
     (guard TEXT NOT NULL PRIMARY KEY, fence INTEGER NOT NULL) WITHOUT ROWID";

/// Marks a guard (`?1`) with a fence (`?2`) where it has no greater one. One row is affected: go on. None: a later term
/// has been here; roll back, and stop.
pub const ADMIT: &str = "INSERT INTO leasehold_fence (guard, fence) VALUES (?1, ?2) \
     ON CONFLICT (guard) DO UPDATE SET fence = excluded.fence WHERE leasehold_fence.fence <= excluded.fence";

/// The greatest fence that a guard (`?1`) was marked with: no row where it never was. For messages, and for people: a
/// check of it is none, as it does not mark.
pub const GREATEST: &str = "SELECT fence FROM leasehold_fence WHERE guard = ?1";

/// Creates the table of guards, if there is none yet.
///
/// # Errors
/// SQLite's, with the [`rusqlite::Error`] as source.
pub fn create(connection: &Connection) -> Result<()> {
    let created = connection.execute_batch(CREATE);
    created.map_err(|error| failed("the table of guards could not be created", error))
}

/// Lets a transaction through if no later term has been at this guard, and marks it: from the commit on every smaller
/// fence is refused there. To mark is to be let through, and one term may be let through as often as it likes.
///
/// Call it before anything is read in the transaction. One that was begun as `IMMEDIATE` waits for others' locks at its
/// beginning; a deferred one may find here that it has to begin anew (`SQLITE_BUSY`), and so will one that has read
/// what was changed since.
///
/// A guard is a name for what is protected as a whole: a table, a customer's rows. Transactions of different guards, and
/// leases of different names that share no guard, have nothing to do with each other.
///
/// # Errors
/// [`ErrorKind::Changed`] where a later term has been here: roll back, and stop, the own term is over. [`Error::source`] is
/// SQLite's where that failed; nothing was decided then.
///
/// [`Error::source`]: std::error::Error::source
pub fn admit(transaction: &Transaction<'_>, guard: &str, fence: u64) -> Result<()> {
    let signed = fence::signed(fence)?;
    let failed = |error| failed("the fence could not be checked", error);
    let sql = if mutant(Mutant::FenceAdmitsSmaller) {
        "INSERT OR REPLACE INTO leasehold_fence (guard, fence) VALUES (?1, ?2)"
    } else {
        ADMIT
    };
    let marked = transaction.execute(sql, (guard, signed)).map_err(failed)?;
    if mutant(Mutant::RefusedUpdateAdmits) || marked == 1 {
        return Ok(());
    }
    let later = greatest(transaction, guard)?;
    Err(fence::over(Some(guard), fence, later))
}

/// The greatest fence that a guard was marked with, for messages and for people.
///
/// # Errors
/// SQLite's, with the [`rusqlite::Error`] as source.
pub fn greatest(connection: &Connection, guard: &str) -> Result<Option<u64>> {
    let read = connection.query_row(GREATEST, (guard,), |row| row.get::<_, i64>(0));
    let fence = read
        .optional()
        .map_err(|error| failed("the guard could not be read", error))?;
    Ok(fence.and_then(|fence| u64::try_from(fence).ok()))
}

fn failed(what: &str, error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => ErrorKind::Permission,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => ErrorKind::Foreign,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: {error}")).with_source(error)
}
