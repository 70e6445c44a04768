//! leasehold on etcd beside the raw server, in the same run: `cargo bench -p leasehold-benches --bench etcd`, or with the
//! name of a part. Needs the servers that scripts/setup installs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join, join_all};
use leasehold::{Attempt, BootInstant, Door, Lease, Manager, RealDoor, Request};
use leasehold_benches::median;
use leasehold_etcd::api::{Api as _, Attach, Compare, Is, LeaseId, Op, Txn};
use leasehold_etcd::{Config, EtcdClient, EtcdStore};
use leasehold_testkit::servers::{Etcd, EtcdVersion};
use tokio::runtime::Runtime;

const PERIOD: Duration = Duration::from_secs(60);
/// As large as a record of ours.
const VALUE: Bytes = Bytes::from_static(&[b'x'; 180]);
const MANY: usize = 10_000;
const TASKS: usize = 64;
const BATCH: usize = 100;

fn main() {
    // Cargo says `--bench`; anything else is a part's name.
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted =
        |part: &str| only.is_empty() || only.iter().any(|only| part.contains(only.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = Etcd::start(EtcdVersion::V3_7);
    let bench = runtime.block_on(Bench::new(&server));
    println!("etcd 3.7.3, one member; medians, ours and the raw server in turns");
    for (part, run) in [
        ("operations", operations as fn(&Runtime, &Bench)),
        ("many", many),
        ("hand-over", hand_over),
        ("crash", crash),
        ("lock", lock),
    ] {
        if wanted(part) {
            run(&runtime, &bench);
        }
    }
}

/// The registry, raw and ours, by two clients.
struct Bench {
    address: String,
    door: Arc<dyn Door>,
    raw: EtcdClient,
    ours: Manager,
    other: Manager,
}

impl Bench {
    async fn new(server: &Etcd) -> Self {
        let address = server.address().to_string();
        let door: Arc<dyn Door> = RealDoor::new().unwrap();
        let raw = EtcdClient::new(Config::new([address.clone()]), door.clone()).unwrap();
        let open = async || {
            let store = EtcdStore::connect(Config::new([address.clone()]), door.clone());
            let store = Arc::new(store.await.unwrap());
            Manager::builder(store, door.clone()).build().unwrap()
        };
        Self {
            ours: open().await,
            other: open().await,
            raw,
            door,
            address,
        }
    }

    fn soon(&self) -> BootInstant {
        self.door.now().plus(Duration::from_secs(10))
    }

    /// A compare-and-swap of one key as one transaction; its revision.
    async fn swap(&self, txn: Txn) -> u64 {
        let replied = self.raw.txn(txn, self.soon()).await.unwrap();
        assert!(replied.done.held);
        replied.revision
    }

    async fn grant(&self) -> LeaseId {
        self.raw
            .grant(PERIOD.as_secs(), self.soon())
            .await
            .unwrap()
            .id
    }
}

fn swap(key: &str, at: u64, lease: Attach) -> Txn {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Txn {
        when: vec![Compare {
            key: key.clone(),
            is: Is::At(at),
        }],
        then: vec![Op::Put {
            key: key.clone(),
            value: VALUE,
            lease,
        }],
        otherwise: vec![Op::Get(key)],
    }
}

async fn take(manager: &Manager, name: &str) -> Lease {
    let request = Request::new(name, PERIOD);
    match manager.try_acquire(request).await.unwrap() {
        Attempt::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn timed<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let start = Instant::now();
    let output = future.await;
    (start.elapsed(), output)
}

fn tell(what: &str, ours: Duration, raw: Duration, bar: &str) {
    let ratio = ours.as_secs_f64() / raw.as_secs_f64();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{ratio:7.2}x  {what}: {:.3} ms / {:.3} ms  (bar: {bar})",
        ms(ours),
        ms(raw)
    );
}

/// One warm lease beside one raw transaction.
fn operations(runtime: &Runtime, bench: &Bench) {
    runtime.block_on(async {
        let id = bench.grant().await;
        let mut at = 0;
        let (mut raw, mut acquire, mut renew, mut release) = (vec![], vec![], vec![], vec![]);
        for round in 0..550 {
            let (time, revision) = timed(bench.swap(swap("raw/one", at, Attach::To(id)))).await;
            at = revision;
            let (taken, mut lease) = timed(take(&bench.ours, "one")).await;
            let (renewed, result) = timed(lease.renew(PERIOD)).await;
            result.unwrap();
            let (released, result) = timed(lease.release()).await;
            result.unwrap();
            // The first fill the pool and the connections.
            if round >= 50 {
                raw.push(time);
                acquire.push(taken);
                renew.push(renewed);
                release.push(released);
            }
        }
        let raw = median(raw);
        tell(
            "acquire / raw transaction",
            median(acquire),
            raw,
            "at most 1.25",
        );
        tell(
            "release / raw transaction",
            median(release),
            raw,
            "at most 1.25",
        );
        tell(
            "renew / raw transaction",
            median(renew),
            raw,
            "none: a swap and a keep-alive",
        );
    });
}

/// Renewing many leases, beside what one could do by hand.
fn many(runtime: &Runtime, bench: &Bench) {
    runtime.block_on(async {
        let acquire =
            (0..MANY).map(|n| async move { take(&bench.ours, &format!("many/{n}")).await });
        let mut leases = join_all(acquire).await;
        let mut keys = Vec::with_capacity(MANY);
        for n in 0..MANY {
            let (key, id) = (format!("raw/many/{n}"), bench.grant().await);
            let at = bench.swap(swap(&key, 0, Attach::To(id))).await;
            keys.push((key, id, at));
        }
        let (mut ours, mut nested, mut each) = (vec![], vec![], vec![]);
        for _ in 0..5 {
            let (time, results) = timed(bench.ours.renew_all(&mut leases, PERIOD)).await;
            results.into_iter().for_each(|result| result.unwrap());
            ours.push(time);
            nested.push(timed(renew_nested(bench, &mut keys)).await.0);
            each.push(timed(renew_each(bench, &mut keys)).await.0);
        }
        let (ours, nested, each) = (median(ours), median(nested), median(each));
        tell(
            "10,000 renewed / the same nested swaps and keep-alives raw",
            ours,
            nested,
            "at most 1.5",
        );
        tell(
            "get and swap for each of them from 64 tasks / 10,000 renewed",
            each,
            ours,
            "at least 10",
        );
        let releases = leases.into_iter().map(Lease::release);
        join_all(releases)
            .await
            .into_iter()
            .for_each(|result| result.unwrap());
    });
}

async fn renew_nested(bench: &Bench, keys: &mut [(String, LeaseId, u64)]) {
    for batch in keys.chunks_mut(BATCH) {
        let nested = |(key, _, at): &(String, LeaseId, u64)| Op::Txn(swap(key, *at, Attach::Same));
        let txn = Txn {
            then: batch.iter().map(nested).collect(),
            ..Txn::default()
        };
        let keep = |(_, id, _): &(String, LeaseId, u64)| bench.raw.keep_alive(*id, bench.soon());
        let keeps = join_all(batch.iter().map(keep));
        let (revision, kept) = join(bench.swap(txn), keeps).await;
        kept.into_iter()
            .for_each(|kept| assert!(!kept.unwrap().ttl.is_zero()));
        batch.iter_mut().for_each(|key| key.2 = revision);
    }
}

async fn renew_each(bench: &Bench, keys: &mut [(String, LeaseId, u64)]) {
    let share = keys.len().div_ceil(TASKS);
    let tasks = keys.chunks_mut(share).map(|keys| async move {
        for (key, id, at) in keys {
            // As fleet did it: what stands there is read first, and a keep-alive goes with the swap.
            let range = leasehold_etcd::api::Range {
                from: Bytes::copy_from_slice(key.as_bytes()),
                to: None,
                most: 1,
            };
            bench.raw.range(vec![range], bench.soon()).await.unwrap();
            let keep = bench.raw.keep_alive(*id, bench.soon());
            let (revision, kept) = join(bench.swap(swap(key, *at, Attach::Same)), keep).await;
            kept.unwrap();
            *at = revision;
        }
    });
    join_all(tasks).await;
}

/// From a release to the next lessee, who waits in another client.
fn hand_over(runtime: &Runtime, bench: &Bench) {
    runtime.block_on(async {
        let id = bench.grant().await;
        let (mut raw, mut over, mut at) = (vec![], vec![], 0);
        // Nobody is busy before either: a machine that slept is slower for the first millisecond.
        let pause = Duration::from_millis(40);
        for round in 0..110 {
            tokio::time::sleep(pause).await;
            let (time, revision) = timed(bench.swap(swap("raw/over", at, Attach::To(id)))).await;
            at = revision;
            let lease = take(&bench.ours, "over").await;
            let lock = bench.other.lock("over").period(PERIOD);
            let waiter =
                runtime.spawn(async move { (lock.acquire().await.unwrap(), Instant::now()) });
            tokio::time::sleep(pause).await;
            let start = Instant::now();
            lease.release().await.unwrap();
            let (held, end) = waiter.await.unwrap();
            held.release().await.unwrap();
            if round >= 10 {
                raw.push(time);
                over.push(end - start);
            }
        }
        tell(
            "release to the next lessee / raw transaction",
            median(over),
            median(raw),
            "at most 3",
        );
    });
}

/// From a crash to the next lessee.
fn crash(runtime: &Runtime, bench: &Bench) {
    let period = Duration::from_secs(2);
    let worst = runtime.block_on(async {
        let mut worst = Duration::ZERO;
        for round in 0..10 {
            let name = format!("crash/{round}");
            let lease = bench
                .ours
                .acquire_lease(&name, "m", 0, period)
                .await
                .unwrap();
            let start = Instant::now();
            drop(lease.unwrap());
            let held = bench
                .other
                .lock(&name)
                .period(PERIOD)
                .acquire()
                .await
                .unwrap();
            worst = worst.max(start.elapsed());
            held.release().await.unwrap();
        }
        worst
    });
    println!(
        "{:7.2} s  from the last renewal of a lessee that crashed to the next one, the worst of 10; period {period:?}  (bar: \
         at most 3.5 s)",
        worst.as_secs_f64()
    );
}

/// etcd's own lock: lock and unlock, with a native lease that is there already.
fn lock(runtime: &Runtime, bench: &Bench) {
    #[derive(Clone, PartialEq, prost::Message)]
    struct LockRequest {
        #[prost(bytes = "bytes", tag = "1")]
        name: Bytes,
        #[prost(int64, tag = "2")]
        lease: i64,
    }
    /// A lock's answer, an unlock's question and its answer, which is not read.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Locked {
        #[prost(bytes = "bytes", tag = "2")]
        key: Bytes,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Unlock {
        #[prost(bytes = "bytes", tag = "1")]
        key: Bytes,
    }
    runtime.block_on(async {
        let lease = i64::try_from(bench.grant().await).unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", bench.address));
        let channel = endpoint.unwrap().connect().await.unwrap();
        let (mut theirs, mut ours) = (vec![], vec![]);
        for round in 0..550 {
            let start = Instant::now();
            let mut grpc = tonic::client::Grpc::new(channel.clone());
            let name = Bytes::from_static(b"theirs");
            let locked: Locked = {
                grpc.ready().await.unwrap();
                let path = http::uri::PathAndQuery::from_static("/v3lockpb.Lock/Lock");
                let codec = tonic_prost::ProstCodec::default();
                let request = tonic::Request::new(LockRequest { name, lease });
                grpc.unary(request, path, codec).await.unwrap().into_inner()
            };
            grpc.ready().await.unwrap();
            let path = http::uri::PathAndQuery::from_static("/v3lockpb.Lock/Unlock");
            let codec = tonic_prost::ProstCodec::<Unlock, Unlock>::default();
            let request = tonic::Request::new(Unlock { key: locked.key });
            grpc.unary(request, path, codec).await.unwrap();
            let their = start.elapsed();
            let start = Instant::now();
            take(&bench.ours, "ours").await.release().await.unwrap();
            if round >= 50 {
                theirs.push(their);
                ours.push(start.elapsed());
            }
        }
        tell(
            "acquire and release / etcd's own lock and unlock",
            median(ours),
            median(theirs),
            "none",
        );
    });
}
