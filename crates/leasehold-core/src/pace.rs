//! When a lease that is kept alive is renewed next.

use std::time::Duration;

use crate::belief::{Standing, Term};
use crate::manager::Core;
use crate::time::{BootInstant, MIN_PERIOD};
use crate::timing::{SHORTEST_PAUSE, half, interval, jittered};

/// The pace of one lease's renewals.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// What it is renewed to.
    pub(crate) period: Duration,
    /// How many renewals in a row have failed.
    pub(crate) failures: u32,
    /// When the last one was asked for, or failed.
    renewed: BootInstant,
    /// However late its success was known: a pause lies between.
    earliest: BootInstant,
}

/// When the next renewal is due, and from when on it may go with another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    pub(crate) at: BootInstant,
    pub(crate) ripe: BootInstant,
}

impl Due {
    /// At once.
    pub(crate) fn now(now: BootInstant) -> Self {
        Self { at: now, ripe: now }
    }
}

impl Pace {
    pub(crate) fn new(core: &Core, term: &Term, period: Duration) -> Self {
        Self {
            period,
            failures: 0,
            renewed: asked(core, term),
            earliest: BootInstant::ZERO,
        }
    }

    /// A renewal succeeded.
    pub(crate) fn succeeded(&mut self, core: &Core, term: &Term) {
        self.failures = 0;
        // Soon where it was known late, but never without a pause.
        let pause = (self.period / 40)
            .min(half(term.left()))
            .max(SHORTEST_PAUSE);
        self.earliest = core.door.now().plus(pause);
        self.renewed = asked(core, term);
    }

    /// A renewal failed.
    pub(crate) fn failed(&mut self, now: BootInstant) {
        self.failures += 1;
        self.renewed = now;
    }

    /// A third of the period with a tenth of jitter; after failures sooner, backing off to that. Until the last moment
    /// that counts: what is left is halved rather than given up, and so is what a large margin leaves of the period.
    pub(crate) fn due(&self, term: &Term, jitter: f64) -> Due {
        let state = term.locked();
        let deadline = state.deadline().unwrap_or(BootInstant::NEVER);
        // The grant that is running out may be shorter than the one to be asked for; and what can never be granted is not
        // to be asked for the more often, the less it is.
        let period = match self.period < MIN_PERIOD {
            true => state.period,
            false => self.period.min(state.period),
        };
        let (_, is_last) = state.granted();
        drop(state);
        if is_last {
            return Due {
                at: deadline,
                ripe: deadline,
            };
        }
        let part = interval(period).max(SHORTEST_PAUSE);
        let pause = match self.failures {
            0 => part,
            n => (period / 40)
                .max(SHORTEST_PAUSE)
                .saturating_mul(1 << n.min(6))
                .min(part),
        };
        let half = half(deadline.since(self.renewed)).max(SHORTEST_PAUSE);
        let pause = jittered(pause, jitter).min(half);
        let at = self.renewed.plus(pause).max(self.earliest).min(deadline);
        let ripe = match self.failures {
            0 => self.renewed.plus(pause / 2).max(self.earliest).min(at),
            _ => at,
        };
        Due { at, ripe }
    }
}

/// When the present grant was asked for, which may be long before it was known. A claim has none: it is current only after
/// its own renewal.
fn asked(core: &Core, term: &Term) -> BootInstant {
    let now = core.door.now();
    let state = term.locked();
    if state.deadline().is_none() {
        return match state.standing {
            Standing::Claim => BootInstant::ZERO,
            Standing::Handle | Standing::Proxy => now,
        };
    }
    let (until, _) = state.granted();
    let margin = core.capabilities.margin(state.period);
    until.plus(margin).minus(state.period).min(now)
}
