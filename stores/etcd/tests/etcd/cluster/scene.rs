//! A cluster of three, with clients at work, and what is expected of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::{Door, Drift, RealDoor, Store};
use leasehold_etcd::keys::Keyspace;
use leasehold_etcd::{Cluster, Config, EtcdClient, EtcdStore};
use leasehold_testkit::servers::{EtcdCluster, EtcdOptions};
use leasehold_testkit::{Audit, Carrier, Load};
use tokio::runtime::Runtime;

use super::ledger::Noted;

/// How many members.
pub(super) const MEMBERS: usize = 3;
/// How many clients.
pub(super) const CLIENTS: usize = 6;
/// The periods they ask for. The least native lease of these servers is a second.
pub(super) const PERIODS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How soon everybody is served again when what was wrong is over. An election takes less than a second, a request to
/// one that does not answer two; a busy machine takes longer for all of it.
pub(super) const RECOVERY: Duration = Duration::from_secs(15);
/// Says how many seconds each case lasts; ten if it is not set.
const LENGTH: &str = "LEASEHOLD_FAULTS_SECONDS";

/// A cluster and its clients.
pub(super) struct Scene {
    pub(super) etcd: EtcdCluster,
    pub(super) load: Load,
    case: String,
    door: Arc<dyn Door>,
    slowest: Duration,
    // Last: what runs on it is dropped before.
    runtime: Runtime,
}

impl Scene {
    /// The clients reach the members by themselves.
    pub(super) fn start(case: &str, options: impl Into<EtcdOptions>) -> Self {
        let etcd = EtcdCluster::start(options, MEMBERS);
        let addresses: Vec<String> = (0..MEMBERS)
            .map(|m| etcd[m].address().to_string())
            .collect();
        Self::by(case, etcd, |_| addresses.clone())
    }

    /// Each client reaches the members by the addresses that are said to be theirs.
    pub(super) fn by(case: &str, etcd: EtcdCluster, way: impl Fn(usize) -> Vec<String>) -> Self {
        let runtime = Runtime::new().unwrap();
        let door: Arc<dyn Door> = RealDoor::on(runtime.handle().clone());
        let audit = Audit::new(Carrier::NativeLeases);
        let inside = runtime.enter();
        let stores: Vec<Arc<dyn Store>> = (0..CLIENTS)
            .map(|number| {
                let mut endpoints = way(number);
                // Each client has an order of its own.
                let count = endpoints.len();
                endpoints.rotate_left(number % count);
                store(endpoints, &audit, &door)
            })
            .collect();
        let mut seed = [0; 8];
        door.random(&mut seed);
        let seed = u64::from_le_bytes(seed);
        let load = Load::start(&audit, stores, &door, PERIODS.to_vec(), seed);
        drop(inside);
        let mut scene = Self {
            etcd,
            load,
            case: case.to_owned(),
            door,
            slowest: Duration::ZERO,
            runtime,
        };
        scene.all_are_served();
        scene
    }

    /// Does something again and again for as long as a case lasts, at least once.
    pub(super) fn rounds(&mut self, mut round: impl FnMut(&mut Self)) {
        let length = std::env::var(LENGTH).map_or(10, |length| length.parse().unwrap());
        let end = self.door.now().plus(Duration::from_secs(length));
        let mut rounds = 0;
        while rounds == 0 || self.door.now() < end {
            round(self);
            rounds += 1;
        }
        self.case = format!("{}, {rounds} rounds", self.case);
    }

    pub(super) fn pause(&self, length: Duration) {
        let until = self.door.now().plus(length);
        self.runtime.block_on(self.door.sleep_until(until));
    }

    /// Every client acquires, renews and releases a lease within the bound, and the names that all of them want change
    /// hands again.
    pub(super) fn all_are_served(&mut self) {
        self.are_served(|_| true);
    }

    /// Those of these numbers.
    pub(super) fn are_served(&mut self, which: impl Fn(usize) -> bool) {
        let before = self.load.terms();
        let start = self.door.now();
        let asked = self.load.clients().iter().enumerate();
        let asked = asked
            .filter(|(number, _)| which(*number))
            .map(|(number, client)| async move { (number, client.served(RECOVERY).await) });
        for (number, served) in self.runtime.block_on(join_all(asked)) {
            let case = &self.case;
            let served = served.unwrap_or_else(|| {
                let failures = self.load.failures();
                panic!("{case}: client {number} is not served after {RECOVERY:?}: {failures:#?}")
            });
            self.slowest = self.slowest.max(served);
        }
        while self.load.terms() < before + 5 {
            assert!(
                self.door.now() < start.plus(RECOVERY),
                "{}: the names that all want do not change hands: {:#?}",
                self.case,
                self.load.failures()
            );
            self.pause(Duration::from_millis(20));
        }
    }

    /// Whether a client is served within a limit.
    pub(super) fn is_served(&self, number: usize, limit: Duration) -> bool {
        let served = self.load.clients()[number].served(limit);
        self.runtime.block_on(served).is_some()
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(super) fn door(&self) -> Arc<dyn Door> {
        self.door.clone()
    }

    /// A client that nobody audits.
    pub(super) fn raw(&self) -> EtcdClient {
        let addresses = (0..MEMBERS).map(|m| self.etcd[m].address().to_string());
        let _inside = self.runtime.enter();
        EtcdClient::new(Config::new(addresses), self.door.clone()).unwrap()
    }

    /// Holds everything that happened to the contract.
    pub(super) fn finish(mut self) {
        self.all_are_served();
        let told = self.runtime.block_on(self.load.finish());
        eprintln!(
            "{}: served again after {:.1?} at most; {told}",
            self.case, self.slowest
        );
    }
}

fn store(endpoints: Vec<String>, audit: &Audit, door: &Arc<dyn Door>) -> Arc<dyn Store> {
    let config = Config::new(endpoints);
    let cluster = Cluster {
        location: "etcd of the test".into(),
        prefix: config.prefix.clone(),
        least: Duration::from_secs(1),
        drift: Drift::Unknown,
    };
    let noted = Noted {
        client: EtcdClient::new(config, door.clone()).unwrap(),
        audit: audit.clone(),
        keys: Keyspace::new(&cluster.prefix),
    };
    Arc::new(EtcdStore::new(Arc::new(noted), door.clone(), cluster))
}
