//! One of many processes leads, and another takes over when it ends or is lost.
//!
//! Start it in two terminals, then stop the one that leads with Ctrl-C or `kill -9`:
//!
//! ```sh
//! cargo run -p leasehold --features sqlite --example one_leader -- sqlite:/tmp/leasehold-example.db
//! ```

use std::time::Duration;

use leasehold::Term;

#[tokio::main(flavor = "current_thread")]
async fn main() -> leasehold::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let leases = leasehold::open(&url).await?;
    let me = leases.machine_id().to_owned();
    // A crashed leader blocks the others for one period.
    let election = leases
        .election("examples/leader")
        .period(Duration::from_secs(5))
        .note("one_leader");

    // Whatever ends a term, it campaigns again, until it is told to stop.
    let stop = async { _ = tokio::signal::ctrl_c().await };
    let work = |term| lead(me.clone(), term);
    election.lead_until(stop, work).await?;
    println!("{me} stands down");
    leases.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}

/// Some work, with the fence in each write. It is dropped at its next await when the lease is lost.
async fn lead(me: String, term: Term) {
    println!("{me} leads, fence {}", term.fence());
    for step in 1..=3 {
        println!("  step {step} with fence {}", term.fence());
        if term.ending_within(Duration::from_secs(1)).await {
            return println!("{me} is told to stop");
        }
    }
    println!("{me} is done");
}
