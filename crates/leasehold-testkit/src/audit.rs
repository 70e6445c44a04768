//! The history of real clients of a real registry: what they asked, what they were answered, and what they believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::{BootInstant, Door, LeaseName, Store, Term};

use crate::history::{
    Belief, Found, Header, History, Kind, Outcome, Recorder, Report, Standing, Time, Violations,
    check,
};
use crate::recorded::{Carried, Recorded, Senders, Sent};

/// How often terms are asked whether they are current.
const LOOK: Duration = Duration::from_millis(2);

/// What carries the grants of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Its records themselves.
    Records,
    /// Other objects, which run out by themselves and take the records along: etcd's native leases. Whoever sees such a
    /// vacancy gives it a number of his own.
    NativeLeases,
}

/// Records what several clients do, each as if it were a process of its own, all in this process: there is one clock.
#[derive(Clone, Debug)]
pub struct Audit {
    recorder: Recorder,
    carrier: Carrier,
    clients: Arc<AtomicU32>,
    indexes: Arc<Mutex<BTreeMap<String, BTreeSet<u64>>>>,
}

/// One of its clients.
#[derive(Clone, Debug)]
pub struct Audited {
    process: u32,
    door: Arc<dyn Door>,
    recorder: Recorder,
    store: Arc<dyn Store>,
    handles: Arc<Handles>,
    watched: Arc<Mutex<Vec<Watched>>>,
}

/// A term that is asked again and again.
#[derive(Debug)]
struct Watched {
    term: Term,
    /// From when and until when it has been seen to be current, and what it gave as its deadline then.
    seen: Option<(Time, Time)>,
}

impl Audit {
    /// Nothing yet.
    #[must_use]
    pub fn new(carrier: Carrier) -> Self {
        Self {
            recorder: Recorder::new(Header::exact("CLOCK_BOOTTIME")),
            carrier,
            clients: Arc::default(),
            indexes: Arc::default(),
        }
    }

    /// A further client, by its store.
    #[must_use]
    pub fn client(&self, store: Arc<dyn Store>, door: Arc<dyn Door>) -> Audited {
        let process = 1 + self.clients.fetch_add(1, Ordering::Relaxed);
        let handles = Arc::new(Handles::default());
        let clock = door.clone();
        let now = move || clock.now().as_nanos();
        let mut recorded =
            Recorded::new(store, self.recorder.clone(), process, now).sent_by(handles.clone());
        if self.carrier == Carrier::NativeLeases {
            recorded = recorded.carried(Carried {
                at: Box::new(BootInstant::as_nanos),
                // Found out when everything is known.
                stood: Box::new(|_, seen| seen),
            });
        }
        let audited = Audited {
            process,
            door: door.clone(),
            recorder: self.recorder.clone(),
            store: Arc::new(recorded),
            handles,
            watched: Arc::default(),
        };
        let (looking, sleeping) = (audited.clone(), door.clone());
        door.spawn(Box::pin(async move {
            loop {
                looking.look();
                sleeping.sleep_until(sleeping.now().plus(LOOK)).await;
            }
        }));
        audited
    }

    /// The registry has shown a record of this index: one that stood, whoever left it.
    pub fn shown(&self, name: &LeaseName, index: u64) {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes
            .entry(name.as_str().to_owned())
            .or_default()
            .insert(index);
    }

    /// Holds what was recorded to the contract.
    ///
    /// # Errors
    /// The breaches.
    pub fn check(&self) -> Result<Report, Violations> {
        check(&self.history())
    }

    /// What was recorded so far, leaving nothing.
    #[must_use]
    pub fn history(&self) -> History {
        let history = self.recorder.take();
        match self.carrier {
            Carrier::Records => history,
            Carrier::NativeLeases => self.numbered(&history),
        }
    }

    /// The same where a vacancy has the number of the grant whose end left it, if anything was ever seen of that.
    fn numbered(&self, history: &History) -> History {
        let shown = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for operation in history.operations() {
            let text = history.text(operation.name);
            let known = known
                .entry(operation.name)
                .or_insert_with(|| shown.get(text).cloned().unwrap_or_default());
            known.extend(operation.applied());
            if let Some(state) = state(&operation.outcome)
                && (state.attempt.is_some() || !state.held)
            {
                known.insert(state.index);
            }
        }
        let recorder = Recorder::new(history.header().clone());
        for mut operation in history.operations() {
            let last = |index: u64| {
                let known = known.get(&operation.name);
                let last = known.and_then(|known| known.range(..=index).next_back());
                last.copied().unwrap_or(index)
            };
            if operation.kind == Kind::Acquire {
                operation.names = operation.names.map(last);
            }
            if let Outcome::Refused { found } | Outcome::Read { found } = &mut operation.outcome
                && let Found::Record(state) = found
                && state.held
                && state.attempt.is_none()
            {
                state.index = last(state.index);
            }
            operation.name = recorder.name(history.text(operation.name));
            recorder.operation(&operation);
        }
        for belief in history.beliefs() {
            let name = recorder.name(history.text(belief.name));
            recorder.belief(Belief { name, ..*belief });
        }
        recorder.take()
    }
}

fn state(outcome: &Outcome) -> Option<crate::history::State> {
    match outcome {
        Outcome::Refused {
            found: Found::Record(state),
        }
        | Outcome::Read {
            found: Found::Record(state),
        } => Some(*state),
        _ => None,
    }
}

impl Audited {
    /// Its store, recorded.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// From now on the term of a handle of this client's is asked whether it is current, until it is over.
    pub fn watch(&self, term: Term) {
        let mut watched = self.watched();
        watched.push(Watched { term, seen: None });
        drop(watched);
        self.look();
    }

    /// The handle is about to be released: from here on it is not asked any more.
    pub fn ends(&self, fence: u64, name: &LeaseName) {
        self.look();
        let ended =
            |watched: &mut Watched| watched.term.fence() == fence && watched.term.name() == name;
        let mut watched = self.watched();
        for watched in watched.extract_if(.., ended) {
            self.told(&watched, |last| last);
        }
    }

    /// How many terms are current.
    #[must_use]
    pub fn believing(&self) -> usize {
        let watched = self.watched();
        watched.iter().filter(|one| one.term.is_current()).count()
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        let mut watched = self.watched();
        let over = |watched: &mut Watched| {
            let term = &watched.term;
            // In this order: it was current at that instant at the latest.
            let asked = self.door.now();
            if term.is_current() {
                let begin = term.begin().unwrap_or(asked).as_nanos();
                let from = watched.seen.map_or(begin, |(from, _)| from);
                watched.seen = Some((from, asked.as_nanos()));
                return false;
            }
            let Some(deadline) = term.deadline() else {
                return true;
            };
            // A thief's belief is still to come.
            let waits = watched.seen.is_none() && term.begin().is_some_and(|begin| asked < begin);
            if waits && asked < deadline {
                return false;
            }
            let end = |last: Time| match deadline <= asked {
                true => last.max(deadline.as_nanos()),
                // It was lost some time since.
                false => last,
            };
            self.told(watched, end);
            true
        };
        watched.retain_mut(|one| !over(one));
    }

    fn told(&self, watched: &Watched, end: impl FnOnce(Time) -> Time) {
        let Some((begin, last)) = watched.seen else {
            return;
        };
        let (name, fence) = (watched.term.name(), watched.term.fence());
        // One that no grant made has no grant of its own, which is a breach.
        let handle = self.handles.of(name, fence).unwrap_or(u64::MAX);
        self.recorder.belief(Belief {
            process: self.process,
            handle,
            name: self.recorder.name(name.as_str()),
            fence,
            begin,
            end: Some(end(last)),
        });
    }
}

/// The handles of one client, by what made them: an acquire or a steal of its own.
#[derive(Default)]
struct Handles {
    next: AtomicU64,
    made: Mutex<BTreeMap<(LeaseName, u64), u64>>,
}

impl Handles {
    fn of(&self, name: &LeaseName, fence: u64) -> Option<u64> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(&(name.clone(), fence)).copied()
    }
}

impl Senders for Handles {
    fn handle(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn made(&self, name: &LeaseName, fence: u64, handle: u64) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert((name.clone(), fence), handle);
    }

    fn sender(&self, sent: &Sent<'_>) -> Option<(u64, Standing)> {
        if sent.proxy == Some(true) {
            return None;
        }
        Some((self.of(sent.name, sent.fence)?, Standing::Handle))
    }
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}
