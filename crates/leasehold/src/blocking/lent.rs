//! A value that is lent to the thread.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// A value that calls change on the thread, one at a time, and that is looked at in between.
///
/// Nobody ever waits for it in earnest: a call has given it back when it returns ([`Thread::call`](super::thread::Thread::call)),
/// and whoever looks at it while a call is under way would need a reference that the borrow checker does not give.
#[derive(Debug)]
pub(crate) struct Lent<T>(Arc<Mutex<T>>);

impl<T> Lent<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Lends it.
    pub(crate) fn lend(&self) -> impl Future<Output = OwnedMutexGuard<T>> + Send + use<T>
    where
        T: Send + 'static,
    {
        self.0.clone().lock_owned()
    }

    /// Looks at it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        loop {
            if let Ok(value) = self.0.try_lock() {
                return look(&value);
            }
            std::thread::yield_now();
        }
    }

    /// Takes it back.
    pub(crate) fn into_inner(self) -> T {
        taken_back(self.0).into_inner()
    }
}

/// Takes back what calls have shared, likewise.
pub(crate) fn taken_back<T>(mut shared: Arc<T>) -> T {
    loop {
        match Arc::try_unwrap(shared) {
            Ok(value) => return value,
            Err(still) => shared = still,
        }
        std::thread::yield_now();
    }
}
