//! The end of a manager.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::Notify;

use crate::belief::Term;
use crate::door::{DoorExt, until};
use crate::error::{Error, ErrorKind, Result};
use crate::manager::Manager;
use crate::mutants::{Mutant, mutant};
use crate::sync::{AtomicUsize, Ordering};

/// Whether a manager may be used.
#[derive(Debug)]
pub(crate) struct Phase {
    now: AtomicUsize,
    changed: Notify,
}

/// Nothing new is begun; what is held may be renewed and released.
const CLOSING: usize = 1;
const CLOSED: usize = 2;
/// Which part of a shutdown's time is kept for the changes that are outstanding at the end, and for the store.
const PART: u32 = 10;

impl Phase {
    pub(crate) fn new() -> Self {
        Self {
            now: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.now.load(Ordering::SeqCst) >= CLOSING
    }

    /// An error if it was shut down.
    pub(crate) fn usable(&self) -> Result<()> {
        match self.now.load(Ordering::SeqCst) {
            CLOSED => Err(Error::new(
                ErrorKind::Unavailable,
                "the manager was shut down",
            )),
            _ => Ok(()),
        }
    }

    /// An error if nothing new may be begun.
    pub(crate) fn open(&self) -> Result<()> {
        self.usable()?;
        match self.is_closing() {
            true => Err(closing()),
            false => Ok(()),
        }
    }

    /// Ends, with an error, when nothing new may be begun any more.
    pub(crate) async fn closing(&self) -> Error {
        if mutant(Mutant::WaitersOutliveTheShutdown) {
            return std::future::pending().await;
        }
        loop {
            let mut changed = pin!(self.changed.notified());
            // From before the look, so that no change falls between.
            changed.as_mut().enable();
            if self.is_closing() {
                return closing();
            }
            changed.await;
        }
    }

    fn reach(&self, phase: usize) {
        self.now.fetch_max(phase, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

fn closing() -> Error {
    Error::new(ErrorKind::Unavailable, "the manager is being shut down")
}

impl Manager {
    /// Ends the manager: nobody acquires or waits any more, those at work under a lease that is kept alive are told to stop
    /// ([`Term::ending`]), and are waited for; meanwhile their leases are renewed, and released as the guards
    /// ([`Held`](crate::Held)) go. Then outstanding changes are waited for, and the store is closed.
    ///
    /// It waits for as long as a guard lives, nine tenths of the limit at most: release or drop those that nobody works
    /// under first. The terms that were left are given back: they are renewed no more and run out in the registry, as do
    /// leases that were acquired and not kept alive.
    ///
    /// Calling it again is harmless. A dropped call leaves the manager as far as it had come.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where a change was still outstanding, or the store not closed, at the limit.
    /// [`ErrorKind::InvalidInput`] in a forked child.
    pub async fn shutdown(&self, limit: Duration) -> Result<Vec<Term>> {
        let core = &self.core;
        core.own_process()
            .map_err(|error| error.during("shutdown", None))?;
        let at = core.door.now().plus(limit);
        core.phase.reach(CLOSING);
        for term in core.keeper.terms() {
            term.wind_down();
        }
        if !mutant(Mutant::ShutdownWaitsForNobody) {
            // Not counted back from the end, which may be beyond what a clock counts.
            let work = core.door.now().plus(limit - limit / PART);
            self.until_none(work, || core.keeper.count()).await;
        }
        core.phase.reach(CLOSED);
        let left = core.keeper.give_up(&core.meters);
        let outstanding = self.until_none(at, || core.outstanding()).await;
        let closed = until(&core.door, at, core.store.close(at)).await;
        closed
            .unwrap_or_else(|| {
                let message = "the store was not closed within the limit";
                Err(Error::new(ErrorKind::Unavailable, message))
            })
            .map_err(|error| error.during("shutdown", None))?;
        if outstanding > 0 {
            let message = format!("{outstanding} changes were still outstanding");
            return Err(Error::new(ErrorKind::Unavailable, message).during("shutdown", None));
        }
        Ok(left)
    }

    /// How many there still are, which is none unless the instant came first.
    async fn until_none(&self, at: crate::time::BootInstant, count: impl Fn() -> usize) -> usize {
        let door = &self.core.door;
        let mut pause = Duration::from_millis(1);
        loop {
            let count = count();
            if count == 0 || door.now() >= at {
                return count;
            }
            door.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}
