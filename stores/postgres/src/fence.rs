//! Fences for what is kept in PostgreSQL: the check and the act in one transaction.

#[cfg(feature = "tokio-postgres")]
mod functions;

use leasehold_core::mutants::{Mutant, mutant};
use leasehold_core::{Error, Result};

#[cfg(feature = "tokio-postgres")]
pub use functions::{admit, create, greatest};

/// Creates the table of guards, if there is none yet. Two who do that at once may still meet, and one of them fails
/// (PostgreSQL's `IF NOT EXISTS` has no lock): it belongs to where your other tables are made.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS leasehold_fence \
     (guard text NOT NULL PRIMARY KEY, fence bigint NOT NULL)";

/// Marks a guard (`$1`, text) with a fence (`$2`, bigint) where it has no greater one. One row is affected: go on. None: a
/// later term has been here; roll back, and stop. [`judge`] makes that an error.
///
/// It locks the guard's row until the transaction's end, and waits for whoever has it locked: for the commit of an
/// earlier term's transaction that was admitted. Under `READ COMMITTED` it then looks at the row anew, and what is read
/// after it sees what was committed. Under `REPEATABLE READ` and `SERIALIZABLE` a row that was marked since the
/// transaction's first statement is an error (SQLSTATE 40001): begin the transaction anew.
pub const ADMIT: &str = "INSERT INTO leasehold_fence (guard, fence) VALUES ($1, $2) \
     ON CONFLICT (guard) DO UPDATE SET fence = excluded.fence WHERE leasehold_fence.fence <= excluded.fence";

/// The greatest fence that a guard (`$1`) was marked with: no row where it never was. For messages, and for people: a
/// check of it is none, as it neither marks nor locks.
pub const GREATEST: &str = "SELECT fence FROM leasehold_fence WHERE guard = $1";

/// What [`ADMIT`] has decided, by how many rows it affected: for whoever sends the SQL by a client of their own. `later` is
/// what [`GREATEST`] tells, for the message.
///
/// # Errors
/// [`ErrorKind::Changed`](leasehold_core::ErrorKind::Changed) where a later term has been here: roll back, and stop.
pub fn judge(guard: &str, fence: u64, affected: u64, later: Option<i64>) -> Result<()> {
    if is_admitted(affected) {
        return Ok(());
    }
    Err(over(guard, fence, later))
}

fn is_admitted(affected: u64) -> bool {
    if mutant(Mutant::RefusedUpdateAdmits) {
        true
    } else {
        affected == 1
    }
}

fn over(guard: &str, fence: u64, later: Option<i64>) -> Error {
    let later = later.and_then(|later| u64::try_from(later).ok());
    leasehold_core::fence::over(Some(guard), fence, later)
}
