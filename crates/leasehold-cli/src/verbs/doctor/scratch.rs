//! A name of one's own to try things with. Nothing else in the registry is ever touched.
//!
//! There are few such names, as some registries keep a trace of each name that was ever used.

use std::time::Duration;

use leasehold::{Attempt, Error, Lease, Manager, Request, Result};

/// How many doctors can be at work at the same time.
const NAMES: u32 = 64;
/// How long a doctor that was killed keeps its name from others. Each check lasts less.
const GUARD: Duration = Duration::from_secs(60);

/// The scratch name, which is ours as long as its guard is held.
#[derive(Debug)]
pub(super) struct Scratch {
    guard: Lease,
    period: Duration,
    /// What is tried is tried with this one.
    pub(super) name: String,
}

impl Scratch {
    /// A name for reading.
    pub(super) fn any(manager: &Manager) -> String {
        format!("leasehold-doctor/{:02}", draw(manager))
    }

    /// One that nobody uses.
    pub(super) async fn take(manager: &Manager) -> Result<Self> {
        let first = draw(manager);
        let periods = manager.capabilities().periods();
        let period = GUARD.clamp(*periods.start(), *periods.end());
        let mut busy = String::new();
        for step in 0..NAMES {
            let slot = format!("leasehold-doctor/{:02}", (first + step) % NAMES);
            let request = Request::new(&slot, period).note("leasehold doctor is at work");
            match manager.try_acquire(request).await? {
                Attempt::Acquired(guard) => {
                    let name = format!("{slot}/scratch");
                    // One that was killed may have left a lease there.
                    let status = manager.status(&name).await?;
                    if status.is_none_or(|status| status.is_vacant()) {
                        return Ok(Self {
                            guard,
                            period,
                            name,
                        });
                    }
                    busy = format!("{name} is left of one that was killed");
                    guard.release().await?;
                }
                Attempt::Busy(found) => busy = found.to_string(),
                Attempt::Skipped(found) => busy = found.to_string(),
            }
        }
        Err(Error::new(
            leasehold::ErrorKind::Unavailable,
            format!("no scratch name is free: {busy}"),
        ))
    }

    /// Keeps it ours for another check.
    pub(super) async fn keep(&mut self) -> Result<()> {
        self.guard.renew(self.period).await
    }

    /// Leaves the names vacant, whatever a check that did not come to its end has left: while the guard is held nobody
    /// else has a term there.
    pub(super) async fn give_back(self, manager: &Manager) -> Result<()> {
        if self.guard.is_current() {
            let left = manager.status(&self.name).await?;
            if let Some(left) = left.filter(|left| left.is_held() && !left.is_foreign()) {
                let claim = manager.resume(&self.name, left.fence()).await?;
                claim.release().await?;
            }
        }
        self.guard.release().await
    }
}

fn draw(manager: &Manager) -> u32 {
    let mut bytes = [0; 4];
    manager.door().random(&mut bytes);
    u32::from_le_bytes(bytes) % NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_check_has_left_is_released_and_nobody_shares_a_name() {
        let manager = leasehold::open("memory:").await.unwrap();
        let one = Scratch::take(&manager).await.unwrap();
        let other = Scratch::take(&manager).await.unwrap();
        assert_ne!(one.name, other.name);
        let name = one.name.clone();
        let request = Request::new(&name, GUARD);
        let Attempt::Acquired(left) = manager.try_acquire(request).await.unwrap() else {
            panic!("{name} is not vacant");
        };
        drop(left);
        one.give_back(&manager).await.unwrap();
        other.give_back(&manager).await.unwrap();
        let held = manager.list("").unwrap().collect().await.unwrap();
        assert!(held.is_empty(), "{held:?}");
    }

    /// The name of a doctor that was killed between two grants is left alone until its term is over.
    #[tokio::test]
    async fn names_in_use_are_passed_over_and_in_the_end_refused() {
        let manager = leasehold::open("memory:").await.unwrap();
        let mut taken = Vec::new();
        for number in 1..NAMES {
            let name = format!("leasehold-doctor/{number:02}");
            taken.push(
                manager
                    .try_acquire(Request::new(name, GUARD))
                    .await
                    .unwrap(),
            );
        }
        let last = Scratch::take(&manager).await.unwrap();
        assert_eq!(last.name, "leasehold-doctor/00/scratch");
        let error = Scratch::take(&manager).await.unwrap_err();
        assert!(
            error.to_string().contains("no scratch name is free"),
            "{error}"
        );
    }
}
