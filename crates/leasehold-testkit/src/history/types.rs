//! What a history is made of: plain numbers and strings, nothing of leasehold's own types.

use serde::{Deserialize, Serialize};

/// An instant on the history's common clock, in nanoseconds. The header says which clock that is.
pub type Time = u64;

/// What the instants of a history mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The common clock, for people: `true time`, `CLOCK_BOOTTIME`, ...
    pub clock: String,
    /// By how many nanoseconds an instant may differ from true time, at most. Zero where there is but one clock.
    #[serde(default)]
    pub error: u64,
    /// By how many parts per million the clocks that time periods (the registry's, an observer's, a lessee's) may run
    /// faster or slower than the common clock.
    #[serde(default)]
    pub drift_ppm: u32,
    /// Whether the names had records before the history began. Then the first index shown of each name needs no
    /// recorded change that made it.
    #[serde(default)]
    pub continues: bool,
}

impl Header {
    /// One exact clock: a simulation's true time.
    #[must_use]
    pub fn exact(clock: impl Into<String>) -> Self {
        Self {
            clock: clock.into(),
            error: 0,
            drift_ppm: 0,
            continues: false,
        }
    }

    /// Clocks that run up to this much faster or slower than the common one.
    #[must_use]
    pub fn drifting(mut self, ppm: u32) -> Self {
        self.drift_ppm = ppm;
        self
    }

    /// Instants that are off by up to this many nanoseconds.
    #[must_use]
    pub fn within(mut self, error: u64) -> Self {
        self.error = error;
        self
    }
}

/// A lease's name, as a number of its [`History`](super::History) or [`Recorder`](super::Recorder).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub(crate) u32);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Begins a term on a vacant name. Names the vacancy it saw: a tombstone's or expired grant's index, or nothing.
    Acquire,
    /// Extends a term. Names the grant that it replaces, as do the following three.
    Renew,
    /// Replaces a grant by one of a new term, which waits the old one out.
    Steal,
    /// Ends a term from outside, which is waited out.
    Break,
    /// Ends a term: cleanly by its handle or a claimant, as a break by a proxy.
    Release,
    /// Reads what stands.
    Get,
    /// What a watch told: it stood at some point between the two instants, as for a read.
    Observed,
}

impl Kind {
    /// Whether it changes a record.
    #[must_use]
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Get | Self::Observed)
    }

    /// Whether it leaves a grant.
    #[must_use]
    pub fn grants(self) -> bool {
        matches!(self, Self::Acquire | Self::Renew | Self::Steal)
    }
}

/// On what grounds a renewal or release is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// By the handle whose own call made the grant.
    #[default]
    Handle,
    /// By who presented the term's fence, asserting that the granting process is done or dead.
    Claim,
    /// By who only fetched the lease.
    Proxy,
}

/// The random id of a change, kept in the record that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u128);

/// A record as somebody saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Its index.
    pub index: u64,
    /// Its fence, if it was shown.
    pub fence: Option<u64>,
    /// Whether it names a lessee (expired or not); otherwise it is a tombstone.
    pub held: bool,
    /// The id of the change that left it, if it was shown.
    pub attempt: Option<Attempt>,
}

/// What a refusal or a read showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It did not say.
    Unsaid,
    /// That the name had no record.
    Nothing,
    /// This record.
    Record(State),
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An acquire, a renewal or a steal was applied.
    Granted {
        /// The grant's index.
        index: u64,
        /// The term's fence.
        fence: u64,
        /// The granted period, in nanoseconds.
        period: u64,
        /// What was left of the wait for a broken term, in nanoseconds, at most.
        wait: u64,
    },
    /// A release or a break was applied.
    Vacated {
        /// The tombstone's index.
        index: u64,
    },
    /// The change was not applied and never will be, because something else stood there.
    Refused {
        /// What stood when it was refused.
        found: Found,
    },
    /// The change was not applied and never will be.
    NotApplied,
    /// The change may have been applied, or may be applied at any later time.
    Unknown,
    /// What was read. [`Found::Unsaid`]: the read failed.
    Read {
        /// What stood.
        found: Found,
    },
}

/// One operation of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The process, as a number of the history.
    pub process: u32,
    /// The handle (or claim, or proxy) that asked, as a number of its process; the one that a grant made, for an
    /// acquire or a steal.
    pub handle: Option<u64>,
    /// The lease's name.
    pub name: Name,
    /// What was asked for.
    pub kind: Kind,
    /// For a change: the index of the record it names as its predecessor. None: an acquire that names no record.
    pub names: Option<u64>,
    /// The change's random id.
    pub attempt: Option<Attempt>,
    /// The period that was asked for, in nanoseconds.
    pub period: Option<u64>,
    /// A steal or break that asserts that the replaced lessee is dead.
    pub assume_dead: bool,
    /// On what grounds a renewal or release was asked for.
    pub standing: Standing,
    /// When the operation was first handed to the registry; of a release, after its handle's belief had ended.
    pub invoked: Time,
    /// When its outcome was known. None: never.
    pub returned: Option<Time>,
    /// The process's own clock when the operation was invoked.
    pub own: Option<u64>,
    /// From when a granted period counts, on the common clock, where another object carries the grant (etcd's native
    /// lease): that object's last counted renewal. None: from when the grant was applied.
    pub counted: Option<Time>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Operation {
    /// An operation that was invoked, and of which nothing more is known yet.
    #[must_use]
    pub fn new(process: u32, name: Name, kind: Kind, invoked: Time) -> Self {
        Self {
            process,
            handle: None,
            name,
            kind,
            names: None,
            attempt: None,
            period: None,
            assume_dead: false,
            standing: Standing::Handle,
            invoked,
            returned: None,
            own: None,
            counted: None,
            outcome: match kind.is_change() {
                true => Outcome::Unknown,
                false => Outcome::Read {
                    found: Found::Unsaid,
                },
            },
        }
    }

    /// The index that the operation gave its name, if it is known to have been applied.
    #[must_use]
    pub fn applied(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Granted { index, .. } | Outcome::Vacated { index } => Some(index),
            // A refusal that shows this operation's own id is a success.
            Outcome::Refused {
                found: Found::Record(state),
            } if self.attempt.is_some() && state.attempt == self.attempt => Some(state.index),
            _ => None,
        }
    }
}

/// A stretch of time during which a handle believed itself the lessee, `[begin, end)`, as its process observed it.
///
/// A handle's stretches may be recorded piece by piece, as renewals extend them; they must join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// The process.
    pub process: u32,
    /// The handle, as a number of its process.
    pub handle: u64,
    /// The lease's name.
    pub name: Name,
    /// The term's fence.
    pub fence: u64,
    /// From when it believed, on the common clock.
    pub begin: Time,
    /// Until when. None: the process never said (it was killed, say); then only the beginning counts.
    pub end: Option<Time>,
}
