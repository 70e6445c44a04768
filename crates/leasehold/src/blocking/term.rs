//! A view of a term for threads.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, FutureExt, select};

use super::thread::forked;
use crate::{BootInstant, Door, Ended, Error, LeaseName, Result, TermState};

/// A shared view of one term: [`leasehold::Term`](crate::Term), whose waits have a limit here.
///
/// It asks the own clock, not the thread, and may outlive its manager. While a view lives its lease is not released by
/// the guard's drop, nor by the end of [`Held::run`](super::Held::run).
#[derive(Clone, Debug)]
pub struct Term {
    term: crate::Term,
    clock: Clock,
}

impl Term {
    pub(crate) fn new(term: crate::Term, clock: Clock) -> Self {
        Self { term, clock }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        self.term.name()
    }

    /// The fencing token: see [`fence`](crate::Term::fence).
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.term.fence()
    }

    /// The lessee.
    #[must_use]
    pub fn machine_id(&self) -> String {
        self.term.machine_id()
    }

    /// The index of the latest grant known here.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.term.index()
    }

    /// See [`ended`](crate::Term::ended).
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.term.ended()
    }

    /// From when the handle believes: see [`begin`](crate::Term::begin).
    #[must_use]
    pub fn begin(&self) -> Option<BootInstant> {
        self.term.begin()
    }

    /// Until when the handle believes: see [`deadline`](crate::Term::deadline).
    #[must_use]
    pub fn deadline(&self) -> Option<BootInstant> {
        self.term.deadline()
    }

    /// How long the handle may still believe: see [`left`](crate::Term::left).
    #[must_use]
    pub fn left(&self) -> Duration {
        self.term.left()
    }

    /// Whether the handle is the lessee now: see [`is_current`](crate::Term::is_current).
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.term.is_current()
    }

    /// Whether the term may be relied on now: see [`state`](crate::Term::state).
    #[must_use]
    pub fn state(&self) -> TermState {
        self.term.state()
    }

    /// An error if the lease is not its handle's now: see [`check`](crate::Term::check).
    ///
    /// # Errors
    /// As [`check`](crate::Term::check).
    pub fn check(&self) -> Result<()> {
        self.term.check()
    }

    /// The work makes progress: [`KeepAlive::progress_within`](crate::KeepAlive::progress_within).
    pub fn progress(&self) {
        self.term.progress();
    }

    /// Whether it is time to stop: whether [`ending`](crate::Term::ending) would end now.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.term.ending().now_or_never().is_some()
    }

    /// Waits for so long, or until it is time to stop, and says whether it is: [`ending`](crate::Term::ending) with a limit.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn work(term: leasehold::blocking::Term) {
    /// while !term.ending_within(Duration::from_secs(1)) {
    ///     // What is done every second.
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn ending_within(&self, limit: Duration) -> bool {
        let ending = self.clock.wait(limit, self.term.ending());
        // In a forked child there is nothing to go on with.
        ending.is_none_or(|ended| ended.is_some())
    }

    /// The loss of the term, if it is lost within so long: [`lost`](crate::Term::lost) with a limit.
    #[must_use]
    pub fn lost_within(&self, limit: Duration) -> Option<Error> {
        self.clock.lost(limit, self.term.lost())
    }

    /// Whether the term begins within so long: [`begun`](crate::Term::begun) with a limit.
    ///
    /// # Errors
    /// How it was lost before.
    pub fn begun_within(&self, limit: Duration) -> Result<bool> {
        let begun = self.clock.wait(limit, self.term.begun());
        match begun.ok_or_else(forked)? {
            Some(begun) => begun.map(|()| true),
            None => Ok(false),
        }
    }

    /// The state when it is another than this one, or after so long: [`changed`](crate::Term::changed) with a limit.
    #[must_use]
    pub fn changed_within(&self, from: TermState, limit: Duration) -> TermState {
        let changed = self.clock.wait(limit, self.term.changed(from));
        changed.flatten().unwrap_or_else(|| self.state())
    }
}

/// Waits with a limit, on the caller's thread.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    door: Arc<dyn Door>,
    process: u32,
}

impl Clock {
    pub(crate) fn new(door: Arc<dyn Door>) -> Self {
        let process = door.process();
        Self { door, process }
    }

    pub(crate) fn now(&self) -> BootInstant {
        self.door.now()
    }

    /// Ends after so long.
    pub(crate) fn after(&self, length: Duration) -> BoxFuture<'static, ()> {
        self.door.sleep_until(self.now().plus(length))
    }

    pub(crate) fn lost(&self, limit: Duration, lost: impl Future<Output = Error>) -> Option<Error> {
        self.wait(limit, lost).unwrap_or_else(|| Some(forked()))
    }

    /// The future's output if it ends within so long; none at all in a forked child, where nobody would wake it.
    ///
    /// Only for what waits for nothing but the door's clock and a term's own signals: it needs no runtime then.
    fn wait<F: Future>(&self, limit: Duration, future: F) -> Option<Option<F::Output>> {
        if self.door.process() != self.process {
            return None;
        }
        let end = self.after(limit);
        let both = async {
            match select(pin!(future), end).await {
                Either::Left((output, _)) => Some(output),
                Either::Right(_) => None,
            }
        };
        Some(pollster::block_on(both))
    }
}
