//! Waiting one's turn for a lease.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::StreamExt;

use crate::door::{DoorExt, until};
use crate::error::{Error, ErrorKind, Result};
use crate::keep_alive::{Held, KeepAlive};
use crate::lease::Lease;
use crate::manager::{Manager, Vacancy};
use crate::name::LeaseName;
use crate::request::{Attempt, Busy, Displace, Request};
use crate::status::Status;
use crate::store::Scope;
use crate::take_over::TakeOver;
use crate::time::BootInstant;

/// A lock on a name: a lease that is waited for, and kept alive while it is held. Made by [`Manager::lock`].
///
/// Waiters are woken when the name becomes vacant. No order among them is promised.
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
}

/// The period of a lock where none is given.
const PERIOD: Duration = Duration::from_secs(15);
/// The least time for the first try.
const FIRST_TRY: Duration = Duration::from_secs(1);
/// The net under lost notifications: a waiter tries again this often.
const RE_TRY: Duration = Duration::from_secs(30);

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

    /// Tries once.
    ///
    /// # Errors
    /// As [`Manager::acquire_lease`].
    pub async fn try_acquire(&self) -> Result<LockAttempt> {
        let busy = match self.manager.try_acquire(self.request.clone()).await? {
            Attempt::Acquired(lease) => return Ok(self.held(lease)),
            Attempt::Busy(busy) => busy,
        };
        self.taken_over(busy).await
    }

    fn held(&self, lease: Lease) -> LockAttempt {
        LockAttempt::Held(lease.keep_alive(self.keep_alive.clone()))
    }

    /// Takes the lease from whoever holds it, where the policy says so.
    async fn taken_over(&self, busy: Busy) -> Result<LockAttempt> {
        let (policy, version) = (self.request.take_over, self.request.version);
        if !policy.takes(version, &busy.status) {
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

    /// Waits for the lock, at most for a while; then the answer says who holds it.
    ///
    /// Cancel-safe: a dropped call leaves nothing behind.
    ///
    /// # Errors
    /// As [`Manager::acquire_lease`]; failures that may pass (the registry cannot be reached) are tried again while
    /// there is time.
    pub async fn acquire_within(&self, limit: Duration) -> Result<LockAttempt> {
        let at = self.manager.core.door.now().plus(limit);
        self.wait(at).await
    }

    /// Waits for the lock as long as it takes.
    ///
    /// Cancel-safe: a dropped call leaves nothing behind.
    ///
    /// # Errors
    /// As [`Lock::acquire_within`].
    pub async fn acquire(&self) -> Result<Held> {
        loop {
            if let LockAttempt::Held(held) = self.wait(BootInstant::NEVER).await? {
                return Ok(held);
            }
        }
    }

    /// One try of somebody who waits. Whoever was woken looks first: a read costs the registry less than a change that it
    /// refuses, and tells which vacancy is to be named.
    async fn try_again(&self, name: &LeaseName, first: &mut bool) -> Result<LockAttempt> {
        if std::mem::take(first) {
            return self.try_acquire().await;
        }
        let core = &self.manager.core;
        if let Some(seen) = core.get("acquire", name).await? {
            let judged = seen.record.judged();
            judged.map_err(|error| error.during("acquire", Some(name)))?;
            if !seen.is_vacant() {
                let status = Status::new(name.clone(), seen);
                return self.taken_over(Busy { status }).await;
            }
            core.remember(name, Vacancy::of(&seen));
        }
        self.try_acquire().await
    }

    async fn wait(&self, at: BootInstant) -> Result<LockAttempt> {
        let closing = self.manager.core.phase.closing();
        match select(pin!(closing), pin!(self.wait_open(at))).await {
            Either::Left((error, _)) => {
                Err(error.during("acquire", Some(&LeaseName::new(self.name())?)))
            }
            Either::Right((waited, _)) => waited,
        }
    }

    async fn wait_open(&self, at: BootInstant) -> Result<LockAttempt> {
        let door = &self.manager.core.door;
        let name = LeaseName::new(&self.request.name)?;
        // From before the first try, so that no release falls between.
        let mut signals = self
            .manager
            .core
            .store
            .watch(Scope::Name(name.clone()))
            .fuse();
        let mut pause = Duration::from_millis(10);
        // However short the wait, one try is made in earnest.
        let mut bound = at.max(door.now().plus(FIRST_TRY));
        let (mut holder, mut first) = (None, true);
        loop {
            let tried = until(door, bound, self.try_again(&name, &mut first)).await;
            bound = at;
            let tried = tried.unwrap_or_else(|| match holder.take() {
                // The last answer that there was time for.
                Some(busy) => Ok(LockAttempt::Busy(busy)),
                None => {
                    let message = "the registry did not answer within the time to wait; what was asked for is given back";
                    Err(Error::new(ErrorKind::Unavailable, message).during("acquire", Some(&name)))
                }
            });
            holder = match &tried {
                Ok(LockAttempt::Busy(busy)) => Some(busy.clone()),
                _ => None,
            };
            let (answer, wake) = match tried {
                Ok(LockAttempt::Busy(busy)) => {
                    pause = Duration::from_millis(10);
                    let left = busy.left().unwrap_or(RE_TRY).min(RE_TRY);
                    (Ok(LockAttempt::Busy(busy)), door.now().plus(left))
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        // Expired: it was granted, and that was known too late. It was given back.
                        ErrorKind::Unavailable | ErrorKind::OutcomeUnknown | ErrorKind::Expired
                    ) =>
                {
                    let wake = door.now().plus(pause.mul_f64(0.5 + door.chance()));
                    pause = (pause * 2).min(Duration::from_secs(1));
                    self.manager.core.usable()?;
                    (Err(error), wake)
                }
                other => return other,
            };
            if door.now() >= at {
                return answer;
            }
            let timer = door.sleep_until(wake.min(at));
            match (select(signals.next(), timer).await, &answer) {
                // After a failure only the pause helps, and a closed store's stream is over.
                (Either::Left((_, timer)), Err(_)) | (Either::Left((None, timer)), Ok(_)) => {
                    timer.await
                }
                _ => {}
            }
        }
    }
}
