//! A critical section from code without async. `critical_section.rs` is the same with async.
//!
//! ```sh
//! cargo run -p leasehold --features sqlite,blocking --example blocking -- sqlite:/tmp/leases.db /tmp/count.db 1000
//! ```

mod database;

use std::time::Duration;

use database::Result;
use leasehold::blocking::{self, LockAttempt, Term};
use rusqlite::Connection;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, path, steps] = &*args else {
        return Err("usage: blocking STORE DATABASE STEPS".into());
    };
    let steps = steps.parse()?;
    let mut database = database::open(path)?;
    let leases = blocking::open(url)?;

    let lock = leases.lock(database::NAME).period(Duration::from_secs(2));
    let held = match lock.acquire_within(Duration::from_secs(60))? {
        LockAttempt::Held(held) => held,
        // By whom, since when, for how long.
        LockAttempt::Busy(busy) => return Err(busy.to_string().into()),
        LockAttempt::Skipped(skipped) => return Err(skipped.to_string().into()),
    };
    // The outer error: the lease was lost, and the work has found out. The inner one: the work failed.
    held.run(|term| count(&mut database, &term, steps))?
}

/// Reads, takes its time, writes: what must not be done by two at once. Nobody can drop it, so it asks at each step.
fn count(database: &mut Connection, term: &Term, steps: u32) -> Result<()> {
    let fence = term.fence();
    let mut count = database::read(database, fence)?;
    for _ in 0..steps {
        if term.is_ending() {
            return Err("told to stop".into());
        }
        count += 1;
        // Whatever happens between the question and the write: the database refuses what comes too late.
        database::write(database, fence, count)?;
        println!("{count} with fence {fence}");
    }
    Ok(())
}
