//! Watching: level-triggered, converging on the latest record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{BoxStream, Fuse, StreamExt};

use crate::door::DoorExt;
use crate::error::Result;
use crate::manager::Core;
use crate::mutants::{Mutant, mutant};
use crate::name::{LeaseName, Prefix};
use crate::status::Status;
use crate::store::{Scope, Seen, Signal};
use crate::time::BootInstant;

/// The net under lost notifications: everything is read again this often.
const RE_READ: Duration = Duration::from_secs(30);

/// What is known of a name changed.
#[derive(Clone, Debug)]
pub struct Event {
    /// The name.
    pub name: LeaseName,
    /// What the registry knows of it now; none where it has no record.
    pub status: Option<Status>,
}

/// A watch: first the present state of each name, then every later state, terms in between possibly left out.
///
/// It is level-triggered: it converges on the latest record whatever is lost on the way. The expiry of a lease is told
/// too, confirmed by a read. A renewal is told as well, on some stores with a delay.
pub struct Watch {
    core: Arc<Core>,
    scope: Scope,
    signals: Fuse<BoxStream<'static, Signal>>,
    known: BTreeMap<LeaseName, Known>,
    /// When which of them change by themselves, in order.
    ends: BTreeSet<(BootInstant, LeaseName)>,
    events: VecDeque<Event>,
    /// What is to be read: one name, or everything.
    dirty: Option<Signal>,
    re_read: BootInstant,
    /// Before this everything is not read again: a large registry must not be read without pause because it is busy.
    rest: BootInstant,
    pause: Duration,
    told_absence: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    index: u64,
    held: bool,
    /// When the record changes by itself: the end of a term.
    ends: Option<BootInstant>,
}

impl Watch {
    pub(crate) fn new(core: Arc<Core>, scope: Scope) -> Self {
        let signals = core.store.watch(scope.clone()).fuse();
        Self {
            core,
            scope,
            signals,
            known: BTreeMap::new(),
            ends: BTreeSet::new(),
            events: VecDeque::new(),
            dirty: Some(Signal::Any),
            re_read: BootInstant::ZERO,
            rest: BootInstant::ZERO,
            pause: Duration::from_millis(20),
            told_absence: false,
        }
    }

    /// The next event. Never ends; waits as long as nothing changes.
    ///
    /// Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// A read failed: the registry cannot be reached, denies access, or was shut down. Ask again: the watch goes on,
    /// after a pause, and still converges.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if let Some(dirty) = self.dirty.clone() {
                let now = self.core.door.now();
                let (due, at) = self.due();
                let resting = now < self.rest && self.reads_all(&dirty);
                let read = match due {
                    // What runs out meanwhile is told in time.
                    Signal::Name(_) if resting && at <= now => due,
                    _ if resting => {
                        self.core.door.sleep_until(self.rest.min(at)).await;
                        continue;
                    }
                    _ => dirty.clone(),
                };
                match self.read(&read).await {
                    Ok(()) => {
                        if read == dirty {
                            self.dirty = None;
                        }
                        self.pause = Duration::from_millis(20);
                        continue;
                    }
                    Err(error) => {
                        self.core.door.sleep(self.pause).await;
                        self.pause = (self.pause * 2).min(Duration::from_secs(5));
                        return Err(error.during("watch", None));
                    }
                }
            }
            self.dirty = Some(self.changed().await);
        }
    }

    /// What changes by itself next, and when.
    fn due(&self) -> (Signal, BootInstant) {
        match self.ends.first() {
            Some((ends, name)) if *ends <= self.re_read => (Signal::Name(name.clone()), *ends),
            _ => (Signal::Any, self.re_read),
        }
    }

    /// Waits until something may have changed.
    async fn changed(&mut self) -> Signal {
        let (signal, at) = self.due();
        // However busy the signals are, what is due goes first.
        if at <= self.core.door.now() {
            return signal;
        }
        let timer = self.core.door.sleep_until(at);
        match select(self.signals.next(), timer).await {
            Either::Left((Some(signal), _)) => signal,
            // A store's stream only ends when the store is closed: the next read says so.
            Either::Left((None, timer)) => {
                timer.await;
                signal
            }
            Either::Right(_) => signal,
        }
    }

    fn reads_all(&self, signal: &Signal) -> bool {
        matches!((signal, &self.scope), (Signal::Any, Scope::Prefix(_)))
    }

    async fn read(&mut self, signal: &Signal) -> Result<()> {
        let name = match (signal, &self.scope) {
            (Signal::Name(name), _) | (Signal::Any, Scope::Name(name)) => Some(name.clone()),
            (Signal::Any, Scope::Prefix(_)) => None,
        };
        match (name, self.scope.clone()) {
            (Some(name), _) => {
                let seen = self.core.get("watch", &name).await?;
                self.saw(name, seen);
                if matches!(self.scope, Scope::Name(_)) {
                    self.re_read = re_read(self.core.door.now());
                }
            }
            (None, Scope::Prefix(prefix)) => self.read_all(&prefix).await?,
            (None, Scope::Name(_)) => {}
        }
        Ok(())
    }

    async fn read_all(&mut self, prefix: &Prefix) -> Result<()> {
        let started = self.core.door.now();
        let mut last: Option<LeaseName> = None;
        let mut present = std::collections::BTreeSet::new();
        loop {
            let page = self.core.page(prefix, last.as_ref()).await?;
            last = page.entries.last().map(|(name, _)| name.clone());
            let more = page.more && last.is_some();
            for (name, seen) in page.entries {
                present.insert(name.clone());
                self.saw(name, Some(seen));
            }
            if !more {
                break;
            }
        }
        let gone: Vec<_> = self
            .known
            .keys()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.saw(name, None);
        }
        let now = self.core.door.now();
        self.re_read = re_read(now);
        let took = now.since(started);
        if took > Duration::from_millis(10) {
            self.rest = now.plus((took * 4).min(Duration::from_secs(1)));
        }
        Ok(())
    }

    fn saw(&mut self, name: LeaseName, seen: Option<Seen>) {
        let known = seen.as_ref().map(|seen| Known {
            index: seen.index,
            held: seen.is_held(),
            ends: seen
                .left
                .filter(|left| !left.is_zero() && !mutant(Mutant::WatchWithoutExpiry))
                .map(|left| self.core.door.now().plus(left)),
        });
        let before = match known {
            Some(known) => self.known.insert(name.clone(), known),
            None => self.known.remove(&name),
        };
        if let Some(ends) = before.and_then(|before| before.ends) {
            self.ends.remove(&(ends, name.clone()));
        }
        if let Some(ends) = known.and_then(|known| known.ends) {
            self.ends.insert((ends, name.clone()));
        }
        let same = match (before, known) {
            (Some(before), Some(now)) => {
                before.index == now.index
                    && before.held == now.held
                    && before.ends.is_some() == now.ends.is_some()
            }
            // A name without a record is told once, at the start of its own watch.
            (None, None) => self.told_absence || matches!(self.scope, Scope::Prefix(_)),
            _ => false,
        };
        self.told_absence |= known.is_none();
        if !same {
            let status = seen.map(|seen| Status::new(name.clone(), seen));
            self.events.push_back(Event { name, status });
        }
    }
}

fn re_read(now: BootInstant) -> BootInstant {
    if mutant(Mutant::WatchWithoutReRead) {
        return BootInstant::NEVER;
    }
    now.plus(RE_READ)
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("scope", &self.scope)
            .field("known", &self.known.len())
            .finish_non_exhaustive()
    }
}
