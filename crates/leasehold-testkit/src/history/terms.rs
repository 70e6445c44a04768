//! The rules about time, along a name's states in their order. Only what is certain is told: a change was applied at
//! some point between two bounds, so a grant's end is bounded from below by its earliest application, and what followed
//! it was too early if even its latest application was before that.

use std::ops::Range;

use super::chain::{NONE, Node};
use super::cover::{self, Grant};
use super::records::History;
use super::rules::{Rule, Violations, told};
use super::types::{Kind, Operation, Outcome, Standing, Time};

/// A term, as far as beliefs depend on it.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) fence: u64,
    /// When the waits before it are over, at the earliest.
    pub(crate) believe: Time,
    /// From when a grant of it stood of which nobody knows who made it: then anybody may believe, and how long is not
    /// certain.
    pub(crate) anyone: Option<Time>,
    /// Its grants' places.
    grants: Range<usize>,
}

/// Lower bounds of the two instants that go with a record.
#[derive(Clone, Copy, Debug, Default)]
struct Instants {
    believe: Time,
    vacant: Time,
}

pub(crate) struct Terms<'a> {
    history: &'a History,
    ppm: u64,
    error: Time,
    /// The handles of the current term, by process and number.
    handles: Vec<(u32, u64)>,
    /// Some state was left by a change that nobody can name: of what term it was is not certain.
    pub(crate) unsure: bool,
    /// From when a grant stood whose fence nobody said.
    nameless: Option<Time>,
    pub(crate) terms: Vec<Term>,
    /// The grants of all terms, each term's together.
    grants: Vec<Grant>,
}

impl<'a> Terms<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        Self {
            history,
            ppm: history.header().drift_ppm.into(),
            error: history.header().error,
            handles: Vec::new(),
            unsure: false,
            nameless: None,
            terms: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// The term of a fence.
    pub(crate) fn of(&self, fence: u64) -> Option<&Term> {
        let place = self.terms.binary_search_by_key(&fence, |term| term.fence);
        self.terms.get(place.ok()?)
    }

    /// A term's grants, each handle's together.
    pub(crate) fn grants(&self, term: &Term) -> &[Grant] {
        self.grants.get(term.grants.clone()).unwrap_or_default()
    }

    /// At least so long a length takes, by whatever clock it was measured.
    fn at_least(&self, length: u64) -> u64 {
        length - scaled(length, self.ppm.min(1_000_000))
    }

    /// And at most.
    fn at_most(&self, length: u64) -> u64 {
        at_most(length, self.ppm)
    }

    pub(crate) fn follow(&mut self, name: &str, states: &[Node], violations: &mut Violations) {
        self.terms.clear();
        self.grants.clear();
        self.handles.clear();
        self.nameless = None;
        self.unsure = false;
        let mut instants = Instants::default();
        let mut before: Option<&Node> = None;
        let mut highest = None;
        for state in states {
            let change = self.history.operation(state.maker as usize);
            if let Some(change) = &change {
                self.not_early(name, state, change, before, instants, violations);
                self.fence(name, state, change, highest, violations);
                self.standing(name, state, change, violations);
            }
            instants = match &change {
                Some(change) if !state.vague => self.after(state, change, instants),
                // Whichever change it was: nothing is certain of what it left.
                _ => Instants {
                    believe: 0,
                    vacant: state.earliest,
                },
            };
            // Of a grant of nothing nobody waits for the begin.
            if let Some(Outcome::Granted { wait, period, .. }) = change.map(|change| change.outcome)
                && period > 0
            {
                let returned = change.and_then(|change| change.returned);
                self.waited(name, state, (wait, returned), instants, violations);
            }
            if state.vague {
                self.unsure = true;
                // It may have been a renewal of the term before.
                if let Some(term) = self.terms.last_mut() {
                    term.anyone = term.anyone.or(Some(state.earliest));
                }
            }
            if state.held != Some(false) {
                self.term(state, change.as_ref(), instants);
                highest = highest.max(state.fence);
            }
            before = Some(state);
        }
        for term in &self.terms {
            if let Some(grants) = self.grants.get_mut(term.grants.clone()) {
                cover::settle(grants);
            }
        }
    }

    /// From when a change's period counts, at the earliest: from its application, or sooner, from the last counted renewal
    /// of what carries it.
    fn counts_from(&self, state: &Node, change: &Operation) -> Time {
        let counted = change.counted.unwrap_or(Time::MAX);
        counted.saturating_sub(self.error).min(state.earliest)
    }

    /// The instants that a change leaves.
    fn after(&self, state: &Node, change: &Operation, old: Instants) -> Instants {
        let at = state.earliest;
        let period = match change.outcome {
            Outcome::Granted { period, .. } => period,
            _ => change.period.unwrap_or(0),
        };
        let ran_out = self
            .counts_from(state, change)
            .saturating_add(self.at_least(period));
        let proxy = change.standing == Standing::Proxy;
        match change.kind {
            Kind::Acquire => Instants {
                believe: old.believe,
                vacant: ran_out.max(old.believe),
            },
            Kind::Renew => Instants {
                believe: old.believe,
                // A proxy's renewal never ends the term sooner than its handle, which knows nothing of it, may believe.
                vacant: ran_out
                    .max(old.believe)
                    .max(if proxy { old.vacant } else { 0 }),
            },
            Kind::Steal => {
                let believe = match change.assume_dead {
                    true => old.believe,
                    false => old.believe.max(old.vacant),
                };
                Instants {
                    believe,
                    vacant: ran_out.max(believe),
                }
            }
            Kind::Release if !proxy => Instants {
                believe: old.believe,
                vacant: at.max(old.believe),
            },
            _ => Instants {
                believe: old.believe,
                vacant: match change.assume_dead {
                    true => at.max(old.believe),
                    false => at.max(old.believe).max(old.vacant),
                },
            },
        }
    }

    fn not_early(
        &self,
        name: &str,
        state: &Node,
        change: &Operation,
        before: Option<&Node>,
        instants: Instants,
        violations: &mut Violations,
    ) {
        let Some(before) = before.filter(|_| change.kind == Kind::Acquire && !state.vague) else {
            return;
        };
        if state.latest >= instants.vacant {
            return;
        }
        let broken = before.held == Some(false) || state.latest < instants.believe;
        let rule = if broken {
            Rule::WaitedOut
        } else {
            Rule::NotEarly
        };
        let what = format!(
            "{} was applied by {} at the latest, but after {} the name was not vacant before {}",
            told(self.history, state.maker),
            state.latest,
            self.left(before),
            instants.vacant
        );
        violations.add(rule, name, what);
    }

    fn left(&self, before: &Node) -> String {
        match before.maker {
            NONE => "a record of before the history".into(),
            maker => told(self.history, maker),
        }
    }

    /// A grant's wait, as it was told, must not end sooner than what it has to wait for.
    fn waited(
        &self,
        name: &str,
        state: &Node,
        (wait, returned): (u64, Option<Time>),
        instants: Instants,
        violations: &mut Violations,
    ) {
        // It is what was left when the outcome was known: perhaps long after the change was applied, and first seen.
        let known = returned.unwrap_or(Time::MAX).saturating_add(self.error);
        let over = known.saturating_add(self.at_most(wait));
        if over < instants.believe {
            let what = format!(
                "{} was to wait until {over} at the latest, but what it waits for could be believed until {}",
                told(self.history, state.maker),
                instants.believe
            );
            violations.add(Rule::WaitedOut, name, what);
        }
    }

    /// Larger than every fence of earlier terms. (Larger than every index it is by what it must be equal to.)
    fn fence(
        &self,
        name: &str,
        state: &Node,
        change: &Operation,
        highest: Option<u64>,
        violations: &mut Violations,
    ) {
        if begins(change) && state.fence.is_some() && state.fence <= highest {
            let what = format!(
                "{} was given the fence {}, although an earlier term had {}",
                told(self.history, state.maker),
                state.fence.unwrap_or_default(),
                highest.unwrap_or_default()
            );
            violations.add(Rule::Fence, name, what);
        }
    }

    /// Only the granting handle, or one that presented the fence, acts as the handle.
    fn standing(
        &mut self,
        name: &str,
        state: &Node,
        change: &Operation,
        violations: &mut Violations,
    ) {
        if state.vague {
            // It may have been another handle's change as well.
            self.handles.clear();
            return;
        }
        let Some(handle) = change.handle.map(|handle| (change.process, handle)) else {
            // One that nobody numbered.
            if begins(change) || change.standing == Standing::Claim {
                self.handles.clear();
            }
            return;
        };
        match (change.kind, change.standing) {
            (Kind::Acquire | Kind::Steal, _) => {
                self.handles.clear();
                self.handles.push(handle);
            }
            (Kind::Renew, Standing::Claim) if !self.handles.contains(&handle) => {
                self.handles.push(handle);
            }
            (Kind::Renew | Kind::Release, Standing::Handle)
                if !self.handles.is_empty() && !self.handles.contains(&handle) =>
            {
                let what = format!(
                    "{} acted as the term's handle, which is another",
                    told(self.history, state.maker)
                );
                violations.add(Rule::Claim, name, what);
            }
            _ => {}
        }
    }

    /// A grant that stood, in its term.
    fn term(&mut self, state: &Node, change: Option<&Operation>, instants: Instants) {
        let Some(fence) = state.fence else {
            self.nameless = self.nameless.or(Some(state.earliest));
            return;
        };
        let nameless = self.nameless.take();
        if self.terms.last().is_none_or(|term| term.fence != fence) {
            let renewed = change.is_none_or(|change| change.kind == Kind::Renew);
            let at = self.grants.len();
            self.terms.push(Term {
                fence,
                believe: instants.believe,
                anyone: nameless.filter(|_| renewed),
                grants: at..at,
            });
        }
        let grant = change.filter(|_| !state.vague);
        let grant = grant.map(|change| (change.standing, self.grant(state, change)));
        let Some(term) = self.terms.last_mut() else {
            return;
        };
        match grant {
            Some((Standing::Proxy, _)) => {}
            Some((_, grant)) => {
                self.grants.push(grant);
                term.grants.end = self.grants.len();
            }
            None => term.anyone = term.anyone.or(Some(state.earliest)),
        }
    }

    fn grant(&self, state: &Node, change: &Operation) -> Grant {
        let period = match change.outcome {
            Outcome::Granted { period, .. } => Some(period),
            _ => change.period,
        };
        let counted = change.counted.unwrap_or(Time::MAX);
        let counts_from = counted.saturating_add(self.error).min(state.latest);
        let until = |period| counts_from.saturating_add(self.at_most(period));
        let returned = change.returned.filter(|_| change.applied().is_some());
        Grant {
            process: change.process,
            handle: change.handle,
            maker: state.maker,
            claim: change.kind == Kind::Renew && change.standing == Standing::Claim,
            from: state.earliest,
            until: period.map_or(Time::MAX, until),
            known: returned.unwrap_or(Time::MAX).saturating_add(self.error),
        }
    }
}

/// At most so long a length takes, by clocks that run this much apart from the common one.
pub(crate) fn at_most(length: u64, ppm: u64) -> u64 {
    length.saturating_add(scaled(length, ppm.saturating_mul(2)).saturating_add(1))
}

fn begins(change: &Operation) -> bool {
    matches!(change.kind, Kind::Acquire | Kind::Steal)
}

fn scaled(length: u64, ppm: u64) -> u64 {
    let scaled = u128::from(length) * u128::from(ppm) / 1_000_000;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
