//! A lease that is kept alive while a thread works.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::lease::Lease;
use super::lent::taken_back;
use super::manager::Shared;
use super::term::Term;
use crate::{BootInstant, Changes, Ended, Error, LeaseName, Result, TermState};

/// A lease that is kept alive by leasehold's thread: [`leasehold::Held`](crate::Held).
///
/// [`Held::check`], [`Held::state`], [`Held::fence`] and [`Held::deadline`] ask the own clock, and no thread.
#[must_use = "dropping the guard gives the lease back"]
pub struct Held {
    /// Shared with calls that are under way.
    held: Arc<crate::Held>,
    shared: Shared,
}

impl Held {
    pub(crate) fn new(held: crate::Held, shared: Shared) -> Self {
        let held = Arc::new(held);
        Self { held, shared }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        self.held.name()
    }

    /// The fencing token: see [`fence`](crate::Held::fence).
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.held.fence()
    }

    /// Until when the lease is ours unless renewed: see [`deadline`](crate::Held::deadline).
    #[must_use]
    pub fn deadline(&self) -> Option<BootInstant> {
        self.held.deadline()
    }

    /// See [`ended`](crate::Held::ended).
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.held.ended()
    }

    /// A view of the term for other threads: see [`term`](crate::Held::term).
    #[must_use]
    pub fn term(&self) -> Term {
        Term::new(self.held.term(), self.shared.clock.clone())
    }

    /// Whether the lease is ours now: see [`is_current`](crate::Held::is_current).
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.held.is_current()
    }

    /// Whether those at work may rely on it: see [`state`](crate::Held::state).
    #[must_use]
    pub fn state(&self) -> TermState {
        self.held.state()
    }

    /// An error if the lease is not ours now: see [`check`](crate::Held::check).
    ///
    /// # Errors
    /// As [`check`](crate::Held::check).
    pub fn check(&self) -> Result<()> {
        self.held.check()
    }

    /// The loss of the lease, if it is lost within so long: [`lost`](crate::Held::lost) with a limit.
    #[must_use]
    pub fn lost_within(&self, limit: Duration) -> Option<Error> {
        self.shared.clock.lost(limit, self.held.lost())
    }

    /// See [`renew`](crate::Held::renew).
    ///
    /// # Errors
    /// As [`renew`](crate::Held::renew).
    pub fn renew(&self, period: Duration) -> Result<()> {
        self.renew_with(period, Changes::none())
    }

    /// See [`renew_with`](crate::Held::renew_with).
    ///
    /// # Errors
    /// As [`renew`](crate::Held::renew).
    pub fn renew_with(&self, period: Duration, changes: Changes) -> Result<()> {
        let held = self.held.clone();
        let renew = async move { held.renew_with(period, changes).await };
        self.shared.thread.call(renew)
    }

    /// Does some work on this thread under the lease, from its begin on, and releases it when the work has returned and
    /// whoever was given a clone of its term is done with that: [`run`](crate::Held::run).
    ///
    /// Unlike async work it is not dropped when the lease is lost: it goes on until it returns. So it has to ask
    /// [`Term::is_ending`] at each step, or wait by [`Term::ending_within`], and to give the fence along with every write.
    /// While it runs the lease is not released. A blocked thread keeps its lease, but for
    /// [`KeepAlive::progress_within`](crate::KeepAlive::progress_within) and
    /// [`KeepAlive::max_hold`](crate::KeepAlive::max_hold).
    ///
    /// If the work panics, so does this, and the guard is dropped: the lease is released, unless others still have a view
    /// of its term.
    ///
    /// # Errors
    /// How the lease was lost: before the work began, or while it ran, whose result is dropped then. Where only the release
    /// failed, the work's own result counts, and the lease runs out.
    pub fn run<T>(self, work: impl FnOnce(Term) -> T) -> Result<T> {
        let Self { held, shared } = self;
        let held = taken_back(held);
        let (begin, begun) = mpsc::sync_channel(1);
        let (done, ended) = oneshot::channel::<()>();
        // Given up where the work panics: dropped, with the guard in it.
        let running = shared.thread.begin(async move {
            held.run(|term| async move {
                _ = begin.send(term);
                _ = ended.await;
            })
            .await
        })?;
        // None: it was lost before it began.
        let result = match begun.recv() {
            Ok(term) if term.is_current() => Some(work(Term::new(term, shared.clock.clone()))),
            _ => None,
        };
        // Nobody waits for it where the lease was lost.
        _ = done.send(());
        running.wait()?;
        result.ok_or_else(|| {
            let message = "the lease was lost before the work began";
            Error::new(crate::ErrorKind::Expired, message)
        })
    }

    /// See [`release`](crate::Held::release).
    ///
    /// # Errors
    /// As [`release`](crate::Held::release).
    pub fn release(self) -> Result<()> {
        let held = taken_back(self.held);
        self.shared.thread.call(held.release())
    }

    /// See [`into_lease`](crate::Held::into_lease).
    ///
    /// # Errors
    /// As [`into_lease`](crate::Held::into_lease).
    pub fn into_lease(self) -> Result<Lease> {
        let lease = taken_back(self.held).into_lease()?;
        Ok(Lease::new(lease, self.shared))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.held, f)
    }
}
