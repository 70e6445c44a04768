//! Real servers start, are what they are said to be, and leave nothing behind.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, with processes in real time"
)]

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use leasehold_testkit::procs;
use leasehold_testkit::servers::{Etcd, EtcdCluster, EtcdOptions, EtcdVersion, get};

/// For what takes a second where the machine has nothing else to do.
const BOUND: Duration = Duration::from_secs(10);

/// A process that may be gone, by what it leaves: itself, its port and its data.
struct Traces {
    id: u32,
    address: SocketAddr,
    data: PathBuf,
}

impl Traces {
    fn of(etcd: &Etcd) -> Self {
        let traces = Self {
            id: etcd.id().unwrap(),
            address: etcd.address(),
            data: etcd.data(),
        };
        assert!(
            runs(traces.id) && traces.data.exists() && TcpStream::connect(traces.address).is_ok()
        );
        traces
    }

    fn assert_gone(&self) {
        assert!(!runs(self.id));
        assert!(TcpStream::connect(self.address).is_err());
        assert!(!self.data.exists());
    }
}

/// An orphan that has ended may stay a zombie for a while.
fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// Asks again and again until it has happened, for as long as said and what the asking takes.
fn within(limit: Duration, mut happened: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !happened() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn starts(version: EtcdVersion, said: &str) {
    let etcd = Etcd::start(version);
    let traces = Traces::of(&etcd);
    let answer = get(etcd.address(), "/version").unwrap();
    assert!(
        answer.contains(&format!(r#""etcdserver":"{said}"#)),
        "{answer}"
    );
    assert!(etcd.is_leader());
    drop(etcd);
    traces.assert_gone();
}

#[test]
fn etcd_3_4_starts() {
    // Whichever 3.4 the distribution has.
    starts(EtcdVersion::V3_4, "3.4.");
}

#[test]
fn etcd_3_5_starts() {
    starts(EtcdVersion::V3_5, r#"3.5.1""#);
}

#[test]
fn etcd_3_7_starts() {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/etcd-server/go.mod");
    let module = std::fs::read_to_string(module).unwrap();
    let pinned = module
        .lines()
        .find_map(|line| line.trim().strip_prefix("go.etcd.io/etcd/server/v3 v"));
    starts(EtcdVersion::V3_7, &format!("{}\"", pinned.unwrap()));
}

#[test]
fn a_cluster_survives_its_leader() {
    let mut etcd = EtcdCluster::start(EtcdVersion::V3_7, 3);
    let first = etcd.wait_leader();
    etcd[first].kill();
    assert!(etcd[first].id().is_none() && !etcd[first].is_healthy());
    assert!(within(BOUND, || etcd.leader().is_some()));
    assert_ne!(etcd.leader(), Some(first));

    let (addresses, data) = (etcd.endpoints(), etcd[first].data());
    etcd[first].restart();
    etcd.wait_healthy();
    assert!((0..3).all(|member| etcd[member].is_healthy()));
    assert_eq!((etcd.endpoints(), etcd[first].data()), (addresses, data));
}

#[test]
fn a_stopped_leader_is_none_and_comes_back() {
    for version in EtcdVersion::ALL {
        let mut etcd = EtcdCluster::start(version, 3);
        let first = etcd.wait_leader();
        etcd[first].stop();
        let stat = format!("/proc/{}/stat", etcd[first].id().unwrap());
        assert!(std::fs::read_to_string(stat).unwrap().contains(") T "));
        assert!(within(BOUND, || etcd.leader().is_some()), "{version}");
        assert_ne!(etcd.leader(), Some(first), "{version}");
        etcd[first].cont();
        etcd.wait_healthy();
        assert!(etcd[first].is_healthy(), "{version}");
    }
}

#[test]
fn a_whole_cluster_comes_back() {
    for version in EtcdVersion::ALL {
        let mut etcd = EtcdCluster::start(version, 3);
        etcd.iter_mut().for_each(Etcd::kill);
        assert_eq!(etcd.leader(), None);
        // The first one alone has no quorum, and is not waited for.
        etcd.iter_mut().for_each(Etcd::restart);
        etcd.wait_healthy();
        assert!(etcd.leader().is_some());
    }
}

#[test]
fn flags_reach_the_server() {
    let options = EtcdOptions::new(EtcdVersion::V3_7).default_timing().https();
    let etcd = Etcd::start(options.args(["--auto-tls", "--quota-backend-bytes=123456789"]));
    let quota = etcd.metric("etcd_server_quota_backend_bytes").unwrap();
    assert_eq!(quota.parse::<f64>().unwrap(), 123_456_789.0);
    assert!(etcd.endpoint().starts_with("https://"));
    // Not in plain text, then.
    assert!(get(etcd.address(), "/version").is_err());
    assert!(etcd.log().contains(r#""heartbeat-interval":"100ms""#));
}

#[test]
fn what_does_not_start_shows_its_log() {
    let options = EtcdOptions::new(EtcdVersion::V3_7).args(["--no-such-flag"]);
    let failure = std::panic::catch_unwind(|| drop(Etcd::start(options))).unwrap_err();
    let said = failure.downcast::<String>().unwrap();
    assert!(said.contains("no-such-flag"), "{said}");
}

#[test]
fn a_panic_leaves_no_server() {
    let (sender, traces) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let etcd = Etcd::start(EtcdVersion::V3_5);
        sender.send(Traces::of(&etcd)).unwrap();
        panic!("as a test does that fails");
    });
    assert!(test.join().is_err());
    traces.recv().unwrap().assert_gone();
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let etcd = std::thread::spawn(|| Etcd::start(EtcdVersion::V3_5))
        .join()
        .unwrap();
    // Were it killed, then right at the thread's end.
    assert!(!within(Duration::from_millis(300), || !runs(
        etcd.id().unwrap()
    )));
    etcd.wait_healthy();
}

#[test]
fn a_server_dies_with_the_process() {
    if let Some(me) = procs::child() {
        let etcd = Etcd::start(EtcdVersion::V3_5);
        me.tell(&format!("{} {}", etcd.id().unwrap(), etcd.data().display()));
        loop {
            std::thread::park();
        }
    }
    let mut children = procs::spawn("a_server_dies_with_the_process", 1, "");
    assert!(within(BOUND, || !children.told()[0].is_empty()));
    let told = children.told()[0][0].clone();
    let (id, data) = told.split_once(' ').unwrap();
    let id = id.parse().unwrap();
    assert!(runs(id));
    children.kill(0);
    assert!(within(BOUND, || !runs(id)));
    // Nobody was left to do that.
    std::fs::remove_dir_all(Path::new(data).parent().unwrap()).unwrap();
}
