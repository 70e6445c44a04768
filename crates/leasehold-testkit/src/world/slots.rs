//! A server that takes the contract's step in a transaction of its own, by one clock: of the boot and the wall kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::contract::{Found, Instants, decide};
use leasehold_core::store::{Applied, Change, Outcome, Page, Scope, Seen, Signal, Store};
use leasehold_core::{
    BootInstant, Capabilities, Error, ErrorKind, LeaseName, Prefix, Record, Result, Signals,
};

use crate::chance::Chance;
use crate::world::ledger::Broken;
use crate::world::net::{Link, Missed};
use crate::world::registry::Scene;
use crate::world::vacancies::Vacancies;

/// The server. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Slots {
    scene: Scene,
    state: Arc<Mutex<State>>,
    signals: Signals,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    pub(crate) slots: BTreeMap<LeaseName, Slot>,
    /// What the slots are held to.
    pub(crate) vacancies: Vacancies,
    pub(crate) last_index: u64,
    /// How far the clock was set, in nanoseconds.
    pub(crate) step: i64,
    /// The clock's own rate, in parts per million.
    pub(crate) ppm: i64,
    /// Nobody answers before this true time.
    pub(crate) down_until: Duration,
    /// Whether an index is at least the clock in microseconds, so that it survives the loss of the last ones.
    pub(crate) index_by_clock: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) index: u64,
    pub(crate) record: Record,
    pub(crate) instants: Instants,
    /// The lengths as they were written, for a server that times everything anew.
    pub(crate) lengths: (Duration, Duration),
}

/// Where a server's clock begins: far from zero, as a wall clock is.
const CLOCK: i128 = 1_700_000_000_000_000_000;

impl State {
    /// The server's clock at a true time.
    pub(crate) fn clock(&self, truth: Duration) -> u64 {
        let truth = i128::try_from(truth.as_nanos()).unwrap_or_default();
        let skew = truth * i128::from(self.ppm) / 1_000_000;
        u64::try_from(CLOCK + truth + skew + i128::from(self.step)).unwrap_or_default()
    }
}

impl Slots {
    pub(crate) fn new(scene: Scene, state: State) -> Self {
        Self {
            scene,
            state: Arc::new(Mutex::new(state)),
            signals: Signals::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Whoever listens is told that anything may have changed.
    pub(crate) fn tell_all(&self) {
        self.signals.any();
    }

    /// Deletes a record, as an operator would.
    pub(crate) fn delete(&self, chance: &mut Chance) -> Option<&'static str> {
        let mut state = self.state();
        let place = usize::try_from(chance.below(state.slots.len() as u64)).unwrap_or_default();
        let name = state.slots.keys().nth(place)?.clone();
        state.slots.remove(&name);
        state.vacancies.deleted(&name);
        drop(state);
        self.scene.ledger.deleted(&name);
        Some("record deleted")
    }

    /// The state, if the server answers.
    fn up(&self) -> Option<(MutexGuard<'_, State>, u64)> {
        let state = self.state();
        let now = self.scene.wire.truth_now();
        let clock = state.clock(now);
        (now >= state.down_until).then_some((state, clock))
    }

    /// Applies the changes that it can take.
    fn apply(&self, changes: &[(Change, bool)]) -> Option<Vec<Outcome>> {
        let (mut state, clock) = self.up()?;
        let apply = |(change, spoilt): &(Change, bool)| match spoilt {
            true => Outcome::NotApplied(Error::new(
                ErrorKind::Unavailable,
                "the simulated registry cannot take this change",
            )),
            false => self.change(&mut state, clock, change),
        };
        Some(changes.iter().map(apply).collect())
    }

    fn change(&self, state: &mut State, now: u64, change: &Change) -> Outcome {
        let slot = state.slots.get(change.name());
        let seen = self.seen(state, change.name(), now);
        let found = slot.map(|slot| Found {
            index: slot.index,
            held: slot.record.is_held(),
            instants: Some(slot.instants),
        });
        let Some(instants) = decide(found.as_ref(), now, change) else {
            self.hold_to(state.vacancies.refused(change, now));
            return Outcome::Refused { found: seen };
        };
        let least = if state.index_by_clock { now / 1000 } else { 0 };
        let index = (state.last_index + 1).max(least);
        state.last_index = index;
        let record = change.record().clone();
        self.scene.ledger.wrote(change.name(), index, &record, now);
        state.vacancies.applied(change, index, now);
        let slot = Slot {
            index,
            record,
            instants,
            lengths: (instants.wait_at(now), instants.left_at(now)),
        };
        let granted = slot.record.period.unwrap_or_default();
        state.slots.insert(change.name().clone(), slot);
        self.signals.name(change.name());
        Outcome::Applied(Applied {
            index,
            granted,
            counted_from: None,
            extended: true,
            wait: instants.wait_at(now),
        })
    }

    /// What is told of a record.
    fn seen(&self, state: &State, name: &LeaseName, now: u64) -> Option<Seen> {
        let slot = state.slots.get(name)?;
        let left = slot.instants.left_at(now);
        self.hold_to(state.vacancies.told(name, slot.index, left, now));
        Some(Seen {
            index: slot.index,
            record: slot.record.clone(),
            wait: slot.instants.wait_at(now),
            left: Some(left),
        })
    }

    fn hold_to(&self, law: std::result::Result<(), Broken>) {
        if let Err(broken) = law {
            self.scene.ledger.breach(broken);
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}

/// A process's client of the server.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) server: Slots,
    pub(crate) link: Link,
    pub(crate) declared: Capabilities,
}

pub(crate) fn missed(missed: Missed) -> Error {
    let message = match missed {
        Missed::NotSent => "the simulated way refused the request",
        Missed::NoAnswer => "the simulated registry did not answer",
    };
    Error::new(ErrorKind::Unavailable, message)
}

impl Store for Client {
    fn declared(&self) -> Capabilities {
        self.declared.clone()
    }

    fn location(&self) -> String {
        "simulated:".into()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        let (server, name) = (self.server.clone(), name.clone());
        async move {
            let read = move || {
                let (state, now) = server.up()?;
                Some(server.seen(&state, &name, now))
            };
            self.link.call(until, read).await.map_err(missed)
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            let (server, count) = (self.server.clone(), changes.len());
            let spoilt = |change| (change, count > 1 && self.link.spoils());
            let changes: Vec<_> = changes.into_iter().map(spoilt).collect();
            let answer = self.link.call(until, move || server.apply(&changes)).await;
            match answer {
                Ok(outcomes) => outcomes,
                Err(why) => {
                    let outcome = || match why {
                        Missed::NotSent => Outcome::NotApplied(missed(why)),
                        Missed::NoAnswer => Outcome::Unknown(missed(why)),
                    };
                    (0..count).map(|_| outcome()).collect()
                }
            }
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        let (server, prefix, after) = (self.server.clone(), prefix.clone(), after.cloned());
        async move {
            let read = move || {
                let (state, now) = server.up()?;
                let covered = state.slots.keys().filter(|name| {
                    prefix.covers(name) && after.as_ref().is_none_or(|after| *name > after)
                });
                let mut entries: Vec<_> = covered
                    .take(max + 1)
                    .filter_map(|name| Some((name.clone(), server.seen(&state, name, now)?)))
                    .collect();
                let more = entries.len() > max;
                entries.truncate(max);
                Some(Page { entries, more })
            };
            self.link.call(until, read).await.map_err(missed)
        }
        .boxed()
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.link.notices(self.server.signals.watch(scope))
    }

    fn close(&self, _until: BootInstant) -> BoxFuture<'_, Result<()>> {
        futures_util::future::ready(Ok(())).boxed()
    }
}
