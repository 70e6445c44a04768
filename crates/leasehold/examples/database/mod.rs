//! A database of one's own: a count, and the fence of the last one who counted.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use leasehold::sqlite::fence;
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What is guarded; the lease has the same name.
pub(crate) const NAME: &str = "examples/count";

pub(crate) fn open(path: impl AsRef<Path>) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(Duration::from_secs(30))?;
    // Who reads waits for no writer. What is there already is only read.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.execute_batch(fence::CREATE)?;
    database.execute_batch("CREATE TABLE IF NOT EXISTS count (value INTEGER NOT NULL)")?;
    let is_new = "SELECT NOT EXISTS (SELECT * FROM count)";
    if database.query_row(is_new, [], |row| row.get(0))? {
        database
            .execute_batch("INSERT INTO count SELECT 0 WHERE NOT EXISTS (SELECT * FROM count)")?;
    }
    Ok(database)
}

/// Reads the count.
///
/// The fence is marked before, in the same transaction: from here on nothing of an earlier term is written any more.
pub(crate) fn read(database: &mut Connection, fence: u64) -> Result<i64> {
    guarded(database, fence, |transaction| {
        transaction.query_row("SELECT value FROM count", [], |row| row.get(0))
    })
}

/// Writes the count, unless a later term has been here.
pub(crate) fn write(database: &mut Connection, fence: u64, count: i64) -> Result<()> {
    guarded(database, fence, |transaction| {
        transaction.execute("UPDATE count SET value = ?1", [count])?;
        Ok(())
    })
}

/// A transaction, if no later term has been here: else the error says so, and nothing was written.
fn guarded<T>(
    database: &mut Connection,
    fence: u64,
    run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    fence::admit(&transaction, NAME, fence)?;
    let done = run(&transaction)?;
    transaction.commit()?;
    Ok(done)
}
