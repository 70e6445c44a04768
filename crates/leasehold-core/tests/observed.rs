//! Observed expiry where the register is slow.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use leasehold_core::register::{Register, Revision, Written};
use leasehold_core::{
    BootInstant, Capabilities, Door, LeaseName, Manager, MemoryRegister, Observed, Prefix, Result,
};
use leasehold_testkit::sim::{Sim, SimDoor};

/// A register whose reads take a while to get there.
#[derive(Debug)]
struct Slow {
    inner: MemoryRegister,
    door: Arc<SimDoor>,
    delay: Duration,
}

impl Register for Slow {
    fn declared(&self) -> Capabilities {
        self.inner.declared()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn read<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<(Bytes, Revision)>>> {
        async move {
            self.door
                .sleep_until(self.door.now().plus(self.delay))
                .await;
            self.inner.read(name, until).await
        }
        .boxed()
    }

    fn write<'a>(
        &'a self,
        name: &'a LeaseName,
        value: Bytes,
        expect: Option<&'a Revision>,
        until: BootInstant,
    ) -> BoxFuture<'a, Written> {
        self.inner.write(name, value, expect, until)
    }

    fn names<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Vec<LeaseName>>> {
        self.inner.names(prefix, after, max, until)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(until)
    }
}

/// *Waiting from after*: who observes a record times it from when the reply was received, not from when it was asked
/// for: the record may have been written in between.
#[test]
fn waiting_from_after_the_reply_of_a_slow_read() {
    let period = Duration::from_secs(10);
    let delay = Duration::from_secs(4);
    for seed in leasehold_testkit::seeds() {
        let sim = Sim::new(seed);
        let register = MemoryRegister::new();
        let manager = |delay| {
            let door = sim.door();
            let slow = Slow {
                inner: register.clone(),
                door: door.clone(),
                delay,
            };
            Manager::builder(Arc::new(Observed::new(slow, door.clone())), door)
                .build()
                .unwrap()
        };
        let (fast, slow) = (manager(Duration::ZERO), manager(delay));
        sim.block_on(async {
            let reading = slow.get_lease("x");
            let taking = async {
                let door = fast.door();
                door.sleep_until(door.now().plus(delay / 2)).await;
                fast.acquire_lease("x", "m", 0, period)
                    .await
                    .unwrap()
                    .unwrap()
            };
            let (seen, lease) = futures_util::future::join(reading, taking).await;
            let received = slow.door().now();
            let waited = received.plus(seen.unwrap().unwrap().time_remaining());
            slow.door().sleep_until(waited).await;
            assert!(!lease.is_current());
            assert!(waited >= received.plus(period));
        });
    }
}
