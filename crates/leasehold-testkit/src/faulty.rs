//! A store that fails as told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal};
use leasehold_core::{
    BootInstant, Capabilities, Door, Drift, Error, ErrorKind, LeaseName, Prefix, Result, Server,
    Store,
};

use crate::chance::Chance;

/// What goes wrong with one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It never reaches the registry; nobody knows: [`Outcome::Unknown`].
    Lose,
    /// It is applied and the answer is lost: [`Outcome::Unknown`].
    LoseReply,
    /// It never reaches the registry and the driver knows it: [`Outcome::NotApplied`].
    Refuse,
    /// [`Outcome::Unknown`] at once; it reaches the registry this much later.
    Late(Duration),
    /// [`Outcome::Unknown`] at once; it reaches the registry after this many further requests (reads count).
    LateAfter(u32),
    /// It reaches the registry twice, and the second answer is told.
    Twice,
    /// It reaches the registry once now and once this much later; the first answer is told.
    Again(Duration),
    /// It reaches the registry this much later, and the answer is told then.
    DelaySend(Duration),
    /// It is applied now, and the answer is told this much later.
    DelayReply(Duration),
    /// It never reaches the registry and no answer ever comes.
    Hang,
    /// It is applied, and no answer ever comes.
    HangApplied,
}

/// A change that a [`Faulty`] store was asked to apply.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Which request it was part of.
    pub request: u64,
    /// When, by the store's door.
    pub at: BootInstant,
    /// The change.
    pub change: Change,
    /// What became of it.
    pub fault: Fault,
}

/// A [`Store`] around another one: an unreliable way to the same registry. Clones share their script.
///
/// It also holds core to what a store may rely on: a request carries no more changes than declared, and no two of one
/// name.
///
/// Faults are given per change ([`Faulty::then`], one after the other, or [`Faulty::then_for`] one name), or by chance
/// ([`Faulty::by_chance`]).
#[derive(Clone, Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    door: Arc<dyn Door>,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Fault>,
    named: BTreeMap<LeaseName, VecDeque<Fault>>,
    always: Option<Fault>,
    chance: Option<(Chance, u64, Duration)>,
    late: Vec<(u32, Change)>,
    fail_reads: u32,
    hang_reads: bool,
    drop_signals: bool,
    batch: Option<usize>,
    drift: Option<Drift>,
    requests: u64,
    in_flight: u32,
    most_in_flight: u32,
    sent: Vec<Sent>,
}

impl Faulty {
    /// Around a store, with the door that the store was made with.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, door: Arc<dyn Door>) -> Self {
        Self {
            inner,
            door,
            script: Arc::default(),
        }
    }

    /// The next change that no other rule covers fails so; further ones queue up behind.
    pub fn then(&self, fault: Fault) -> &Self {
        self.script().next.push_back(fault);
        self
    }

    /// The next change of this name fails so.
    pub fn then_for(&self, name: &LeaseName, fault: Fault) -> &Self {
        self.script()
            .named
            .entry(name.clone())
            .or_default()
            .push_back(fault);
        self
    }

    /// Every change that no other rule covers fails so, until told otherwise with none.
    pub fn always(&self, fault: Option<Fault>) -> &Self {
        self.script().always = fault;
        self
    }

    /// Of a thousand changes that no other rule covers this many fail, each in a way of the seed's choice; delays are
    /// up to `longest`.
    pub fn by_chance(&self, seed: u64, per_mille: u64, longest: Duration) -> &Self {
        self.script().chance = Some((Chance::new(seed), per_mille, longest));
        self
    }

    /// Nothing fails any more: every rule is forgotten.
    pub fn heal(&self) -> &Self {
        {
            let mut script = self.script();
            script.next.clear();
            script.named.clear();
            script.always = None;
            script.chance = None;
            script.fail_reads = 0;
            script.hang_reads = false;
            script.drop_signals = false;
        }
        self
    }

    /// The next reads fail.
    pub fn fail_reads(&self, count: u32) -> &Self {
        self.script().fail_reads = count;
        self
    }

    /// Reads hang, until told otherwise.
    pub fn hang_reads(&self, hang: bool) -> &Self {
        self.script().hang_reads = hang;
        self
    }

    /// Watches hear of nothing any more.
    pub fn drop_signals(&self, drop: bool) -> &Self {
        self.script().drop_signals = drop;
        self
    }

    /// Claims another batch size than the store's own.
    pub fn batch(&self, size: usize) -> &Self {
        self.script().batch = Some(size);
        self
    }

    /// Claims another drift than the store's own.
    pub fn drift(&self, drift: Drift) -> &Self {
        self.script().drift = Some(drift);
        self
    }

    fn claims(&self, mut capabilities: Capabilities) -> Capabilities {
        let script = self.script();
        capabilities.batch = script.batch.unwrap_or(capabilities.batch);
        capabilities.drift = script.drift.unwrap_or(capabilities.drift);
        capabilities
    }

    /// Everything that was sent so far, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.script().sent.clone()
    }

    /// How many changes each request so far carried.
    #[must_use]
    pub fn requests(&self) -> Vec<usize> {
        let mut requests = BTreeMap::new();
        for sent in &self.script().sent {
            *requests.entry(sent.request).or_default() += 1;
        }
        requests.into_values().collect()
    }

    /// How many requests were ever under way at once.
    #[must_use]
    pub fn most_in_flight(&self) -> u32 {
        self.script().most_in_flight
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets pass what was held back for a number of requests.
    async fn request_done(&self, until: BootInstant) {
        let due: Vec<Change> = {
            let mut script = self.script();
            for (left, _) in &mut script.late {
                *left = left.saturating_sub(1);
            }
            let (due, late) = std::mem::take(&mut script.late)
                .into_iter()
                .partition(|(left, _)| *left == 0);
            script.late = late;
            let due: Vec<(u32, Change)> = due;
            due.into_iter().map(|(_, change)| change).collect()
        };
        for change in due {
            drop(self.inner.apply(vec![change], until).await);
        }
    }

    async fn one(&self, change: Change, until: BootInstant) -> Outcome {
        let mut outcomes = self.inner.apply(vec![change], until).await;
        outcomes.pop().unwrap_or_else(lost)
    }

    fn later(&self, change: Change, delay: Duration) {
        let (inner, door) = (self.inner.clone(), self.door.clone());
        self.door.spawn(Box::pin(async move {
            door.sleep_until(door.now().plus(delay)).await;
            let until = door.now().plus(Duration::from_secs(10));
            drop(inner.apply(vec![change], until).await);
        }));
    }

    async fn with(&self, fault: Fault, change: Change, until: BootInstant) -> Outcome {
        let wait = |delay| self.door.sleep_until(self.door.now().plus(delay));
        match fault {
            Fault::None => self.one(change, until).await,
            Fault::Lose => lost(),
            Fault::LoseReply => {
                drop(self.one(change, until).await);
                lost()
            }
            Fault::Refuse => Outcome::NotApplied(Error::new(
                ErrorKind::Unavailable,
                "the test kit says: not reached",
            )),
            Fault::Late(delay) => {
                self.later(change, delay);
                lost()
            }
            Fault::LateAfter(requests) => {
                self.script().late.push((requests.max(1) + 1, change));
                lost()
            }
            Fault::Twice => {
                drop(self.one(change.clone(), until).await);
                self.one(change, until).await
            }
            Fault::Again(delay) => {
                self.later(change.clone(), delay);
                self.one(change, until).await
            }
            Fault::DelaySend(delay) => {
                wait(delay).await;
                self.one(change, until).await
            }
            Fault::DelayReply(delay) => {
                let outcome = self.one(change, until).await;
                wait(delay).await;
                outcome
            }
            Fault::Hang => futures_util::future::pending().await,
            Fault::HangApplied => {
                drop(self.one(change, until).await);
                futures_util::future::pending().await
            }
        }
    }
}

impl Script {
    fn fault(&mut self, name: &LeaseName) -> Fault {
        if let Some(fault) = self.named.get_mut(name).and_then(VecDeque::pop_front) {
            return fault;
        }
        if let Some(fault) = self.next.pop_front() {
            return fault;
        }
        if let Some(fault) = self.always {
            return fault;
        }
        let Some((chance, per_mille, longest)) = &mut self.chance else {
            return Fault::None;
        };
        if !chance.per_mille(*per_mille) {
            return Fault::None;
        }
        let delay = chance.duration(*longest);
        match chance.below(11) {
            0 => Fault::Lose,
            1 => Fault::LoseReply,
            2 => Fault::Refuse,
            3 => Fault::Late(delay),
            4 => Fault::LateAfter(u32::try_from(chance.below(5)).unwrap_or_default()),
            5 => Fault::Twice,
            6 => Fault::Again(delay),
            7 => Fault::DelaySend(delay),
            8 => Fault::DelayReply(delay),
            9 => Fault::Hang,
            _ => Fault::HangApplied,
        }
    }
}

fn lost() -> Outcome {
    Outcome::Unknown(Error::new(
        ErrorKind::Unavailable,
        "the test kit lost the answer",
    ))
}

/// Counts a request as under way, whatever ends it.
struct InFlight<'a>(&'a Faulty);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.script().in_flight -= 1;
    }
}

impl Store for Faulty {
    fn declared(&self) -> Capabilities {
        self.claims(self.inner.declared())
    }

    fn connected(&self) -> Capabilities {
        self.claims(self.inner.connected())
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
            let (fail, hang) = {
                let mut script = self.script();
                let fail = script.fail_reads > 0;
                script.fail_reads = script.fail_reads.saturating_sub(1);
                (fail, script.hang_reads)
            };
            if hang {
                return futures_util::future::pending().await;
            }
            let seen = if fail {
                Err(Error::new(
                    ErrorKind::Unavailable,
                    "the test kit lost the read",
                ))
            } else {
                self.inner.get(name, until).await
            };
            self.request_done(until).await;
            seen
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            // What a store may rely on, whatever the test is about.
            let mut names: Vec<&LeaseName> = changes.iter().map(Change::name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), changes.len(), "two changes of one name");
            assert!(changes.len() <= self.connected().batch, "too large a batch");
            let _in_flight = InFlight(self);
            let faults: Vec<Fault> = {
                let mut script = self.script();
                script.requests += 1;
                script.in_flight += 1;
                script.most_in_flight = script.most_in_flight.max(script.in_flight);
                let (request, at) = (script.requests, self.door.now());
                let mut faults = Vec::with_capacity(changes.len());
                for change in &changes {
                    let fault = script.fault(change.name());
                    script.sent.push(Sent {
                        request,
                        at,
                        change: change.clone(),
                        fault,
                    });
                    faults.push(fault);
                }
                faults
            };
            let outcomes = if faults.iter().all(|fault| *fault == Fault::None) {
                self.inner.apply(changes, until).await
            } else {
                let changes = changes
                    .into_iter()
                    .zip(faults)
                    .map(|(change, fault)| self.with(fault, change, until));
                futures_util::future::join_all(changes).await
            };
            self.request_done(until).await;
            outcomes
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
        let script = self.script.clone();
        let signals = self.inner.watch(scope).filter(move |_| {
            let script = script.lock().unwrap_or_else(PoisonError::into_inner);
            futures_util::future::ready(!script.drop_signals)
        });
        signals.chain(stream::pending()).boxed()
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(until)
    }
}
