//! Fixtures for the stores in core: the memory store, and the observed memory register.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use leasehold_core::{Door, LeaseName, MemoryRegister, MemoryStore, Observed, Store};

use crate::harness::{Fixture, TestTime};

/// The memory store: the reference.
#[derive(Debug, Default)]
pub struct Memory(OnceLock<MemoryStore>);

impl Fixture for Memory {
    fn open(&self, door: Arc<dyn Door>) -> BoxFuture<'_, Arc<dyn Store>> {
        let store = self.0.get_or_init(|| MemoryStore::new(door));
        ready(Arc::new(store.clone()) as Arc<dyn Store>).boxed()
    }

    fn plant<'a>(&'a self, name: &'a LeaseName, bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        if let Some(store) = self.0.get() {
            store.plant(name, bytes);
        }
        ready(()).boxed()
    }
}

/// The memory register with observed expiry: clocks that run apart as far as its margin allows for.
#[derive(Debug, Default)]
pub struct ObservedMemory(MemoryRegister);

impl Fixture for ObservedMemory {
    fn open(&self, door: Arc<dyn Door>) -> BoxFuture<'_, Arc<dyn Store>> {
        let store = Observed::new(self.0.clone(), door).poll_every(Duration::from_millis(500));
        ready(Arc::new(store) as Arc<dyn Store>).boxed()
    }

    fn plant<'a>(&'a self, name: &'a LeaseName, bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        self.0.plant(name, bytes);
        ready(()).boxed()
    }

    fn time(&self) -> TestTime {
        TestTime::Simulated { ppm: 83_333 }
    }
}
