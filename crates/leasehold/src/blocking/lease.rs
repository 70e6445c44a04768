//! A lease for threads.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::held::Held;
use super::lent::Lent;
use super::manager::Shared;
use super::term::Term;
use crate::{BootInstant, Busy, Changes, Ended, KeepAlive, LeaseName, Result, Skipped};

/// What came of asking for a lease: [`leasehold::Attempt`](crate::Attempt).
#[derive(Debug)]
#[must_use]
pub enum Attempt {
    /// It is ours.
    Acquired(Lease),
    /// Somebody holds it.
    Busy(Busy),
    /// It has had its run in this slot: only with [`Request::once_per`](crate::Request::once_per).
    Skipped(Skipped),
}

/// A lease: [`leasehold::Lease`](crate::Lease). Dropping it sends nothing: it runs out by itself.
#[derive(Debug)]
#[must_use = "a dropped lease runs out by itself: release it, renew it or keep it alive"]
pub struct Lease {
    name: LeaseName,
    lease: Lent<crate::Lease>,
    shared: Shared,
}

impl Lease {
    pub(crate) fn new(lease: crate::Lease, shared: Shared) -> Self {
        let name = lease.name().clone();
        let lease = Lent::new(lease);
        Self {
            name,
            lease,
            shared,
        }
    }

    pub(crate) fn lend(
        &mut self,
    ) -> impl Future<Output = OwnedMutexGuard<crate::Lease>> + Send + use<> {
        self.lease.lend()
    }

    /// See [`renew`](crate::Lease::renew).
    ///
    /// # Errors
    /// As [`renew`](crate::Lease::renew).
    pub fn renew(&mut self, period: Duration) -> Result<()> {
        self.renew_with(period, Changes::none())
    }

    /// See [`renew_with`](crate::Lease::renew_with).
    ///
    /// # Errors
    /// As [`renew`](crate::Lease::renew).
    pub fn renew_with(&mut self, period: Duration, changes: Changes) -> Result<()> {
        let lent = self.lease.lend();
        let renew = async move { lent.await.renew_with(period, changes).await };
        self.shared.thread.call(renew)
    }

    /// See [`release`](crate::Lease::release).
    ///
    /// # Errors
    /// As [`release`](crate::Lease::release).
    pub fn release(self) -> Result<()> {
        let lease = self.lease.into_inner();
        self.shared.thread.call(lease.release())
    }

    /// See [`keep_alive`](crate::Lease::keep_alive).
    pub fn keep_alive(self, options: KeepAlive) -> Held {
        let held = self.lease.into_inner().keep_alive(options);
        Held::new(held, self.shared)
    }

    /// See [`machine_id`](crate::Lease::machine_id).
    #[must_use]
    pub fn machine_id(&self) -> String {
        self.lease.look(crate::Lease::machine_id)
    }

    /// See [`version`](crate::Lease::version).
    #[must_use]
    pub fn version(&self) -> i64 {
        self.lease.look(crate::Lease::version)
    }

    /// See [`index`](crate::Lease::index).
    #[must_use]
    pub fn index(&self) -> u64 {
        self.lease.look(crate::Lease::index)
    }

    /// See [`time_remaining`](crate::Lease::time_remaining).
    #[must_use]
    pub fn time_remaining(&self) -> Duration {
        self.lease.look(crate::Lease::time_remaining)
    }

    /// See [`fence`](crate::Lease::fence).
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.lease.look(crate::Lease::fence)
    }

    /// See [`begin`](crate::Lease::begin).
    #[must_use]
    pub fn begin(&self) -> Option<BootInstant> {
        self.lease.look(crate::Lease::begin)
    }

    /// See [`deadline`](crate::Lease::deadline).
    #[must_use]
    pub fn deadline(&self) -> Option<BootInstant> {
        self.lease.look(crate::Lease::deadline)
    }

    /// See [`left`](crate::Lease::left).
    #[must_use]
    pub fn left(&self) -> Duration {
        self.lease.look(crate::Lease::left)
    }

    /// See [`is_current`](crate::Lease::is_current).
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.lease.look(crate::Lease::is_current)
    }

    /// See [`period`](crate::Lease::period).
    #[must_use]
    pub fn period(&self) -> Duration {
        self.lease.look(crate::Lease::period)
    }

    /// See [`data`](crate::Lease::data).
    #[must_use]
    pub fn data(&self) -> Option<Bytes> {
        self.lease.look(crate::Lease::data)
    }

    /// See [`note`](crate::Lease::note).
    #[must_use]
    pub fn note(&self) -> Option<String> {
        self.lease.look(crate::Lease::note)
    }

    /// See [`ended`](crate::Lease::ended).
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.lease.look(crate::Lease::ended)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        &self.name
    }

    /// A shared view of the term.
    #[must_use]
    pub fn term(&self) -> Term {
        let term = self.lease.look(crate::Lease::term);
        Term::new(term, self.shared.clock.clone())
    }
}
