//! The two that have to answer alike.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use leasehold_core::{Door, RealDoor};
use leasehold_etcd::api::{Api, Attach, Failed, Op, Txn};
use leasehold_etcd::{Config, EtcdClient};
use leasehold_testkit::servers::{EtcdCluster, EtcdOptions, EtcdVersion};
use leasehold_testkit::sim::Sim;
use leasehold_testkit::world::native::{LEAST, Server};

use super::run::Cluster;
use super::script::Setting;

/// The space of a server of little.
const SMALL: usize = 2 << 20;
/// So long after a change a server knows what space it takes.
const COMMITTED: Duration = Duration::from_millis(500);

/// Real members.
pub(super) struct Live {
    etcd: Mutex<EtcdCluster>,
    api: Arc<dyn Api>,
    door: Arc<dyn Door>,
}

impl Live {
    pub(super) fn start(version: EtcdVersion, setting: Setting) -> Self {
        let options = EtcdOptions::new(version);
        let (options, members) = match setting {
            Setting::One => (options, 1),
            Setting::Three => (options, 3),
            Setting::Small => (options.args([format!("--quota-backend-bytes={SMALL}")]), 1),
        };
        let etcd = EtcdCluster::start(options, members);
        let addresses = (0..members).map(|member| etcd[member].address().to_string());
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let api = EtcdClient::new(Config::new(addresses), door.clone()).unwrap();
        Self {
            etcd: Mutex::new(etcd),
            api: Arc::new(api),
            door,
        }
    }
}

impl Cluster for Live {
    fn api(&self) -> Arc<dyn Api> {
        self.api.clone()
    }

    fn door(&self) -> Arc<dyn Door> {
        self.door.clone()
    }

    fn change_leader(&self) {
        let leader = || self.etcd.lock().unwrap().wait_leader();
        let old = leader();
        let next = (old + 1) % self.etcd.lock().unwrap().size();
        let id = format!("{:x}", self.status(next, "MemberID"));
        // A busy one may be too slow for it, or elect another one by itself.
        while leader() == old {
            _ = self.etcd.lock().unwrap()[old].ctl(&["move-leader", &id]);
        }
        self.etcd.lock().unwrap().wait_healthy();
    }

    fn restart(&self) {
        let mut etcd = self.etcd.lock().unwrap();
        etcd.iter_mut().for_each(|member| member.kill());
        etcd.iter_mut().for_each(|member| member.restart());
        etcd.wait_healthy();
    }

    fn compact(&self, revision: u64) {
        let etcd = self.etcd.lock().unwrap();
        let revision = revision.to_string();
        etcd[0]
            .ctl(&["compaction", &revision, "--physical"])
            .unwrap();
    }

    fn use_up(&self) -> BoxFuture<'_, Option<(u64, u64)>> {
        async move {
            let before = self.revision();
            loop {
                // Together: each is let in where there is space for one.
                let fill = (0..8).map(|number| {
                    let put = Op::Put {
                        key: Bytes::from(format!("/fill/{number}")),
                        value: Bytes::from(vec![b'x'; SMALL / 4]),
                        lease: Attach::Nothing,
                    };
                    let txn = Txn {
                        then: vec![put],
                        ..Txn::default()
                    };
                    self.api.txn(txn, self.door.now().plus(COMMITTED * 20))
                });
                let filled = join_all(fill).await;
                let known = self.door.now().plus(COMMITTED);
                self.door.sleep_until(known).await;
                let refused = |one: &Result<_, Failed>| matches!(one, Err(Failed::NoSpace(_)));
                if filled.iter().any(refused) {
                    break;
                }
            }
            Some((before, self.revision() - before))
        }
        .boxed()
    }

    fn make_space(&self) -> BoxFuture<'_, Option<(u64, u64)>> {
        async move {
            let before = self.revision();
            let ctl = |args: &[&str]| self.etcd.lock().unwrap()[0].ctl(args).unwrap();
            ctl(&["del", "--prefix", "/fill/"]);
            let revision = self.revision();
            ctl(&["compaction", &revision.to_string(), "--physical"]);
            ctl(&["defrag"]);
            ctl(&["alarm", "disarm"]);
            Some((before, revision - before))
        }
        .boxed()
    }
}

impl Live {
    fn revision(&self) -> u64 {
        self.status(0, "Revision")
    }

    /// What a member says of itself.
    fn status(&self, member: usize, what: &str) -> u64 {
        let etcd = self.etcd.lock().unwrap();
        let status = etcd[member].ctl(&["endpoint", "status", "--write-out=fields"]);
        let status = status.unwrap();
        let name = format!("\"{what}\" : ");
        let mut values = status.lines().filter_map(|line| line.strip_prefix(&name));
        values.next().unwrap().trim().parse().unwrap()
    }
}

/// The test kit's cluster.
pub(super) struct Simulated {
    pub(super) sim: Sim,
    server: Arc<Server>,
    door: Arc<dyn Door>,
}

impl Simulated {
    pub(super) fn start(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let door: Arc<dyn Door> = sim.door();
        let server = Server::new(sim.door(), LEAST, <_>::default(), seed);
        Self { sim, server, door }
    }
}

impl Cluster for Simulated {
    fn api(&self) -> Arc<dyn Api> {
        self.server.client(self.door.clone())
    }

    fn door(&self) -> Arc<dyn Door> {
        self.door.clone()
    }

    fn change_leader(&self) {
        self.server.change_leader(Duration::ZERO);
    }

    fn restart(&self) {
        self.server.restart(Duration::ZERO);
    }

    fn compact(&self, revision: u64) {
        self.server.compact_to(revision);
    }

    fn use_up(&self) -> BoxFuture<'_, Option<(u64, u64)>> {
        self.server.run_out(Duration::MAX, 0, false);
        ready(None).boxed()
    }

    fn make_space(&self) -> BoxFuture<'_, Option<(u64, u64)>> {
        self.server.make_space();
        ready(None).boxed()
    }
}
