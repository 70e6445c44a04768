//! A history in memory: the records of many processes, packed.

use std::collections::BTreeMap;

use super::types::{
    Attempt, Belief, Found, Header, Kind, Name, Operation, Outcome, Standing, State, Time,
};

/// The records of many processes: operations and beliefs, in any order.
#[derive(Clone, Debug)]
pub struct History {
    header: Header,
    names: Vec<String>,
    numbers: BTreeMap<String, u32>,
    rows: Vec<Row>,
    /// The name of each operation.
    row_names: Vec<u32>,
    beliefs: Vec<Belief>,
    /// Where it was read from a file: the line of each operation and of each belief.
    lines: (Vec<u32>, Vec<u32>),
}

/// An operation in 128 bytes: tens of millions of them fit into memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    invoked: Time,
    /// `NONE`: never, as in the other numbers that an operation may lack.
    returned: Time,
    handle: u64,
    names: u64,
    attempt: [u64; 2],
    period: u64,
    own: u64,
    counted: u64,
    payload: [u64; 4],
    process: u32,
    name: u32,
    kind: Kind,
    standing: Standing,
    outcome: Tag,
    flags: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Granted,
    Vacated,
    Refused,
    NotApplied,
    Unknown,
    Read,
}

const NONE: u64 = u64::MAX;
const HAS_ATTEMPT: u8 = 1;
const ASSUME_DEAD: u8 = 2;
const FOUND_NOTHING: u8 = 4;
const FOUND_RECORD: u8 = 8;
const FOUND_HELD: u8 = 16;
const FOUND_ATTEMPT: u8 = 32;

impl History {
    /// A history without records.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self {
            header,
            names: Vec::new(),
            numbers: BTreeMap::new(),
            rows: Vec::new(),
            row_names: Vec::new(),
            beliefs: Vec::new(),
            lines: (Vec::new(), Vec::new()),
        }
    }

    /// What its instants mean.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of a lease's name, new or known.
    pub fn name(&mut self, name: &str) -> Name {
        if let Some(number) = self.numbers.get(name) {
            return Name(*number);
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        Name(number)
    }

    /// A name's text.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.names.get(name.0 as usize).map_or("?", String::as_str)
    }

    /// How many names there are.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Makes room for this many more operations.
    pub fn reserve(&mut self, operations: usize) {
        self.rows.reserve_exact(operations);
        self.row_names.reserve_exact(operations);
    }

    /// Adds an operation; its name must be one of this history's.
    pub fn push(&mut self, operation: &Operation) {
        self.rows.push(Row::pack(operation));
        self.row_names.push(operation.name.0);
    }

    /// Adds a belief; its name must be one of this history's.
    pub fn believe(&mut self, belief: Belief) {
        self.beliefs.push(belief);
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The operation of a number, counted from zero in the order in which they were added.
    #[must_use]
    pub fn operation(&self, number: usize) -> Option<Operation> {
        self.rows.get(number).map(Row::unpack)
    }

    /// Replaces an operation: what became of it is known now. Its name stays.
    pub fn replace(&mut self, number: usize, operation: &Operation) {
        if let (Some(row), Some(name)) = (self.rows.get_mut(number), self.row_names.get(number)) {
            *row = Row::pack(operation);
            row.name = *name;
        }
    }

    /// All operations.
    pub fn operations(&self) -> impl ExactSizeIterator<Item = Operation> + '_ {
        self.rows.iter().map(Row::unpack)
    }

    /// All beliefs.
    #[must_use]
    pub fn beliefs(&self) -> &[Belief] {
        &self.beliefs
    }

    /// The records so far, leaving none.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            header: self.header.clone(),
            names: self.names.clone(),
            numbers: self.numbers.clone(),
            rows: std::mem::take(&mut self.rows),
            row_names: std::mem::take(&mut self.row_names),
            beliefs: std::mem::take(&mut self.beliefs),
            lines: std::mem::take(&mut self.lines),
        }
    }

    /// The number of each operation's name.
    pub(crate) fn names_of_operations(&self) -> &[u32] {
        &self.row_names
    }

    /// All operations, packed.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The record that was just added stands in this line.
    pub(crate) fn in_line(&mut self, line: usize) {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        if self.lines.0.len() < self.rows.len() {
            self.lines.0.push(line);
        } else if self.lines.1.len() < self.beliefs.len() {
            self.lines.1.push(line);
        }
    }

    /// Where an operation stands, for people.
    pub(crate) fn place(&self, operation: usize) -> String {
        match self.lines.0.get(operation) {
            Some(line) => format!("line {line}"),
            None => format!("operation {operation}"),
        }
    }

    /// Where a belief stands, for people.
    pub(crate) fn belief_place(&self, belief: usize) -> String {
        match self.lines.1.get(belief) {
            Some(line) => format!("line {line}"),
            None => format!("belief {belief}"),
        }
    }

    pub(crate) fn set_header(&mut self, header: Header) {
        self.header = header;
    }
}

fn or_none(number: u64) -> Option<u64> {
    (number != NONE).then_some(number)
}

fn halves(attempt: Option<Attempt>) -> [u64; 2] {
    let bytes = attempt.map_or(0, |attempt| attempt.0);
    [(bytes >> 64) as u64, bytes as u64]
}

fn whole([high, low]: [u64; 2]) -> Attempt {
    Attempt(u128::from(high) << 64 | u128::from(low))
}

impl Row {
    fn pack(operation: &Operation) -> Self {
        let mut flags = 0;
        let mut flag = |set: bool, bit: u8| flags |= if set { bit } else { 0 };
        flag(operation.attempt.is_some(), HAS_ATTEMPT);
        flag(operation.assume_dead, ASSUME_DEAD);
        let (outcome, payload) = match operation.outcome {
            Outcome::Granted {
                index,
                fence,
                period,
                wait,
            } => (Tag::Granted, [index, fence, period, wait]),
            Outcome::Vacated { index } => (Tag::Vacated, [index, 0, 0, 0]),
            Outcome::NotApplied => (Tag::NotApplied, [0; 4]),
            Outcome::Unknown => (Tag::Unknown, [0; 4]),
            Outcome::Refused { found } | Outcome::Read { found } => {
                let payload = match found {
                    Found::Unsaid => [0; 4],
                    Found::Nothing => {
                        flag(true, FOUND_NOTHING);
                        [0; 4]
                    }
                    Found::Record(state) => {
                        flag(true, FOUND_RECORD);
                        flag(state.held, FOUND_HELD);
                        flag(state.attempt.is_some(), FOUND_ATTEMPT);
                        let [high, low] = halves(state.attempt);
                        [state.index, state.fence.unwrap_or(NONE), high, low]
                    }
                };
                match operation.outcome {
                    Outcome::Refused { .. } => (Tag::Refused, payload),
                    _ => (Tag::Read, payload),
                }
            }
        };
        Self {
            invoked: operation.invoked,
            returned: operation.returned.unwrap_or(NONE),
            handle: operation.handle.unwrap_or(NONE),
            names: operation.names.unwrap_or(NONE),
            attempt: halves(operation.attempt),
            period: operation.period.unwrap_or(NONE),
            own: operation.own.unwrap_or(NONE),
            counted: operation.counted.unwrap_or(NONE),
            payload,
            process: operation.process,
            name: operation.name.0,
            kind: operation.kind,
            standing: operation.standing,
            outcome,
            flags,
        }
    }

    /// Whether a reading of the process's own clock goes with it.
    pub(crate) fn is_timed(&self) -> bool {
        self.own != NONE
    }

    /// Whether a handle or claimant sent it to end its term.
    pub(crate) fn is_clean_release(&self) -> bool {
        self.kind == Kind::Release && self.standing != Standing::Proxy
    }

    /// Whether a handle or claimant sent it to extend its term.
    pub(crate) fn is_own_renewal(&self) -> bool {
        self.kind == Kind::Renew && self.standing != Standing::Proxy
    }

    pub(crate) fn unpack(&self) -> Operation {
        let has = |bit: u8| self.flags & bit != 0;
        let [first, second, third, fourth] = self.payload;
        let found = if has(FOUND_RECORD) {
            Found::Record(State {
                index: first,
                fence: or_none(second),
                held: has(FOUND_HELD),
                attempt: has(FOUND_ATTEMPT).then(|| whole([third, fourth])),
            })
        } else if has(FOUND_NOTHING) {
            Found::Nothing
        } else {
            Found::Unsaid
        };
        Operation {
            process: self.process,
            handle: or_none(self.handle),
            name: Name(self.name),
            kind: self.kind,
            names: or_none(self.names),
            attempt: has(HAS_ATTEMPT).then(|| whole(self.attempt)),
            period: or_none(self.period),
            assume_dead: has(ASSUME_DEAD),
            standing: self.standing,
            invoked: self.invoked,
            returned: or_none(self.returned),
            own: or_none(self.own),
            counted: or_none(self.counted),
            outcome: match self.outcome {
                Tag::Granted => Outcome::Granted {
                    index: first,
                    fence: second,
                    period: third,
                    wait: fourth,
                },
                Tag::Vacated => Outcome::Vacated { index: first },
                Tag::Refused => Outcome::Refused { found },
                Tag::NotApplied => Outcome::NotApplied,
                Tag::Unknown => Outcome::Unknown,
                Tag::Read => Outcome::Read { found },
            },
        }
    }
}
