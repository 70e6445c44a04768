//! A process of a world, as the code that runs in it sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use leasehold_core::{Displace, Door, Election, LeaseName, Manager, Term};

use crate::chance::Chance;
use crate::history::{History, Standing};
use crate::sim::SimDoor;
use crate::world::ledger::{Broken, Ledger};
use crate::world::log::Log;
use crate::world::resource::{Resource, Write};
use crate::world::witness::Witness;

/// What runs in a process, from its start; again from the start after a crash.
pub(crate) type Service = Arc<dyn Fn(Process) -> BoxFuture<'static, ()> + Send + Sync>;

/// A process of a world: what the code that runs in it is given.
///
/// Code under simulation takes time, sleep and chance from here and from the manager, never from the operating system:
/// then one seed decides everything.
#[derive(Clone)]
pub struct Process {
    id: String,
    life: u64,
    door: Arc<SimDoor>,
    manager: Manager,
    common: Arc<Common>,
    chance: Arc<Mutex<Chance>>,
}

/// What the processes of a world and the world share.
pub(crate) struct Common {
    pub(crate) ledger: Ledger,
    pub(crate) log: Log,
    pub(crate) witness: Mutex<Witness>,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) stopping: bool,
    /// The lives that are over: `p1#3`.
    pub(crate) dead: BTreeSet<String>,
    pub(crate) disks: BTreeMap<String, BTreeMap<String, String>>,
    /// Tasks that said that they are at work.
    pub(crate) busy: BTreeSet<(String, u64)>,
    pub(crate) resource: Resource,
    pub(crate) histories: Vec<History>,
    /// Claims that a process is dead are made whether or not it is.
    pub(crate) liars: bool,
}

impl Common {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    pub(crate) fn new(
        (id, life): (String, u64),
        door: Arc<SimDoor>,
        manager: Manager,
        common: Arc<Common>,
        seed: u64,
    ) -> Self {
        Self {
            id,
            life,
            door,
            manager,
            common,
            chance: Arc::new(Mutex::new(Chance::new(seed))),
        }
    }

    /// The process's name, the same after a crash: also its machine id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which of its lives this is: `p1#3` is the third.
    #[must_use]
    pub fn life(&self) -> String {
        format!("{}#{}", self.id, self.life)
    }

    /// Whether a life is over: then an assertion that it is dead is true.
    #[must_use]
    pub fn is_dead(&self, life: &str) -> bool {
        let state = self.common.state();
        state.liars || state.dead.contains(life)
    }

    /// Its way to the registry.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Its clock.
    #[must_use]
    pub fn door(&self) -> &Arc<SimDoor> {
        &self.door
    }

    /// What is really written in the registry: to tell of true assertions.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.common.ledger
    }

    /// Sleeps by its clock.
    pub async fn sleep(&self, length: Duration) {
        self.door.sleep_until(self.door.now().plus(length)).await;
    }

    /// Runs a task of the process: gone when it crashes.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.door.spawn(Box::pin(task));
    }

    /// A seeded number below a bound.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.chance().below(bound)
    }

    /// A seeded duration below a bound.
    #[must_use]
    pub fn duration(&self, bound: Duration) -> Duration {
        self.chance().duration(bound)
    }

    fn chance(&self) -> MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the world asks everybody to finish: nothing goes wrong any more.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.common.state().stopping
    }

    /// Says what it does, for the trace of a failure.
    pub fn say(&self, words: impl FnOnce() -> String) {
        self.common
            .log
            .say(|| format!("  {}: {}", self.life(), words()));
    }

    /// Counts something that was done to it.
    pub(crate) fn fault(&self, kind: &'static str) {
        self.common.log.fault(kind);
    }

    /// Puts a new handle under the world's eyes, which from now on hold it to the laws of belief. The answer is for
    /// [`Process::forget`].
    pub fn believes(&self, term: Term) -> u64 {
        self.watch(term, Standing::Handle)
    }

    /// The same for a claim, before it sends anything: it believes after its own renewal.
    pub fn claims(&self, term: Term) -> u64 {
        self.watch(term, Standing::Claim)
    }

    /// The same for what was only fetched, before it sends anything: it never believes.
    pub fn fetched(&self, term: Term) -> u64 {
        self.watch(term, Standing::Proxy)
    }

    fn watch(&self, term: Term, standing: Standing) -> u64 {
        let life = self.life();
        let mut witness = self.common.witness();
        witness.grant(&self.door, &life, term, standing)
    }

    /// It stands for election, from now on held to the law of one leader, until [`Process::stands_no_more`].
    pub fn stands(&self, name: &str, election: &Election) {
        let life = self.life();
        let mut witness = self.common.witness();
        witness.stands(self.door.id(), &life, name, election);
    }

    /// It stands no more, in one election of this name.
    pub fn stands_no_more(&self, name: &str) {
        self.common.witness().stands_no_more(self.door.id(), name);
    }

    /// The handle is watched no longer: its guard is about to be dropped.
    pub fn forget(&self, handle: u64) {
        let now = self.door.truth_now();
        self.common.witness().forget(now, handle);
    }

    /// The terms of this process that are watched and not over.
    #[must_use]
    pub fn terms(&self) -> Vec<Term> {
        self.common.witness().terms(self.door.id())
    }

    /// Writes to what the lease protects, giving the fence along. False: it was refused, because a later term has
    /// written already.
    pub fn write(&self, term: &Term) -> bool {
        let number = self
            .common
            .ledger
            .term(term.name(), term.fence(), &term.machine_id());
        let mut state = self.common.state();
        let written = state.resource.write(term.name(), term.fence(), number);
        drop(state);
        if written == Write::Stale {
            self.common.ledger.breach(Broken {
                law: "the fence",
                seen: format!(
                    "{}: a write of {} by fence {} was accepted after one of a later term",
                    term.name(),
                    self.life(),
                    term.fence()
                ),
            });
        }
        written != Write::Refused
    }

    /// Keeps something where a crash does not reach it.
    pub fn save(&self, key: &str, value: impl Into<String>) {
        let mut state = self.common.state();
        let disk = state.disks.entry(self.id.clone()).or_default();
        disk.insert(key.to_owned(), value.into());
    }

    /// What was kept.
    #[must_use]
    pub fn saved(&self, key: &str) -> Option<String> {
        let state = self.common.state();
        state.disks.get(&self.id)?.get(key).cloned()
    }

    /// Displaces the grant of this index as that of a lessee who is dead. The ledger knows it by its reason, and excuses
    /// no other.
    #[must_use]
    pub fn assume_dead(&self, name: &LeaseName, index: u64) -> Displace {
        Displace::index(index).assume_dead(self.common.ledger.assume_dead(name, index))
    }

    /// Counts a task as at work until the guard is dropped: when the world ends, all must have come to their end.
    #[must_use]
    pub fn at_work(&self, task: u64) -> AtWork {
        let key = (self.life(), task);
        self.common.state().busy.insert(key.clone());
        AtWork {
            key,
            common: self.common.clone(),
        }
    }
}

/// A task at work.
pub struct AtWork {
    key: (String, u64),
    common: Arc<Common>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.common.state().busy.remove(&self.key);
    }
}

impl fmt::Debug for AtWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AtWork").field(&self.key).finish()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("life", &self.life())
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}
