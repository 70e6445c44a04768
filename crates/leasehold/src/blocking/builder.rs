//! From a URL to a manager.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::manager::Manager;
use super::thread::Thread;
use crate::Result;

/// Opens a registry by its URL, with defaults, on a thread of its own: [`leasehold::open`](crate::open).
///
/// # Errors
/// As [`leasehold::connect`](crate::connect), and where no thread could be started.
pub fn open(url: &str) -> Result<Manager> {
    connect(url)?.build()
}

/// Connects to a registry by its URL, on a thread of its own: [`leasehold::connect`](crate::connect).
///
/// # Errors
/// As [`open`].
pub fn connect(url: &str) -> Result<Builder> {
    let url = url.to_owned();
    Builder::new(async move { crate::connect(&url).await })
}

/// Makes a [`Manager`]: [`leasehold::Builder`](crate::Builder).
#[derive(Debug)]
pub struct Builder {
    builder: crate::Builder,
    thread: Arc<Thread>,
}

impl Builder {
    /// Makes a manager of what the future gives, a store of your own, say. The future runs on the new thread, and so does
    /// whatever it spawns.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use leasehold::{Manager, MemoryStore, RealDoor, blocking};
    ///
    /// let leases = blocking::Builder::new(async {
    ///     let door = RealDoor::new()?;
    ///     Ok(Manager::builder(Arc::new(MemoryStore::new(door.clone())), door))
    /// });
    /// let leases = leases?.machine_id("host-1").build()?;
    /// # Ok::<(), leasehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the future, and where no thread could be started.
    pub fn new(
        connect: impl Future<Output = Result<crate::Builder>> + Send + 'static,
    ) -> Result<Self> {
        let thread = Thread::start()?;
        let builder = thread.call(connect)?;
        Ok(Self { builder, thread })
    }

    /// See [`machine_id`](crate::Builder::machine_id).
    #[must_use]
    pub fn machine_id(mut self, id: impl Into<String>) -> Self {
        self.builder = self.builder.machine_id(id);
        self
    }

    /// See [`timeout`](crate::Builder::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.builder = self.builder.timeout(timeout);
        self
    }

    /// The manager.
    ///
    /// # Errors
    /// As [`build`](crate::Builder::build).
    pub fn build(self) -> Result<Manager> {
        Ok(Manager::new(self.builder.build()?, self.thread))
    }
}
