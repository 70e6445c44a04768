//! How many clusters run at a time.

use std::sync::{Condvar, Mutex, PoisonError};

/// Clusters of several members starve each other on a machine of few cores, and then their clients time out.
const MOST: usize = 3;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run a cluster in this process; the next one has it when this is dropped.
#[derive(Debug)]
pub(super) struct Turn(());

impl Turn {
    /// Waits for one.
    pub(super) fn wait() -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let running = ENDED.wait_while(running, |running| *running >= MOST);
        *running.unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_run_than_may() {
        let mut turns: Vec<_> = (0..MOST).map(|_| Turn::wait()).collect();
        let (sender, told) = std::sync::mpsc::channel();
        let next = std::thread::spawn(move || drop(sender.send(Turn::wait())));
        let soon = told.recv_timeout(Duration::from_millis(20));
        assert!(soon.is_err());
        turns.pop();
        drop(told.recv());
        drop(next.join());
    }
}
