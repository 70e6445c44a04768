//! A door to a time that only moves when it is told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use leasehold_core::{BootInstant, Door};

#[derive(Debug)]
pub(crate) struct StillDoor(AtomicU64);

impl StillDoor {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(1_000_000_000))
    }

    pub(crate) fn pass(&self, length: Duration) {
        let now = BootInstant::from_nanos(self.0.load(Ordering::SeqCst));
        self.0.store(now.plus(length).as_nanos(), Ordering::SeqCst);
    }
}

impl Door for StillDoor {
    fn now(&self) -> BootInstant {
        BootInstant::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn sleep_until(&self, _: BootInstant) -> BoxFuture<'static, ()> {
        futures_util::future::pending().boxed()
    }

    fn spawn(&self, _: BoxFuture<'static, ()>) {}

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }

    fn process(&self) -> u32 {
        1
    }
}
