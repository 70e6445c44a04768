//! Breadth first over all states: the first state that breaks a law is one of those reached by the fewest events.

use crate::canonical::canonical;
use crate::event::{Event, events};
use crate::law::Law;
use crate::model::Model;
use crate::state::{PROCESSES, Packed, State, fingerprint};
use crate::step::step;

/// The fingerprints of the states that were found, each with that of the state it was first reached from.
///
/// A fingerprint has 64 bits: among n states a pair shares one, and one of the two stays unexplored, with a probability of
/// less than n^2 / 2^65.
#[derive(Debug)]
struct Found {
    prints: Vec<u64>,
    parents: Option<Vec<u64>>,
    count: usize,
}

impl Found {
    fn new(parents: bool) -> Self {
        let room = 1 << 16;
        Self {
            prints: vec![0; room],
            parents: parents.then(|| vec![0; room]),
            count: 0,
        }
    }

    fn place(prints: &[u64], print: u64) -> usize {
        let mask = prints.len() - 1;
        let mut place = print as usize & mask;
        while prints[place] != 0 && prints[place] != print {
            place = (place + 1) & mask;
        }
        place
    }

    /// False if it was there.
    fn insert(&mut self, print: u64, parent: u64) -> bool {
        if self.count * 4 >= self.prints.len() * 3 {
            self.grow();
        }
        let place = Self::place(&self.prints, print);
        if self.prints[place] == print {
            return false;
        }
        self.prints[place] = print;
        if let Some(parents) = &mut self.parents {
            parents[place] = parent;
        }
        self.count += 1;
        true
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.prints);
        self.prints = vec![0; old.len() * 2];
        let parents = self
            .parents
            .replace(Vec::new())
            .filter(|parents| !parents.is_empty());
        self.parents = parents.as_ref().map(|_| vec![0; old.len() * 2]);
        for (from, print) in old.iter().enumerate().filter(|(_, print)| **print != 0) {
            let place = Self::place(&self.prints, *print);
            self.prints[place] = *print;
            if let (Some(new), Some(old)) = (&mut self.parents, &parents) {
                new[place] = old[from];
            }
        }
    }

    fn parent(&self, print: u64) -> u64 {
        self.parents
            .as_ref()
            .map_or(0, |parents| parents[Self::place(&self.prints, print)])
    }
}

/// One event of a trace, the processes by the places that they had at its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// The event.
    pub event: Event,
    /// The state before.
    pub before: State,
    /// The state after, not reordered.
    pub after: State,
    /// Which process, by its place at the beginning, stands at each place before.
    pub names: [usize; PROCESSES],
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many different states.
    pub states: usize,
    /// How many events from the first state the farthest is.
    pub depth: usize,
    /// How many transitions.
    pub transitions: u64,
    /// The largest number of states of one depth.
    pub widest: usize,
    /// Whether all was explored, or the search ended before.
    pub complete: bool,
    /// The law that was broken first.
    pub broken: Option<Law>,
    /// How it came to that.
    pub trace: Vec<Happened>,
}

/// Explores all that the model can do. `trace`: remember how each state was reached. `most`: end after so many states.
#[must_use]
pub fn search(model: &Model, trace: bool, most: usize) -> Report {
    let first = canonical(model, &State::default()).0;
    let mut found = Found::new(trace);
    found.insert(fingerprint(&first), 0);
    let mut layer: Vec<Packed> = vec![first];
    let mut next: Vec<Packed> = Vec::new();
    let mut possible = Vec::new();
    let mut report = Report {
        states: 1,
        depth: 0,
        transitions: 0,
        widest: 1,
        complete: true,
        broken: None,
        trace: Vec::new(),
    };
    while !layer.is_empty() {
        for packed in &layer {
            let state = State::unpack(packed);
            let parent = fingerprint(packed);
            events(model, &state, &mut possible);
            for event in &possible {
                let (after, broken) = step(model, &state, *event);
                report.transitions += 1;
                if let Some(law) = broken {
                    report.broken = Some(law);
                    report.depth += 1;
                    report.states = found.count;
                    report.complete = false;
                    if trace {
                        report.trace = retrace(model, &found, parent, *event);
                    }
                    return report;
                }
                let after = canonical(model, &after).0;
                if found.insert(fingerprint(&after), parent) {
                    next.push(after);
                }
            }
        }
        report.states = found.count;
        if found.count > most {
            report.complete = false;
            return report;
        }
        std::mem::swap(&mut layer, &mut next);
        next.clear();
        report.widest = report.widest.max(layer.len());
        report.depth += usize::from(!layer.is_empty());
    }
    report
}

/// The events from the first state to the one with the fingerprint, and one more.
fn retrace(model: &Model, found: &Found, last: u64, event: Event) -> Vec<Happened> {
    let mut prints = vec![last];
    let mut print = last;
    loop {
        print = found.parent(print);
        if print == 0 {
            break;
        }
        prints.push(print);
    }
    prints.reverse();
    let mut trace = Vec::new();
    let (mut state, mut names) = (State::default(), [0, 1, 2]);
    let mut possible = Vec::new();
    for print in prints.iter().skip(1) {
        events(model, &state, &mut possible);
        for event in &possible {
            let (after, _) = step(model, &state, *event);
            let (next, places) = canonical(model, &after);
            if fingerprint(&next) == *print {
                trace.push(Happened {
                    event: *event,
                    before: state,
                    after,
                    names,
                });
                names = places.map(|place| names[place]);
                state = State::unpack(&next);
                break;
            }
        }
    }
    let (after, _) = step(model, &state, event);
    trace.push(Happened {
        event,
        before: state,
        after,
        names,
    });
    trace
}
