//! Which leases are renewed together: what is due, and its neighbours in the order of the rows.
//!
//! A store's rows lie in the order of the names, and what lies together costs it little to change together. A round begins
//! with what is due and goes on, in that order, with what will be due soon. Those of a round are due together again, so
//! that leases of any beginning grow into rounds of neighbours, each as large as a request of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::ops::Bound;

use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::pace::Due;
use crate::time::BootInstant;

/// A kept lease's place: its name, and a number, as several terms of a name may be kept, of which one is current.
pub(crate) type Place = (LeaseName, NonZeroU64);

/// How many places beyond a round are looked at for what is ripe.
const LOOK: usize = 2;

/// What is kept, in the order of the rows, and what of it is due.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    kept: BTreeMap<Place, (T, Option<Due>)>,
    due: BTreeSet<(BootInstant, Place)>,
    next: NonZeroU64,
}

impl<T> Rounds<T> {
    pub(crate) fn new() -> Self {
        Self {
            kept: BTreeMap::new(),
            due: BTreeSet::new(),
            next: NonZeroU64::MIN,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// A new one's number, and whether it is the next that is due.
    pub(crate) fn add(&mut self, name: &LeaseName, kept: T, due: Due) -> (NonZeroU64, bool) {
        let number = self.next;
        self.next = number.saturating_add(1);
        let place = (name.clone(), number);
        self.kept.insert(place.clone(), (kept, None));
        let is_next = self.put(&place, due);
        (number, is_next)
    }

    pub(crate) fn remove(&mut self, place: &Place) -> Option<T> {
        let (kept, due) = self.kept.remove(place)?;
        if let Some(due) = due {
            self.due.remove(&(due.at, place.clone()));
        }
        Some(kept)
    }

    pub(crate) fn get_mut(&mut self, place: &Place) -> Option<&mut T> {
        self.kept.get_mut(place).map(|(kept, _)| kept)
    }

    /// All of them, which are here no more. Their numbers are not given again.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        self.due.clear();
        let kept = std::mem::take(&mut self.kept).into_values();
        kept.map(|(kept, _)| kept).collect()
    }

    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &T> {
        self.kept.values().map(|(kept, _)| kept)
    }

    /// It is due then. Whether it is the next that is.
    pub(crate) fn put(&mut self, place: &Place, due: Due) -> bool {
        let Some((_, slot)) = self.kept.get_mut(place) else {
            return false;
        };
        if let Some(before) = slot.replace(due) {
            self.due.remove(&(before.at, place.clone()));
        }
        let is_next = self.next().is_none_or(|next| due.at < next);
        self.due.insert((due.at, place.clone()));
        is_next
    }

    /// When the next round is due.
    pub(crate) fn next(&self) -> Option<BootInstant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the round that is due, in the order of the rows. What is taken is due no more until it is put again.
    pub(crate) fn take(&mut self, now: BootInstant, most: usize) -> Vec<Place> {
        let first = match self.due.first() {
            Some((at, place)) if *at <= now => place.clone(),
            _ => return Vec::new(),
        };
        let mut round = Vec::new();
        let from = (Bound::Included(first), Bound::Unbounded);
        for (place, (_, due)) in self.kept.range_mut(from).take(most.saturating_mul(LOOK)) {
            if round.len() >= most {
                break;
            }
            let ripe = |due: &Due| match mutant(Mutant::RoundsLeaveTheirOrder) {
                true => due.at,
                false => due.ripe,
            };
            if let Some(taken) = due.take_if(|due| ripe(due) <= now) {
                self.due.remove(&(taken.at, place.clone()));
                round.push(place.clone());
            }
        }
        round
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::ZERO.plus(Duration::from_millis(millis))
    }

    fn due(ripe: u64, due: u64) -> Due {
        Due {
            at: at(due),
            ripe: at(ripe),
        }
    }

    fn names(round: &[Place]) -> Vec<String> {
        round.iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn a_round_is_what_is_due_and_what_is_ripe_behind_it_in_row_order() {
        let mut rounds = Rounds::new();
        let mut place = BTreeMap::new();
        for (name, when) in [
            ("e", due(5, 10)),
            ("a", due(5, 40)),
            ("c", due(50, 60)),
            ("b", due(1, 10)),
            ("d", due(8, 30)),
        ] {
            let name = LeaseName::new(name).unwrap();
            let number = rounds.add(&name, (), when).0;
            place.insert(name.to_string(), (name, number));
        }
        assert_eq!(rounds.next(), Some(at(10)));
        assert!(rounds.take(at(9), 10).is_empty());
        // `a` lies before it, `c` was renewed just now.
        assert_eq!(names(&rounds.take(at(10), 10)), ["b", "d", "e"]);
        // What was taken is due no more, and what is put again is.
        assert_eq!(rounds.next(), Some(at(40)));
        assert!(rounds.put(&place["d"], due(20, 20)));
        assert!(!rounds.put(&place["b"], due(100, 100)));
        assert_eq!(names(&rounds.take(at(20), 10)), ["d"]);
        assert!(rounds.remove(&place["a"]).is_some());
        assert_eq!(rounds.next(), Some(at(60)));
        assert!(!rounds.put(&place["a"], due(1, 1)), "it is gone");
        assert_eq!(rounds.clear().len(), 4);
        assert!(rounds.is_empty() && rounds.next().is_none());
        let number = rounds.add(&place["a"].0, (), due(1, 1)).0;
        assert!(place.values().all(|(_, before)| number > *before));
    }

    #[test]
    fn rounds_are_no_larger_than_a_request_and_grow_to_it() {
        let mut rounds = Rounds::new();
        // In the order of a shuffled deck, each due at a time of its own.
        for i in 0..1000_u64 {
            let name = LeaseName::new(format!("{:04}", i * 389 % 1000)).unwrap();
            rounds.add(&name, (), due(i / 2, i));
        }
        let (mut now, mut sizes) = (0, Vec::new());
        while now < 5000 {
            let round = rounds.take(at(now), 64);
            for place in &round {
                rounds.put(place, due(now + 500, now + 1000));
            }
            if round.is_empty() {
                now += 1;
            } else if now >= 3000 {
                sizes.push(round.len());
            }
        }
        assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
        // Two periods of the last kind: 1,000 in 16 rounds would be best.
        assert!(sizes.len() <= 2 * 24, "{}: {sizes:?}", sizes.len());
    }
}
