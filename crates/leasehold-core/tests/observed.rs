//! Observed expiry where the register is slow.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use leasehold_core::register::{Register, Revision, Written};
use leasehold_core::{
    BootInstant, Capabilities, Door, ErrorKind, LeaseName, Manager, MemoryRegister, Observed,
    Prefix, Result, Store,
};
use leasehold_testkit::sim::{Sim, SimDoor};

/// A register that reads and writes take a while to get to.
#[derive(Debug)]
struct Slow {
    inner: MemoryRegister,
    door: Arc<SimDoor>,
    delay: Duration,
    write_delay: Duration,
}

impl Slow {
    async fn sleep(&self, length: Duration) {
        self.door.sleep_until(self.door.now().plus(length)).await;
    }
}

impl Register for Slow {
    fn declared(&self) -> Capabilities {
        let mut capabilities = self.inner.declared();
        // A register knows nothing of terms.
        capabilities.ends_known = false;
        capabilities
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
            self.sleep(self.delay).await;
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
        async move {
            self.sleep(self.write_delay).await;
            self.inner.write(name, value, expect, until).await
        }
        .boxed()
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
                write_delay: Duration::ZERO,
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

/// Likewise the writer itself: its grant may have been written just before it was told so, and *not early* counts from
/// there, whoever waits in the same process.
#[test]
fn waiting_from_after_the_reply_of_a_slow_write() {
    let (period, delay) = (Duration::from_secs(10), Duration::from_secs(4));
    for seed in leasehold_testkit::seeds() {
        let sim = Sim::new(seed);
        let door = sim.door();
        let slow = Slow {
            inner: MemoryRegister::new(),
            door: door.clone(),
            delay: Duration::ZERO,
            write_delay: delay,
        };
        let store = Arc::new(Observed::new(slow, door.clone()));
        let manager = Manager::builder(store, door.clone()).build().unwrap();
        sim.block_on(async {
            let asked = door.now();
            let lease = manager.acquire_lease("x", "m", 0, period).await.unwrap();
            let received = door.now();
            assert!(lease.is_some() && received >= asked.plus(delay));
            let seen = manager.get_lease("x").await.unwrap().unwrap();
            assert!(door.now().plus(seen.time_remaining()) >= received.plus(period));
        });
    }
}

/// A grant that does not say how long it holds is not one that leasehold wrote whole: it counts as held.
#[test]
fn a_grant_without_its_length_counts_as_held() {
    let sim = Sim::new(1);
    let door = sim.door();
    let register = MemoryRegister::new();
    let manager = Manager::builder(
        Arc::new(Observed::new(register.clone(), door.clone())),
        door.clone(),
    )
    .build()
    .unwrap();
    sim.block_on(async {
        for record in [
            &br#"{"MachineID":"a","Version":1,"needs":1}"#[..],
            br#"{"MachineID":"a","needs":null,"period":1000}"#,
            br#"{"MachineID":"a","needs":1,"hold":0,"index":7}"#,
        ] {
            register.plant(&leasehold_core::LeaseName::new("x").unwrap(), record);
            for _ in 0..2 {
                let period = Duration::from_secs(10);
                let lease = manager.acquire_lease("x", "m", 0, period).await.unwrap();
                assert!(lease.is_none(), "{}", String::from_utf8_lossy(record));
                door.sleep_until(door.now().plus(period * 10)).await;
            }
        }
    });
}

/// A wait counts from when it was first seen, also where the record says nothing else.
#[test]
fn a_wait_without_a_hold_is_waited_out() {
    let sim = Sim::new(2);
    let door = sim.door();
    let register = MemoryRegister::new();
    let observed = Observed::new(register.clone(), door.clone());
    let manager = Manager::builder(Arc::new(observed), door.clone())
        .build()
        .unwrap();
    let (wait, period) = (Duration::from_secs(5), Duration::from_secs(10));
    let tombstone = br#"{"needs":1,"index":7,"wait":5000000}"#;
    register.plant(&LeaseName::new("x").unwrap(), tombstone);
    sim.block_on(async {
        let end = door.now().plus(wait);
        assert!(!manager.status("x").await.unwrap().unwrap().is_vacant());
        door.sleep_until(end.minus(Duration::from_millis(10))).await;
        let early = manager.acquire_lease("x", "m", 0, period).await.unwrap();
        assert!(early.is_none());
        door.sleep_until(end.plus(Duration::from_millis(10))).await;
        let lease = manager.acquire_lease("x", "m", 0, period).await.unwrap();
        assert!(lease.is_some());
    });
}

/// *The index only grows*, and stays below 2^53: what would be written behind the last one could not be read again, and
/// the name would be held for ever.
#[test]
fn behind_the_greatest_index_nothing_is_written() {
    let sim = Sim::new(1);
    let door = sim.door();
    let register = MemoryRegister::new();
    let manager = Manager::builder(
        Arc::new(Observed::new(register.clone(), door.clone())),
        door.clone(),
    )
    .build()
    .unwrap();
    sim.block_on(async {
        let name = LeaseName::new("x").unwrap();
        for (index, is_free) in [((1_u64 << 53) - 2, true), ((1 << 53) - 1, false)] {
            let record = format!(r#"{{"needs":1,"index":{index}}}"#);
            register.plant(&name, record.as_bytes());
            let period = Duration::from_secs(10);
            let acquired = manager.acquire_lease("x", "m", 0, period).await;
            let (found, _) = register
                .read(&name, BootInstant::NEVER)
                .await
                .unwrap()
                .unwrap();
            if is_free {
                assert_eq!(acquired.unwrap().unwrap().index(), index + 1);
            } else {
                assert_eq!(acquired.unwrap_err().kind(), ErrorKind::Foreign);
                assert_eq!(found, record);
            }
        }
    });
}

/// Success is told by a record whose lengths were rounded up: the deadline counts what was asked for.
#[test]
fn a_rounded_record_does_not_move_the_deadline() {
    let sim = Sim::new(2);
    let door = sim.door();
    let store = Observed::new(MemoryRegister::new(), door.clone());
    let faulty = leasehold_testkit::Faulty::new(Arc::new(store), door.clone());
    let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
        .build()
        .unwrap();
    sim.block_on(async {
        let period = Duration::from_nanos(10_000_000_001);
        let margin = manager.capabilities().margin(period);
        faulty.then(leasehold_testkit::Fault::LoseReply);
        let lease = manager.acquire_lease("x", "m", 0, period).await.unwrap();
        let sent = faulty.sent()[0].at;
        let latest = sent.plus(period).minus(margin);
        assert!(lease.unwrap().deadline().unwrap() <= latest);
    });
}

/// Terms' ends are known because core keeps their records, whatever the register says of itself.
#[test]
fn the_ends_of_terms_are_known() {
    let door = Sim::new(9).door();
    let slow = Slow {
        inner: MemoryRegister::new(),
        door: door.clone(),
        delay: Duration::ZERO,
        write_delay: Duration::ZERO,
    };
    assert!(!slow.declared().ends_known);
    assert!(Observed::new(slow, door).declared().ends_known);
}
