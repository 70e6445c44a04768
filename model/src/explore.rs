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

/// An exploration.
#[derive(Clone, Copy, Debug)]
pub struct Exploration {
    /// The clock.
    pub clock: Clock,
    /// The bounds.
    pub bounds: Bounds,
}

/// What a large exploration found when it was last measured.
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

/// Those that are repeated each time, by the tests too.
#[must_use]
pub fn explorations() -> Vec<Exploration> {
    use Clock::{Native, Observed, Server};
    let with = |clock, bounds| Exploration { clock, bounds };
    let two = |clock| bounds(clock, 2);
    vec![
        with(
            Server,
            Bounds {
                drift: true,
                ..two(Server)
            },
        ),
        with(
            Server,
            Bounds {
                short: true,
                restarts: 1,
                ..two(Server)
            },
        ),
        with(
            Server,
            Bounds {
                duplicates: true,
                collect: true,
                ..two(Server)
            },
        ),
        with(
            Observed,
            Bounds {
                short: true,
                drift: true,
                crashes: 1,
                duplicates: true,
                ..two(Observed)
            },
        ),
        with(
            Native,
            Bounds {
                crashes: 1,
                duplicates: true,
                ..two(Native)
            },
        ),
        with(
            Native,
            Bounds {
                restarts: 1,
                ..two(Native)
            },
        ),
    ]
}

/// Those that take longer, and what they found.
#[must_use]
pub fn large() -> Vec<(Exploration, Recorded)> {
    use Clock::{Native, Observed, Server};
    let with = |clock, bounds, states, transitions, depth| {
        (
            Exploration { clock, bounds },
            Recorded {
                states,
                transitions,
                depth,
            },
        )
    };
    let most = |clock| Bounds {
        drift: true,
        short: clock != Native,
        crashes: 1,
        restarts: 1,
        ..bounds(clock, 2)
    };
    let mut all = vec![
        with(Server, most(Server), 4_036_630, 43_040_386, 32),
        with(Server, bounds(Server, 3), 3_608_424, 35_180_022, 32),
        with(
            Server,
            Bounds {
                drift: true,
                ..bounds(Server, 3)
            },
            25_905_057,
            341_411_720,
            32,
        ),
        with(Observed, bounds(Observed, 3), 868_992, 6_295_162, 23),
        with(
            Observed,
            Bounds {
                drift: true,
                short: true,
                crashes: 1,
                ..bounds(Observed, 3)
            },
            38_081_555,
            423_743_103,
            23,
        ),
        with(
            Native,
            Bounds {
                drift: true,
                ..bounds(Native, 2)
            },
            1_566_487,
            21_304_043,
            26,
        ),
        with(
            Native,
            Bounds {
                crashes: 1,
                restarts: 1,
                ..bounds(Native, 2)
            },
            1_839_544,
            18_489_880,
            29,
        ),
        with(
            Native,
            Bounds {
                drift: true,
                crashes: 1,
                restarts: 1,
                duplicates: true,
                ..bounds(Native, 2)
            },
            29_681_255,
            497_378_124,
            27,
        ),
        with(
            Native,
            Bounds {
                duplicates: true,
                ..bounds(Native, 3)
            },
            110_884_688,
            1_613_252_998,
            38,
        ),
        with(
            Server,
            Bounds {
                short: true,
                crashes: 1,
                restarts: 1,
                ..bounds(Server, 3)
            },
            147_399_804,
            1_690_765_433,
            45,
        ),
    ];
    all.sort_by_key(|(exploration, recorded)| (exploration.clock, recorded.states));
    all
}
