//! The manager for threads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::election::Election;
use super::lease::{Attempt, Lease};
use super::lock::Lock;
use super::looks::{Listing, Watch};
use super::term::{Clock, Term};
use super::thread::Thread;
use crate::{Capabilities, Displace, Door, Health, Request, Result, Status};

/// The way to a registry's leases: [`leasehold::Manager`](crate::Manager). Clones share one thread.
#[derive(Clone)]
pub struct Manager {
    manager: crate::Manager,
    shared: Shared,
}

/// What everything that a manager makes needs. To be dropped after what is given back by its drop.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) thread: Arc<Thread>,
    pub(crate) clock: Clock,
}

impl Manager {
    pub(crate) fn new(manager: crate::Manager, thread: Arc<Thread>) -> Self {
        thread.serves(&manager);
        let clock = Clock::new(manager.door().clone());
        let shared = Shared { thread, clock };
        Self { manager, shared }
    }

    /// Does it on the thread.
    fn call<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        call: impl FnOnce(crate::Manager) -> F,
    ) -> Result<T> {
        self.shared.thread.call(call(self.manager.clone()))
    }

    fn lease(&self, lease: crate::Lease) -> Lease {
        Lease::new(lease, self.shared.clone())
    }

    /// See [`get_lease`](crate::Manager::get_lease).
    ///
    /// # Errors
    /// As [`get_lease`](crate::Manager::get_lease).
    pub fn get_lease(&self, name: impl AsRef<str>) -> Result<Option<Lease>> {
        let name = name.as_ref().to_owned();
        let lease = self.call(|manager| async move { manager.get_lease(name).await })?;
        Ok(lease.map(|lease| self.lease(lease)))
    }

    /// See [`acquire_lease`](crate::Manager::acquire_lease).
    ///
    /// # Errors
    /// As [`acquire_lease`](crate::Manager::acquire_lease).
    pub fn acquire_lease(
        &self,
        name: impl AsRef<str>,
        machine_id: impl Into<String>,
        version: i64,
        period: Duration,
    ) -> Result<Option<Lease>> {
        let request = Request::new(name, period);
        let request = request.machine_id(machine_id).version(version);
        match self.try_acquire(request)? {
            Attempt::Acquired(lease) => Ok(Some(lease)),
            Attempt::Busy(_) | Attempt::Skipped(_) => Ok(None),
        }
    }

    /// See [`steal_lease`](crate::Manager::steal_lease).
    ///
    /// # Errors
    /// As [`steal_lease`](crate::Manager::steal_lease).
    pub fn steal_lease(
        &self,
        name: impl AsRef<str>,
        machine_id: impl Into<String>,
        version: i64,
        period: Duration,
        index: u64,
    ) -> Result<Lease> {
        let request = Request::new(name, period);
        let request = request.machine_id(machine_id).version(version);
        self.steal(request, Displace::index(index))
    }

    /// See [`try_acquire`](crate::Manager::try_acquire).
    ///
    /// # Errors
    /// As [`try_acquire`](crate::Manager::try_acquire).
    pub fn try_acquire(&self, request: Request) -> Result<Attempt> {
        let attempt = self.call(|manager| async move { manager.try_acquire(request).await })?;
        Ok(match attempt {
            crate::Attempt::Acquired(lease) => Attempt::Acquired(self.lease(lease)),
            crate::Attempt::Busy(busy) => Attempt::Busy(busy),
            crate::Attempt::Skipped(skipped) => Attempt::Skipped(skipped),
        })
    }

    /// See [`steal`](crate::Manager::steal).
    ///
    /// # Errors
    /// As [`steal`](crate::Manager::steal).
    pub fn steal(&self, request: Request, displace: Displace) -> Result<Lease> {
        let lease = self.call(|manager| async move { manager.steal(request, displace).await })?;
        Ok(self.lease(lease))
    }

    /// See [`break_lease`](crate::Manager::break_lease).
    ///
    /// # Errors
    /// As [`break_lease`](crate::Manager::break_lease).
    pub fn break_lease(&self, name: impl AsRef<str>, displace: Displace) -> Result<Status> {
        let name = name.as_ref().to_owned();
        self.call(|manager| async move { manager.break_lease(name, displace).await })
    }

    /// See [`resume`](crate::Manager::resume).
    ///
    /// # Errors
    /// As [`resume`](crate::Manager::resume).
    pub fn resume(&self, name: impl AsRef<str>, fence: u64) -> Result<Lease> {
        let name = name.as_ref().to_owned();
        let lease = self.call(|manager| async move { manager.resume(name, fence).await })?;
        Ok(self.lease(lease))
    }

    /// See [`status`](crate::Manager::status).
    ///
    /// # Errors
    /// As [`status`](crate::Manager::status).
    pub fn status(&self, name: impl AsRef<str>) -> Result<Option<Status>> {
        let name = name.as_ref().to_owned();
        self.call(|manager| async move { manager.status(name).await })
    }

    /// See [`renew_all`](crate::Manager::renew_all).
    ///
    /// # Errors
    /// Each as [`Lease::renew`].
    pub fn renew_all<'a>(
        &self,
        leases: impl IntoIterator<Item = &'a mut Lease>,
        period: Duration,
    ) -> Vec<Result<()>> {
        let lent: Vec<_> = leases.into_iter().map(|lease| lease.lend()).collect();
        let count = lent.len();
        let renewed = self.call(|manager| async move {
            let mut leases = Vec::with_capacity(lent.len());
            for lease in lent {
                leases.push(lease.await);
            }
            let leases = leases.iter_mut().map(|lease| &mut **lease);
            Ok(manager.renew_all(leases.collect::<Vec<_>>(), period).await)
        });
        renewed.unwrap_or_else(|error| (0..count).map(|_| Err(error.duplicate())).collect())
    }

    /// See [`list`](crate::Manager::list).
    ///
    /// # Errors
    /// As [`list`](crate::Manager::list).
    pub fn list(&self, prefix: impl AsRef<str>) -> Result<Listing> {
        let listing = self.manager.list(prefix)?;
        Ok(Listing::new(listing, self.shared.clone()))
    }

    /// See [`watch`](crate::Manager::watch).
    ///
    /// # Errors
    /// As [`watch`](crate::Manager::watch).
    pub fn watch(&self, name: impl AsRef<str>) -> Result<Watch> {
        let watch = self.manager.watch(name)?;
        Ok(Watch::new(watch, self.shared.clone()))
    }

    /// See [`watch_prefix`](crate::Manager::watch_prefix).
    ///
    /// # Errors
    /// As [`watch_prefix`](crate::Manager::watch_prefix).
    pub fn watch_prefix(&self, prefix: impl AsRef<str>) -> Result<Watch> {
        let watch = self.manager.watch_prefix(prefix)?;
        Ok(Watch::new(watch, self.shared.clone()))
    }

    /// See [`lock`](crate::Manager::lock).
    pub fn lock(&self, name: impl AsRef<str>) -> Lock {
        Lock::new(self.manager.lock(name), self.shared.clone())
    }

    /// See [`election`](crate::Manager::election).
    pub fn election(&self, name: impl AsRef<str>) -> Election {
        Election::new(self.manager.election(name), self.shared.clone())
    }

    /// See [`health`](crate::Manager::health).
    #[must_use]
    pub fn health(&self) -> Health {
        self.manager.health()
    }

    /// See [`machine_id`](crate::Manager::machine_id).
    #[must_use]
    pub fn machine_id(&self) -> &str {
        self.manager.machine_id()
    }

    /// See [`capabilities`](crate::Manager::capabilities).
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        self.manager.capabilities()
    }

    /// See [`location`](crate::Manager::location).
    #[must_use]
    pub fn location(&self) -> String {
        self.manager.location()
    }

    /// See [`door`](crate::Manager::door).
    #[must_use]
    pub fn door(&self) -> &Arc<dyn Door> {
        self.manager.door()
    }

    /// Ends the manager: [`shutdown`](crate::Manager::shutdown). Calls that wait on other threads return.
    ///
    /// # Errors
    /// As [`shutdown`](crate::Manager::shutdown).
    pub fn shutdown(&self, limit: Duration) -> Result<Vec<Term>> {
        let left = self.call(|manager| async move { manager.shutdown(limit).await })?;
        let term = |term| Term::new(term, self.shared.clock.clone());
        Ok(left.into_iter().map(term).collect())
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.manager, f)
    }
}
