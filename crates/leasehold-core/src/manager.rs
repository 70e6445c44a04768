//! The manager: the way to a registry's leases.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::Instrument;

use crate::batch::Batch;
use crate::builder::Builder;
use crate::capabilities::Capabilities;
use crate::door::{Abandoned, Door, Driven, until};
use crate::election::Election;
use crate::error::{Error, ErrorKind, Result};
use crate::keeper::Keeper;
use crate::lease::Lease;
use crate::line::Lines;
use crate::lock::Lock;
use crate::meters::Meters;
use crate::mutants::{Mutant, mutant};
use crate::name::{LeaseName, Prefix};
use crate::names::Names;
use crate::record::{Ended, Ran};
use crate::release::Dropped;
use crate::request::{Attempt, Displace, Request};
use crate::server::Server;
use crate::shutdown::Phase;
use crate::status::{Listing, Status, shown};
use crate::store::{Page, Scope, Seen, Store};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::time::BootInstant;
use crate::watch::Watch;

/// The way to a registry's leases: get, acquire, steal, and what goes beyond. Cheap to clone; clones share one
/// connection, one queue of changes, and one machine id.
///
/// Every method may be dropped half-way (cancellation-safe): a change that was sent is driven to its end in the
/// background, and an acquire that nobody waits for any more is released. Every method ends within the manager's
/// time-out ([`Builder::timeout`]).
#[derive(Clone)]
pub struct Manager {
    pub(crate) core: Arc<Core>,
}

/// What the manager and its leases share.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) batch: Arc<Batch>,
    pub(crate) names: Arc<Names>,
    pub(crate) keeper: Keeper,
    pub(crate) dropped: Dropped,
    pub(crate) meters: Meters,
    pub(crate) lines: Arc<Lines>,
    pub(crate) capabilities: Capabilities,
    pub(crate) timeout: Duration,
    pub(crate) machine_id: String,
    vacancies: Mutex<BTreeMap<LeaseName, Vacancy>>,
    pub(crate) phase: Phase,
    /// How many operations were begun and have not ended, those included whose turn has not come.
    begun: Arc<AtomicUsize>,
    process: u32,
}

/// A vacancy that was seen, so that the next acquire can name it at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vacancy {
    pub(crate) index: Option<u64>,
    pub(crate) ended: Option<Box<Ended>>,
    pub(crate) kept: Kept,
}

/// What a record hands on to its successor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) closed: Option<std::time::SystemTime>,
    pub(crate) ran: Option<Box<Ran>>,
    pub(crate) unknown: serde_json::Map<String, serde_json::Value>,
}

/// How many vacancies a manager remembers.
const VACANCIES: usize = 1024;
/// How many records a page of a listing asks for.
const PAGE: usize = 1000;

impl Manager {
    /// Makes a manager of a store; the door is the one the store was made with.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>, door: Arc<dyn Door>) -> Builder {
        Builder::new(store, door)
    }

    /// Fetches a lease only if it exists: none where nobody holds the name (a tombstone, an expired lease).
    ///
    /// What it gives is a proxy with cached values: it never believes ([`Lease::is_current`] is false).
    ///
    /// # Errors
    /// The registry cannot be reached, denies access, or holds something under this name that cannot be read.
    pub async fn get_lease(&self, name: impl AsRef<str>) -> Result<Option<Lease>> {
        let name = LeaseName::new(name)?;
        let Some(seen) = self.core.get("get", &name).await? else {
            return Ok(None);
        };
        if !seen.is_held() {
            return Ok(None);
        }
        seen.record
            .judged()
            .map_err(|error| error.during("get", Some(&name)))?;
        Ok(Some(Lease::fetched(self.core.clone(), name, &seen)))
    }

    /// Acquires a lease only if nobody holds it. None: it is held. [`Manager::try_acquire`] says by whom.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a bad name, machine id or period; otherwise only where there was a failure
    /// communicating with the registry, or where it holds something under this name that cannot be judged.
    pub async fn acquire_lease(
        &self,
        name: impl AsRef<str>,
        machine_id: impl Into<String>,
        version: i64,
        period: Duration,
    ) -> Result<Option<Lease>> {
        match self
            .try_acquire(
                Request::new(name, period)
                    .machine_id(machine_id)
                    .version(version),
            )
            .await?
        {
            Attempt::Acquired(lease) => Ok(Some(lease)),
            Attempt::Busy(_) | Attempt::Skipped(_) => Ok(None),
        }
    }

    /// Attempts to replace the lessee of the lease of this name and index with a new lessee.
    ///
    /// The new handle believes from [`Lease::begin`] on: not before the replaced grant, and every wait that its record
    /// already carried, can no longer be believed. Its period counts from now, that wait included: renew before the
    /// deadline if the wait is longer. A period no longer than the wait amounts to a mere break.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] where the lease has progressed past the index, [`ErrorKind::Gone`] or
    /// [`ErrorKind::Expired`] where nobody holds it (acquire it instead), and as [`Manager::acquire_lease`].
    pub async fn steal_lease(
        &self,
        name: impl AsRef<str>,
        machine_id: impl Into<String>,
        version: i64,
        period: Duration,
        index: u64,
    ) -> Result<Lease> {
        let request = Request::new(name, period)
            .machine_id(machine_id)
            .version(version);
        self.steal(request, Displace::index(index)).await
    }

    /// Acquires a lease only if nobody holds it, and tells who does.
    ///
    /// # Errors
    /// As [`Manager::acquire_lease`].
    pub async fn try_acquire(&self, request: Request) -> Result<Attempt> {
        let (name, grant) = self.core.check("acquire", request)?;
        let core = self.core.clone();
        let shown = name.clone();
        self.core
            .drive(
                "acquire",
                &shown,
                BootInstant::NEVER,
                move |progress| async move { core.take_vacant(name, grant, &progress).await },
            )
            .await
    }

    /// [`Manager::steal_lease`] with a note, data, or an assertion that the old lessee is dead.
    ///
    /// # Errors
    /// As [`Manager::steal_lease`].
    pub async fn steal(&self, request: Request, displace: Displace) -> Result<Lease> {
        let (name, grant) = self.core.check("steal", request)?;
        let core = self.core.clone();
        let shown = name.clone();
        self.core
            .drive("steal", &shown, BootInstant::NEVER, move |progress| async move {
                core.take_from(name, grant, displace, &progress).await
            })
            .await
    }

    /// Ends the term of the grant with this index. The name is held by nobody until that grant can no longer be
    /// believed, unless the lessee is [assumed dead](Displace::assume_dead). Returns the status as the change left it.
    ///
    /// # Errors
    /// As [`Manager::steal_lease`].
    pub async fn break_lease(&self, name: impl AsRef<str>, displace: Displace) -> Result<Status> {
        let name = LeaseName::new(name)?;
        let core = self.core.clone();
        let shown = name.clone();
        self.core
            .drive(
                "break",
                &shown,
                BootInstant::NEVER,
                move |progress| async move { core.break_term(name, displace, &progress).await },
            )
            .await
    }

    /// Claims the term of this fence: asserts that the process which was granted it is done or dead, and acts as its
    /// handle. The lease is current only after its own [`Lease::renew`] succeeded, which keeps the fence; its release
    /// is a clean one. If the assertion is false there are two lessees with one fence.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] where another term stands, [`ErrorKind::Gone`] or [`ErrorKind::Expired`] where none does,
    /// [`ErrorKind::Foreign`] where the record cannot be judged, and as any read.
    pub async fn resume(&self, name: impl AsRef<str>, fence: u64) -> Result<Lease> {
        let name = LeaseName::new(name)?;
        self.core
            .phase
            .open()
            .map_err(|error| error.during("resume", Some(&name)))?;
        let seen = self.core.get("resume", &name).await?;
        let seen = self
            .core
            .standing(&name, seen)
            .map_err(|error| error.during("resume", Some(&name)))?;
        if seen.fence() != fence {
            let status = Status::new(name.clone(), seen);
            let message = format!(
                "the term of fence {fence} is over: {} holds it with fence {}",
                shown(status.machine_id().unwrap_or("nobody")),
                status.fence()
            );
            return Err(Error::new(ErrorKind::Changed, message).during("resume", Some(&name)));
        }
        Ok(Lease::claimed(self.core.clone(), name, &seen))
    }

    /// What the registry knows of a name, tombstones and foreign records included; none where it has no record.
    ///
    /// # Errors
    /// The registry cannot be reached or denies access.
    pub async fn status(&self, name: impl AsRef<str>) -> Result<Option<Status>> {
        let name = LeaseName::new(name)?;
        let seen = self.core.get("status", &name).await?;
        Ok(seen.map(|seen| Status::new(name, seen)))
    }

    /// The held leases that a prefix covers (whole segments: `a` covers `a` and `a/b`; empty: all).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a bad prefix. Reading errors come from [`Listing::next`].
    pub fn list(&self, prefix: impl AsRef<str>) -> Result<Listing> {
        Ok(Listing::new(self.core.clone(), Prefix::new(prefix)?))
    }

    /// Watches one name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a bad name.
    pub fn watch(&self, name: impl AsRef<str>) -> Result<Watch> {
        Ok(Watch::new(
            self.core.clone(),
            Scope::Name(LeaseName::new(name)?),
        ))
    }

    /// Watches every name that a prefix covers.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a bad prefix.
    pub fn watch_prefix(&self, prefix: impl AsRef<str>) -> Result<Watch> {
        Ok(Watch::new(
            self.core.clone(),
            Scope::Prefix(Prefix::new(prefix)?),
        ))
    }

    /// A lock: waiting one's turn for a lease, and keeping it alive while it is held.
    pub fn lock(&self, name: impl AsRef<str>) -> Lock {
        Lock::new(self.clone(), name.as_ref())
    }

    /// An election: who of many candidates leads.
    pub fn election(&self, name: impl AsRef<str>) -> Election {
        Election::new(self.clone(), name.as_ref())
    }

    /// The machine id of this manager's leases where a request names none.
    #[must_use]
    pub fn machine_id(&self) -> &str {
        &self.core.machine_id
    }

    /// What the store can do and assumes, as it is connected.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    /// Where the registry is, for messages; never with credentials.
    #[must_use]
    pub fn location(&self) -> String {
        self.core.store.location()
    }

    /// The program that keeps the registry, its version and what is known to be wrong with it; none where the store
    /// knows of none.
    #[must_use]
    pub fn server(&self) -> Option<Server> {
        self.core.store.server()
    }

    /// The door to time that this manager uses.
    #[must_use]
    pub fn door(&self) -> &Arc<dyn Door> {
        &self.core.door
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.core, f)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("store", &self.store)
            .field("machine_id", &self.machine_id)
            .finish_non_exhaustive()
    }
}

/// An operation that was begun; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Begun(Arc<AtomicUsize>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How far an operation has come, for whoever stops waiting for it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    abandoned: Abandoned,
    sent: Arc<AtomicBool>,
}

impl Progress {
    /// An error if nobody waits for the operation any more: what was not sent by then never is.
    pub(crate) fn awaited(&self) -> Result<()> {
        if self.is_abandoned() {
            return Err(Error::new(ErrorKind::Unavailable, "given up"));
        }
        Ok(())
    }

    /// Nobody waits for the operation any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.is_set()
    }

    /// From here on the outcome is unknown until it is known.
    pub(crate) fn sending(&self) {
        self.sent.store(true, Ordering::SeqCst);
    }
}

impl Core {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        door: Arc<dyn Door>,
        machine_id: String,
        timeout: Duration,
    ) -> Self {
        Self {
            batch: Arc::new(Batch::new(store.clone(), door.clone())),
            capabilities: store.connected(),
            names: Arc::default(),
            keeper: Keeper::new(),
            dropped: Dropped::default(),
            meters: Meters::new(|| store.location()),
            lines: Arc::default(),
            vacancies: Mutex::default(),
            phase: Phase::new(),
            begun: Arc::default(),
            process: door.process(),
            timeout,
            store,
            door,
            machine_id,
        }
    }

    /// Runs an operation that changes the registry. It is driven to its end whatever happens to the caller, who is
    /// answered by `at` or the time-out, whichever comes first.
    pub(crate) async fn drive<T, F>(
        &self,
        operation: &'static str,
        name: &LeaseName,
        at: BootInstant,
        run: impl FnOnce(Progress) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let begun = self
            .begin()
            .map_err(|error| error.during(operation, Some(name)))?;
        self.drive_begun(begun, operation, name, at, run).await
    }

    /// The same for an operation that was begun before.
    pub(crate) async fn drive_begun<T, F>(
        &self,
        begun: Begun,
        operation: &'static str,
        name: &LeaseName,
        at: BootInstant,
        run: impl FnOnce(Progress) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let sent = Arc::new(AtomicBool::new(false));
        let progress = sent.clone();
        let driven = Driven::new(&self.door, move |abandoned| {
            let run = run(Progress {
                abandoned,
                sent: progress,
            });
            let span = tracing::debug_span!("leasehold", operation, %name);
            let driven = async move {
                let _begun = begun;
                run.await
            };
            driven.instrument(span)
        });
        let at = at.min(self.door.now().plus(self.timeout));
        let result = match until(&self.door, at, driven).await {
            Some(result) => result,
            None if sent.load(Ordering::SeqCst) => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "the registry did not answer in time; whether it was applied is unknown and goes on being resolved",
            )),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                "an earlier change of this lease is still outstanding: nothing was sent",
            )),
        };
        result.map_err(|error| error.during(operation, Some(name)))
    }

    /// Whether the manager may be used, by this process, still.
    pub(crate) fn usable(&self) -> Result<()> {
        self.own_process()?;
        self.phase.usable()
    }

    /// Whether the manager may be used; if so, shutdown waits until what this gives is dropped. In this order: whoever
    /// finds the manager open is seen by the shutdown that closes it.
    pub(crate) fn begin(&self) -> Result<Begun> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let begun = Begun(self.begun.clone());
        self.usable()?;
        Ok(begun)
    }

    /// How many operations were begun, or changes are outstanding.
    pub(crate) fn outstanding(&self) -> usize {
        self.names
            .outstanding()
            .max(self.begun.load(Ordering::SeqCst))
    }

    /// Whether this is the process that the manager was made in.
    pub(crate) fn own_process(&self) -> Result<()> {
        if mutant(Mutant::ForkedChildUsesItsParentsManager) {
            return Ok(());
        }
        if self.door.process() != self.process {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a forked child may not use its parent's manager: open one of its own",
            ));
        }
        Ok(())
    }

    /// A linearizable read, bounded by the time-out.
    pub(crate) async fn get(
        &self,
        operation: &'static str,
        name: &LeaseName,
    ) -> Result<Option<Seen>> {
        self.usable()
            .map_err(|error| error.during(operation, Some(name)))?;
        self.read(operation, name).await
    }

    /// The same as part of an operation that was begun before, which a shutdown waits for.
    pub(crate) async fn read(
        &self,
        operation: &'static str,
        name: &LeaseName,
    ) -> Result<Option<Seen>> {
        let read = async {
            if mutant(Mutant::ShutdownForbidsItsOwnReads) {
                self.usable()?;
            }
            let at = self.door.now().plus(self.timeout);
            match until(&self.door, at, self.store.get(name, at)).await {
                Some(seen) => seen,
                None => Err(Error::new(
                    ErrorKind::Unavailable,
                    "the registry did not answer in time",
                )),
            }
        };
        read.await
            .map_err(|error| error.during(operation, Some(name)))
    }

    /// A page of a listing, bounded by the time-out.
    pub(crate) async fn page(&self, prefix: &Prefix, after: Option<&LeaseName>) -> Result<Page> {
        let read = async {
            self.usable()?;
            let at = self.door.now().plus(self.timeout);
            match until(&self.door, at, self.store.list(prefix, after, PAGE, at)).await {
                Some(page) => page,
                None => Err(Error::new(
                    ErrorKind::Unavailable,
                    "the registry did not answer in time",
                )),
            }
        };
        read.await.map_err(|error| error.during("list", None))
    }

    /// The held, unexpired, judgeable record, or why there is none.
    pub(crate) fn standing(&self, name: &LeaseName, seen: Option<Seen>) -> Result<Seen> {
        let Some(seen) = seen else {
            return Err(Error::new(ErrorKind::Gone, "nobody holds it"));
        };
        seen.record.judged()?;
        if seen.is_held() {
            return Ok(seen);
        }
        Err(over(&Status::new(name.clone(), seen)))
    }

    pub(crate) fn vacancy(&self, name: &LeaseName) -> Vacancy {
        self.vacancies().remove(name).unwrap_or_default()
    }

    pub(crate) fn remember(&self, name: &LeaseName, vacancy: Vacancy) {
        let mut vacancies = self.vacancies();
        if vacancies.len() >= VACANCIES {
            vacancies.pop_first();
        }
        vacancies.insert(name.clone(), vacancy);
    }

    fn vacancies(&self) -> MutexGuard<'_, BTreeMap<LeaseName, Vacancy>> {
        self.vacancies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error for a name that nobody holds any more.
pub(crate) fn over(status: &Status) -> Error {
    match (status.machine_id(), status.ended()) {
        (Some(id), _) => Error::new(
            ErrorKind::Expired,
            format!(
                "the term of {} (fence {}) has run out",
                shown(id),
                status.fence()
            ),
        ),
        (None, Some(ended)) => {
            let message = format!("nobody holds it: the last term was {ended}");
            Error::new(ErrorKind::Gone, message)
        }
        (None, None) => Error::new(ErrorKind::Gone, "nobody holds it"),
    }
}
