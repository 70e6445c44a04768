//! When a name must be vacant at the latest, by what was sent and the registry's clock: *vacancy is prompt*.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_core::LeaseName;
use leasehold_core::store::{Believe, Change, Expect, Reopen};

use crate::world::ledger::Broken;

/// For a registry that judges by one clock: until when each name may stay taken. It knows the changes that were applied
/// and the readings of that clock, steps included, and nothing of the instants that the registry keeps.
///
/// The ledger says what is too early, this what is too late. Between them is what a registry may keep longer than the
/// law asks: a wait that is over when its name is taken, and counts again when the clock is set back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vacancies(BTreeMap<LeaseName, Due>);

/// In nanoseconds of the registry's clock.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    index: u64,
    /// When it was written.
    written: u64,
    /// Until when somebody has to be waited out, at the latest.
    wait: u64,
    /// From when the name is vacant, at the latest.
    vacant: u64,
}

impl Vacancies {
    /// A change was applied, and got this index.
    pub(crate) fn applied(&mut self, change: &Change, index: u64, clock: u64) {
        let due = self.0.entry(change.name().clone()).or_default();
        let old = *due;
        let after = |length| clock.saturating_add(nanos(length));
        let (wait, vacant) = match change {
            Change::Take(take) => {
                let wait = match take.believe {
                    Believe::Now => 0,
                    Believe::AfterReplaced => old.vacant,
                    Believe::After(length) => after(length),
                };
                (wait, after(take.hold))
            }
            Change::Vacate(vacate) => {
                let vacant = match vacate.reopen {
                    Reopen::Now => clock,
                    Reopen::AfterReplaced => old.vacant,
                    Reopen::After(length) => after(length),
                };
                (0, vacant)
            }
        };
        let wait = wait.max(old.wait);
        *due = Due {
            index,
            written: clock,
            wait,
            vacant: vacant.max(wait),
        };
    }

    /// The registry was restarted and times everything anew, in full.
    pub(crate) fn anew(&mut self, clock: u64) {
        for due in self.0.values_mut() {
            let again = |until: u64| until.max(clock + until.saturating_sub(due.written));
            (due.wait, due.vacant) = (again(due.wait), again(due.vacant));
        }
    }

    /// Everybody has died with the registry's machine.
    pub(crate) fn all_died(&mut self) {
        self.0.clear();
    }

    /// A record was deleted behind everybody's back.
    pub(crate) fn deleted(&mut self, name: &LeaseName) {
        self.0.remove(name);
    }

    /// The registry tells that this is left until a name is vacant, whose record has this index.
    pub(crate) fn told(
        &self,
        name: &LeaseName,
        index: u64,
        left: Duration,
        clock: u64,
    ) -> Result<(), Broken> {
        let most = self.left(name, index, clock);
        if most.is_none_or(|most| left <= most) {
            return Ok(());
        }
        Err(late(format!(
            "{name} index {index} is to stay taken for {left:?}, and may for {:?}",
            most.unwrap_or_default()
        )))
    }

    /// The registry refuses a change.
    pub(crate) fn refused(&self, change: &Change, clock: u64) -> Result<(), Broken> {
        match change.expect() {
            Expect::Vacant(Some(index))
                if self.left(change.name(), index, clock) == Some(Duration::ZERO) =>
            {
                let name = change.name();
                Err(late(format!("{name} index {index} is not given away")))
            }
            _ => Ok(()),
        }
    }

    /// What may be left of the taken name for which most is left.
    pub(crate) fn most_left(&self, clock: u64) -> Duration {
        let left = |due: &Due| due.vacant.saturating_sub(clock);
        Duration::from_nanos(self.0.values().map(left).max().unwrap_or_default())
    }

    /// What may be left, where it is this index that stands there.
    fn left(&self, name: &LeaseName, index: u64, clock: u64) -> Option<Duration> {
        let due = self.0.get(name).filter(|due| due.index == index)?;
        Some(Duration::from_nanos(due.vacant.saturating_sub(clock)))
    }
}

fn late(seen: String) -> Broken {
    Broken {
        law: "vacancy is prompt",
        seen,
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use leasehold_core::store::{Take, Vacate};
    use leasehold_core::{AttemptId, Body, Record};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn name() -> LeaseName {
        LeaseName::new("x").unwrap()
    }

    fn take(expect: Expect, believe: Believe, seconds: u64) -> Change {
        let attempt = AttemptId([0; 16]);
        Change::Take(Take {
            name: name(),
            attempt,
            expect,
            record: Record::new(Arc::new(Body::default()), attempt),
            same_body: false,
            believe,
            durable: false,
            hold: Duration::from_secs(seconds),
        })
    }

    fn vacate(index: u64, reopen: Reopen) -> Change {
        let attempt = AttemptId([0; 16]);
        Change::Vacate(Vacate {
            name: name(),
            attempt,
            index,
            record: Record::new(Arc::new(Body::default()), attempt),
            reopen,
        })
    }

    /// Granted at 10 s, for 4 s.
    fn granted() -> Vacancies {
        let mut vacancies = Vacancies::default();
        let acquire = take(Expect::Vacant(None), Believe::Now, 4);
        vacancies.applied(&acquire, 1, 10 * SECOND);
        vacancies
    }

    /// Exactly this may be left at `clock`, and the name must be given away then.
    fn due_in(vacancies: &Vacancies, index: u64, left: u64, clock: u64) {
        let told = |left| vacancies.told(&name(), index, Duration::from_nanos(left), clock);
        assert_eq!(told(left), Ok(()));
        assert_eq!(told(left + 1).unwrap_err().law, "vacancy is prompt");
        assert_eq!(vacancies.most_left(clock), Duration::from_nanos(left));
        let acquire = take(Expect::Vacant(Some(index)), Believe::Now, 4);
        assert_eq!(vacancies.refused(&acquire, clock + left - 1), Ok(()));
        assert!(vacancies.refused(&acquire, clock + left).is_err());
        let other = take(Expect::Vacant(Some(index + 1)), Believe::Now, 4);
        assert_eq!(vacancies.refused(&other, clock + left), Ok(()));
    }

    #[test]
    fn a_grant_ends_with_its_period_and_a_renewal_may_shorten_it() {
        let mut vacancies = granted();
        due_in(&vacancies, 1, 3 * SECOND, 11 * SECOND);
        let renew = take(Expect::Index(1), Believe::Now, 1);
        vacancies.applied(&renew, 2, 11 * SECOND);
        due_in(&vacancies, 2, SECOND, 11 * SECOND);
    }

    #[test]
    fn a_broken_term_is_due_when_it_would_have_ended() {
        let mut vacancies = granted();
        vacancies.applied(&vacate(1, Reopen::AfterReplaced), 2, 11 * SECOND);
        due_in(&vacancies, 2, 3 * SECOND, 11 * SECOND);
        let mut vacancies = granted();
        let steal = take(Expect::Index(1), Believe::AfterReplaced, 1);
        vacancies.applied(&steal, 2, 11 * SECOND);
        due_in(&vacancies, 2, 3 * SECOND, 11 * SECOND);
        // Nor does the thief's release end the wait.
        vacancies.applied(&vacate(2, Reopen::Now), 3, 12 * SECOND);
        due_in(&vacancies, 3, 2 * SECOND, 12 * SECOND);
    }

    #[test]
    fn a_restart_grants_the_full_length_once_more() {
        let mut vacancies = granted();
        vacancies.anew(13 * SECOND);
        due_in(&vacancies, 1, 4 * SECOND, 13 * SECOND);
        // A clock that was set back has more to go anyway.
        vacancies.anew(5 * SECOND);
        due_in(&vacancies, 1, 12 * SECOND, 5 * SECOND);
    }
}
