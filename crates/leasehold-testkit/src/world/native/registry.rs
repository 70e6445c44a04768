//! The registry of etcd's kind in a simulated world, and what happens to it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, Store};

use super::reach::ByNet;
use super::server::Server;
use crate::chance::Chance;
use crate::world::{Assumption, Link, Registry, Scene};
use leasehold_core::Drift;
use leasehold_etcd::keys::PREFIX;
use leasehold_etcd::{Cluster, EtcdStore};

/// How far each clock may run from true time, in parts per million.
pub const PPM: u32 = 10_000;
/// The least native lease, in seconds.
pub const LEAST: u64 = 1;

/// What a store has to know of a simulated cluster.
pub(crate) fn cluster(least: Duration, ppm: u32) -> Cluster {
    Cluster {
        location: "native:".into(),
        prefix: PREFIX.into(),
        least,
        drift: Drift::Bounded { ppm },
    }
}

/// A simulated registry of etcd's kind: native leases by the server's monotonic clock, which drifts.
#[derive(Debug)]
pub struct NativeRegistry {
    server: Arc<Server>,
}

impl NativeRegistry {
    /// A registry whose server has a clock of its own, within [`PPM`] of true time.
    #[must_use]
    pub fn new(scene: Scene) -> Self {
        scene.ledger.waited_by_others(PPM);
        let told = (scene.ledger, scene.log);
        Self {
            server: Server::new(scene.clock, LEAST, told, scene.seed),
        }
    }

    /// The cluster itself.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Registry for NativeRegistry {
    fn open(&self, link: Link) -> Arc<dyn Store> {
        let door: Arc<dyn Door> = link.door().clone();
        let server = self.server.clone();
        let api = Arc::new(ByNet { link, server });
        let least = Duration::from_secs(LEAST);
        Arc::new(EtcdStore::new(api, door, cluster(least, PPM)))
    }

    fn disturb(&self, chance: &mut Chance) -> Option<&'static str> {
        let server = &self.server;
        let while_ = |chance: &mut Chance, most: u64| {
            Duration::from_millis(50) + chance.duration(Duration::from_millis(most))
        };
        Some(match chance.below(10) {
            0 => {
                server.change_leader(Duration::ZERO);
                "leader changed"
            }
            1 | 2 => {
                let length = while_(chance, 8000);
                server.change_leader(length);
                if chance.below(2) == 0 {
                    server.deposed_tells_nothing();
                    "deposed leader answers without a term"
                } else {
                    "deposed leader answers of its old term"
                }
            }
            3 => {
                server.restart(while_(chance, 1000));
                "cluster restarted"
            }
            4 => {
                server.compact();
                "compacted"
            }
            5 => {
                server.slow_revokes(while_(chance, 1000));
                "revokes take long"
            }
            6 => {
                server.silence(while_(chance, 1500));
                "cluster silent"
            }
            7 => {
                server.stall(while_(chance, 3000));
                "cluster stalled"
            }
            8 => {
                let length = while_(chance, 3000);
                server.run_out(length, chance.below(3), chance.below(2) == 0);
                "no space left"
            }
            _ => {
                server.break_watches();
                "watches broken"
            }
        })
    }

    fn break_assumption(
        &self,
        assumption: Assumption,
        chance: &mut Chance,
    ) -> Option<&'static str> {
        match assumption {
            Assumption::NoDeletions => self.server.delete(chance).then_some("record deleted"),
            Assumption::NoLateRevokes => self
                .server
                .revoke_late(chance)
                .then_some("native lease revoked by a leader of before"),
            _ => None,
        }
    }

    fn heal(&self) {
        self.server.heal();
    }

    fn kept(&self) -> usize {
        let (leases, names) = self.server.counts();
        leases + names
    }

    fn lag(&self) -> Duration {
        self.server.lag()
    }
}
