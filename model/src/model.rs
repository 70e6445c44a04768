//! What is explored: the clock, the bounds, the clause that is weakened.

use crate::clause::Clause;
use crate::event::Op;
use crate::law::{Law, Laws};

/// Which clock says when a term has run out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Clock {
    /// The registry's own clock, inside its atomic step.
    Server,
    /// A compare-and-swap register: each observer times unchanged records on its own clock.
    Observed,
    /// The key is attached to a native lease of the registry (etcd), which is kept alive apart from it.
    Native,
}

impl Clock {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Server, Self::Observed, Self::Native];

    /// Its name in commands and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Observed => "observed",
            Self::Native => "native",
        }
    }
}

/// How far the exploration goes. Time has no bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// How many processes.
    pub processes: u8,
    /// How many operations are begun, all in all.
    pub operations: u8,
    /// How many crashes of processes.
    pub crashes: u8,
    /// How many restarts of the registry, or leader changes.
    pub restarts: u8,
    /// Whether clocks drift: each advances by 2 or 3 in each tick, as it likes. Otherwise all are one clock.
    pub drift: bool,
    /// Whether there is a shorter period beside the usual one.
    pub short: bool,
    /// Whether the registry applies late duplicates: the same request once more.
    pub duplicates: bool,
    /// Whether tombstones are collected (a store whose own counter keeps the index law).
    pub collect: bool,
    /// Which operations there are.
    pub ops: &'static [Op],
}

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The clock.
    pub clock: Clock,
    /// The bounds.
    pub bounds: Bounds,
    /// The clause that is weakened, if any.
    pub weakened: Option<Clause>,
    /// The laws that are checked.
    pub laws: Laws,
}

impl Model {
    /// The contract as it is, all laws checked.
    #[must_use]
    pub fn new(clock: Clock, bounds: Bounds) -> Self {
        Self {
            clock,
            bounds,
            weakened: None,
            laws: Laws::ALL,
        }
    }

    /// Whether this clause is the weakened one.
    #[must_use]
    pub fn weak(&self, clause: Clause) -> bool {
        self.weakened == Some(clause)
    }

    /// Whether a law is checked.
    #[must_use]
    pub fn checks(&self, law: Law) -> bool {
        self.laws.has(law)
    }

    /// How long a grant lasts.
    ///
    /// With drift a clock runs at 2 or at 3 where true time has 2.5: r is a fifth, and the margin 2r/(1+r) of the
    /// period is a third of it.
    #[must_use]
    pub fn period(&self, short: bool) -> u8 {
        match (self.bounds.drift, short) {
            (true, false) => 6,
            (true, true) => 3,
            (false, false) => 2,
            (false, true) => 1,
        }
    }

    /// How long a grant of this period is believed.
    #[must_use]
    pub fn believed(&self, period: u8) -> u8 {
        if self.bounds.drift && !self.weak(Clause::NoMargin) {
            period - period / 3
        } else {
            period
        }
    }

    /// The fastest that a clock advances in one tick.
    #[must_use]
    pub fn fast(&self) -> u8 {
        if self.bounds.drift { 3 } else { 1 }
    }

    /// The slowest.
    #[must_use]
    pub fn slow(&self) -> u8 {
        if self.bounds.drift { 2 } else { 1 }
    }

    /// What may be left of a term that counts as over.
    #[must_use]
    pub fn spare(&self) -> u8 {
        if self.weak(Clause::EarlyVacancy) {
            self.fast()
        } else {
            0
        }
    }

    /// Whether an operation is in the bounds.
    #[must_use]
    pub fn has(&self, op: Op) -> bool {
        self.bounds.ops.contains(&op)
    }

    /// Whether a record can vanish, and with it the index that is named.
    #[must_use]
    pub fn vanishes(&self) -> bool {
        self.clock == Clock::Native
            || self.bounds.collect
            || self.weak(Clause::ReleaseDeletesRecord)
    }

    /// Whether requests that name what is gone for good are sure to be refused, so that such a request whose sender no
    /// longer waits is the same as a lost one.
    #[must_use]
    pub fn refuses(&self) -> bool {
        !matches!(
            self.weakened,
            Some(
                Clause::StealIgnoresProgress
                    | Clause::RenewWithoutCas
                    | Clause::ReleaseWithoutIndex
                    | Clause::BlindAcquire
                    | Clause::AcquireNamesNoVacancy
                    | Clause::ReleaseDeletesRecord
            )
        )
    }
}
