//! The contract, held against real etcd servers of three versions.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use leasehold_core::{Door, LeaseName, Store};
use leasehold_etcd::api::{Api as _, Attach, Op, Txn};
use leasehold_etcd::keys::Keyspace;
use leasehold_etcd::{Config, EtcdClient, EtcdStore};
use leasehold_testkit::servers::{Etcd, EtcdVersion};
use leasehold_testkit::{Fixture, TestTime};

/// One registry, under a prefix of its own in the server of its version. That ends with the process.
struct Prefix(Config);

impl Prefix {
    fn on(server: &'static OnceLock<Etcd>, version: EtcdVersion) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = server.get_or_init(|| Etcd::start(version));
        let mut config = Config::new([server.address().to_string()]);
        config.prefix = format!("/test/{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self(config)
    }
}

impl Fixture for Prefix {
    fn open(&self, door: Arc<dyn Door>) -> BoxFuture<'_, Arc<dyn Store>> {
        async move {
            let store = EtcdStore::connect(self.0.clone(), door).await.unwrap();
            Arc::new(store) as Arc<dyn Store>
        }
        .boxed()
    }

    fn plant<'a>(&'a self, name: &'a LeaseName, bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        async move {
            let door = leasehold_core::RealDoor::new().unwrap();
            let client = EtcdClient::new(self.0.clone(), door.clone()).unwrap();
            let put = Op::Put {
                key: Keyspace::new(&self.0.prefix).of(name).lease,
                value: Bytes::copy_from_slice(bytes),
                lease: Attach::Nothing,
            };
            let txn = Txn {
                then: vec![put],
                ..Txn::default()
            };
            let until = door.now().plus(Duration::from_secs(10));
            client.txn(txn, until).await.unwrap();
        }
        .boxed()
    }

    fn time(&self) -> TestTime {
        TestTime::Real {
            short: Duration::from_secs(2),
            slack: Duration::from_secs(10),
            // A round is 64 round trips and as many syncs of a disk.
            rounds: 100,
        }
    }
}

static V3_4: OnceLock<Etcd> = OnceLock::new();
static V3_5: OnceLock<Etcd> = OnceLock::new();
static V3_7: OnceLock<Etcd> = OnceLock::new();

leasehold_testkit::conformance!(v3_4, Prefix::on(&V3_4, EtcdVersion::V3_4));
leasehold_testkit::conformance!(v3_5, Prefix::on(&V3_5, EtcdVersion::V3_5));
leasehold_testkit::conformance!(v3_7, Prefix::on(&V3_7, EtcdVersion::V3_7));
