//! One of many processes leads, and another takes over when it ends or is lost.
//!
//! Start it in two terminals, then stop the one that leads with Ctrl-C or `kill -9`:
//!
//! ```sh
//! cargo run -p leasehold --features sqlite --example one_leader -- sqlite:/tmp/leasehold-example.db
//! ```

use std::time::Duration;

use leasehold::{BootInstant, Door, ErrorKind, Held, LockAttempt, Manager};

#[tokio::main(flavor = "current_thread")]
async fn main() -> leasehold::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let rounds = std::env::args()
        .nth(2)
        .and_then(|rounds| rounds.parse().ok());
    let leases = leasehold::open(&url).await?;
    let me = leases.machine_id().to_owned();
    // A crashed leader blocks the others for one period.
    let lock = leases
        .lock("examples/leader")
        .period(Duration::from_secs(5))
        .note("one_leader");

    // An elector never gives up: whatever ends a term, it stands again.
    for _ in 0..rounds.unwrap_or(u32::MAX) {
        let held = match lock.acquire_within(Duration::from_secs(10)).await? {
            LockAttempt::Held(held) => held,
            LockAttempt::Busy(busy) => {
                println!("{me} follows: {busy}");
                continue;
            }
        };
        println!("{me} leads, fence {}", held.fence());
        tokio::select! {
            reason = held.lost() => {
                // The work below was dropped at its next await, at the deadline at the latest.
                println!("{me} leads no more: {reason}");
            }
            () = lead(&leases, &held) => match held.release().await {
                Ok(()) => println!("{me} is done and stands down"),
                Err(error) if error.is_lost() || error.kind() == ErrorKind::OutcomeUnknown => {
                    println!("{me} stands down: {error}");
                }
                Err(error) => return Err(error),
            },
        }
    }
    leases.shutdown(Duration::from_secs(1)).await
}

/// Some work, with the fence in each write.
async fn lead(leases: &Manager, held: &Held) {
    for step in 1..=3 {
        println!("  step {step} with fence {}", held.fence());
        sleep(leases.door().as_ref(), Duration::from_secs(1)).await;
    }
}

/// Sleeps by the boot clock, which counts suspend; tokio's own timer stands still meanwhile.
async fn sleep(door: &dyn Door, length: Duration) {
    let until: BootInstant = door.now().plus(length);
    door.sleep_until(until).await;
}
