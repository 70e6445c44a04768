//! What stands in etcd, as others see it: by a raw client, beside the store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::BoxStream;
use leasehold_core::{
    Attempt, BootInstant, Door, Drift, Ended, EndedHow, Lease, Manager, RealDoor, Request,
};
use leasehold_etcd::api::{
    Api, Attach, Entry, Failed, Granted, Kept, LeaseId, Notice, Op, Range, Ranged, Replied, Txn,
};
use leasehold_etcd::{Cluster, Config, EtcdClient, EtcdStore};
use leasehold_testkit::servers::{Etcd, EtcdVersion};

static SERVER: LazyLock<Etcd> = LazyLock::new(|| Etcd::start(EtcdVersion::V3_7));

/// A way to the server that counts what goes over it.
#[derive(Debug)]
struct Counted {
    client: EtcdClient,
    grants: AtomicUsize,
    txns: AtomicUsize,
    ranges: AtomicUsize,
}

impl Counted {
    fn count(&self) -> (usize, usize, usize) {
        let read = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (read(&self.grants), read(&self.txns), read(&self.ranges))
    }
}

impl Api for Counted {
    fn grant(&self, seconds: u64, until: BootInstant) -> BoxFuture<'_, Result<Granted, Failed>> {
        self.grants.fetch_add(1, Ordering::SeqCst);
        self.client.grant(seconds, until)
    }

    fn keep_alive(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<Kept, Failed>> {
        self.client.keep_alive(id, until)
    }

    fn revoke(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<(), Failed>> {
        self.client.revoke(id, until)
    }

    fn txn(&self, txn: Txn, until: BootInstant) -> BoxFuture<'_, Result<Replied, Failed>> {
        self.txns.fetch_add(1, Ordering::SeqCst);
        self.client.txn(txn, until)
    }

    fn range(
        &self,
        ranges: Vec<Range>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<Ranged, Failed>> {
        self.ranges.fetch_add(1, Ordering::SeqCst);
        self.client.range(ranges, until)
    }

    fn watch(
        &self,
        prefix: Bytes,
        after: Option<u64>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Notice>, Failed>> {
        self.client.watch(prefix, after, until)
    }
}

/// A manager of a prefix, and a raw client.
struct Setting {
    prefix: String,
    door: Arc<dyn Door>,
    raw: Arc<Counted>,
    manager: Manager,
}

impl Setting {
    fn new(prefix: &str) -> Self {
        Self::on(&SERVER, prefix)
    }

    fn on(server: &Etcd, prefix: &str) -> Self {
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let config = Config::new([server.address().to_string()]);
        let raw = Arc::new(Counted {
            client: EtcdClient::new(config, door.clone()).unwrap(),
            grants: AtomicUsize::new(0),
            txns: AtomicUsize::new(0),
            ranges: AtomicUsize::new(0),
        });
        let cluster = Cluster {
            location: "etcd:".into(),
            prefix: prefix.into(),
            least: Duration::from_secs(1),
            drift: Drift::Unknown,
        };
        let store = Arc::new(EtcdStore::new(raw.clone(), door.clone(), cluster));
        Self {
            prefix: prefix.into(),
            manager: Manager::builder(store, door.clone()).build().unwrap(),
            raw,
            door,
        }
    }

    fn soon(&self) -> BootInstant {
        self.door.now().plus(Duration::from_secs(10))
    }

    /// Everything below the prefix, by key.
    async fn entries(&self) -> Vec<Entry> {
        let range = Range {
            from: Bytes::from(self.prefix.clone()),
            to: Some(Bytes::from([self.prefix.as_bytes(), &[0xff]].concat())),
            most: 10_000,
        };
        let ranged = self
            .raw
            .client
            .range(vec![range], self.soon())
            .await
            .unwrap();
        ranged.entries.into_iter().flatten().collect()
    }

    async fn entry(&self, key: &str) -> Option<Entry> {
        let key = [&self.prefix, key].concat();
        self.entries()
            .await
            .into_iter()
            .find(|entry| entry.key == key)
    }

    async fn put(&self, key: impl AsRef<[u8]>, value: &'static [u8]) {
        let put = Op::Put {
            key: Bytes::from([self.prefix.as_bytes(), key.as_ref()].concat()),
            value: Bytes::from_static(value),
            lease: Attach::Nothing,
        };
        let txn = Txn {
            then: vec![put],
            ..Txn::default()
        };
        self.raw.client.txn(txn, self.soon()).await.unwrap();
    }

    async fn take(&self, name: &str, period: Duration) -> Lease {
        match self
            .manager
            .try_acquire(Request::new(name, period))
            .await
            .unwrap()
        {
            Attempt::Acquired(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    async fn eventually(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let limit = self.door.now().plus(Duration::from_secs(30));
        while !done().await {
            assert!(self.door.now() < limit, "not within 30 s: {what}");
            let moment = self.door.now().plus(Duration::from_millis(50));
            self.door.sleep_until(moment).await;
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_key_a_lease_readable_by_fleet_on_a_native_lease() {
    let s = Setting::new("/keys");
    let mut lease = s.take("jobs/nightly", MINUTE).await;
    let entry = s.entry("/lease/jobs/nightly").await.unwrap();
    assert_eq!(entry.revision, lease.index());
    assert_ne!(entry.lease, 0, "it must disappear with its lessee");
    let text = std::str::from_utf8(&entry.value).unwrap().to_owned();
    // fleet reads these two, and nothing before them.
    let id = lease.machine_id();
    assert!(
        text.starts_with(&format!("{{\"MachineID\":\"{id}\",\"Version\":0,")),
        "{text}"
    );
    // A renewal moves the index and nothing else.
    let (fence, native) = (lease.fence(), entry.lease);
    lease.renew(MINUTE).await.unwrap();
    let entry = s.entry("/lease/jobs/nightly").await.unwrap();
    assert_eq!((entry.revision, entry.lease), (lease.index(), native));
    assert_eq!(lease.fence(), fence);
    let kept = s.raw.client.keep_alive(native, s.soon()).await.unwrap();
    assert_eq!(kept.ttl, MINUTE);
    lease.release().await.unwrap();
    // What remains is the mark, on no native lease.
    assert_eq!(
        s.entry("/lease/jobs/nightly").await.map(|entry| entry.key),
        None
    );
    assert_eq!(s.entry("/mark/jobs/nightly").await.unwrap().lease, 0);
    s.manager.shutdown(MINUTE).await.unwrap();
}

#[tokio::test]
async fn a_clean_end_is_told_from_expiry() {
    let s = Setting::new("/ends");
    s.take("clean", MINUTE).await.release().await.unwrap();
    drop(s.take("crash", Duration::from_secs(1)).await);
    s.eventually("expiry", async || s.entry("/lease/crash").await.is_none())
        .await;
    let ended = async |name: &str| {
        s.manager
            .status(name)
            .await
            .unwrap()
            .unwrap()
            .ended()
            .cloned()
    };
    assert!(matches!(
        ended("clean").await,
        Some(Ended {
            how: EndedHow::Released,
            ..
        })
    ));
    assert!(!matches!(
        ended("crash").await,
        Some(Ended {
            how: EndedHow::Released,
            ..
        })
    ));
    s.manager.shutdown(MINUTE).await.unwrap();
}

/// Once native leases are ready an acquire is one round trip, and so is a release.
#[tokio::test]
async fn a_warm_acquire_is_one_transaction() {
    let s = Setting::new("/warm");
    for _ in 0..3 {
        s.take("x", MINUTE).await.release().await.unwrap();
    }
    let moment = s.door.now().plus(Duration::from_millis(500));
    s.door.sleep_until(moment).await;
    for _ in 0..5 {
        let (_, txns, ranges) = s.raw.count();
        let lease = s.take("x", MINUTE).await;
        assert_eq!(s.raw.count().1 - txns, 1, "transactions of an acquire");
        lease.release().await.unwrap();
        assert_eq!(
            s.raw.count().1 - txns,
            2,
            "transactions of an acquire and a release"
        );
        assert_eq!(s.raw.count().2, ranges, "reads");
    }
    // What is released is used again.
    let (grants, ..) = s.raw.count();
    for _ in 0..20 {
        s.take("x", MINUTE).await.release().await.unwrap();
    }
    assert_eq!(
        s.raw.count().0,
        grants,
        "native leases for acquires one after the other"
    );
    s.manager.shutdown(MINUTE).await.unwrap();
}

/// Every native lease is revoked, or runs out: after whatever was done with it.
#[tokio::test]
async fn nothing_leaks() {
    // A server of its own: the others' leases would be seen.
    let server = Etcd::start(EtcdVersion::V3_7);
    let s = Setting::on(&server, "/leaks");
    let period = Duration::from_secs(2);
    let work = (0..50).map(|n| {
        let s = &s;
        async move {
            let name = format!("{}", n % 20);
            let request = Request::new(&name, period);
            let Attempt::Acquired(mut lease) = s.manager.try_acquire(request).await.unwrap() else {
                return;
            };
            match n % 5 {
                0 => lease.release().await.unwrap(),
                1 => drop(lease),
                // Another period is another native lease.
                2 => lease.renew(period * 2).await.unwrap(),
                3 => {
                    let index = lease.index();
                    let stolen = s.manager.steal_lease(&name, "thief", 0, period * 2, index);
                    drop(stolen.await.unwrap());
                }
                _ => lease.renew(period).await.unwrap(),
            }
        }
    });
    join_all(work).await;
    s.manager.shutdown(MINUTE).await.unwrap();
    let granted = async || {
        let active: f64 = server
            .metric("etcd_debugging_lease_granted_total")
            .unwrap()
            .parse()
            .unwrap();
        let gone = ["etcd_debugging_lease_revoked_total"];
        let gone = gone.map(|name| server.metric(name).unwrap().parse::<f64>().unwrap());
        active - gone[0] < 0.5
    };
    s.eventually("every native lease is gone", granted).await;
    let leases = s
        .entries()
        .await
        .into_iter()
        .filter(|entry| entry.key.starts_with(b"/leaks/lease/"));
    assert_eq!(leases.count(), 0);
}

#[tokio::test]
async fn keys_of_others_harm_nothing() {
    let s = Setting::new("/foreign");
    let lease = s.take("mine", MINUTE).await;
    s.put("/lease/", b"no name").await;
    s.put("/lease/a//b", b"no name of ours").await;
    s.put(b"/lease/\xc3\x28", b"no text").await;
    s.put("/lease", b"beside").await;
    s.put("/leases/x", b"beside").await;
    s.put("/mark/other", b"{\"cut off").await;
    s.put("/other/x", b"beside").await;
    let before: Vec<_> = s
        .entries()
        .await
        .into_iter()
        .map(|e| (e.key, e.value))
        .collect();
    let mut listing = s.manager.list("").unwrap().all();
    let mut names = Vec::new();
    while let Some(status) = listing.next().await.unwrap() {
        names.push(status.name().to_string());
    }
    assert!(names.contains(&"mine".to_owned()), "{names:?}");
    assert!(
        names.iter().all(|name| name == "mine" || name == "other"),
        "{names:?}"
    );
    assert!(lease.is_current());
    let after: Vec<_> = s
        .entries()
        .await
        .into_iter()
        .map(|e| (e.key, e.value))
        .collect();
    assert_eq!(before, after);
    lease.release().await.unwrap();
    s.manager.shutdown(MINUTE).await.unwrap();
}

/// etcd counts whole seconds, and no fewer than its least: what it granted is what holds, and what is told.
#[tokio::test]
async fn the_granted_period_counts() {
    let s = Setting::new("/periods");
    let before = s.door.now();
    let mut lease = s.take("x", Duration::from_millis(2500)).await;
    let granted = Duration::from_secs(3);
    assert_eq!(lease.period(), granted);
    // Belief ends earlier, by the margin of clocks that drift, and counts from before.
    let believed = granted - s.manager.capabilities().margin(granted);
    let deadline = lease.deadline().unwrap();
    assert!(deadline >= before.plus(believed) && deadline <= s.door.now().plus(believed));
    lease.renew(Duration::from_millis(4001)).await.unwrap();
    assert_eq!(lease.period(), Duration::from_secs(5));
    let error = s
        .manager
        .acquire_lease("y", "m", 0, Duration::from_millis(999))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), leasehold_core::ErrorKind::InvalidInput);
    lease.release().await.unwrap();
    s.manager.shutdown(MINUTE).await.unwrap();
}
