//! The explorations of the contract as it is, all laws checked.

use crate::event::Op;
use crate::model::{Bounds, Clock, Model};

/// Every operation that a clock knows.
#[must_use]
pub fn operations(clock: Clock) -> &'static [Op] {
    use Op::{Acquire, Break, ProxyRelease, ProxyRenew, Release, Renew, Steal, StealFromDead};
    match clock {
        Clock::Server | Clock::Observed => &[
            Acquire,
            Renew,
            Steal,
            Release,
            Break,
            ProxyRenew,
            ProxyRelease,
            StealFromDead,
        ],
        // A native lease is kept alive by who was granted it: nobody renews by proxy.
        Clock::Native => &[
            Acquire,
            Renew,
            Steal,
            Release,
            Break,
            ProxyRelease,
            StealFromDead,
        ],
    }
}

/// An exploration, and what it found when it was last measured.
#[derive(Clone, Copy, Debug)]
pub struct Exploration {
    /// The clock.
    pub clock: Clock,
    /// The bounds.
    pub bounds: Bounds,
    /// How many states; none: not recorded here, it is fast enough to be repeated each time.
    pub recorded: Option<Recorded>,
}

/// What a large exploration found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Different states.
    pub states: usize,
    /// Transitions.
    pub transitions: u64,
    /// How many events from the first state the farthest is.
    pub depth: usize,
}

impl Exploration {
    /// The model that it explores.
    #[must_use]
    pub fn model(&self) -> Model {
        Model::new(self.clock, self.bounds)
    }
}

const fn bounds(clock: Clock, operations: u8) -> Bounds {
    Bounds {
        processes: 3,
        operations,
        crashes: 0,
        restarts: 0,
        drift: false,
        short: false,
        duplicates: false,
        collect: false,
        ops: match clock {
            Clock::Server | Clock::Observed => &[
                Op::Acquire,
                Op::Renew,
                Op::Steal,
                Op::Release,
                Op::Break,
                Op::ProxyRenew,
                Op::ProxyRelease,
                Op::StealFromDead,
            ],
            Clock::Native => &[
                Op::Acquire,
                Op::Renew,
                Op::Steal,
                Op::Release,
                Op::Break,
                Op::ProxyRelease,
                Op::StealFromDead,
            ],
        },
    }
}

/// Every exploration of the table.
#[must_use]
pub fn explorations() -> Vec<Exploration> {
    let mut all = Vec::new();
    for clock in Clock::ALL {
        all.push(Exploration {
            clock,
            bounds: Bounds {
                crashes: 1,
                ..bounds(clock, 2)
            },
            recorded: None,
        });
    }
    all
}
