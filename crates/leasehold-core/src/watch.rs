//! Watching: level-triggered, converging on the latest record.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{BoxStream, StreamExt};

use crate::door::DoorExt;
use crate::error::Result;
use crate::manager::Core;
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
    signals: BoxStream<'static, Signal>,
    known: BTreeMap<LeaseName, Known>,
    events: VecDeque<Event>,
    /// What is to be read: one name, or everything.
    dirty: Option<Signal>,
    re_read: BootInstant,
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
        let signals = core.store.watch(scope.clone());
        Self {
            core,
            scope,
            signals,
            known: BTreeMap::new(),
            events: VecDeque::new(),
            dirty: Some(Signal::Any),
            re_read: BootInstant::ZERO,
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
                match self.read(&dirty).await {
                    Ok(()) => {
                        self.dirty = None;
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

    /// Waits until something may have changed.
    async fn changed(&mut self) -> Signal {
        let next = self
            .known
            .iter()
            .filter_map(|(name, known)| Some((known.ends?, name)))
            .min();
        let at = next.map_or(self.re_read, |(ends, _)| ends.min(self.re_read));
        let signal = match next {
            Some((ends, name)) if ends <= self.re_read => Signal::Name(name.clone()),
            _ => Signal::Any,
        };
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
                    self.re_read = self.core.door.now().plus(RE_READ);
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
        self.re_read = now.plus(RE_READ);
        // A large registry must not be read without pause because it is busy.
        let took = now.since(started);
        if took > Duration::from_millis(10) {
            self.core
                .door
                .sleep((took * 4).min(Duration::from_secs(1)))
                .await;
        }
        Ok(())
    }

    fn saw(&mut self, name: LeaseName, seen: Option<Seen>) {
        let known = seen.as_ref().map(|seen| Known {
            index: seen.index,
            held: seen.is_held(),
            ends: seen
                .left
                .filter(|left| !left.is_zero())
                .map(|left| self.core.door.now().plus(left)),
        });
        let before = match known {
            Some(known) => self.known.insert(name.clone(), known),
            None => self.known.remove(&name),
        };
        let same = match (before, known) {
            (Some(before), Some(now)) => {
                before.index == now.index
                    && before.held == now.held
                    && before.ends.is_some() == now.ends.is_some()
            }
            // A name without a record is told once, at the start of its own watch.
            (None, None) => std::mem::replace(&mut self.told_absence, true),
            _ => false,
        };
        if !same {
            let status = seen.map(|seen| Status::new(name.clone(), seen));
            self.events.push_back(Event { name, status });
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("scope", &self.scope)
            .field("known", &self.known.len())
            .finish_non_exhaustive()
    }
}
