//! The store on native leases, row by row, by a way to the cluster that fails as told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod batches;
mod doubt;
mod full;
mod pool;
mod renew;
mod trouble;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::BoxStream;
use leasehold_core::{BootInstant, Door, Error, ErrorKind, Lease, Manager};

use super::reach::Straight;
use super::registry::cluster;
use super::server::Server;
use crate::sim::Sim;
use leasehold_etcd::EtcdStore;
use leasehold_etcd::api::{
    Api, Attach, Failed, Granted, Kept, LeaseId, Notice, Op, Range, Ranged, Replied, Txn,
};

const PERIOD: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(2);
const PPM: u32 = 1000;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    None,
    Lose,
    LoseReply,
    NotSent,
    /// The answer lacks what it should say of the last ten transactions within.
    CutOff,
    /// It is refused for want of space, and done.
    FullAndDone,
    /// It is refused for want of space.
    Full,
    /// It is done a second later.
    Late,
    /// A keep-alive is answered by a leader of the first term, without effect.
    OldTerm,
    /// A keep-alive is answered by a server that tells no term, without effect.
    NoTerm,
    /// A keep-alive finds no such lease.
    Gone,
    /// A leader of the first term knows of no such lease.
    GoneOfOldTerm,
}

/// A clear way, but for what the test says.
#[derive(Debug)]
struct Scripted {
    straight: Straight,
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    keeps: VecDeque<Mishap>,
    txns: VecDeque<Mishap>,
    /// Every transaction, from now on.
    always: Option<Mishap>,
    grants: usize,
    kept: Vec<LeaseId>,
    revoked: Vec<LeaseId>,
    /// The native lease of each put that named one, a transaction each.
    sent: Vec<Vec<LeaseId>>,
}

fn named(txn: &Txn, ids: &mut Vec<LeaseId>) {
    for op in &txn.then {
        match op {
            Op::Put {
                lease: Attach::To(id),
                ..
            } => ids.push(*id),
            Op::Txn(txn) => named(txn, ids),
            _ => {}
        }
    }
}

fn full() -> Failed {
    Failed::NoSpace(Error::new(ErrorKind::Unavailable, "space exceeded"))
}

impl Scripted {
    async fn with<T>(
        &self,
        mishap: Mishap,
        until: BootInstant,
        call: BoxFuture<'_, Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let silent = async {
            self.straight.door.sleep_until(until).await;
            Err(Failed::no_answer())
        };
        match mishap {
            Mishap::FullAndDone => {
                drop(call.await);
                Err(full())
            }
            Mishap::Full => Err(full()),
            Mishap::Late => {
                let later = self.straight.door.now().plus(SECOND);
                self.straight.door.sleep_until(later).await;
                call.await
            }
            Mishap::NotSent => Err(Failed::unreached()),
            Mishap::Lose => silent.await,
            Mishap::LoseReply => {
                drop(call.await);
                silent.await
            }
            _ => call.await,
        }
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Api for Scripted {
    fn grant(&self, seconds: u64, until: BootInstant) -> BoxFuture<'_, Result<Granted, Failed>> {
        self.script().grants += 1;
        self.straight.grant(seconds, until)
    }

    fn keep_alive(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<Kept, Failed>> {
        let mishap = {
            let mut script = self.script();
            script.kept.push(id);
            script.keeps.pop_front().unwrap_or(Mishap::None)
        };
        let says = |ttl, term| async move { Ok(Kept { ttl, term }) }.boxed();
        match mishap {
            Mishap::OldTerm => says(PERIOD, 1),
            Mishap::NoTerm => says(PERIOD, 0),
            Mishap::Gone => says(Duration::ZERO, 99),
            Mishap::GoneOfOldTerm => says(Duration::ZERO, 1),
            _ => {
                let call = self.straight.keep_alive(id, until);
                self.with(mishap, until, call).boxed()
            }
        }
    }

    fn revoke(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<(), Failed>> {
        self.script().revoked.push(id);
        self.straight.revoke(id, until)
    }

    fn txn(&self, txn: Txn, until: BootInstant) -> BoxFuture<'_, Result<Replied, Failed>> {
        let mishap = {
            let mut script = self.script();
            let mut ids = Vec::new();
            named(&txn, &mut ids);
            script.sent.push(ids);
            let always = script.always.unwrap_or(Mishap::None);
            script.txns.pop_front().unwrap_or(always)
        };
        let call = self.straight.txn(txn, until);
        let call = self.with(mishap, until, call);
        async move {
            let mut replied = call.await?;
            if mishap == Mishap::CutOff {
                let said = &mut replied.done.gave;
                said.truncate(said.len().saturating_sub(10));
            }
            Ok(replied)
        }
        .boxed()
    }

    fn range(
        &self,
        ranges: Vec<Range>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<Ranged, Failed>> {
        match self.script().always {
            Some(Mishap::Lose) => pending().boxed(),
            _ => self.straight.range(ranges, until),
        }
    }

    fn watch(
        &self,
        prefix: Bytes,
        after: Option<u64>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Notice>, Failed>> {
        self.straight.watch(prefix, after, until)
    }
}

/// A cluster and two clients, the first by a way that fails as told.
struct World {
    sim: Sim,
    door: Arc<dyn Door>,
    server: Arc<Server>,
    way: Arc<Scripted>,
    /// Of the first client.
    store: Arc<EtcdStore>,
    a: Manager,
    /// By the same client as the first.
    twin: Manager,
    b: Manager,
}

impl World {
    fn new() -> Self {
        let sim = Sim::new(1);
        let door: Arc<dyn Door> = sim.door();
        let server = Server::new(sim.door(), 1, <_>::default(), 1);
        let straight = || Straight {
            door: door.clone(),
            server: server.clone(),
        };
        let way = Arc::new(Scripted {
            straight: straight(),
            script: Mutex::default(),
        });
        let store =
            |api: Arc<dyn Api>| Arc::new(EtcdStore::new(api, door.clone(), cluster(SECOND, PPM)));
        let manager = |store: &Arc<EtcdStore>, id: &str| {
            let manager = Manager::builder(store.clone(), door.clone());
            manager.machine_id(id).build().unwrap()
        };
        let (a, b) = (store(way.clone()), store(Arc::new(straight())));
        Self {
            a: manager(&a, "a"),
            twin: manager(&a, "twin"),
            b: manager(&b, "b"),
            store: a,
            way,
            server,
            door,
            sim,
        }
    }

    fn keeps(&self, mishaps: &[Mishap]) {
        self.way.script().keeps.extend(mishaps);
    }

    fn txns(&self, mishaps: &[Mishap]) {
        self.way.script().txns.extend(mishaps);
    }

    async fn sleep(&self, length: Duration) {
        self.door.sleep_until(self.door.now().plus(length)).await;
    }

    async fn door_past(&self, instant: BootInstant) {
        self.door.sleep_until(instant).await;
    }

    /// For how long a grant is believed.
    fn believed(&self, period: Duration) -> Duration {
        period - self.a.capabilities().margin(period)
    }
}

async fn take(manager: &Manager, name: &str, period: Duration) -> Lease {
    let id = manager.machine_id().to_owned();
    let lease = manager.acquire_lease(name, id, 0, period).await;
    lease.unwrap().expect("the name is free")
}
