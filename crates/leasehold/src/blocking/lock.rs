//! Waiting one's turn for a lease, on a thread.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};

use super::held::Held;
use super::manager::Shared;
use super::stop::Stop;
use crate::{Busy, KeepAlive, Result, Skipped, TakeOver};

/// A lock on a name: [`leasehold::Lock`](crate::Lock).
#[derive(Clone, Debug)]
#[must_use]
pub struct Lock {
    lock: crate::Lock,
    shared: Shared,
}

/// What came of waiting for a lock: [`leasehold::LockAttempt`](crate::LockAttempt).
#[derive(Debug)]
#[must_use]
pub enum LockAttempt {
    /// It is ours and is kept alive.
    Held(Held),
    /// Somebody holds it: by whom, since when, until when. Its `Display` is the sentence a log wants.
    Busy(Busy),
    /// It has had its run in this slot: only with [`Lock::once_per`].
    Skipped(Skipped),
}

impl Lock {
    pub(crate) fn new(lock: crate::Lock, shared: Shared) -> Self {
        Self { lock, shared }
    }

    fn with(self, change: impl FnOnce(crate::Lock) -> crate::Lock) -> Self {
        let lock = change(self.lock);
        Self { lock, ..self }
    }

    /// See [`period`](crate::Lock::period).
    pub fn period(self, period: Duration) -> Self {
        self.with(|lock| lock.period(period))
    }

    /// See [`machine_id`](crate::Lock::machine_id).
    pub fn machine_id(self, id: impl Into<String>) -> Self {
        self.with(|lock| lock.machine_id(id))
    }

    /// See [`version`](crate::Lock::version).
    pub fn version(self, version: i64) -> Self {
        self.with(|lock| lock.version(version))
    }

    /// See [`note`](crate::Lock::note).
    pub fn note(self, note: impl Into<String>) -> Self {
        self.with(|lock| lock.note(note))
    }

    /// See [`data`](crate::Lock::data).
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.with(|lock| lock.data(data))
    }

    /// See [`take_over`](crate::Lock::take_over).
    pub fn take_over(self, policy: TakeOver) -> Self {
        self.with(|lock| lock.take_over(policy))
    }

    /// See [`delay`](crate::Lock::delay).
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|lock| lock.delay(delay))
    }

    /// See [`once_per`](crate::Lock::once_per).
    pub fn once_per(self, period: Duration) -> Self {
        self.with(|lock| lock.once_per(period))
    }

    /// See [`keep_alive`](crate::Lock::keep_alive).
    pub fn keep_alive(self, options: KeepAlive) -> Self {
        self.with(|lock| lock.keep_alive(options))
    }

    /// See [`try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Errors
    /// As [`try_acquire`](crate::Lock::try_acquire).
    pub fn try_acquire(&self) -> Result<LockAttempt> {
        let lock = self.lock.clone();
        self.attempt(async move { lock.try_acquire().await })
    }

    /// See [`acquire_within`](crate::Lock::acquire_within).
    ///
    /// # Errors
    /// As [`acquire_within`](crate::Lock::acquire_within).
    pub fn acquire_within(&self, limit: Duration) -> Result<LockAttempt> {
        let lock = self.lock.clone();
        self.attempt(async move { lock.acquire_within(limit).await })
    }

    fn attempt(
        &self,
        attempt: impl Future<Output = Result<crate::LockAttempt>> + Send + 'static,
    ) -> Result<LockAttempt> {
        Ok(match self.shared.thread.call(attempt)? {
            crate::LockAttempt::Held(held) => {
                LockAttempt::Held(Held::new(held, self.shared.clone()))
            }
            crate::LockAttempt::Busy(busy) => LockAttempt::Busy(busy),
            crate::LockAttempt::Skipped(skipped) => LockAttempt::Skipped(skipped),
        })
    }

    /// See [`acquire`](crate::Lock::acquire). [`Manager::shutdown`](super::Manager::shutdown) ends the wait, with an error;
    /// [`Lock::acquire_until`] waits until it is told not to.
    ///
    /// # Errors
    /// As [`acquire`](crate::Lock::acquire).
    pub fn acquire(&self) -> Result<Held> {
        let lock = self.lock.clone();
        let held = self
            .shared
            .thread
            .call(async move { lock.acquire().await })?;
        Ok(Held::new(held, self.shared.clone()))
    }

    /// Waits for the lock until it is told to stop, which leaves nothing behind; then there is none. The async twin is a
    /// dropped [`acquire`](crate::Lock::acquire).
    ///
    /// # Errors
    /// As [`acquire`](crate::Lock::acquire).
    pub fn acquire_until(&self, stop: &Stop) -> Result<Option<Held>> {
        let lock = self.lock.clone();
        let held = self
            .shared
            .thread
            .call(unless(stop.clone(), async move { lock.acquire().await }))?;
        Ok(held.map(|held| Held::new(held, self.shared.clone())))
    }
}

/// What it gives, or none when it is told to stop first.
pub(crate) async fn unless<T>(
    stop: Stop,
    future: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    match select(pin!(stop.stopped()), pin!(future)).await {
        Either::Left(_) => Ok(None),
        Either::Right((done, _)) => done.map(Some),
    }
}
