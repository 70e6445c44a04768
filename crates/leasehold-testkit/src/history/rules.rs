//! What a history is held to, and how a breach of it is told.

use std::fmt;

use super::records::History;
use super::types::Operation;

/// A rule of the contract (`docs/design.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Of changes that name the same predecessor at most one is applied, and beliefs do not overlap.
    OneLessee,
    /// Every change's index is larger than every earlier one of its name.
    IndexGrows,
    /// Constant in a term, larger than every index and fence of earlier terms.
    Fence,
    /// A name is not vacant sooner than the granted period after the last grant.
    NotEarly,
    /// Belief ends before its grant runs out, and before a release is sent.
    StopsFirst,
    /// No belief of a handle after one that ended.
    NeverResumes,
    /// A broken term's wait is inherited by whatever follows.
    WaitedOut,
    /// Only the granting handle, or one that presented the fence, acts as the handle.
    Claim,
    /// What is shown was left by a change that can have been applied.
    Unknown,
    /// Reads and refusals show what stood between invocation and return.
    Reads,
    /// Clocks keep to the declared drift.
    Assumptions,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneLessee => "One lessee",
            Self::IndexGrows => "The index only grows",
            Self::Fence => "The fence",
            Self::NotEarly => "Not early",
            Self::StopsFirst => "The lessee stops first",
            Self::NeverResumes => "Belief never resumes",
            Self::WaitedOut => "A broken term is waited out",
            Self::Claim => "Resuming is a claim",
            Self::Unknown => "Unknown is not failure, and not success",
            Self::Reads => "Reads are linearizable",
            Self::Assumptions => "Assumptions are declared",
        })
    }
}

/// A breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The lease's name; empty where the breach is none of a single lease.
    pub name: String,
    /// What happened, naming the records concerned.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        f.write_str(&self.what)
    }
}

/// The breaches of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// The first of them. One breach may entail others.
    pub first: Vec<Violation>,
    /// How many there were.
    pub count: usize,
}

/// How many breaches are kept.
const KEPT: usize = 100;

impl Violations {
    pub(crate) fn add(&mut self, rule: Rule, name: &str, what: String) {
        self.count += 1;
        if self.first.len() < KEPT {
            let name = name.into();
            self.first.push(Violation { rule, name, what });
        }
    }

    /// Whether no more of them are kept.
    pub(crate) fn is_full(&self) -> bool {
        self.first.len() >= KEPT
    }

    /// Whether a rule was broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.first.iter().any(|violation| violation.rule == rule)
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.first {
            writeln!(f, "{violation}")?;
        }
        let more = self.count - self.first.len();
        if more > 0 {
            writeln!(f, "and {more} more")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// What a history without a breach contained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Operations.
    pub operations: usize,
    /// Names.
    pub names: usize,
    /// Changes that were applied, those of unknown outcome included that somebody saw applied.
    pub applied: usize,
    /// Changes of unknown outcome.
    pub unknown: usize,
    /// Those of them that must have been applied.
    pub resolved: usize,
    /// Reads and refusals that showed what stood.
    pub shown: usize,
    /// Terms.
    pub terms: usize,
    /// Beliefs, those of a handle joined.
    pub beliefs: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations on {} names: {} changes applied in {} terms, {} shown by reads and refusals, {} of unknown \
             outcome (of which {} were applied); {} beliefs",
            self.operations,
            self.names,
            self.applied,
            self.terms,
            self.shown,
            self.unknown,
            self.resolved,
            self.beliefs,
        )
    }
}

/// A record, for people: `process 3's renew of index 7 (line 12)`.
pub(crate) fn told(history: &History, number: u32) -> String {
    let place = history.place(number as usize);
    match history.operation(number as usize) {
        None => place,
        Some(operation) => format!("{} ({place})", doing(&operation)),
    }
}

fn doing(operation: &Operation) -> String {
    let kind = format!("{:?}", operation.kind).to_lowercase();
    match operation.names {
        Some(index) => format!("process {}'s {kind} of index {index}", operation.process),
        None => format!("process {}'s {kind}", operation.process),
    }
}
