//! Clients that do everything leases are there for, at a handful of names, while something happens to their registry.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::{
    Attempt, Busy, Displace, Door, Error, ErrorKind, KeepAlive, Lease, LockAttempt, Manager,
    Request, Result, Store,
};

use crate::audit::{Audit, Audited};
use crate::chance::Chance;

/// How many tasks each client has.
const TASKS: usize = 2;
/// Over how many names all clients quarrel.
const NAMES: u64 = 4;
/// How long an operation may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer a busy machine may take to say that time is over.
const SLACK: Duration = Duration::from_secs(3);

/// Clients at work, each with a manager of its own, all of them audited.
#[derive(Debug)]
pub struct Load {
    audit: Audit,
    clients: Vec<Client>,
    all: Arc<All>,
}

/// One of the clients.
#[derive(Clone, Debug)]
pub struct Client {
    number: usize,
    manager: Manager,
    audited: Audited,
    all: Arc<All>,
}

/// What the clients share.
#[derive(Default)]
struct All {
    stop: AtomicBool,
    working: AtomicUsize,
    periods: Mutex<Vec<Duration>>,
    /// How many terms began at the names that all quarrel over.
    terms: AtomicU64,
    longest: Mutex<Duration>,
    /// How often each operation failed in which way, with an example.
    failures: Mutex<BTreeMap<String, (u64, String)>>,
    wrong: Mutex<Vec<String>>,
}

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("All").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// A client for each store. They ask for these periods, and begin at once.
    ///
    /// # Panics
    /// Where a manager cannot be made.
    #[must_use]
    pub fn start(
        audit: &Audit,
        stores: Vec<Arc<dyn Store>>,
        door: &Arc<dyn Door>,
        periods: Vec<Duration>,
        seed: u64,
    ) -> Self {
        let all = Arc::new(All {
            periods: Mutex::new(periods),
            ..All::default()
        });
        let mut chance = Chance::new(seed);
        let client = |(number, store)| {
            let audited = audit.client(store, door.clone());
            let manager = Manager::builder(audited.store(), door.clone())
                .machine_id(format!("client-{number}"))
                .timeout(TIMEOUT)
                .build()
                .expect("a manager");
            let all = all.clone();
            Client {
                number,
                manager,
                audited,
                all,
            }
        };
        let clients: Vec<Client> = stores.into_iter().enumerate().map(client).collect();
        for client in &clients {
            for _ in 0..TASKS {
                let (client, seed) = (client.clone(), chance.number());
                all.working.fetch_add(1, Ordering::SeqCst);
                door.spawn(Box::pin(async move {
                    let _working = Working(client.all.clone());
                    client.work(Chance::new(seed)).await;
                }));
            }
        }
        let audit = audit.clone();
        Self {
            audit,
            clients,
            all,
        }
    }

    /// The clients, to ask something by the way.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// How many terms have begun.
    #[must_use]
    pub fn terms(&self) -> u64 {
        self.all.terms.load(Ordering::Relaxed)
    }

    /// How many handles believe now.
    #[must_use]
    pub fn believing(&self) -> usize {
        self.clients.iter().map(|c| c.audited.believing()).sum()
    }

    /// How operations have failed so far, with how often and an example of each, leaving none.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, (u64, String)> {
        std::mem::take(&mut *lock(&self.all.failures))
    }

    /// Ends the work and holds everything to the contract; what is told is a line about it.
    ///
    /// # Panics
    /// Where the contract was broken, an operation took too long, or failed as it must not.
    pub async fn finish(self) -> String {
        self.all.stop.store(true, Ordering::SeqCst);
        let Some(first) = self.clients.first() else {
            return String::new();
        };
        let door = first.manager.door().clone();
        let until = door.now().plus(Duration::from_secs(60));
        while self.all.working.load(Ordering::SeqCst) > 0 || self.believing() > 0 {
            assert!(door.now() < until, "clients are still at work");
            door.sleep_until(door.now().plus(Duration::from_millis(20)))
                .await;
        }
        let limit = Duration::from_secs(20);
        for ended in join_all(self.clients.iter().map(|c| c.manager.shutdown(limit))).await {
            ended.expect("nothing is outstanding");
        }
        let wrong = std::mem::take(&mut *lock(&self.all.wrong));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let checked = self.audit.check();
        let report = checked.unwrap_or_else(|broken| panic!("the contract is broken:\n{broken}"));
        assert!(report.beliefs > 0, "nobody ever believed");
        let longest = *lock(&self.all.longest);
        let failures = lock(&self.all.failures);
        let failures: Vec<String> = failures
            .iter()
            .map(|(kind, (count, _))| format!("{kind} {count}"))
            .collect();
        format!(
            "{} operations, {} applied, {} of unknown outcome, {} beliefs, {} terms, the longest operation {longest:.1?}; \
             failed: {}",
            report.operations,
            report.applied,
            report.unknown,
            report.beliefs,
            self.terms(),
            failures.join(", ")
        )
    }
}

/// A task that works.
struct Working(Arc<All>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Client {
    /// Its manager.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Tries again and again to acquire, renew and release a lease of its own, and says how long that took. None: it was
    /// not served within the limit.
    pub async fn served(&self, limit: Duration) -> Option<Duration> {
        let door = self.manager.door();
        let start = door.now();
        let name = format!("own/{}", self.number);
        while door.now() < start.plus(limit) {
            let period = self.period(0);
            let asked = self.manager.acquire_lease(&*name, "own", 0, period);
            if let Some(Some(mut lease)) = self.timed("acquire", TIMEOUT, asked).await {
                let renewed = self.timed("renew", TIMEOUT, lease.renew(period)).await;
                let released = self.timed("release", TIMEOUT, lease.release()).await;
                if renewed.and(released).is_some() {
                    return Some(door.now().since(start));
                }
            }
            self.pause(Duration::from_millis(50)).await;
        }
        None
    }

    fn period(&self, place: u64) -> Duration {
        let periods = lock(&self.all.periods);
        let place = usize::try_from(place).unwrap_or_default();
        periods
            .get(place % periods.len())
            .copied()
            .unwrap_or(TIMEOUT)
    }

    async fn pause(&self, length: Duration) {
        let door = self.manager.door();
        door.sleep_until(door.now().plus(length)).await;
    }

    /// What an operation gave, if it succeeded. It must end in time, and may only fail as a registry in trouble lets it.
    async fn timed<T>(
        &self,
        what: &str,
        limit: Duration,
        operation: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        let door = self.manager.door();
        let start = door.now();
        let result = operation.await;
        let took = door.now().since(start);
        let mut longest = lock(&self.all.longest);
        *longest = took.max(*longest);
        drop(longest);
        if took > limit + SLACK {
            self.wrong(format!("{what} took {took:?}"));
        }
        result.map_err(|error| self.failed(what, &error)).ok()
    }

    fn failed(&self, what: &str, error: &Error) {
        let lost = matches!(what, "renew" | "release" | "steal" | "break" | "keep-alive");
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => {}
            ErrorKind::Changed | ErrorKind::Expired | ErrorKind::Gone if lost => {}
            // Granted, and known too late, or never to be believed.
            ErrorKind::Expired if what == "acquire" => {}
            _ => self.wrong(format!("{what}: {error}")),
        }
        let mut failures = lock(&self.all.failures);
        let key = format!("{what} {:?}", error.kind());
        let (count, _) = failures.entry(key).or_insert((0, error.to_string()));
        *count += 1;
    }

    fn wrong(&self, what: String) {
        lock(&self.all.wrong).push(format!("client {}: {what}", self.number));
    }

    async fn work(&self, mut chance: Chance) {
        while !self.all.stop.load(Ordering::SeqCst) {
            let name = format!("shared/{}", chance.below(NAMES));
            let period = self.period(chance.number() % 8);
            if chance.below(10) < 3 {
                let limit = chance.duration(Duration::from_millis(1500));
                let lock = self.manager.lock(&*name).period(period);
                // One try is made in earnest, however short the wait.
                let bound = limit.max(Duration::from_secs(1)) + TIMEOUT;
                let waited = self.timed("lock", bound, lock.acquire_within(limit));
                if let Some(LockAttempt::Held(held)) = waited.await {
                    self.began(&held.term());
                    self.keep(held, &mut chance).await;
                }
                continue;
            }
            let request = Request::new(&*name, period);
            let tried = self.manager.try_acquire(request.clone());
            match self.timed("acquire", TIMEOUT, tried).await {
                Some(Attempt::Acquired(lease)) => self.hold(lease, &mut chance).await,
                Some(Attempt::Busy(busy)) => self.meddle(busy, request, &mut chance).await,
                Some(Attempt::Skipped(_)) | None => {
                    self.pause(chance.duration(Duration::from_millis(200)))
                        .await
                }
            }
        }
    }

    fn began(&self, term: &leasehold_core::Term) {
        self.all.terms.fetch_add(1, Ordering::Relaxed);
        self.audited.watch(term.clone());
    }

    /// Somebody else holds the lease: mostly that is respected.
    async fn meddle(&self, busy: Busy, request: Request, chance: &mut Chance) {
        let displace = Displace::index(busy.index());
        match (busy.holder(), chance.below(60)) {
            (Some(_), 0..=1) => {
                let stolen = self.manager.steal(request, displace);
                if let Some(lease) = self.timed("steal", TIMEOUT, stolen).await {
                    self.hold(lease, chance).await;
                }
            }
            (Some(_), 2) => {
                let broken = self.manager.break_lease(busy.name(), displace);
                self.timed("break", TIMEOUT, broken).await;
            }
            (_, 3..=9) => {
                let read = self.manager.get_lease(busy.name());
                self.timed("get", TIMEOUT, read).await;
            }
            _ => {
                self.pause(chance.duration(Duration::from_millis(100)))
                    .await
            }
        }
    }

    async fn hold(&self, mut lease: Lease, chance: &mut Chance) {
        self.began(&lease.term());
        if chance.below(2) == 0 {
            return self.keep(lease.keep_alive(KeepAlive::new()), chance).await;
        }
        let door = self.manager.door().clone();
        let until = door
            .now()
            .plus(chance.duration(Duration::from_millis(1500)));
        let period = lease.period();
        while door.now() < until && !self.all.stop.load(Ordering::SeqCst) {
            self.pause(chance.duration(period / 2)).await;
            // Now and then another period: that is another native lease.
            let period = match chance.below(4) {
                0 => self.period(chance.number() % 8),
                _ => period,
            };
            let renewed = self.timed("renew", TIMEOUT, lease.renew(period)).await;
            if renewed.is_none()
                && !lease.is_current()
                && door.now() > lease.begin().unwrap_or(until)
            {
                break;
            }
        }
        // Whoever forgets a lease goes on believing until its deadline.
        if chance.below(6) > 0 {
            self.audited.ends(lease.fence(), &lease.name().clone());
            self.timed("release", TIMEOUT, lease.release()).await;
        }
    }

    async fn keep(&self, held: leasehold_core::Held, chance: &mut Chance) {
        let door = self.manager.door().clone();
        let until = door
            .now()
            .plus(chance.duration(Duration::from_millis(1500)));
        while door.now() < until && !self.all.stop.load(Ordering::SeqCst) {
            self.pause(Duration::from_millis(50)).await;
            if let Err(error) = held.check()
                && error.is_lost()
            {
                self.failed("keep-alive", &error);
                return;
            }
        }
        // Without the guard it runs out: the term is being watched.
        if chance.below(6) > 0 {
            self.audited.ends(held.fence(), &held.name().clone());
            self.timed("release", TIMEOUT, held.release()).await;
        }
    }
}
