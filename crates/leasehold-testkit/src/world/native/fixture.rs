//! The conformance suite's way to the simulated registry: in calm weather.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use leasehold_core::{Door, LeaseName, Store};

use super::reach::Straight;
use super::registry::{LEAST, PPM, cluster};
use super::server::Server;
use crate::harness::{Fixture, TestTime};
use leasehold_etcd::EtcdStore;
use leasehold_etcd::api::{Attach, Op, Txn};
use leasehold_etcd::keys::Keyspace;

/// A registry of etcd's kind whose way is always clear. The first client's clock is the server's too.
#[derive(Debug, Default)]
pub struct NativeSim(OnceLock<Arc<Server>>);

impl Fixture for NativeSim {
    fn open(&self, door: Arc<dyn Door>) -> BoxFuture<'_, Arc<dyn Store>> {
        let clock = door.clone();
        let server = self
            .0
            .get_or_init(|| Server::new(clock, LEAST, <_>::default(), 0))
            .clone();
        let api = Arc::new(Straight {
            door: door.clone(),
            server,
        });
        let store = EtcdStore::new(api, door, cluster(Duration::from_secs(LEAST), PPM));
        ready(Arc::new(store) as Arc<dyn Store>).boxed()
    }

    fn plant<'a>(&'a self, name: &'a LeaseName, bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        if let Some(server) = self.0.get() {
            let put = Op::Put {
                key: Keyspace::default().of(name).lease,
                value: Bytes::copy_from_slice(bytes),
                lease: Attach::Nothing,
            };
            drop(server.txn(&Txn {
                then: vec![put],
                ..Txn::default()
            }));
        }
        ready(()).boxed()
    }

    fn time(&self) -> TestTime {
        TestTime::Simulated { ppm: PPM }
    }
}
