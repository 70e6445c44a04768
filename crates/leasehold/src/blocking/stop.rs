//! Telling those who wait to stop.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells those who wait, campaign or lead to stop. Clones are one: keep one where the signal comes from.
///
/// ```
/// use leasehold::blocking::Stop;
///
/// let stop = Stop::new();
/// let elsewhere = stop.clone();
/// std::thread::spawn(move || elsewhere.stop()).join().unwrap();
/// assert!(stop.is_stopped());
/// ```
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// One that has not been told to stop.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Tells to stop, for good. Not for signal handlers, which may not lock anything: for the thread that hears of signals.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when it is told to stop.
    pub(crate) async fn stopped(&self) {
        // It cannot be closed: this one is alive.
        drop(self.0.subscribe().wait_for(|stopped| *stopped).await);
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}
