//! How long a name is without a leader: from the leader's crash, or from when it resigns, to the next leader's begin.
//! Distributions over 50 elections, on SQLite and etcd, beside etcd's own election, at client-go's lease of 15 s.
//!
//! `cargo bench -p leasehold-benches --bench takeover [-- sqlite|etcd]`. Needs the servers that scripts/setup installs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use leasehold::{Door, Manager, RealDoor};
use leasehold_etcd::api::{Api as _, LeaseId};
use leasehold_etcd::{Config, EtcdClient};
use leasehold_testkit::servers::{Etcd, EtcdVersion};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const PERIOD: Duration = Duration::from_secs(15);
const ELECTIONS: u32 = 50;
const URL: &str = "LEASEHOLD_BENCH_LEADER";

#[tokio::main]
async fn main() {
    if let Ok(url) = std::env::var(URL) {
        return lead(&url).await;
    }
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |part: &str| only.is_empty() || only.iter().any(|only| only == part);
    println!(
        "without a leader, over {ELECTIONS} elections at a lease of {PERIOD:?}: least, median, 9 in 10, most"
    );
    if wanted("sqlite") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leases.db");
        ours(
            "sqlite",
            &format!("sqlite://{}", Path::new(&path).display()),
        )
        .await;
    }
    if wanted("etcd") {
        let server = Etcd::start(EtcdVersion::V3_7);
        let address = server.address().to_string();
        ours("etcd 3.7.3", &format!("etcd://{address}/bench")).await;
        theirs(&address).await;
    }
    // Its code, with its defaults: a lease of 15 s, renewed every 2 s; candidates look every 2 to 4.4 s, and wait 15 s from when
    // they saw a renewal.
    println!(
        "client-go's defaults (15/10/2 s), by its code, not measured: 13 to 23.8 s after a crash, up to 4.4 s after a release"
    );
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| {
        let time = times[(times.len() - 1) * part / 10];
        if time < Duration::from_secs(1) {
            format!("{:.1} ms", time.as_secs_f64() * 1e3)
        } else {
            format!("{:.2} s", time.as_secs_f64())
        }
    };
    println!("{what}: {}, {}, {}, {}", at(0), at(5), at(9), at(10));
}

async fn open(url: &str) -> Manager {
    leasehold::open(url).await.unwrap()
}

/// A process that leads all elections, each as a candidate of its own, and resigns from those that it is told to.
async fn lead(url: &str) {
    let (told, _) = watch::channel(0_u32);
    let mut leaders = JoinSet::new();
    for i in 0..ELECTIONS {
        let manager = open(url).await;
        let mut resign = told.subscribe();
        leaders.spawn(async move {
            // They do not renew at the same instants.
            tokio::time::sleep(PERIOD / 3 * i / ELECTIONS).await;
            let stop = async move { drop(resign.wait_for(|count| *count > i).await) };
            let election = manager.election(format!("election/{i}")).period(PERIOD);
            let led = election.lead_until(stop, async |term| {
                println!("{i}");
                term.ending().await;
            });
            led.await.unwrap();
        });
    }
    let (lines, mut line) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for text in std::io::stdin().lock().lines() {
            drop(lines.send(text.unwrap()));
        }
    });
    while let Some(text) = line.recv().await {
        told.send_replace(text.parse().unwrap());
    }
}

struct Leaders(Child);

impl Leaders {
    fn start(url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.take(ELECTIONS as usize).count(), ELECTIONS as usize);
        Self(child)
    }

    fn resign(&mut self, count: u32) {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{count}").unwrap();
        stdin.flush().unwrap();
    }
}

impl Drop for Leaders {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Candidates of this process for all elections: when each has won.
async fn candidates(url: &str) -> JoinSet<(u32, Instant)> {
    let mut candidates = JoinSet::new();
    for i in 0..ELECTIONS {
        let manager = open(url).await;
        candidates.spawn(async move {
            let election = manager.election(format!("election/{i}")).period(PERIOD);
            let held = election.campaign().await.unwrap();
            let won = Instant::now();
            held.release().await.unwrap();
            (i, won)
        });
    }
    candidates
}

async fn ours(store: &str, url: &str) {
    let leaders = Leaders::start(url);
    let waiting = candidates(url).await;
    tokio::time::sleep(PERIOD).await;
    let killed = Instant::now();
    drop(leaders);
    let won = waiting.join_all().await;
    tell(
        &format!("{store}, after a crash"),
        won.into_iter().map(|(_, won)| won - killed).collect(),
    );

    let mut leaders = Leaders::start(url);
    let waiting = candidates(url).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut told = Vec::new();
    for i in 0..ELECTIONS {
        told.push(Instant::now());
        leaders.resign(i + 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let won = waiting.join_all().await;
    tell(
        &format!("{store}, after the leader was told to resign"),
        won.into_iter()
            .map(|(i, won)| won - told[i as usize])
            .collect(),
    );
}

#[derive(Clone, PartialEq, prost::Message)]
struct Campaign {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(int64, tag = "2")]
    lease: i64,
    #[prost(bytes = "bytes", tag = "3")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Leader {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    #[prost(int64, tag = "3")]
    rev: i64,
    #[prost(int64, tag = "4")]
    lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Elected {
    #[prost(message, optional, tag = "2")]
    leader: Option<Leader>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resign {
    #[prost(message, optional, tag = "1")]
    leader: Option<Leader>,
}

/// A candidate of etcd's own election, by the service that its server has for it, with a lease of its own that is kept alive
/// every third of its time as etcd's client does it.
struct Their {
    channel: tonic::transport::Channel,
    client: EtcdClient,
    door: Arc<dyn Door>,
}

impl Their {
    async fn call<A, B>(&self, path: &'static str, request: A) -> B
    where
        A: prost::Message + Default + 'static,
        B: prost::Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        let codec = tonic_prost::ProstCodec::<A, B>::default();
        grpc.unary(tonic::Request::new(request), path, codec)
            .await
            .unwrap()
            .into_inner()
    }

    async fn lease(self: &Arc<Self>) -> (LeaseId, tokio::task::JoinHandle<()>) {
        let soon = self.door.now().plus(Duration::from_secs(10));
        let id = self.client.grant(PERIOD.as_secs(), soon).await.unwrap().id;
        let this = self.clone();
        let kept = tokio::spawn(async move {
            loop {
                tokio::time::sleep(PERIOD / 3).await;
                let soon = this.door.now().plus(Duration::from_secs(10));
                drop(this.client.keep_alive(id, soon).await);
            }
        });
        (id, kept)
    }

    async fn campaign(&self, i: u32, lease: LeaseId) -> Leader {
        let request = Campaign {
            name: Bytes::from(format!("their/{i}")),
            lease: i64::try_from(lease).unwrap(),
            value: Bytes::from_static(b"me"),
        };
        let elected: Elected = self.call("/v3electionpb.Election/Campaign", request).await;
        elected.leader.unwrap()
    }
}

async fn theirs(address: &str) {
    let door: Arc<dyn Door> = RealDoor::new().unwrap();
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let their = Arc::new(Their {
        channel: endpoint.unwrap().connect().await.unwrap(),
        client: EtcdClient::new(Config::new([address.to_owned()]), door.clone()).unwrap(),
        door,
    });
    for crash in [true, false] {
        let leaders = join_all((0..ELECTIONS).map(async |i| {
            tokio::time::sleep(PERIOD / 3 * i / ELECTIONS).await;
            let (lease, kept) = their.lease().await;
            (their.campaign(i, lease).await, kept)
        }))
        .await;
        let mut waiting = JoinSet::new();
        for i in 0..ELECTIONS {
            let their = their.clone();
            waiting.spawn(async move {
                let (lease, kept) = their.lease().await;
                let leader = their.campaign(i, lease).await;
                let won = Instant::now();
                let _: Elected = their
                    .call(
                        "/v3electionpb.Election/Resign",
                        Resign {
                            leader: Some(leader),
                        },
                    )
                    .await;
                kept.abort();
                (i, won)
            });
        }
        tokio::time::sleep(if crash {
            PERIOD
        } else {
            Duration::from_secs(1)
        })
        .await;
        let mut began = Vec::new();
        for (leader, kept) in leaders {
            began.push(Instant::now());
            kept.abort();
            if !crash {
                let resign = Resign {
                    leader: Some(leader),
                };
                let _: Elected = their.call("/v3electionpb.Election/Resign", resign).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let won = waiting.join_all().await;
        let what = if crash {
            "after a crash"
        } else {
            "after the leader resigned"
        };
        tell(
            &format!("etcd's own election, {what}"),
            won.into_iter()
                .map(|(i, won)| won - began[i as usize])
                .collect(),
        );
    }
}
