//! A smoke test of the contract, by two clients of the registry, in the scratch name.

use std::time::Duration;

use leasehold::{Attempt, Displace, Error, ErrorKind, Lease, Manager, Request};

use crate::duration::human;
use crate::exit::{Failure, OWN_FAILURE};

/// Of grants that are given back.
const LONG: Duration = Duration::from_secs(30);
/// Of a grant that is stolen, and waited out.
const SHORT: Duration = Duration::from_secs(1);
/// Who finds it taken.
const OTHER: &str = "leasehold-doctor";

/// Why the test did not end well.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Something failed, as it may.
    Failed(Error),
    /// Something happened that must not.
    Broken(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(error) => error.into(),
            Trouble::Broken(how) => {
                Self::new(OWN_FAILURE, format!("the contract is broken: {how}"))
            }
        }
    }
}

fn law(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Trouble> {
    match holds {
        true => Ok(()),
        false => Err(Trouble::Broken(otherwise())),
    }
}

/// Two clients of one registry, and the name in which they meet.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    pub(super) one: &'a Manager,
    pub(super) other: &'a Manager,
    pub(super) name: &'a str,
}

impl Trial<'_> {
    /// Goes through a lease's life. What was found, in words.
    pub(super) async fn run(&self) -> Result<String, Trouble> {
        let mut lease = self.acquired(self.one, LONG).await?;
        self.is_refused(&lease).await?;
        renewed(&mut lease).await?;
        self.released_by_fence(&mut lease).await?;
        let next = self.acquired(self.other, LONG).await?;
        law(next.fence() > lease.index().max(lease.fence()), || {
            format!("fence {} came after index {}", next.fence(), lease.index())
        })?;
        next.release().await?;
        let waited = self.stolen().await?;
        self.is_vacant("a release of what was stolen").await?;
        Ok(format!(
            "acquired, refused to another, renewed, released by its fence, acquired with a larger fence, stolen and waited \
             out for {}",
            human(waited)
        ))
    }

    fn period(&self, wanted: Duration) -> Duration {
        let periods = self.one.capabilities().periods();
        wanted.clamp(*periods.start(), *periods.end())
    }

    fn request(&self, period: Duration) -> Request {
        Request::new(self.name, self.period(period)).note("leasehold doctor tries the contract")
    }

    /// A grant of the name, which is vacant.
    async fn acquired(&self, manager: &Manager, period: Duration) -> Result<Lease, Trouble> {
        match manager.try_acquire(self.request(period)).await? {
            Attempt::Acquired(lease) => Ok(lease),
            Attempt::Busy(busy) => Err(Trouble::Broken(format!(
                "a vacant name was refused: {busy}"
            ))),
            Attempt::Skipped(why) => {
                Err(Trouble::Broken(format!("a vacant name was refused: {why}")))
            }
        }
    }

    /// Nobody else gets it meanwhile, and the refusal tells who has it.
    async fn is_refused(&self, lease: &Lease) -> Result<(), Trouble> {
        let request = self.request(LONG).machine_id(OTHER);
        match self.other.try_acquire(request).await? {
            Attempt::Busy(busy) => law(
                busy.holder() == Some(&lease.machine_id()) && busy.index() == lease.index(),
                || {
                    format!(
                        "the refusal shows another grant than index {}: {busy}",
                        lease.index()
                    )
                },
            ),
            Attempt::Acquired(second) => {
                // Not the contract's fault if the first one was held up until its time was over.
                let both = lease.is_current();
                let fence = second.fence();
                second.release().await?;
                law(!both, || {
                    format!("two lessees at once, fences {} and {fence}", lease.fence())
                })
            }
            Attempt::Skipped(why) => {
                Err(Trouble::Broken(format!("a held name was skipped: {why}")))
            }
        }
    }

    /// Who has the fence releases it, and its handle is over.
    async fn released_by_fence(&self, lease: &mut Lease) -> Result<(), Trouble> {
        let claim = self.other.resume(self.name, lease.fence()).await?;
        claim.release().await?;
        self.is_vacant("a release").await?;
        refused(lease, "a released").await
    }

    /// A thief waits until who was robbed cannot believe any more. For how long.
    async fn stolen(&self) -> Result<Duration, Trouble> {
        let mut period = SHORT;
        let (mut victim, thief) = loop {
            let victim = self.acquired(self.other, period).await?;
            let displace = Displace::index(victim.index()).reason("leasehold doctor");
            match self.one.steal(self.request(LONG), displace).await {
                Ok(thief) => break (victim, thief),
                // Too slow for so short a grant.
                Err(error) if over(&error) && !victim.is_current() && period < LONG => period *= 4,
                Err(error) => return Err(error.into()),
            }
        };
        law(thief.fence() > victim.index(), || {
            format!(
                "a theft of index {} has fence {}",
                victim.index(),
                thief.fence()
            )
        })?;
        law(thief.begin() >= victim.deadline(), || {
            format!(
                "a thief begins at {:?}, before the deadline {:?}",
                thief.begin(),
                victim.deadline()
            )
        })?;
        let both = victim.is_current() && thief.is_current();
        law(!both, || {
            "a thief and who was robbed are current at once".into()
        })?;
        refused(&mut victim, "a stolen").await?;
        let door = self.one.door();
        let wait = thief.begin().map(|begin| begin.since(door.now()));
        if let Some(begin) = thief.begin() {
            door.sleep_until(begin).await;
        }
        thief.release().await?;
        Ok(wait.unwrap_or_default())
    }

    /// What is given back is vacant, for the other client too.
    async fn is_vacant(&self, after: &str) -> Result<(), Trouble> {
        for manager in [self.one, self.other] {
            if let Some(status) = manager.status(self.name).await? {
                law(status.is_vacant(), || {
                    format!(
                        "after {after} the name is not vacant, index {}",
                        status.index()
                    )
                })?;
            }
        }
        Ok(())
    }
}

/// A renewal moves the deadline and the index, and keeps the fence.
async fn renewed(lease: &mut Lease) -> Result<(), Trouble> {
    let (deadline, index, fence) = (lease.deadline(), lease.index(), lease.fence());
    lease.renew(lease.period()).await?;
    law(lease.deadline() > deadline, || {
        format!("a renewal left the deadline at {deadline:?}")
    })?;
    law(lease.index() > index && lease.fence() == fence, || {
        format!(
            "a renewal made of index {index}, fence {fence}: index {}, fence {}",
            lease.index(),
            lease.fence()
        )
    })
}

/// A term that is over cannot be renewed.
async fn refused(lease: &mut Lease, what: &str) -> Result<(), Trouble> {
    match lease.renew(lease.period()).await {
        Ok(()) => Err(Trouble::Broken(format!("{what} lease was renewed"))),
        Err(error) if over(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn over(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Changed | ErrorKind::Expired | ErrorKind::Gone
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "leasehold-doctor/00/scratch";

    async fn tried(one: &Manager, other: &Manager) -> Result<String, Failure> {
        let name = NAME;
        Ok(Trial { one, other, name }.run().await?)
    }

    #[tokio::test]
    async fn a_sound_registry_keeps_it_and_the_name_is_vacant_again() {
        let one = leasehold::open("memory:").await.unwrap();
        let found = tried(&one, &one.clone()).await.unwrap();
        assert!(found.contains("stolen and waited out for 1s"), "{found}");
        assert!(one.status(NAME).await.unwrap().unwrap().is_vacant());
    }

    /// Each of them grants, as two halves of a torn cluster would.
    #[tokio::test]
    async fn two_registries_behind_one_name_break_it() {
        let one = leasehold::open("memory:").await.unwrap();
        let other = leasehold::open("memory:").await.unwrap();
        let failure = tried(&one, &other).await.unwrap_err();
        assert_eq!(failure.code(), OWN_FAILURE);
        let broken = failure.message();
        assert!(broken.contains("two lessees at once"), "{broken}");
    }
}
