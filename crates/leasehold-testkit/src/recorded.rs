//! A store whose every request goes into a history.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::store::{
    Believe, Change, Expect, Outcome as Told, Page, Reopen, Scope, Seen, Signal, Store, Take,
};
use leasehold_core::{
    AttemptId, BootInstant, Capabilities, EndedHow, LeaseName, Prefix, Result, Server,
};

use crate::history::{
    Attempt, Found, Kind, Name, Operation, Outcome, Pending, Recorder, Returned, Standing, State,
    Time,
};

/// A [`Store`] around another one that records what is asked and what is answered, for
/// [`history::check`](crate::history::check). A change that is sent again is one operation, from its first sending until
/// its outcome is known.
#[derive(Clone)]
pub struct Recorded {
    inner: Arc<dyn Store>,
    recorder: Recorder,
    process: u32,
    clock: Arc<dyn Fn() -> Time + Send + Sync>,
    carried: Option<Arc<Carried>>,
    senders: Option<Arc<dyn Senders>>,
    attempts: Arc<Mutex<Attempts>>,
}

/// What has to be known of a registry in which another object carries each grant (etcd's native lease).
pub(crate) struct Carried {
    /// An instant of the process's own clock, on the history's common one.
    pub(crate) at: Box<dyn Fn(BootInstant) -> Time + Send + Sync>,
    /// The index of the grant whose end left a vacancy. The registry erases a grant that has run out, and whoever sees
    /// the vacancy gives it a number of his own, between the indexes of the changes before and after.
    pub(crate) stood: Stood,
}

type Stood = Box<dyn Fn(&LeaseName, u64) -> u64 + Send + Sync>;

/// Who of a process sends what: a store is not told.
pub(crate) trait Senders: fmt::Debug + Send + Sync {
    /// The number of the handle that an acquire or a steal is to make.
    fn handle(&self) -> u64;

    /// It made it: the term's fence.
    fn made(&self, name: &LeaseName, fence: u64, handle: u64);

    /// Whose renewal or release this is, and on what grounds; none: nobody knows.
    fn sender(&self, sent: &Sent<'_>) -> Option<(u64, Standing)>;
}

/// A renewal or release, as far as a store can see.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) name: &'a LeaseName,
    /// The index that it replaces.
    pub(crate) index: u64,
    /// The term.
    pub(crate) fence: u64,
    /// Whether a proxy sends it, where that can be told.
    pub(crate) proxy: Option<bool>,
}

/// The changes that were sent.
#[derive(Default)]
struct Attempts {
    /// Those of unknown outcome, and whether they were sent again already.
    unresolved: BTreeMap<AttemptId, (Pending, bool)>,
    /// The last change of each name that was not applied, and since when that is known. It may be sent again, if the
    /// answer came too late for whoever waited; once another change of the name is sent it no longer will be.
    not_applied: BTreeMap<LeaseName, (AttemptId, Pending, Time)>,
    /// The latest of which the outcome is recorded: an answer may have come just too late for whoever sends again, and
    /// a further one may tell that the grant counts from a later instant.
    resolved: VecDeque<(AttemptId, Returned)>,
}

/// How many recorded outcomes are remembered.
const RESOLVED: usize = 64;

impl Recorded {
    /// Around a process's store. The clock is the history's common one.
    pub fn new(
        inner: Arc<dyn Store>,
        recorder: Recorder,
        process: u32,
        clock: impl Fn() -> Time + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            recorder,
            process,
            clock: Arc::new(clock),
            carried: None,
            senders: None,
            attempts: Arc::default(),
        }
    }

    /// In the registry another object carries each grant.
    pub(crate) fn carried(mut self, carried: Carried) -> Self {
        self.carried = Some(Arc::new(carried));
        self
    }

    /// Who sends what is known.
    pub(crate) fn sent_by(mut self, senders: Arc<dyn Senders>) -> Self {
        self.senders = Some(senders);
        self
    }

    /// A change is sent; whether for the first time.
    fn sends(&self, change: &Change) -> bool {
        let operation = self.operation(change);
        let mut attempts = self.attempts();
        let resolved = |(attempt, _): &(AttemptId, Returned)| *attempt == change.attempt();
        if attempts.resolved.iter().any(resolved) {
            return false;
        }
        if let Some((attempt, pending, at)) = attempts.not_applied.remove(change.name()) {
            if attempt == change.attempt() {
                attempts.unresolved.insert(attempt, (pending, true));
                return false;
            }
            pending.returned(at, Outcome::NotApplied);
        }
        match attempts.unresolved.entry(change.attempt()) {
            Entry::Occupied(mut sent) => {
                sent.get_mut().1 = true;
                false
            }
            Entry::Vacant(new) => {
                let operation = self.sent(change, operation);
                new.insert((self.recorder.begin(operation), false));
                true
            }
        }
    }

    /// The same with who sends it, and on what grounds.
    fn sent(&self, change: &Change, mut operation: Operation) -> Operation {
        let fence = match change {
            Change::Take(take) => take.record.fence,
            Change::Vacate(vacate) => vacate.record.body.ended.as_ref().and_then(|e| e.fence),
        };
        // Only a proxy's renewal holds the name for longer than it says, and only a handle or a claim releases.
        let proxy = match change {
            Change::Take(take) if holds_longer(take) => Some(true),
            Change::Take(_) => None,
            Change::Vacate(_) => Some(false),
        };
        if operation.kind == Kind::Renew && proxy == Some(true) {
            operation.standing = Standing::Proxy;
        }
        let Some(senders) = &self.senders else {
            return operation;
        };
        match (operation.kind, change.expect()) {
            (Kind::Acquire | Kind::Steal, _) => operation.handle = Some(senders.handle()),
            (Kind::Renew | Kind::Release, Expect::Index(index)) => {
                let sent = Sent {
                    name: change.name(),
                    index,
                    // A record of others has its index as its fence.
                    fence: fence.unwrap_or(index),
                    proxy,
                };
                if let Some((handle, standing)) = senders.sender(&sent) {
                    operation.handle = Some(handle);
                    operation.standing = standing;
                }
            }
            _ => {}
        }
        operation
    }

    /// A record shows who made it: perhaps an acquire or steal of this process, which is known to have succeeded by that.
    fn shown(&self, attempts: &Attempts, name: &LeaseName, seen: &Seen) {
        let sent = seen
            .record
            .attempt
            .and_then(|attempt| attempts.unresolved.get(&attempt));
        if let Some((pending, _)) = sent {
            self.made(name, seen.fence(), pending.operation());
        }
    }

    fn made(&self, name: &LeaseName, fence: u64, operation: &Operation) {
        if let (Some(senders), Some(handle)) = (&self.senders, operation.handle)
            && matches!(operation.kind, Kind::Acquire | Kind::Steal)
        {
            senders.made(name, fence, handle);
        }
    }

    /// What is known of it now.
    fn told(&self, change: &Change, first: bool, told: &Told, now: Time) {
        let shows = |seen: &Seen| seen.record.attempt == Some(change.attempt());
        let mut attempts = self.attempts();
        if let Told::Refused { found: Some(found) } = told {
            self.shown(&attempts, change.name(), found);
        }
        // An answer to the first sending may come when another one is under way.
        let again = |(_, again): &(Pending, bool)| *again;
        let first = first
            && !attempts
                .unresolved
                .get(&change.attempt())
                .is_some_and(again);
        let known = match told {
            Told::Unknown(_) => false,
            Told::Applied(_) => true,
            // This sending was not applied; an earlier one may be, or may have been and is replaced by now.
            Told::Refused { found } => first || found.as_ref().is_some_and(shows),
            Told::NotApplied(_) => first,
        };
        if !known {
            return;
        }
        let from = match (told, &self.carried) {
            (Told::Applied(applied), Some(carried)) => applied.counted_from.map(&carried.at),
            _ => None,
        };
        let Some((pending, _)) = attempts.unresolved.remove(&change.attempt()) else {
            let mut resolved = attempts.resolved.iter_mut();
            let resolved = resolved.find(|(attempt, _)| *attempt == change.attempt());
            if let (Some((_, returned)), Some(from)) = (resolved, from) {
                returned.counted_from(from);
            }
            return;
        };
        if matches!(told, Told::NotApplied(_)) {
            let left = (change.attempt(), pending, now);
            attempts.not_applied.insert(change.name().clone(), left);
            return;
        }
        if let (Change::Take(take), Told::Applied(applied)) = (change, told) {
            let fence = take.record.fence_at(applied.index);
            self.made(change.name(), fence, pending.operation());
        }
        let outcome = self.outcome(change, told);
        let returned = pending.counted_from(from).returned(now, outcome);
        if attempts.resolved.len() >= RESOLVED {
            attempts.resolved.pop_front();
        }
        attempts.resolved.push_back((change.attempt(), returned));
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operation(&self, change: &Change) -> Operation {
        let name = self.recorder.name(change.name().as_str());
        let record = change.record();
        let mut operation = Operation::new(self.process, name, kind(change), (self.clock)());
        operation.attempt = Some(id(change.attempt()));
        operation.names = match change.expect() {
            Expect::Vacant(index) => index.map(|index| self.stood(change.name(), index)),
            Expect::Index(index) => Some(index),
        };
        // It counts where the outcome is unknown: but then it is not known either how long what carries it lasts.
        operation.period = match self.carried {
            None => record.period.map(nanos),
            Some(_) => None,
        };
        match change {
            Change::Take(take) => {
                operation.assume_dead =
                    operation.kind == Kind::Steal && take.believe == Believe::Now;
            }
            Change::Vacate(vacate) => {
                operation.assume_dead =
                    operation.kind == Kind::Break && vacate.reopen == Reopen::Now;
            }
        }
        operation
    }
}

/// Of what kind a change is, as far as the store can tell: who releases through a fetched lease breaks it.
fn kind(change: &Change) -> Kind {
    match change {
        Change::Take(take) => match (take.expect, take.record.fence) {
            (Expect::Vacant(_), _) => Kind::Acquire,
            // Only a new term's fence is larger than the index that it replaces.
            (Expect::Index(index), Some(fence)) if fence > index => Kind::Steal,
            (Expect::Index(_), _) => Kind::Renew,
        },
        Change::Vacate(vacate) => match &vacate.record.body.ended {
            Some(ended) if ended.how == EndedHow::Released => Kind::Release,
            _ => Kind::Break,
        },
    }
}

fn id(attempt: AttemptId) -> Attempt {
    Attempt(u128::from_be_bytes(attempt.0))
}

fn nanos(length: std::time::Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

impl Recorded {
    fn stood(&self, name: &LeaseName, index: u64) -> u64 {
        let carried = self.carried.as_ref();
        carried.map_or(index, |carried| (carried.stood)(name, index))
    }

    fn found(&self, name: &LeaseName, seen: Option<&Seen>) -> Found {
        let Some(seen) = seen else {
            return Found::Nothing;
        };
        let held = seen.record.is_held();
        Found::Record(State {
            // A grant that stands shows its attempt, and its index is its own.
            index: match held && seen.record.attempt.is_none() {
                true => self.stood(name, seen.index),
                false => seen.index,
            },
            fence: held.then(|| seen.fence()),
            held,
            attempt: seen.record.attempt.map(id),
        })
    }

    fn outcome(&self, change: &Change, told: &Told) -> Outcome {
        match told {
            Told::Applied(applied) => match change {
                Change::Take(take) => Outcome::Granted {
                    index: applied.index,
                    fence: take.record.fence_at(applied.index),
                    period: nanos(applied.granted),
                    wait: nanos(applied.wait),
                },
                Change::Vacate(_) => Outcome::Vacated {
                    index: applied.index,
                },
            },
            Told::Refused { found } => Outcome::Refused {
                found: self.found(change.name(), found.as_ref()),
            },
            Told::NotApplied(_) => Outcome::NotApplied,
            Told::Unknown(_) => Outcome::Unknown,
        }
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("inner", &self.inner)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Store for Recorded {
    fn declared(&self) -> Capabilities {
        self.inner.declared()
    }

    fn connected(&self) -> Capabilities {
        self.inner.connected()
    }

    fn server(&self) -> Option<Server> {
        self.inner.server()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        async move {
            let own: Name = self.recorder.name(name.as_str());
            let operation = Operation::new(self.process, own, Kind::Get, (self.clock)());
            let pending = self.recorder.begin(operation);
            let seen = self.inner.get(name, until).await;
            if let Ok(Some(seen)) = &seen {
                self.shown(&self.attempts(), name, seen);
            }
            let found = match &seen {
                Ok(seen) => self.found(name, seen.as_ref()),
                Err(_) => Found::Unsaid,
            };
            pending.returned((self.clock)(), Outcome::Read { found });
            seen
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Told>> {
        async move {
            let first: Vec<bool> = changes.iter().map(|change| self.sends(change)).collect();
            let told = self.inner.apply(changes.clone(), until).await;
            let now = (self.clock)();
            for ((change, first), told) in changes.iter().zip(first).zip(&told) {
                self.told(change, first, told, now);
            }
            told
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
        self.inner.list(prefix, after, max, until)
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.inner.watch(scope)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(until)
    }
}

/// Whether a grant keeps the name for longer than its period and its delay.
fn holds_longer(take: &Take) -> bool {
    let own = |period: Duration| period.saturating_add(take.record.body.delay);
    take.record
        .period
        .is_none_or(|period| take.hold > own(period))
}
