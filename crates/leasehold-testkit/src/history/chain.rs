//! The order of a name's changes. Every change names its predecessor and every index is larger than its predecessor's,
//! so sorting by index gives the only possible order; what is left to find out is who left an index that no known
//! success left: a change of unknown outcome. Those fork: all states that may stand at an index are kept, each with
//! the earliest moment at which it may have begun to stand.

mod blame;
mod forks;

use super::records::History;
use super::rules::{Rule, Violations, told};
use super::types::{Attempt, Found, Kind, Operation, Outcome, State, Time};

/// No operation, no state.
pub(crate) const NONE: u32 = u32::MAX;
/// Marks an entry that shows an index, among those that made one.
const SHOWS: u32 = 1 << 31;

/// A state that a name may have had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// The record's index; none: no record.
    pub(crate) index: Option<u64>,
    /// The change that left it.
    pub(crate) maker: u32,
    /// The state before.
    pub(crate) back: u32,
    pub(crate) fence: Option<u64>,
    /// Whether it is a grant. None: nobody said.
    pub(crate) held: Option<bool>,
    /// Whether other changes may have left it as well.
    pub(crate) vague: bool,
    /// When the change was applied, at the earliest, and the operation that this follows from.
    pub(crate) earliest: Time,
    pub(crate) since: u32,
    /// And at the latest.
    pub(crate) latest: Time,
}

/// What was shown of an index, and when.
#[derive(Clone, Copy)]
struct Shown {
    held: Option<bool>,
    fence: Option<u64>,
    attempt: Option<Attempt>,
    /// An operation that showed it.
    by: u32,
    /// It was applied by then, and who says so.
    until: (Time, u32),
    /// It still stood then, and who says so.
    stood: (Time, u32),
}

/// What one read or refusal showed of an index, and when. Small: there may be one for each operation.
#[derive(Clone, Copy)]
struct Sight {
    invoked: Time,
    returned: Time,
    fence: u64,
    attempt: [u64; 2],
    number: u32,
    held: bool,
    has_fence: bool,
    has_attempt: bool,
}

impl Sight {
    fn new(state: &State, (invoked, returned): (Time, Time), number: u32) -> Self {
        let attempt = state.attempt.map_or(0, |attempt| attempt.0);
        Self {
            invoked,
            returned,
            fence: state.fence.unwrap_or(0),
            attempt: [(attempt >> 64) as u64, attempt as u64],
            number,
            held: state.held,
            has_fence: state.fence.is_some(),
            has_attempt: state.attempt.is_some(),
        }
    }

    fn state(&self, index: u64) -> State {
        let [high, low] = self.attempt;
        let attempt = Attempt(u128::from(high) << 64 | u128::from(low));
        State {
            index,
            fence: self.has_fence.then_some(self.fence),
            held: self.held,
            attempt: self.has_attempt.then_some(attempt),
        }
    }
}

/// A change of unknown outcome.
#[derive(Clone, Copy)]
struct Open {
    names: Option<u64>,
    invoked: Time,
    number: u32,
}

/// What follows a name's changes in their order. Its buffers serve one name after the other.
pub(crate) struct Chain<'a> {
    history: &'a History,
    error: Time,
    name: &'a str,
    /// An index, and the number of who made it (first), or the place of a sight that shows it.
    entries: Vec<(u64, u32)>,
    sights: Vec<Sight>,
    open: Vec<Open>,
    arena: Vec<Node>,
    front: Vec<u32>,
    /// The latest visible index still stood then.
    stood: (Time, u32),
    /// A record existed by then.
    existed: (Time, u32),
    saw_nothing: bool,
    /// The order itself is broken: what else is wrong with it would only follow from that.
    pub(crate) disorderly: bool,
    pub(crate) shown: usize,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        Self {
            history,
            error: history.header().error,
            name: "",
            entries: Vec::new(),
            sights: Vec::new(),
            open: Vec::new(),
            arena: Vec::new(),
            front: Vec::new(),
            stood: (0, NONE),
            existed: (Time::MAX, NONE),
            saw_nothing: false,
            disorderly: false,
            shown: 0,
        }
    }

    /// The states of a name in their order, as far as they are known to have stood; those of unknown makers with the
    /// change that may have been applied first.
    pub(crate) fn order(
        &mut self,
        name: &'a str,
        numbers: &[u32],
        states: &mut Vec<Node>,
        violations: &mut Violations,
    ) {
        self.name = name;
        self.gather(numbers, violations);
        self.arena.clear();
        self.arena.push(Node {
            index: None,
            maker: NONE,
            back: NONE,
            fence: None,
            held: Some(false),
            vague: false,
            earliest: 0,
            since: NONE,
            latest: Time::MAX,
        });
        self.front.clear();
        self.front.push(0);
        let entries = std::mem::take(&mut self.entries);
        for group in entries.chunk_by(|(left, _), (right, _)| left == right) {
            self.step(group, violations);
        }
        self.entries = entries;
        self.end(violations);
        self.trace(states);
    }

    fn early(&self, time: Time) -> Time {
        time.saturating_sub(self.error)
    }

    fn late(&self, time: Option<Time>) -> Time {
        time.unwrap_or(Time::MAX).saturating_add(self.error)
    }

    fn operation(&self, number: u32) -> Option<Operation> {
        self.history.operation(number as usize)
    }

    fn told(&self, number: u32) -> String {
        told(self.history, number)
    }

    /// Sorts what is known of a name: who made or shows which index, and what is unknown.
    fn gather(&mut self, numbers: &[u32], violations: &mut Violations) {
        self.entries.clear();
        self.sights.clear();
        self.open.clear();
        self.stood = (0, NONE);
        self.existed = (Time::MAX, NONE);
        self.saw_nothing = false;
        self.disorderly = false;
        for number in numbers.iter().copied() {
            let Some(operation) = self.operation(number) else {
                continue;
            };
            if let Some(index) = operation.applied() {
                self.entries.push((index, number));
                if let Outcome::Refused { found } = operation.outcome {
                    self.found(number, &operation, found, violations);
                }
                continue;
            }
            match operation.outcome {
                Outcome::Unknown if operation.kind.is_change() => self.open.push(Open {
                    names: operation.names,
                    invoked: self.early(operation.invoked),
                    number,
                }),
                Outcome::Refused { found } => {
                    self.found(number, &operation, found, violations);
                    // What it names still stands, so a duplicate that arrives later may be applied: where a grant had
                    // run out and a registry that starts anew times it anew, or where a vacancy had not begun.
                    let stands = matches!(found, Found::Record(state) if Some(state.index) == operation.names);
                    if stands && operation.kind.is_change() {
                        self.open.push(Open {
                            names: operation.names,
                            invoked: self.early(operation.invoked),
                            number,
                        });
                    }
                }
                Outcome::Read { found } => self.found(number, &operation, found, violations),
                _ => {}
            }
        }
        self.entries.sort_unstable();
        self.open
            .sort_unstable_by_key(|open| (open.names, open.invoked, open.number));
    }

    fn found(
        &mut self,
        number: u32,
        operation: &Operation,
        found: Found,
        violations: &mut Violations,
    ) {
        let acquires_nothing = operation.kind == Kind::Acquire && operation.names.is_none();
        match found {
            Found::Record(state) => {
                self.shown += 1;
                let place = u32::try_from(self.sights.len()).unwrap_or(NONE);
                self.entries.push((state.index, place | SHOWS));
                let times = (self.early(operation.invoked), self.late(operation.returned));
                self.sights.push(Sight::new(&state, times, number));
            }
            Found::Nothing => {
                self.shown += 1;
                self.saw_nothing = true;
                if acquires_nothing {
                    let what = format!(
                        "{} named no record, was refused, and found none",
                        self.told(number)
                    );
                    violations.add(Rule::Reads, self.name, what);
                }
                self.stood = self.stood.max((self.early(operation.invoked), number));
            }
            Found::Unsaid if acquires_nothing && operation.kind.is_change() => {
                self.existed = self.existed.min((self.late(operation.returned), number));
            }
            Found::Unsaid => {}
        }
    }

    /// The next larger index: who made it, who shows it.
    fn step(&mut self, group: &[(u64, u32)], violations: &mut Violations) {
        let Some((index, _)) = group.first().copied() else {
            return;
        };
        let makers = group.iter().take_while(|(_, by)| by & SHOWS == 0).count();
        let (makers, shows) = group.split_at(makers);
        let shown = self.sum_up(index, shows, violations);
        if let [(_, first), (_, second), ..] = makers {
            let what = format!(
                "{} and {} were both given index {index}",
                self.told(*first),
                self.told(*second)
            );
            violations.add(Rule::IndexGrows, self.name, what);
        }
        let maker = makers.first().map(|(_, number)| *number);
        let maker = maker.and_then(|number| Some((number, self.operation(number)?)));
        let first = self.arena.len();
        match maker {
            Some((number, change)) => self.known(index, number, &change, &shown, violations),
            None => self.unknown(index, &shown, violations),
        }
        let mut until = shown.until;
        if let Some((number, change)) = maker {
            until = until.min((self.late(change.returned), number));
        }
        self.front.clear();
        let reached = first..self.arena.len();
        let ends = |node: &Node| node.index == Some(index);
        let soonest = self.arena[reached.clone()]
            .iter()
            .filter(|node| ends(node))
            .min_by_key(|node| node.earliest)
            .map(|node| (node.earliest, node.since));
        if let Some(soonest) = soonest.filter(|soonest| soonest.0 > until.0) {
            self.out_of_order(index, soonest.1, until.1, violations);
        }
        for place in reached {
            let node = &mut self.arena[place];
            if !ends(node) {
                continue;
            }
            node.latest = until.0;
            if soonest.is_some_and(|soonest| soonest.0 > until.0) {
                // Told once: what follows is judged by itself.
                node.earliest = until.0;
            } else if node.earliest > until.0 {
                continue;
            }
            self.front.push(u32::try_from(place).unwrap_or(NONE));
        }
        self.stood = shown.stood;
    }

    /// What reads and refusals say of an index: they must agree.
    fn sum_up(&self, index: u64, shows: &[(u64, u32)], violations: &mut Violations) -> Shown {
        let mut sum = Shown {
            held: None,
            fence: None,
            attempt: None,
            by: NONE,
            until: (Time::MAX, NONE),
            stood: (0, NONE),
        };
        for (_, by) in shows {
            let place = (by & !SHOWS) as usize;
            let Some(sight) = self.sights.get(place).copied() else {
                continue;
            };
            let (state, number) = (sight.state(index), sight.number);
            let agrees = fits(&state, sum.held, sum.fence, sum.attempt);
            if sum.by == NONE {
                sum.by = number;
            } else if !agrees {
                let what = format!(
                    "{} and {} show two different records of index {index}",
                    self.told(sum.by),
                    self.told(number)
                );
                violations.add(Rule::IndexGrows, self.name, what);
                continue;
            }
            sum.held = Some(state.held);
            sum.fence = sum.fence.or(state.fence);
            sum.attempt = sum.attempt.or(state.attempt);
            sum.until = sum.until.min((sight.returned, number));
            sum.stood = sum.stood.max((sight.invoked, number));
        }
        sum
    }

    /// An index that a change is known to have been given.
    fn known(
        &mut self,
        index: u64,
        number: u32,
        change: &Operation,
        shown: &Shown,
        violations: &mut Violations,
    ) {
        let (held, fence) = left_by(change);
        if shown.by != NONE {
            let state = State {
                index,
                fence,
                held,
                attempt: change.attempt,
            };
            if !fits(&state, shown.held, None, shown.attempt) {
                let what = format!(
                    "{} shows another record of index {index} than {} left",
                    self.told(shown.by),
                    self.told(number)
                );
                violations.add(Rule::IndexGrows, self.name, what);
            } else if !fits(&state, None, shown.fence, None) {
                let what = format!(
                    "{} shows another fence of index {index} than {} was given",
                    self.told(shown.by),
                    self.told(number)
                );
                violations.add(Rule::Fence, self.name, what);
            }
        }
        // A success that was found out may not have told its fence; who saw the record knows it.
        let fence = fence.or(shown.fence.filter(|_| held));
        let (mut sources, in_place) = self.predecessors(index, number, change, fence, violations);
        self.disorderly |= !in_place;
        let mut allowed = sources.clone();
        allowed.retain(|source| may(change.kind, self.arena[*source as usize]));
        if allowed.is_empty() && in_place {
            let what = format!(
                "{} replaced what was not held by anybody",
                self.told(number)
            );
            violations.add(Rule::OneLessee, self.name, what);
        } else if in_place {
            sources = allowed;
        }
        let mut fenced = sources.clone();
        fenced.retain(|source| {
            let expected = fence_after(change.kind, index, self.arena[*source as usize]);
            expected.is_none() || fence.is_none() || expected == fence
        });
        if fenced.is_empty() && in_place {
            self.wrong_fence(index, number, change, fence, &sources, violations);
        } else if in_place {
            sources = fenced;
        }
        let invoked = (self.early(change.invoked), number);
        let begin = self.arena.len();
        for source in sources {
            let (earliest, since) = self.since(source).max(invoked);
            let expected = fence_after(change.kind, index, self.arena[source as usize]);
            let node = Node {
                index: Some(index),
                maker: number,
                back: source,
                fence: fence.or(expected),
                held: Some(held),
                vague: false,
                earliest,
                since,
                latest: Time::MAX,
            };
            self.keep(begin, node);
        }
        // That it was applied is known, whatever it followed.
        for node in &mut self.arena[begin..] {
            node.vague = false;
        }
    }

    /// When what follows a state was applied, at the earliest.
    fn since(&self, source: u32) -> (Time, u32) {
        let node = self.arena[source as usize];
        let since = (node.earliest, node.since);
        match self.front.contains(&source) {
            true => since.max(self.stood),
            false => since,
        }
    }

    /// The states that a known change may have replaced; or, with a violation, whatever stood, where it cannot have
    /// replaced what it names.
    fn predecessors(
        &mut self,
        index: u64,
        number: u32,
        change: &Operation,
        fence: Option<u64>,
        violations: &mut Violations,
    ) -> (Vec<u32>, bool) {
        let last = self.last_index();
        if change.names == last {
            return (self.front.clone(), true);
        }
        let what = match change.names {
            Some(named) if named >= index => format!(
                "{} was given index {index}, which is no larger than the one it replaced",
                self.told(number)
            ),
            Some(named) if last.is_none_or(|last| last < named) => {
                // Nobody but this change tells of what it replaced.
                let shown = Shown {
                    held: (change.kind != Kind::Acquire).then_some(true),
                    fence: fence.filter(|_| change.kind == Kind::Renew),
                    attempt: None,
                    by: number,
                    until: (Time::MAX, NONE),
                    stood: (0, NONE),
                };
                let first = self.arena.len();
                self.unknown(named, &shown, violations);
                let made = first..self.arena.len();
                let made = made.filter(|place| self.arena[*place].index == Some(named));
                let made = made.map(|place| u32::try_from(place).unwrap_or(NONE));
                return (made.collect(), true);
            }
            _ => {
                if violations.is_full() {
                    violations.count += 1;
                } else {
                    let (rule, what) = self.second_successor(index, number, change.names);
                    violations.add(rule, self.name, what);
                }
                return (self.front.clone(), false);
            }
        };
        violations.add(Rule::IndexGrows, self.name, what);
        (self.front.clone(), false)
    }

    fn last_index(&self) -> Option<u64> {
        let last = self.front.first()?;
        self.arena.get(*last as usize)?.index
    }

    /// A refusal that said that a record exists, where nobody saw one.
    fn end(&mut self, violations: &mut Violations) {
        let (existed, by) = self.existed;
        if existed == Time::MAX {
            return;
        }
        let mut place = self.front.first().copied().unwrap_or(NONE);
        let mut first = None;
        while let Some(node) = self.arena.get(place as usize) {
            if node.index.is_some() {
                first = Some(*node);
            }
            place = node.back;
        }
        let possible = match first {
            Some(first) => first.earliest <= existed,
            None => self
                .open
                .iter()
                .take_while(|open| open.names.is_none())
                .any(|open| open.invoked.max(self.stood.0) <= existed),
        };
        if !possible {
            let what = format!(
                "{} named no record and was refused before there can have been one",
                self.told(by)
            );
            violations.add(Rule::Reads, self.name, what);
        }
    }

    /// The way to the last index that can have been reached first.
    fn trace(&self, states: &mut Vec<Node>) {
        states.clear();
        let soonest = |place: &&u32| self.arena[**place as usize].earliest;
        let mut place = self.front.iter().min_by_key(soonest).copied();
        let mut latest = Time::MAX;
        while let Some(node) = place.and_then(|place| self.arena.get(place as usize)) {
            if node.index.is_none() {
                break;
            }
            latest = latest.min(node.latest);
            states.push(Node { latest, ..*node });
            place = Some(node.back);
        }
        states.reverse();
    }

    /// How many changes of this name have an unknown outcome.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }
}

/// Whether a state agrees with what was shown.
fn fits(state: &State, held: Option<bool>, fence: Option<u64>, attempt: Option<Attempt>) -> bool {
    held.is_none_or(|held| held == state.held)
        && (state.fence.is_none() || fence.is_none() || state.fence == fence)
        && (state.attempt.is_none() || attempt.is_none() || state.attempt == attempt)
}

/// What a known success left: whether it is held, and its fence.
fn left_by(change: &Operation) -> (bool, Option<u64>) {
    let fence = match change.outcome {
        Outcome::Granted { fence, .. } => Some(fence),
        Outcome::Refused {
            found: Found::Record(state),
        } => state.fence,
        _ => None,
    };
    (change.kind.grants(), fence)
}

/// Whether a change may replace a state: acquire a vacancy, the others a grant.
fn may(kind: Kind, before: Node) -> bool {
    kind == Kind::Acquire || (before.index.is_some() && before.held != Some(false))
}

/// The fence of what a change leaves; none: a tombstone's, or not known.
fn fence_after(kind: Kind, index: u64, before: Node) -> Option<u64> {
    match kind {
        Kind::Acquire => Some(index),
        Kind::Steal => before.index.map(|replaced| replaced + 1),
        Kind::Renew => before.fence,
        _ => None,
    }
}
