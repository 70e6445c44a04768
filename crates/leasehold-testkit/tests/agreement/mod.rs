//! Small random histories, legal and illegal, and what they are held to: a register that is changed by
//! compare-and-swap, and a search of all orders that real time allows. The history's checker sorts by index. Times,
//! periods and belief play no part here. Its own test is `history_agreement`; one of the benchmarks' crate, which has
//! what it needs already, asks the crate porcupine-rs as well.

use std::collections::BTreeSet;

use leasehold_testkit::Chance;
use leasehold_testkit::history::{
    Attempt, Found, Header, History, Kind, Name, Operation, Outcome, State, check,
};

/// The record's index, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Index {
    None,
    Known(u64),
    /// Left by a change of unknown outcome: larger than this, or any.
    Above(Option<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Fence {
    None,
    Known(u64),
    /// The index, whatever it is.
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot {
    index: Index,
    held: bool,
    fence: Fence,
    attempt: Option<u128>,
}

pub(crate) const EMPTY: Slot = Slot {
    index: Index::None,
    held: false,
    fence: Fence::None,
    attempt: None,
};

impl Slot {
    /// The same, if its index can be this one.
    fn at(mut self, index: u64) -> Option<Self> {
        match self.index {
            Index::Known(known) if known == index => {}
            Index::Above(least) if Some(index) > least => {
                self.index = Index::Known(index);
                if self.fence == Fence::Index {
                    self.fence = Fence::Known(index);
                }
            }
            _ => return None,
        }
        Some(self)
    }

    /// The same, if it is what was shown.
    fn shown(self, state: &State) -> Option<Self> {
        let mut slot = self.at(state.index)?;
        let fits = slot.held == state.held
            && (slot.attempt.is_none()
                || state.attempt.is_none()
                || slot.attempt == state.attempt.map(|attempt| attempt.0));
        if !fits {
            return None;
        }
        match (slot.fence, state.fence) {
            (Fence::Known(known), Some(shown)) if known != shown => return None,
            (Fence::None, Some(shown)) => slot.fence = Fence::Known(shown),
            _ => {}
        }
        slot.attempt = slot.attempt.or(state.attempt.map(|attempt| attempt.0));
        Some(slot)
    }

    /// What the change finds, if it can be applied here.
    fn before(self, change: &Operation) -> Option<Self> {
        match (change.kind, change.names) {
            (Kind::Acquire, None) => (self.index == Index::None).then_some(self),
            (Kind::Acquire, Some(named)) => self.at(named),
            (_, Some(named)) => self.at(named).filter(|slot| slot.held),
            _ => None,
        }
    }

    /// The fence that a change leaves here.
    fn fence_after(self, change: &Operation) -> Fence {
        match change.kind {
            Kind::Acquire => Fence::Index,
            Kind::Steal => Fence::Known(change.names.unwrap() + 1),
            Kind::Renew => self.fence,
            _ => Fence::None,
        }
    }

    fn applied(self, change: &Operation, index: u64, fence: Option<u64>) -> Option<Self> {
        let before = self.before(change)?;
        if change.names.is_some_and(|named| named >= index) {
            return None;
        }
        let mut expected = before.fence_after(change);
        if expected == Fence::Index {
            expected = Fence::Known(index);
        }
        match (expected, fence) {
            (Fence::Known(expected), Some(fence)) if expected != fence => return None,
            (Fence::None, Some(fence)) => expected = Fence::Known(fence),
            _ => {}
        }
        Some(Self {
            index: Index::Known(index),
            held: change.kind.grants(),
            fence: expected,
            attempt: change.attempt.map(|attempt| attempt.0),
        })
    }

    /// What follows the operation, if it can have happened here with its outcome.
    pub(crate) fn step(self, operation: &Operation) -> Option<Self> {
        let acquires_nothing = operation.kind == Kind::Acquire && operation.names.is_none();
        match operation.outcome {
            Outcome::Granted { index, fence, .. } => self.applied(operation, index, Some(fence)),
            Outcome::Vacated { index } => self.applied(operation, index, None),
            Outcome::NotApplied => Some(self),
            // Where it is never applied it comes last, where it does no harm.
            Outcome::Unknown => Some(match self.before(operation) {
                None => self,
                Some(before) => Self {
                    index: Index::Above(operation.names),
                    held: operation.kind.grants(),
                    fence: before.fence_after(operation),
                    attempt: operation.attempt.map(|attempt| attempt.0),
                },
            }),
            Outcome::Refused { found } | Outcome::Read { found } => match found {
                Found::Unsaid if acquires_nothing => (self.index != Index::None).then_some(self),
                Found::Unsaid => Some(self),
                Found::Nothing => (self.index == Index::None && !acquires_nothing).then_some(self),
                Found::Record(state)
                    if state.attempt.is_some() && state.attempt == operation.attempt =>
                {
                    self.applied(operation, state.index, state.fence)?
                        .shown(&state)
                }
                Found::Record(state) => self.shown(&state),
            },
        }
    }
}

pub(crate) fn ends(operation: &Operation) -> u64 {
    match operation.outcome {
        Outcome::Unknown => u64::MAX,
        _ => operation.returned.unwrap_or(u64::MAX),
    }
}

/// Tries every order that real time allows.
pub(crate) fn by_search(operations: &[Operation]) -> bool {
    let mut dead = BTreeSet::new();
    search(operations, 0, EMPTY, &mut dead)
}

fn search(
    operations: &[Operation],
    done: u32,
    slot: Slot,
    dead: &mut BTreeSet<(u32, Slot)>,
) -> bool {
    let left = || {
        operations
            .iter()
            .enumerate()
            .filter(|(i, _)| done & (1 << i) == 0)
    };
    let Some(bound) = left().map(|(_, operation)| ends(operation)).min() else {
        return true;
    };
    if dead.contains(&(done, slot)) {
        return false;
    }
    for (i, operation) in left().filter(|(_, operation)| operation.invoked <= bound) {
        if let Some(next) = slot.step(operation)
            && search(operations, done | 1 << i, next, dead)
        {
            return true;
        }
    }
    dead.insert((done, slot));
    false
}

fn by_index(operations: &[Operation]) -> bool {
    let mut history = History::new(Header::exact("steps"));
    history.name("a");
    for operation in operations {
        history.push(operation);
    }
    check(&history).is_ok()
}

fn pick<T: Copy>(chance: &mut Chance, from: &[T]) -> T {
    from[usize::try_from(chance.below(from.len() as u64)).unwrap()]
}

/// A legal history: three clients of a register. Some answers are lost, some requests, some come late.
fn legal(chance: &mut Chance, a: Name) -> Vec<Operation> {
    let count = 3 + chance.below(8);
    let mut operations = Vec::new();
    let mut free = [0_u64; 3];
    for _ in 0..count {
        let client = pick(chance, &[0_usize, 1, 2]);
        let kinds = [
            Kind::Acquire,
            Kind::Acquire,
            Kind::Renew,
            Kind::Renew,
            Kind::Steal,
            Kind::Break,
            Kind::Release,
            Kind::Get,
            Kind::Get,
            Kind::Observed,
        ];
        let kind = pick(chance, &kinds);
        let invoked = free[client] + chance.below(4);
        let applied = invoked + chance.below(5);
        let returned = applied + chance.below(5);
        free[client] = returned + 1;
        let mut operation = Operation::new(u32::try_from(client).unwrap(), a, kind, invoked);
        operation.returned = Some(returned);
        let fate = chance.below(10);
        // When it takes effect: none, never.
        let effect = match fate {
            0 if kind.is_change() => None,
            1 if kind.is_change() => Some(applied + chance.below(20)),
            _ => Some(applied),
        };
        let known = fate > 2 || !kind.is_change();
        operations.push((effect, chance.number(), known, operation));
    }
    operations.sort_by_key(|(effect, order, ..)| (effect.unwrap_or(u64::MAX), *order));
    let mut slot: Option<State> = None;
    let mut highest_seen = 0;
    for (number, (effect, _, known, operation)) in operations.iter_mut().enumerate() {
        if operation.kind.is_change() {
            // Mostly what stands; sometimes what does not.
            let standing = slot.map(|slot| slot.index);
            let other = chance.below(highest_seen + 3);
            operation.names = match chance.below(4) {
                0 => Some(other),
                _ => standing,
            };
            if operation.kind != Kind::Acquire {
                operation.names = Some(operation.names.unwrap_or(other));
            }
            if chance.below(4) > 0 {
                operation.attempt = Some(Attempt(1 + number as u128));
            }
        }
        let found = match slot {
            None => Found::Nothing,
            Some(mut state) => {
                state.fence = state.fence.filter(|_| chance.below(4) > 0);
                state.attempt = state.attempt.filter(|_| chance.below(4) > 0);
                Found::Record(state)
            }
        };
        let outcome = outcome(chance, operation, &mut slot, found, effect.is_some());
        highest_seen = highest_seen.max(slot.map_or(0, |slot| slot.index));
        operation.outcome = match *known {
            true => outcome,
            false => Outcome::Unknown,
        };
    }
    operations
        .into_iter()
        .map(|(.., operation)| operation)
        .collect()
}

fn outcome(
    chance: &mut Chance,
    operation: &Operation,
    slot: &mut Option<State>,
    found: Found,
    arrives: bool,
) -> Outcome {
    let standing = slot.map(|slot| slot.index);
    if !operation.kind.is_change() {
        return Outcome::Read { found };
    }
    if !arrives || chance.below(12) == 0 {
        return Outcome::NotApplied;
    }
    let held = slot.is_some_and(|slot| slot.held);
    let in_place = operation.names == standing && (held || operation.kind == Kind::Acquire);
    // A held lease is found to be so; an expired one is not.
    let live = operation.kind == Kind::Acquire && held && chance.below(2) == 0;
    if !in_place || live {
        let found = match found {
            Found::Nothing if operation.names.is_none() => Found::Unsaid,
            found if chance.below(6) > 0 => found,
            _ => Found::Unsaid,
        };
        return Outcome::Refused { found };
    }
    let index = standing.unwrap_or(0) + 1 + chance.below(2);
    let fence = match operation.kind {
        Kind::Acquire => Some(index),
        Kind::Steal => Some(standing.unwrap() + 1),
        Kind::Renew => slot.and_then(|slot| slot.fence),
        _ => None,
    };
    let (held, attempt) = (operation.kind.grants(), operation.attempt);
    let state = State {
        index,
        fence,
        held,
        attempt,
    };
    *slot = Some(state);
    match fence {
        // Found out by the record that it left.
        _ if attempt.is_some() && chance.below(8) == 0 => Outcome::Refused {
            found: Found::Record(State {
                fence: fence.filter(|_| chance.below(2) == 0),
                ..state
            }),
        },
        Some(fence) => Outcome::Granted {
            index,
            fence,
            period: 0,
            wait: 0,
        },
        None => Outcome::Vacated { index },
    }
}

/// Changes something, which may or may not make it illegal.
fn mutate(chance: &mut Chance, operations: &mut [Operation]) {
    let place = usize::try_from(chance.below(operations.len() as u64)).unwrap();
    let other = usize::try_from(chance.below(operations.len() as u64)).unwrap();
    let nudged = |chance: &mut Chance, number: u64| {
        (number + chance.below(4)).saturating_sub(chance.below(4))
    };
    let outcome = operations[other].outcome;
    let operation = &mut operations[place];
    match chance.below(7) {
        0 => {
            let length = operation.returned.unwrap() - operation.invoked;
            operation.invoked =
                (operation.invoked + chance.below(12)).saturating_sub(chance.below(12));
            operation.returned = Some(operation.invoked + length);
        }
        1 => operation.returned = Some(operation.invoked + chance.below(3)),
        2 if operation.names.is_some() => {
            operation.names = operation.names.map(|named| nudged(chance, named));
        }
        3 => {
            operation.outcome = match operation.kind.is_change() {
                true => pick(chance, &[Outcome::NotApplied, Outcome::Unknown]),
                false => outcome_of_read(outcome).unwrap_or(operation.outcome),
            }
        }
        _ => match &mut operation.outcome {
            Outcome::Granted { index, fence, .. } => match chance.below(2) {
                0 => *index = nudged(chance, *index),
                _ => *fence = nudged(chance, *fence),
            },
            Outcome::Vacated { index } => *index = nudged(chance, *index),
            Outcome::Refused { found } | Outcome::Read { found } => match found {
                Found::Record(state) => match chance.below(5) {
                    0 => *found = Found::Nothing,
                    1 => state.held = !state.held,
                    2 => state.fence = state.fence.map(|fence| nudged(chance, fence)),
                    3 => state.attempt = Some(Attempt(1 + u128::from(chance.below(10)))),
                    _ => state.index = nudged(chance, state.index),
                },
                _ => *found = found_of(outcome).unwrap_or(Found::Nothing),
            },
            outcome => *outcome = pick(chance, &[Outcome::NotApplied, Outcome::Unknown]),
        },
    }
}

fn found_of(outcome: Outcome) -> Option<Found> {
    match outcome {
        Outcome::Read { found } | Outcome::Refused { found } => Some(found),
        _ => None,
    }
}

fn outcome_of_read(outcome: Outcome) -> Option<Outcome> {
    found_of(outcome).map(|found| Outcome::Read { found })
}

/// Another checker: whether a history is legal.
pub(crate) type Other = fn(&[Operation]) -> bool;

/// Asks the checker and others about many histories; all must agree.
pub(crate) fn agree(others: &[(&str, Other)]) {
    let mut history = History::new(Header::exact("steps"));
    let a = history.name("a");
    let (mut legal_count, mut illegal_count, mut unknown_count) = (0, 0, 0);
    let seeds = std::env::var("HISTORY_SEEDS").map_or(10_000, |count| count.parse().unwrap());
    for seed in 0..seeds {
        let mut chance = Chance::new(seed);
        let mut operations = legal(&mut chance, a);
        let mutations = match seed % 4 {
            0 => 0,
            _ => 1 + chance.below(8),
        };
        for _ in 0..mutations {
            mutate(&mut chance, &mut operations);
        }
        let told = || {
            let lines: Vec<String> = operations.iter().map(|o| format!("{o:?}")).collect();
            format!("seed {seed}:\n{}", lines.join("\n"))
        };
        let answer = by_index(&operations);
        assert!(
            mutations > 0 || answer,
            "what was generated is refused: {}",
            told()
        );
        for (name, other) in others {
            assert_eq!(
                other(&operations),
                answer,
                "{name} and the checker, {}",
                told()
            );
        }
        match answer {
            true => legal_count += 1,
            false => illegal_count += 1,
        }
        unknown_count += operations
            .iter()
            .filter(|o| o.outcome == Outcome::Unknown)
            .count();
    }
    println!("{legal_count} legal, {illegal_count} illegal, {unknown_count} unknown outcomes");
    assert!(
        legal_count > seeds / 4 && illegal_count > seeds / 5,
        "too few of one kind"
    );
    assert!(unknown_count as u64 > seeds);
}
