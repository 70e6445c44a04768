//! The suite in real time, on the memory store: that the cases hold on a busy machine, too.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use leasehold_core::{Door, LeaseName, Store};
use leasehold_testkit::{Fixture, Memory, TestTime};

#[derive(Default)]
struct RealMemory(Memory);

impl Fixture for RealMemory {
    fn open(&self, door: Arc<dyn Door>) -> BoxFuture<'_, Arc<dyn Store>> {
        self.0.open(door)
    }

    fn plant<'a>(&'a self, name: &'a LeaseName, bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        self.0.plant(name, bytes)
    }

    fn time(&self) -> TestTime {
        TestTime::real()
    }
}

leasehold_testkit::conformance!(memory, RealMemory::default());
