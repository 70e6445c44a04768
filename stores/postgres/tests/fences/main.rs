//! What is kept in PostgreSQL refuses those whose term is over.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "tests"
)]

mod locks;
mod naive;
mod paused;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use leasehold_core::{Error, ErrorKind, Result};
use leasehold_postgres::fence;
use leasehold_testkit::servers::Postgres;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, IsolationLevel, NoTls, Transaction};

static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);

const GUARD: &str = "work";

async fn connect(config: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A new database of its own, by what reaches it: a guard, and who wrote last, how often.
async fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let server = connect(&SERVER.config()).await;
    let create = format!("CREATE DATABASE {name}");
    server.batch_execute(&create).await.unwrap();
    let config = format!("{} dbname={name}", SERVER.config());
    let client = connect(&config).await;
    fence::create(&client).await.unwrap();
    fence::create(&client).await.unwrap();
    let tables = "CREATE TABLE work (place text PRIMARY KEY, by text, sum bigint);
         INSERT INTO work VALUES ('guarded', 'nobody', 0), ('bare', 'nobody', 0)";
    client.batch_execute(tables).await.unwrap();
    config
}

async fn begin(client: &mut Client, level: IsolationLevel) -> Transaction<'_> {
    let builder = client.build_transaction().isolation_level(level);
    builder.start().await.unwrap()
}

async fn write(client: &impl GenericClient, place: &str, by: &str) {
    let sql = "UPDATE work SET by = $2, sum = sum + 1 WHERE place = $1";
    assert_eq!(client.execute(sql, &[&place, &by]).await.unwrap(), 1);
}

async fn last(client: &impl GenericClient, place: &str) -> (String, i64) {
    let sql = "SELECT by, sum FROM work WHERE place = $1";
    let row = client.query_one(sql, &[&place]).await.unwrap();
    (row.get(0), row.get(1))
}

/// What every lessee does: admitted first, then at work, in one transaction; begun anew where the database asks for it.
async fn guarded(client: &mut Client, level: IsolationLevel, by: &str, fence: u64) -> Result<()> {
    loop {
        let tx = begin(client, level).await;
        match fence::admit(&tx, GUARD, fence).await {
            Err(error) if is_begun_anew(&error) => continue,
            admitted => admitted?,
        }
        write(&tx, "guarded", by).await;
        tx.commit().await.unwrap();
        return Ok(());
    }
}

fn is_begun_anew(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    let code = source.and_then(tokio_postgres::Error::code);
    code == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
}

/// Whether each statement sees what was committed before it, rather than before the transaction's first one.
fn looks_anew(level: IsolationLevel) -> bool {
    matches!(level, IsolationLevel::ReadCommitted)
}

fn is_over(error: &Error, old: u64, new: u64) {
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    let whole = format!(
        "the term with fence {old} is over at the guard \"work\": a later one, with fence {new}, has been here"
    );
    assert_eq!(error.to_string(), whole);
}

const READ_COMMITTED: IsolationLevel = IsolationLevel::ReadCommitted;
const SERIALIZABLE: IsolationLevel = IsolationLevel::Serializable;
const LEVELS: [IsolationLevel; 3] = [READ_COMMITTED, IsolationLevel::RepeatableRead, SERIALIZABLE];

#[tokio::test]
async fn a_term_is_admitted_again_and_again_an_earlier_one_no_more() {
    for level in LEVELS {
        let mut client = connect(&database().await).await;
        for fence in [7, 7, 9, 9] {
            guarded(&mut client, level, "x", fence).await.unwrap();
        }
        for fence in [7, 8] {
            let error = guarded(&mut client, level, "y", fence).await.unwrap_err();
            is_over(&error, fence, 9);
        }
        assert_eq!(last(&client, "guarded").await, ("x".to_owned(), 4));
        // Another guard has nothing to do with it; a mark that is rolled back was none.
        let tx = begin(&mut client, level).await;
        fence::admit(&tx, "other", 1).await.unwrap();
        fence::admit(&tx, GUARD, 100).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(fence::greatest(&client, "other").await.unwrap(), None);
        assert_eq!(fence::greatest(&client, GUARD).await.unwrap(), Some(9));
        let error = guarded(&mut client, level, "z", u64::MAX)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// The same by a client of one's own, which has the SQL alone.
#[tokio::test]
async fn the_plain_sql_does_the_same() {
    let client = connect(&database().await).await;
    let mark = async |fence: u64| {
        let signed = i64::try_from(fence).unwrap();
        let marked = client.execute(fence::ADMIT, &[&GUARD, &signed]).await;
        let row = client.query_one(fence::GREATEST, &[&GUARD]).await.unwrap();
        fence::judge(GUARD, fence, marked.unwrap(), row.get(0))
    };
    mark(7).await.unwrap();
    mark(9).await.unwrap();
    is_over(&mark(7).await.unwrap_err(), 7, 9);
    mark(9).await.unwrap();
    let error = fence::judge(GUARD, 7, 0, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed);
}

#[tokio::test]
async fn what_the_database_refuses_is_no_verdict() {
    let config = database().await;
    let mut client = connect(&config).await;
    let role = "CREATE ROLE stranger LOGIN; DROP TABLE IF EXISTS unrelated";
    client.batch_execute(role).await.unwrap();
    let mut stranger = connect(&config.replace("user=postgres", "user=stranger")).await;
    let tx = stranger.transaction().await.unwrap();
    let error = fence::admit(&tx, GUARD, 7).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    client
        .batch_execute("DROP TABLE leasehold_fence")
        .await
        .unwrap();
    let tx = client.transaction().await.unwrap();
    let error = fence::admit(&tx, GUARD, 7).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("leasehold_fence"), "{error}");
}
