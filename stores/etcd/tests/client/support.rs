//! What the tests share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, select};
use leasehold_core::{BootInstant, Door, Manager, RealDoor, Watch};
use leasehold_etcd::api::{Attach, Op, Txn};
use leasehold_etcd::{Config, EtcdStore};
use leasehold_testkit::servers::{Etcd, EtcdVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn door() -> Arc<dyn Door> {
    RealDoor::new().unwrap()
}

pub(crate) async fn sleep(length: Duration) {
    let door = door();
    door.sleep_until(door.now().plus(length)).await;
}

/// The future's output, which has to be there in time.
#[track_caller]
pub(crate) fn within<F: Future>(length: Duration, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let door = door();
        let late = door.sleep_until(door.now().plus(length));
        match select(Box::pin(future), late).await {
            Either::Left((output, _)) => output,
            Either::Right(_) => panic!("{caller}: not within {length:?}"),
        }
    }
}

pub(crate) fn config(etcd: &Etcd) -> Config {
    Config::new([etcd.address().to_string()])
}

pub(crate) async fn connect(config: Config) -> leasehold_core::Result<EtcdStore> {
    EtcdStore::connect(config, door()).await
}

pub(crate) fn manager(store: EtcdStore) -> Manager {
    Manager::builder(Arc::new(store), door()).build().unwrap()
}

/// Waits until a watch has told that a name is held with at least this index.
pub(crate) async fn held(watch: &mut Watch, name: &str, index: u64) {
    loop {
        let event = watch.next().await.unwrap();
        let status = event.status.filter(|status| status.is_held());
        if event.name.as_str() == name && status.is_some_and(|status| status.index() >= index) {
            return;
        }
    }
}

/// Takes what a watch tells, until it has told nothing for a second.
pub(crate) async fn quiet(watch: &mut Watch) {
    while let Either::Left((event, _)) =
        select(Box::pin(watch.next()), Box::pin(sleep(SECOND))).await
    {
        event.unwrap();
    }
}

pub(crate) fn put(key: &'static str) -> Txn {
    let put = Op::Put {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(b"value"),
        lease: Attach::Nothing,
    };
    Txn {
        then: vec![put],
        ..Txn::default()
    }
}

/// Runs a script that calls `etcdctl` of 3.7, with these variables. Gives what it prints.
pub(crate) fn script(etcd: &Etcd, text: &str, variables: &[(&str, &str)]) -> String {
    let program = EtcdVersion::V3_7.program();
    let path = [
        program.parent().map(PathBuf::from).unwrap(),
        "/usr/bin".into(),
        "/bin".into(),
    ];
    let output = Command::new("sh")
        .args(["-euc", text])
        .env_clear()
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("ETCDCTL_ENDPOINTS", etcd.endpoint())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{text}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A door whose first choice among members is the first one.
#[derive(Debug)]
pub(crate) struct FirstMember(Arc<dyn Door>);

impl FirstMember {
    pub(crate) fn door() -> Arc<dyn Door> {
        Arc::new(Self(door()))
    }
}

impl Door for FirstMember {
    fn now(&self) -> BootInstant {
        self.0.now()
    }
    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
    fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()> {
        self.0.sleep_until(at)
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
    fn random(&self, buffer: &mut [u8]) {
        match buffer {
            [choice] => *choice = 0,
            buffer => self.0.random(buffer),
        }
    }
    fn process(&self) -> u32 {
        self.0.process()
    }
}

/// An address behind which servers can be exchanged, and taken away.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    upstream: Arc<Mutex<Option<SocketAddr>>>,
    cut: watch::Sender<()>,
    taken: Arc<AtomicU32>,
}

impl Proxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Arc::new(Mutex::new(Some(server)));
        let (cut, cuts) = watch::channel(());
        let taken = Arc::new(AtomicU32::new(0));
        let (to, count) = (upstream.clone(), taken.clone());
        door().spawn(Box::pin(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let server = *to.lock().unwrap();
                if let Some(server) = server {
                    door().spawn(Box::pin(carry(near, server, cuts.clone())));
                }
            }
        }));
        Self {
            address,
            upstream,
            cut,
            taken,
        }
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Ends all connections. New ones are made to this server; without one they are closed at once.
    pub(crate) fn move_to(&self, server: Option<SocketAddr>) {
        *self.upstream.lock().unwrap() = server;
        self.cut.send(()).unwrap();
    }
}

async fn carry(mut near: TcpStream, server: SocketAddr, mut cuts: watch::Receiver<()>) {
    cuts.mark_unchanged();
    let Ok(mut far) = TcpStream::connect(server).await else {
        return;
    };
    let copy = std::pin::pin!(tokio::io::copy_bidirectional(&mut near, &mut far));
    let cut = std::pin::pin!(cuts.changed());
    select(copy, cut).await;
}
