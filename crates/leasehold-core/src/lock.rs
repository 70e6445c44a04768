//! Waiting one's turn for a lease.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};

use crate::door::DoorExt;
use crate::error::{Error, Result};
use crate::keep_alive::{Held, KeepAlive};
use crate::lease::Lease;
use crate::manager::Manager;
use crate::name::LeaseName;
use crate::request::{Attempt, Busy, Displace, Request};
use crate::slot::{Skipped, Slot};
use crate::take_over::TakeOver;
use crate::time::BootInstant;

/// A lock on a name: a lease that is waited for, and kept alive while it is held. Made by [`Manager::lock`].
///
/// Those who wait for a name in one manager stand in a line: they are served in the order in which they began to wait, each
/// with its own request, and only the first of them watches the name and asks the registry, however long the line is. Between
/// managers, and so between processes, no order is promised: whoever asks first once the name is vacant has it. Whoever has
/// just released a name and waits for it again lets the other processes go first: it pauses for as long as it has held the
/// name, 20 ms at most. [`Lock::try_acquire`] stands in no line and does not pause.
#[derive(Clone, Debug)]
#[must_use]
pub struct Lock {
    manager: Manager,
    request: Request,
    keep_alive: KeepAlive,
}

/// What came of waiting for a lock.
#[derive(Debug)]
#[must_use]
pub enum LockAttempt {
    /// It is ours and is kept alive.
    Held(Held),
    /// Somebody holds it: by whom, since when, until when. Its `Display` is the sentence a log wants.
    Busy(Busy),
    /// Nobody holds it, but it has had its run in this slot: only with [`Lock::once_per`].
    Skipped(Skipped),
}

/// How often somebody who waits for the next slot looks at the wall clock.
const LOOK: Duration = Duration::from_secs(30);
/// The period of a lock where none is given.
const PERIOD: Duration = Duration::from_secs(15);

impl Lock {
    pub(crate) fn new(manager: Manager, name: &str) -> Self {
        Self {
            manager,
            request: Request::new(name, PERIOD),
            keep_alive: KeepAlive::new(),
        }
    }

    /// The period of the lease; 15 s by default. A crashed holder blocks the name for that long.
    pub fn period(mut self, period: Duration) -> Self {
        self.request.period = period;
        self
    }

    /// The lessee's machine id; the manager's own without this.
    pub fn machine_id(mut self, id: impl Into<String>) -> Self {
        self.request = self.request.machine_id(id);
        self
    }

    /// The lessee's version of itself.
    pub fn version(mut self, version: i64) -> Self {
        self.request = self.request.version(version);
        self
    }

    /// A sentence for people who look at the lease, at most 1 KiB.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.request = self.request.note(note);
        self
    }

    /// The lessee's own bytes, at most 64 KiB.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.request = self.request.data(data);
        self
    }

    /// Whether the lease is taken from a lessee of another version; never by default. The old lessee's term is waited out:
    /// the lock is not current before ([`Held::run`] waits for that).
    pub fn take_over(mut self, policy: TakeOver) -> Self {
        self.request = self.request.take_over(policy);
        self
    }

    /// How much longer than its period the lease keeps the name taken, after a term whose end was not clean:
    /// [`Request::delay`].
    pub fn delay(mut self, delay: Duration) -> Self {
        self.request = self.request.delay(delay);
        self
    }

    /// Once per slot: a grant closes the name, to all who ask with a `once_per`, for nine tenths of this period from its
    /// beginning on, however the run ends: by a release, by expiry, with a crash or a reboot of everything. Nine tenths,
    /// because whoever starts a job once in a period does so with some jitter. Whoever comes while the name is vacant but closed
    /// gets [`LockAttempt::Skipped`], except by [`Lock::acquire`], which waits for the next slot. While a run goes on the
    /// name is busy, as ever. Whoever asks without a `once_per` is not refused by it, and leaves the slot as it is. For jobs that
    /// several machines start at the same time: 1 ms to 3,660 days.
    ///
    /// All who ask for one name should say the same period: the last run's counts, to each as far as the bound below lets it.
    ///
    /// It is policy, by wall clocks, and protects nothing: two runs are nine tenths of the period apart, less what the wall
    /// clocks of the two machines differ. A record that claims to be closed for more than two of the asker's own periods was
    /// written by a clock that was far ahead, or for a longer period, and does not count; so no clock closes a slot for longer
    /// than that. A clock that has been set back closes it for that much longer, up to the same bound.
    ///
    /// A grant that nobody takes up (the call was dropped, or its answer came too late) opens the slot again as it is given
    /// back; where nobody could learn what became of it, it stays closed. A store that may lose the last writes when the
    /// power fails puts the grant on disk before it is told.
    pub fn once_per(mut self, period: Duration) -> Self {
        self.request = self.request.once_per(period);
        self
    }

    /// How the lease is kept alive while it is held.
    pub fn keep_alive(mut self, options: KeepAlive) -> Self {
        self.keep_alive = options;
        self
    }

    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }

    pub(crate) fn name(&self) -> &str {
        &self.request.name
    }

    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// Tries once.
    ///
    /// # Errors
    /// As [`Manager::acquire_lease`].
    pub async fn try_acquire(&self) -> Result<LockAttempt> {
        let busy = match self.manager.try_acquire(self.request.clone()).await? {
            Attempt::Acquired(lease) => return Ok(self.held(lease)),
            Attempt::Busy(busy) => busy,
            Attempt::Skipped(skipped) => return Ok(LockAttempt::Skipped(skipped)),
        };
        self.taken_over(busy).await
    }

    fn held(&self, lease: Lease) -> LockAttempt {
        LockAttempt::Held(lease.keep_alive(self.keep_alive.clone()))
    }

    /// Takes the lease from whoever holds it, where the policy says so.
    pub(crate) async fn taken_over(&self, busy: Busy) -> Result<LockAttempt> {
        let (policy, version) = (self.request.take_over, self.request.version);
        // Whoever holds it has its run in this slot.
        let closed = busy.status.closed();
        let is_closed = |once_per| {
            let wall = self.manager.core.door.wall();
            let slot = Slot::new(once_per)?;
            Ok::<_, Error>(closed.is_some_and(|until| slot.is_closed(busy.name(), until, wall)))
        };
        let has_run = self.request.once_per.map_or(Ok(false), is_closed)?;
        if has_run || !policy.takes(version, &busy.status) {
            return Ok(LockAttempt::Busy(busy));
        }
        let reason = format!("take-over by {}: version {version}", policy.as_str());
        let displace = Displace::index(busy.status.index()).reason(reason);
        match self.manager.steal(self.request.clone(), displace).await {
            Ok(lease) => Ok(self.held(lease)),
            // It was renewed, or has ended, meanwhile: what is there now is looked at next.
            Err(error) if error.is_lost() => Ok(LockAttempt::Busy(busy)),
            Err(error) => Err(error),
        }
    }

    /// Waits for the lock, at most for a while; then the answer says who holds it, as far as this manager's line has learnt.
    /// However short the while, one try is made where nobody of this manager waits already.
    ///
    /// Cancel-safe: a dropped call leaves the line, and what was asked for is given back.
    ///
    /// # Errors
    /// As [`Manager::acquire_lease`]; failures that may pass (the registry cannot be reached) are tried again while
    /// there is time.
    pub async fn acquire_within(&self, limit: Duration) -> Result<LockAttempt> {
        let at = self.manager.core.door.now().plus(limit);
        self.while_open(self.wait(at)).await
    }

    /// Waits for the lock as long as it takes, with [`Lock::once_per`] also for the next slot.
    ///
    /// Cancel-safe: a dropped call leaves the line, and what was asked for is given back.
    ///
    /// # Errors
    /// As [`Lock::acquire_within`].
    pub async fn acquire(&self) -> Result<Held> {
        self.while_open(self.wait_for_ever()).await
    }

    /// Until the manager is being shut down.
    async fn while_open<T>(&self, waiting: impl Future<Output = Result<T>>) -> Result<T> {
        let closing = self.manager.core.phase.closing();
        match select(pin!(closing), pin!(waiting)).await {
            Either::Left((error, _)) => {
                Err(error.during("acquire", Some(&LeaseName::new(self.name())?)))
            }
            Either::Right((waited, _)) => waited,
        }
    }

    async fn wait_for_ever(&self) -> Result<Held> {
        loop {
            match self.wait(BootInstant::NEVER).await? {
                LockAttempt::Held(held) => return Ok(held),
                LockAttempt::Busy(_) => {}
                LockAttempt::Skipped(skipped) => {
                    let door = &self.manager.core.door;
                    // Wall clocks are set now and then, so not all of it at once.
                    door.sleep(skipped.left().min(LOOK)).await;
                }
            }
        }
    }
}
