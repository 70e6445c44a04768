//! The same, ready, for tokio-postgres.

use leasehold_core::mutants::{Mutant, mutant};
use leasehold_core::{Error, ErrorKind, Result, fence};
use tokio_postgres::error::SqlState;
use tokio_postgres::{GenericClient, Transaction};

use super::{ADMIT, CREATE, GREATEST, is_admitted, over};

/// Creates the table of guards, if there is none yet.
///
/// # Errors
/// PostgreSQL's, with the [`tokio_postgres::Error`] as source.
pub async fn create(client: &impl GenericClient) -> Result<()> {
    let created = client.batch_execute(CREATE).await;
    created.map_err(|error| failed("the table of guards could not be created", error))
}

/// Lets a transaction through if no later term has been at this guard, and marks it: from the commit on every smaller
/// fence is refused there. To mark is to be let through, and one term may be let through as often as it likes.
///
/// Call it first in the transaction, before anything is read. It waits for an earlier term's transaction that was
/// admitted and is still open; transactions of one guard so follow one after the other. A guard is a name for what is
/// protected as a whole: a table, a customer's rows.
///
/// # Errors
/// [`ErrorKind::Changed`] where a later term has been here: roll back, and stop, the own term is over.
///
/// [`ErrorKind::Unavailable`] where nothing was decided, with the [`tokio_postgres::Error`] as source. Under
/// `REPEATABLE READ` and `SERIALIZABLE` that may be a serialization failure (SQLSTATE 40001): begin the transaction anew,
/// as with any other statement.
pub async fn admit(transaction: &Transaction<'_>, guard: &str, fence: u64) -> Result<()> {
    let signed = fence::signed(fence)?;
    let sql = if mutant(Mutant::FenceAdmitsSmaller) {
        "INSERT INTO leasehold_fence (guard, fence) VALUES ($1, $2) \
         ON CONFLICT (guard) DO UPDATE SET fence = excluded.fence"
    } else {
        ADMIT
    };
    let marked = transaction.execute(sql, &[&guard, &signed]).await;
    let affected = marked.map_err(|error| failed("the fence could not be checked", error))?;
    if is_admitted(affected) {
        return Ok(());
    }
    let later = read(transaction, guard).await?;
    Err(over(guard, fence, later))
}

/// The greatest fence that a guard was marked with, for messages and for people.
///
/// # Errors
/// PostgreSQL's, with the [`tokio_postgres::Error`] as source.
pub async fn greatest(client: &impl GenericClient, guard: &str) -> Result<Option<u64>> {
    let fence = read(client, guard).await?;
    Ok(fence.and_then(|fence| u64::try_from(fence).ok()))
}

async fn read(client: &impl GenericClient, guard: &str) -> Result<Option<i64>> {
    let failed = |error| failed("the guard could not be read", error);
    let row = client
        .query_opt(GREATEST, &[&guard])
        .await
        .map_err(failed)?;
    row.map(|row| row.try_get(0)).transpose().map_err(failed)
}

fn failed(what: &str, error: tokio_postgres::Error) -> Error {
    let kind = match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::Permission,
        _ => ErrorKind::Unavailable,
    };
    let reason = match error.as_db_error() {
        Some(reason) => reason.message().to_owned(),
        None => error.to_string(),
    };
    Error::new(kind, format!("{what}: {reason}")).with_source(error)
}
