//! The store: operations run in the caller's own poll where the file is free, and on a thread of the store's where
//! it is not.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::BoxStream;
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal};
use leasehold_core::{
    BootInstant, Capabilities, Delivery, Door, Error, ErrorKind, LeaseName, Prefix, Reach, Result,
    Server, Signals, Store,
};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::fault::{Failure, Fault};
use crate::library::library;
use crate::machine::{self, Identity, identity};
use crate::schema::{Setup, connect};
use crate::transact::Db;
use crate::upkeep::{Upkeep, committed};
use crate::watch::{Watching, listen, notify_path, tell};
use crate::work::{Answer, Ask, Queue, refuse, unknown, wait};

/// How often the caller's own thread tries for the lock.
const TRIES: usize = 3;

/// A registry in an SQLite file. Clones share one connection.
#[derive(Debug, Clone)]
pub struct SqliteStore(Arc<Inner>);

/// What the clones share; its end ends the threads.
#[derive(Debug)]
struct Inner(Arc<Shared>);

impl Drop for Inner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What clones and threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: Arc<Path>,
    pub(crate) notify: Arc<Path>,
    pub(crate) opened: Identity,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) block: u64,
    pub(crate) poll: Duration,
    log: std::path::PathBuf,
    db: Mutex<Option<Db>>,
    pub(crate) signals: Signals,
    pub(crate) queue: Queue,
    pub(crate) upkeep: Upkeep,
    pub(crate) watching: Watching,
    pub(crate) threads: Threads,
    stopped: AtomicBool,
}

/// The threads that were started.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<Vec<(JoinHandle<()>, oneshot::Receiver<()>)>>);

impl Threads {
    pub(crate) fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                run();
                // Nobody may be there to hear it.
                _ = end.send(());
            });
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no thread could be started").with_source(error)
        })?;
        self.lock().push((thread, ended));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(JoinHandle<()>, oneshot::Receiver<()>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqliteStore {
    /// Opens the registry in the file at `path`, which is created where there is none. See [`Config`] for choices.
    ///
    /// # Errors
    /// As [`Config::open`].
    pub fn open(path: impl AsRef<Path>, door: Arc<dyn Door>) -> Result<Self> {
        Config::new(path.as_ref()).open(door)
    }

    pub(crate) fn open_with(config: Config, door: Arc<dyn Door>) -> Result<Self> {
        match Shared::open(config, door) {
            Ok(shared) => Ok(Self(Arc::new(Inner(Arc::new(shared))))),
            Err(failure) => Err(failure.error()),
        }
    }

    /// Puts bytes under a name, as a foreign writer would: for tests.
    ///
    /// # Errors
    /// Those of a write.
    #[doc(hidden)]
    pub fn plant(&self, name: &LeaseName, bytes: &[u8]) -> Result<()> {
        let shared = &self.0.0;
        let deadline = shared.door.now().plus(Duration::from_secs(5));
        loop {
            let planted = match &*shared.lock() {
                Some(db) => db.plant(name, bytes),
                None => return Err(shared.closed()),
            };
            match planted {
                Ok(()) => break,
                Err(Fault::Busy) if shared.door.now() < deadline => pause(Duration::from_millis(1)),
                Err(Fault::Busy) => return Err(shared.locked_for(deadline)),
                Err(Fault::Failed(failure)) => return Err(failure.error()),
            }
        }
        shared.signals.name(name);
        tell(shared);
        Ok(())
    }

    async fn ask(&self, ask: Ask, until: BootInstant) -> Result<Answer> {
        let shared = &self.0.0;
        if shared.stopped.load(Ordering::SeqCst) {
            return refuse(&ask, || shared.closed());
        }
        // A lock is mostly held for a dozen microseconds: less than it takes to wake a thread.
        for _ in 0..TRIES {
            match shared.try_run(&ask) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Failed(failure)) => return refuse(&ask, || failure.error()),
                Err(Fault::Busy) => std::thread::yield_now(),
            }
        }
        wait(shared, ask, until).await
    }
}

impl Shared {
    fn open(config: Config, door: Arc<dyn Door>) -> std::result::Result<Self, Failure> {
        machine::check_clock()?;
        let boot_id = match config.boot_id {
            Some(id) => id,
            None => machine::boot_id()?,
        };
        let path: Arc<Path> = std::path::absolute(&config.path)
            .map_err(|error| Failure::of_file(&config.path, &error, "cannot make sense of"))?
            .into();
        prepare_file(&path, config.create)?;
        let real = std::fs::canonicalize(&path)
            .map_err(|error| Failure::of_file(&path, &error, "cannot follow"))?;
        machine::check_file_system(&real)?;
        machine::check_access(&real)?;
        let until = door.now().plus(config.patience);
        let (conn, opened) = loop {
            let attempt = || -> std::result::Result<_, Fault> {
                let look = || {
                    identity(&path)
                        .map_err(|error| Failure::of_file(&path, &error, "cannot look at"))
                };
                let before = look()?;
                let conn = connect(&path)?;
                let setup = Setup {
                    path: &path,
                    door: &*door,
                    boot_id: &boot_id,
                    block: config.block,
                };
                setup.run(&conn)?;
                let after = look()?;
                // Somebody replaced it meanwhile: which one was opened?
                if before == after {
                    Ok((conn, after))
                } else {
                    Err(Fault::Busy)
                }
            };
            match attempt() {
                Ok(opened) => break opened,
                Err(Fault::Failed(failure)) => return Err(failure),
                Err(Fault::Busy) if door.now() < until => pause(Duration::from_millis(1)),
                Err(Fault::Busy) => return Err(locked(&path, config.patience)),
            }
        };
        let db = Db::new(conn, path.clone(), opened, door.clone(), config.block);
        Ok(Self {
            notify: notify_path(&real).into(),
            log: machine::beside(&real, "-wal"),
            path,
            opened,
            door,
            block: config.block,
            poll: config.poll,
            db: Mutex::new(Some(db)),
            signals: Signals::default(),
            queue: Queue::default(),
            upkeep: Upkeep::default(),
            watching: Watching::default(),
            threads: Threads::default(),
            stopped: AtomicBool::new(false),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Db>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it at once, or [`Fault::Busy`].
    fn try_run(self: &Arc<Self>, ask: &Ask) -> std::result::Result<Answer, Fault> {
        let db = match self.db.try_lock() {
            Ok(db) => db,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Fault::Busy),
        };
        self.run_on(db, ask)
    }

    /// Does it when the other threads of this process are done with the connection.
    pub(crate) fn run(self: &Arc<Self>, ask: &Ask) -> std::result::Result<Answer, Fault> {
        self.run_on(self.lock(), ask)
    }

    fn run_on(
        self: &Arc<Self>,
        slot: MutexGuard<'_, Option<Db>>,
        ask: &Ask,
    ) -> std::result::Result<Answer, Fault> {
        let Some(db) = &*slot else {
            return Err(Failure::new(ErrorKind::Unavailable, self.closed().to_string()).into());
        };
        match ask {
            Ask::Get(name) => db.get(name).map(Answer::Seen),
            Ask::List(prefix, after, max) => {
                db.list(prefix, after.as_ref(), *max).map(Answer::Page)
            }
            Ask::Apply(changes) => {
                let batch = db.apply(changes)?;
                drop(slot);
                self.after(changes, &batch.outcomes, batch.reserve);
                Ok(Answer::Outcomes(batch.outcomes))
            }
        }
    }

    /// What follows a commit.
    fn after(self: &Arc<Self>, changes: &[Change], outcomes: &[Outcome], reserve: u64) {
        let mut pages = 0;
        let mut loud = false;
        for (change, outcome) in changes.iter().zip(outcomes) {
            if matches!(outcome, Outcome::Refused { .. } | Outcome::NotApplied(_)) {
                continue;
            }
            pages += 1;
            if !matches!(change, Change::Take(take) if take.same_body) {
                pages += 2;
                loud = true;
                self.signals.name(change.name());
            }
        }
        if pages > 0 {
            committed(self, pages + 1, reserve);
        }
        if loud {
            tell(self);
        }
    }

    /// The size of the write-ahead log.
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// A wait of about this length.
    pub(crate) fn jittered(&self, wait: Duration) -> Duration {
        let mut byte = [0];
        self.door.random(&mut byte);
        wait / 2 + wait * u32::from(byte[0]) / 256
    }

    pub(crate) fn closed(&self) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("the store of {} is closed", self.path.display()),
        )
    }

    pub(crate) fn locked_for(&self, since: BootInstant) -> Error {
        locked(&self.path, self.door.now().since(since)).error()
    }

    fn stop(self: &Arc<Self>) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            self.queue.stop();
            self.watching.stop();
            Upkeep::stop(self);
        }
    }
}

/// The file, created where there is none and that is wanted.
fn prepare_file(path: &Path, create: bool) -> std::result::Result<(), Failure> {
    let shown = path.display();
    match std::fs::metadata(path) {
        // SQLite would take such a file for an empty one, and overwrite it.
        Ok(found) if found.is_file() && (1..512).contains(&found.len()) => Err(Failure::new(
            ErrorKind::Foreign,
            format!(
                "{shown} is no SQLite database: it was left alone; choose another path or move it away"
            ),
        )),
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Failure::new(
            ErrorKind::InvalidInput,
            format!(
                "{shown} is no file: a registry is one file, which is created where there is none"
            ),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if !create {
                return Err(Failure::new(
                    ErrorKind::InvalidInput,
                    format!("there is no registry at {shown}, and none was to be created"),
                ));
            }
            machine::create(path).map_err(|error| Failure::of_file(path, &error, "cannot create"))
        }
        Err(error) => Err(Failure::of_file(path, &error, "cannot look at")),
    }
}

fn locked(path: &Path, waited: Duration) -> Failure {
    Failure::new(
        ErrorKind::Unavailable,
        format!(
            "{} stayed locked by another process for {waited:?} and nothing was changed: find it with \
             `fuser -v` or `lsof`, and try again",
            path.display()
        ),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "opening is no async function: it has no other way to wait"
)]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

impl Store for SqliteStore {
    fn declared(&self) -> Capabilities {
        let mut capabilities = Capabilities::local();
        capabilities.scope = Reach::Machine;
        capabilities
    }

    fn connected(&self) -> Capabilities {
        let mut capabilities = self.declared();
        if self.0.0.watching.has_failed() {
            capabilities.delivery = Delivery::Poll(self.0.0.poll);
        }
        capabilities
    }

    fn location(&self) -> String {
        format!("sqlite://{}", self.0.0.path.display())
    }

    fn server(&self) -> Option<Server> {
        Some(library(rusqlite::version(), rusqlite::version_number()))
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        async move {
            match self.ask(Ask::Get(name.clone()), until).await? {
                Answer::Seen(seen) => Ok(seen),
                _ => Err(mixed_up()),
            }
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            let count = changes.len();
            if count == 0 {
                return Vec::new();
            }
            match self.ask(Ask::Apply(changes), until).await {
                Ok(Answer::Outcomes(outcomes)) => outcomes,
                // The job was never begun.
                Err(error) => (0..count)
                    .map(|_| Outcome::NotApplied(error.duplicate()))
                    .collect(),
                Ok(_) => unknown(count, &self.0.0.path),
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
        async move {
            let ask = Ask::List(prefix.clone(), after.cloned(), max);
            match self.ask(ask, until).await? {
                Answer::Page(page) => Ok(page),
                _ => Err(mixed_up()),
            }
        }
        .boxed()
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        let stream = self.0.0.signals.watch(scope);
        listen(&self.0.0);
        stream
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        async move {
            let shared = &self.0.0;
            shared.stop();
            let threads = std::mem::take(&mut *shared.threads.lock());
            for (thread, ended) in threads {
                match select(ended, shared.door.sleep_until(until)).await {
                    Either::Left(_) => drop(thread.join()),
                    Either::Right(_) => {
                        return Err(Error::new(
                            ErrorKind::Unavailable,
                            format!(
                                "{} could not be closed in time: a thread is still at work on the disk",
                                shared.path.display()
                            ),
                        ));
                    }
                }
            }
            drop(shared.lock().take());
            Ok(())
        }
        .boxed()
    }
}

fn mixed_up() -> Error {
    Error::new(ErrorKind::Unavailable, "an answer of another kind came")
}
