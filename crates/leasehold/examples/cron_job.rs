//! A job that every machine's scheduler starts at the same time: one of them runs it, once per slot.
//!
//! Several at once, as several machines would:
//!
//! ```sh
//! cargo build -p leasehold --features sqlite --example cron_job
//! for host in 1 2 3; do target/debug/examples/cron_job sqlite:/tmp/leasehold-example.db & done; wait
//! ```

use std::time::Duration;

use leasehold::{Door, EndedHow, LockAttempt, Manager, Result, Term};

/// How often the schedulers start it.
const SLOT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let leases = leasehold::open(&url).await?;
    let door = leases.door().clone();
    println!("{}", once(&leases, |term| report(term, &*door)).await?);
    leases.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}

/// Runs the job, unless another machine runs it or has run it in this slot; and says what came of that.
pub(crate) async fn once<F>(leases: &Manager, job: impl FnOnce(Term) -> F) -> Result<String>
where
    F: Future<Output = ()>,
{
    let lock = leases
        .lock("jobs/report")
        .period(Duration::from_secs(15))
        .note("report")
        .once_per(SLOT);
    let held = match lock.try_acquire().await? {
        LockAttempt::Held(held) => held,
        // Both are as it should be: nothing to alarm anybody.
        LockAttempt::Busy(busy) => return Ok(format!("left to another: {busy}")),
        LockAttempt::Skipped(skipped) => return Ok(format!("nothing to do: {skipped}")),
    };
    if let Some(ended) = held.ended().filter(|ended| ended.how != EndedHow::Released) {
        println!("the last run may have left something half done: {ended}");
    }
    // Dropped at the deadline if the lease is lost, told so before; released after the work.
    held.run(job).await?;
    Ok("done".into())
}

/// The work, with the fence in each write.
async fn report(term: Term, door: &dyn Door) {
    println!("writes the report, fence {}", term.fence());
    door.sleep_until(door.now().plus(Duration::from_secs(1)))
        .await;
}
