//! Compiled and run with the oldest and the newest rusqlite of the range: one lease, from acquire to release.

use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: compat-ends FILE")?;
    let leases = leasehold::open(&format!("sqlite:{file}")).await?;
    let others = leasehold::open(&format!("sqlite:{file}")).await?;
    let period = Duration::from_secs(60);
    let mut lease = leases
        .acquire_lease("compat/ends", "a", 0, period)
        .await?
        .ok_or("not acquired")?;
    let fence = lease.fence();
    lease.renew(period).await?;
    if others
        .acquire_lease("compat/ends", "b", 0, period)
        .await?
        .is_some()
    {
        return Err("two lessees".into());
    }
    lease.release().await?;
    let next = others
        .acquire_lease("compat/ends", "b", 0, period)
        .await?
        .ok_or("not acquired after release")?;
    if next.fence() <= fence {
        return Err("the fence went back".into());
    }
    println!("one lease acquired, renewed, contended, released, acquired");
    Ok(())
}
