//! A critical section on a database of one's own, with one's own pool of connections.
//!
//! Any number of these count, one after the other. Stop the one at work, by Ctrl-Z, say, for longer than its period, let
//! another one go on, and wake the first (`fg`): what it writes then is refused, by the database itself.
//!
//! ```sh
//! cargo run -p leasehold --features sqlite --example critical_section -- sqlite:/tmp/leases.db /tmp/count.db 1000
//! ```

mod database;

use std::time::Duration;

use database::Result;
use deadpool::managed::{self, Metrics, RecycleResult};
use leasehold::{LockAttempt, Term};
use rusqlite::Connection;

type Pool = managed::Pool<Database>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, path, steps] = &*args else {
        return Err("usage: critical_section STORE DATABASE STEPS".into());
    };
    let steps = steps.parse()?;
    let pool = Pool::builder(Database(path.clone())).max_size(4).build()?;
    let leases = leasehold::open(url).await?;

    let lock = leases.lock(database::NAME).period(Duration::from_secs(2));
    let held = match lock.acquire_within(Duration::from_secs(60)).await? {
        LockAttempt::Held(held) => held,
        // By whom, since when, for how long.
        LockAttempt::Busy(busy) => return Err(busy.to_string().into()),
        LockAttempt::Skipped(skipped) => return Err(skipped.to_string().into()),
    };
    // The outer error: the lease was lost, and the work was dropped. The inner one: the work failed.
    held.run(|term| count(pool, term, steps)).await??;
    leases.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}

/// Reads, takes its time, writes: what must not be done by two at once.
async fn count(pool: Pool, term: Term, steps: u32) -> Result<()> {
    let fence = term.fence();
    let mut count = with(&pool, move |database| database::read(database, fence)).await?;
    for _ in 0..steps {
        count += 1;
        with(&pool, move |database| {
            database::write(database, fence, count)
        })
        .await?;
        println!("{count} with fence {fence}");
    }
    Ok(())
}

/// Runs a transaction on a connection of the pool. It blocks, so it has a thread of its own, where it goes on even when the
/// work is dropped: that is what the fence is for.
async fn with<T: Send + 'static>(
    pool: &Pool,
    run: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut database = pool.get().await?;
    tokio::task::spawn_blocking(move || run(&mut database)).await?
}

/// How the pool makes its connections.
struct Database(String);

impl managed::Manager for Database {
    type Type = Connection;
    type Error = rusqlite::Error;

    async fn create(&self) -> rusqlite::Result<Connection> {
        database::open(&self.0)
    }

    async fn recycle(&self, _: &mut Connection, _: &Metrics) -> RecycleResult<rusqlite::Error> {
        Ok(())
    }
}
