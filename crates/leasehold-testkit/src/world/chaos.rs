//! What goes wrong in a world, and when: chosen by its seed.

use std::time::Duration;

use crate::chance::Chance;
use crate::world::kinds::Kind;
use crate::world::net::Weather;

/// What may go wrong in one world. Each seed leaves some of it out: what always happens together hides what happens
/// alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chaos {
    /// What happens to messages.
    pub weather: Weather,
    /// Whether processes are cut off from the registry.
    pub cuts: bool,
    /// Whether processes are stopped for a while; a machine that sleeps is stopped as a whole.
    pub pauses: bool,
    /// Whether processes crash and start again with the same machine id.
    pub crashes: bool,
    /// Whether the registry is disturbed in the ways that it declares it survives.
    pub disturbances: bool,
    /// Whether the machine is started anew, where everything runs on one.
    pub reboots: bool,
    /// Whether calls are dropped half-way by those who made them.
    pub cancellations: bool,
    /// The time between two things that go wrong, at most.
    pub pace: Duration,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    Cut,
    Mend,
    Pause,
    Resume,
    Sleep,
    Wake,
    Crash,
    Disturb,
    Reboot,
    Weather,
}

impl Chaos {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self {
            weather: Weather::default(),
            cuts: false,
            pauses: false,
            crashes: false,
            disturbances: false,
            reboots: false,
            cancellations: false,
            pace: Duration::from_secs(1),
        }
    }

    /// What goes wrong in the world of a seed.
    #[must_use]
    pub fn of(kind: Kind, seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x6368_616f);
        let mut rate = |most: u64| match chance.below(2) {
            0 => 0,
            _ => chance.below(most),
        };
        let period = kind.period();
        let weather = Weather {
            lose_request: rate(120),
            refuse: rate(120),
            lose_reply: rate(120),
            twice: if kind.doubles() { rate(120) } else { 0 },
            slow: rate(250),
            longest: period * 3 / 2,
            lose_notice: rate(500),
            spoil: rate(600),
        };
        let mut coin = || chance.below(2) == 0;
        Self {
            weather,
            cuts: coin(),
            pauses: coin(),
            crashes: coin(),
            disturbances: coin(),
            reboots: kind.one_machine() && coin() && coin(),
            cancellations: coin(),
            pace: period / 2 + chance.duration(period),
        }
    }

    /// What goes wrong next.
    pub(crate) fn next(&self, kind: Kind, chance: &mut Chance) -> Option<Mishap> {
        let one = kind.one_machine();
        let choice = match chance.below(12) {
            0 | 1 if self.cuts => Mishap::Cut,
            2 | 3 if self.cuts => Mishap::Mend,
            4 if self.pauses => Mishap::Pause,
            5 if self.pauses && one => Mishap::Sleep,
            6 if self.pauses => Mishap::Resume,
            7 if self.pauses && one => Mishap::Wake,
            8 if self.crashes => Mishap::Crash,
            9 if self.disturbances => Mishap::Disturb,
            // Of what happens to a cluster there is more.
            5 | 7 | 10 if self.disturbances && kind == Kind::Native => Mishap::Disturb,
            10 if self.reboots && chance.below(3) == 0 => Mishap::Reboot,
            11 => Mishap::Weather,
            _ => return None,
        };
        Some(choice)
    }
}
