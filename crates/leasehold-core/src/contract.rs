//! The atomic step of every store, as a pure function: whether a change is applied, and which instants follow.
//!
//! A store with a transaction of its own calls [`decide`] inside it. The instants are nanoseconds on whatever clock
//! the store declares; core never compares them with any other clock.

use std::time::Duration;

use crate::mutants::{Mutant, mutant};
use crate::store::{Believe, Change, Expect, Reopen};
use crate::time::nanos;

/// What the step needs to know of the record that it finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The record's index.
    pub index: u64,
    /// Whether it names a lessee, or counts as held because it is foreign.
    pub held: bool,
    /// The record's instants; none where nobody knows when its term ends (a foreign record).
    pub instants: Option<Instants>,
}

/// The two instants that go with a record, in nanoseconds on the store's own clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instants {
    /// From when the grant may be believed: a steal's wait.
    pub believe_from: u64,
    /// From when the name is vacant.
    pub vacant_from: u64,
}

impl Instants {
    /// What is left of the steal's wait at `now`.
    #[must_use]
    pub fn wait_at(&self, now: u64) -> Duration {
        Duration::from_nanos(self.believe_from.saturating_sub(now))
    }

    /// What is left until the name is vacant at `now`.
    #[must_use]
    pub fn left_at(&self, now: u64) -> Duration {
        Duration::from_nanos(self.vacant_from.saturating_sub(now))
    }
}

impl Found {
    /// Whether the name is vacant at `now`: its instant has come, be the record a tombstone or an expired grant.
    #[must_use]
    pub fn is_vacant(&self, now: u64) -> bool {
        let Some(instants) = self.instants else {
            return mutant(Mutant::ForeignRecordIsVacant);
        };
        instants.vacant_from <= now
    }
}

/// The step: the instants that the change leaves behind, or none where it is refused.
///
/// - *One lessee*: an acquire names the vacancy it saw and replaces nothing else; every other change names the index
///   of a record that is held and has not run out.
/// - *A broken term is waited out*: whatever replaces or ends a grant, the wait that its record carries stays, and
///   nothing makes the name vacant before it.
#[must_use]
pub fn decide(found: Option<&Found>, now: u64, change: &Change) -> Option<Instants> {
    let in_place = match weakened(change, found, now) {
        Expect::Vacant(None) => found.is_none(),
        Expect::Vacant(Some(index)) => found.is_some_and(|f| f.index == index && f.is_vacant(now)),
        Expect::Index(index) => {
            found.is_some_and(|f| f.index == index && f.held && !f.is_vacant(now))
        }
    };
    if !in_place {
        return None;
    }
    let old = found.and_then(|f| f.instants);
    let inherited = if mutant(Mutant::InheritedWaitDropped) {
        0
    } else {
        old.map_or(0, |old| old.believe_from)
    };
    // A foreign term has no known end: whoever replaces it asserts that its lessee is dead (core sees to that).
    let replaced_end = old.map_or(inherited, |old| old.vacant_from.max(inherited));
    let after = |length: Duration| now.saturating_add(nanos(length));
    Some(match change {
        Change::Take(take) => {
            let believe_from = inherited.max(match take.believe {
                Believe::Now => 0,
                Believe::AfterReplaced => replaced_end,
                Believe::After(length) => after(length),
            });
            let hold = if mutant(Mutant::EarlyVacancy) {
                take.hold.mul_f64(0.9)
            } else {
                take.hold
            };
            Instants {
                believe_from,
                vacant_from: after(hold).max(believe_from),
            }
        }
        Change::Vacate(vacate) => {
            let vacant_from = match vacate.reopen {
                Reopen::Now => now,
                Reopen::AfterReplaced => replaced_end,
                Reopen::After(length) => after(length),
            };
            Instants {
                believe_from: inherited,
                vacant_from: vacant_from.max(inherited),
            }
        }
    })
}

/// What a change expects: what it says, except under the mutants that compare less.
fn weakened(change: &Change, found: Option<&Found>, now: u64) -> Expect {
    let expect = change.expect();
    let Some(found) = found else {
        return match expect {
            Expect::Vacant(_) if mutant(Mutant::AcquireNamesNoVacancy) => Expect::Vacant(None),
            _ => expect,
        };
    };
    match change {
        Change::Take(take) => match (expect, take.believe) {
            (Expect::Vacant(_), _) if mutant(Mutant::BlindAcquire) && !found.is_vacant(now) => {
                Expect::Index(found.index)
            }
            (Expect::Vacant(_), _)
                if mutant(Mutant::BlindAcquire) || mutant(Mutant::AcquireNamesNoVacancy) =>
            {
                Expect::Vacant(Some(found.index))
            }
            (Expect::Index(_), Believe::Now) if mutant(Mutant::RenewWithoutCas) => {
                Expect::Index(found.index)
            }
            _ => expect,
        },
        Change::Vacate(_) if mutant(Mutant::ReleaseWithoutIndex) => Expect::Index(found.index),
        Change::Vacate(_) => expect,
    }
}
