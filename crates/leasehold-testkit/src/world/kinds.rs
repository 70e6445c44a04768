//! The registries that a world can have: one of each expiry clock, and one whose expiry is an object of its own.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_core::{Capabilities, Door, Drift, ExpiryClock, Loss, Observed, Reach, Store};

use crate::chance::Chance;
use crate::world::assumption::Assumption;
use crate::world::native::{NativeRegistry, PPM};
use crate::world::net::Link;
use crate::world::register::Values;
use crate::world::registry::{Registry, Scene};
use crate::world::slots::{Client, Slots, State};

/// Which clock decides, and with it which registry a world has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// An embedded file on one machine: everybody's boot clock is the same.
    Boot,
    /// A server whose wall clock decides; it is set back, and fails over to others that lag behind.
    Wall,
    /// A register of opaque revisions: each observer times unchanged records itself.
    Observed,
    /// A cluster of etcd's kind: a grant is carried by a native lease, which expires by the server's monotonic clock.
    Native,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Boot, Self::Wall, Self::Observed, Self::Native];

    /// How far the clocks of a world of this kind run from true time, in parts per million: exactly what its registry
    /// declares, and large, so that a margin that is missing shows.
    #[must_use]
    pub fn drift(self) -> i32 {
        match self {
            Self::Boot => 0,
            Self::Wall => WALL_DRIFT,
            Self::Observed => 83_333,
            Self::Native => i32::try_from(PPM).unwrap_or(i32::MAX),
        }
    }

    /// By how much a length on the slowest clock of such a world is longer by the fastest one.
    pub(crate) fn longer(self, length: Duration) -> Duration {
        let r = self.drift().unsigned_abs();
        length * (2 * r) / (1_000_000 - r)
    }

    /// The period of leases that makes a world of this kind busy.
    #[must_use]
    pub fn period(self) -> Duration {
        match self {
            Self::Boot | Self::Wall | Self::Observed => Duration::from_secs(1),
            // Native leases last whole seconds.
            Self::Native => Duration::from_secs(4),
        }
    }

    /// Whether its registry's server has a clock of its own ([`Scene::clock`]), rather than one that the registry keeps
    /// itself.
    pub(crate) fn has_clock(self) -> bool {
        self == Self::Native
    }

    /// Whether all processes are on one machine: they sleep and reboot together.
    #[must_use]
    pub fn one_machine(self) -> bool {
        self == Self::Boot
    }

    /// Whether the real way to such a registry may deliver a request twice.
    #[must_use]
    pub fn doubles(self) -> bool {
        self != Self::Boot
    }

    /// Whether another object than the record carries a grant.
    pub(crate) fn carries(self) -> bool {
        self == Self::Native
    }

    /// Everything that goes wrong in worlds of this kind, sooner or later.
    #[must_use]
    pub fn faults(self) -> Vec<&'static str> {
        let all = [
            "answer lost",
            "call dropped",
            "message late",
            "process crashed",
            "process cut off",
            "process stopped",
            "request lost",
            "request refused",
        ];
        let own: &[&str] = match self {
            Self::Boot => &[
                "change spoilt in its batch",
                "machine asleep",
                "machine rebooted",
                "notification late",
                "notification lost",
                "registry busy",
            ],
            Self::Wall => &[
                "change spoilt in its batch",
                "failover",
                "notification late",
                "notification lost",
                "registry down",
                "registry restarted",
                "request doubled",
                "wall clock set back",
            ],
            Self::Observed => &["registry down", "request doubled"],
            Self::Native => &[
                "cluster restarted",
                "cluster silent",
                "cluster stalled",
                "compacted",
                "deposed leader answers of its old term",
                "deposed leader answers without a term",
                "done and refused for want of space",
                "keep-alive answered by a deposed leader",
                "keep-alive answered during a revoke",
                "keep-alive of what has run out waited",
                "leader changed",
                "lease extended by a new leader",
                "no space left",
                "notification late",
                "notification lost",
                "refused for want of space",
                "request doubled",
                "request served after a stall",
                "revokes take long",
                "transaction sunk by a dead lease",
                "warm native lease used",
                "watch told of a compaction",
                "watches broken",
            ],
        };
        all.iter().chain(own).copied().collect()
    }

    /// The registry.
    #[must_use]
    pub fn open(self, scene: Scene) -> Arc<dyn Registry> {
        match self {
            Self::Boot => Arc::new(Boot(Slots::new(scene, State::default()))),
            Self::Wall => {
                let mut chance = Chance::new(scene.seed ^ 0x77_616c);
                let ppm = [-1, 0, 1][usize::try_from(chance.below(3)).unwrap_or_default()];
                let state = State {
                    ppm: i64::from(WALL_DRIFT) * ppm,
                    index_by_clock: true,
                    ..State::default()
                };
                Arc::new(Wall(Slots::new(scene, state), Mutex::default()))
            }
            Self::Observed => Arc::new(Register(Values::new(scene))),
            Self::Native => Arc::new(NativeRegistry::new(scene)),
        }
    }
}

const WALL_DRIFT: i32 = 50_000;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot",
            Self::Wall => "wall",
            Self::Observed => "observed",
            Self::Native => "native",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::ALL.iter().find(|kind| kind.to_string() == text);
        all.copied()
            .ok_or_else(|| format!("no such kind of registry: {text:?}"))
    }
}

/// One file on one machine.
#[derive(Debug)]
struct Boot(Slots);

impl Registry for Boot {
    fn open(&self, link: Link) -> Arc<dyn Store> {
        Arc::new(Client {
            server: self.0.clone(),
            link,
            declared: {
                let mut declared = Capabilities::local();
                declared.loss = Loss::Never;
                declared.scope = Reach::Machine;
                declared
            },
        })
    }

    fn disturb(&self, chance: &mut Chance) -> Option<&'static str> {
        // The file is busy for a while; a reboot is the world's to do.
        let length = chance.duration(Duration::from_millis(1500));
        let mut state = self.0.state();
        state.down_until = self.0.scene().wire.truth_now() + length;
        Some("registry busy")
    }

    fn break_assumption(
        &self,
        assumption: Assumption,
        chance: &mut Chance,
    ) -> Option<&'static str> {
        (assumption == Assumption::NoDeletions).then(|| self.0.delete(chance))?
    }

    fn heal(&self) {
        self.0.state().down_until = Duration::ZERO;
    }

    fn rebooted(&self) {
        // Whoever held anything is gone with the boot.
        let mut state = self.0.state();
        for slot in state.slots.values_mut() {
            (slot.instants.believe_from, slot.instants.vacant_from) = (0, 0);
        }
        state.vacancies.all_died();
        drop(state);
        self.0.scene().ledger.all_died();
    }
}

/// A server that judges by its wall clock.
#[derive(Debug)]
struct Wall(Slots, Mutex<Option<State>>);

impl Registry for Wall {
    fn open(&self, link: Link) -> Arc<dyn Store> {
        Arc::new(Client {
            server: self.0.clone(),
            link,
            declared: {
                let mut declared = Capabilities::local();
                declared.expiry = ExpiryClock::ServerWall;
                declared.loss = Loss::Never;
                declared.drift = Drift::Bounded {
                    ppm: WALL_DRIFT.unsigned_abs(),
                };
                declared.scope = Reach::Network;
                declared
            },
        })
    }

    fn disturb(&self, chance: &mut Chance) -> Option<&'static str> {
        let now = self.0.scene().wire.truth_now();
        let mut state = self.0.state();
        let back = |chance: &mut Chance, longest: u64| {
            nanos(chance.duration(Duration::from_millis(longest)))
        };
        Some(match chance.below(4) {
            0 => {
                state.step -= back(chance, 800);
                "wall clock set back"
            }
            1 => {
                // A replica that has everything, and a clock that is behind.
                state.step -= back(chance, 300);
                state.down_until = now + chance.duration(Duration::from_millis(800));
                drop(state);
                self.0.tell_all();
                "failover"
            }
            2 => {
                // Grants and waits are timed anew, in full, although the clock went on: allowed, and safe.
                let clock = state.clock(now);
                for slot in state.slots.values_mut() {
                    let (wait, hold) = slot.lengths;
                    let anew = |length: Duration| {
                        clock + u64::try_from(length.as_nanos()).unwrap_or_default()
                    };
                    let instants = &mut slot.instants;
                    instants.believe_from = instants.believe_from.max(anew(wait));
                    instants.vacant_from = instants.vacant_from.max(anew(hold));
                }
                state.vacancies.anew(clock);
                state.down_until = now + chance.duration(Duration::from_millis(300));
                "registry restarted"
            }
            _ => {
                state.down_until = now + chance.duration(Duration::from_millis(2000));
                "registry down"
            }
        })
    }

    fn break_assumption(
        &self,
        assumption: Assumption,
        chance: &mut Chance,
    ) -> Option<&'static str> {
        match assumption {
            Assumption::NoStepForward => {
                self.0.state().step += nanos(chance.duration(Duration::from_secs(4)));
                Some("wall clock set forward")
            }
            Assumption::NoLostWrites => {
                let mut replica = self.1.lock().unwrap_or_else(PoisonError::into_inner);
                let mut state = self.0.state();
                let Some(copy) = replica.take() else {
                    *replica = Some(state.clone());
                    return None;
                };
                // What was acknowledged since the copy was made is lost; its clock is as good as the other one.
                (state.slots, state.last_index) = (copy.slots, copy.last_index);
                state.vacancies = copy.vacancies;
                drop(state);
                self.0.tell_all();
                Some("failover that loses writes")
            }
            Assumption::NoDeletions => self.0.delete(chance),
            _ => None,
        }
    }

    fn heal(&self) {
        self.0.state().down_until = Duration::ZERO;
    }

    fn lag(&self) -> Duration {
        let state = self.0.state();
        let clock = state.clock(self.0.scene().wire.truth_now());
        state.vacancies.most_left(clock)
    }
}

/// A register of opaque revisions.
#[derive(Debug)]
struct Register(Values);

impl Registry for Register {
    fn open(&self, link: Link) -> Arc<dyn Store> {
        let door: Arc<dyn Door> = link.door().clone();
        Arc::new(Observed::new(self.0.client(link), door).poll_every(Duration::from_millis(500)))
    }

    fn disturb(&self, chance: &mut Chance) -> Option<&'static str> {
        self.0
            .down_for(chance.duration(Duration::from_millis(2000)));
        Some("registry down")
    }

    fn break_assumption(
        &self,
        assumption: Assumption,
        chance: &mut Chance,
    ) -> Option<&'static str> {
        (assumption == Assumption::NoDeletions).then(|| self.0.delete(chance))?
    }

    fn heal(&self) {
        self.0.down_for(Duration::ZERO);
    }
}

fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or_default()
}
