//! Members that are dead, stopped, or never answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{BootInstant, ErrorKind, Manager};
use leasehold_etcd::api::{Api, Failed};
use leasehold_etcd::{Config, EtcdClient, EtcdStore, Tls};
use leasehold_testkit::servers::{Etcd, EtcdCluster, EtcdVersion};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::support::{FirstMember, SECOND, connect, door, put, sleep, within};

/// A client that asks the first of these first.
fn client(addresses: &[SocketAddr]) -> EtcdClient {
    let config = Config::new(addresses.iter().map(SocketAddr::to_string));
    EtcdClient::new(config, FirstMember::door()).unwrap()
}

fn soon(length: Duration) -> BootInstant {
    door().now().plus(length)
}

/// An address that nobody listens on.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// An address that connections to are never answered, not even by the kernel.
async fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // As many as it takes without being asked to.
    let first = TcpStream::connect(address).await.unwrap();
    (address, listener, vec![first])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_there_costs_nothing() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let dead = nobody().await;
    for _ in 0..2 {
        let client = client(&[dead, etcd.address()]);
        let start = door().now();
        client.txn(put("x"), soon(SECOND * 20)).await.unwrap();
        assert!(door().now().since(start) < SECOND * 5);
    }
    // Alone it is a failure of which it is known that nothing was done, with the cause.
    let failed = client(&[dead]).txn(put("x"), soon(SECOND * 20)).await;
    let Err(Failed::NotDone(error)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for part in [&dead.to_string(), "Connection refused"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    // All of them are named.
    let other = nobody().await;
    let config = Config::new([dead.to_string(), other.to_string(), "no.invalid".into()]);
    let error = connect(config).await.unwrap_err().to_string();
    for part in [&dead.to_string(), &other.to_string(), "no.invalid"] {
        assert!(error.contains(part), "{error}");
    }
}

pub(crate) async fn what_was_never_sent_is_not_unknown() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let (hole, _listener, _fill) = black_hole().await;
    let asked = client(&[hole, etcd.address()]);
    let failed = asked.txn(put("x"), soon(SECOND / 2)).await;
    let Err(Failed::NotDone(error)) = failed else {
        panic!("{failed:?}");
    };
    assert!(error.to_string().contains(&hole.to_string()), "{error}");
    // The next request goes elsewhere.
    asked.txn(put("x"), soon(SECOND * 20)).await.unwrap();
    // With enough time the same one does.
    let asked = client(&[hole, etcd.address()]);
    asked.txn(put("x"), soon(SECOND * 20)).await.unwrap();
}

pub(crate) async fn a_handshake_without_an_answer_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::new([silent.local_addr().unwrap().to_string()]);
    config.tls = Some(Tls::default());
    config.tls.as_mut().unwrap().ca = Some(super::tls::authority());
    let client = EtcdClient::new(config, door()).unwrap();
    let until = soon(SECOND * 30);
    let failed = within(SECOND * 15, client.txn(put("x"), until)).await;
    let Err(Failed::NotDone(error)) = failed else {
        panic!("{failed:?}");
    };
    assert!(error.to_string().contains("handshake"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_answers_costs_one_request() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = client(&[silent.local_addr().unwrap(), etcd.address()]);
    let failed = asked.txn(put("x"), soon(SECOND)).await;
    // It may have been done.
    assert!(matches!(failed, Err(Failed::NoAnswer(_))), "{failed:?}");
    let start = door().now();
    asked.txn(put("x"), soon(SECOND * 20)).await.unwrap();
    assert!(door().now().since(start) < SECOND * 5);
}

async fn spread(cluster: &EtcdCluster) -> Manager {
    let addresses = (0..cluster.size()).map(|member| cluster[member].address().to_string());
    let store = EtcdStore::connect(Config::new(addresses), FirstMember::door());
    let builder = Manager::builder(Arc::new(store.await.unwrap()), door());
    builder.timeout(TIMEOUT).build().unwrap()
}

/// Of each operation.
const TIMEOUT: Duration = Duration::from_secs(3);

/// One member of three fails while a lease is held by way of it: one operation at most fails, within its time.
async fn loses_its_member(fail: impl Fn(&mut Etcd), mend: impl Fn(&mut Etcd)) {
    let mut cluster = EtcdCluster::start(EtcdVersion::V3_7, 3);
    let manager = spread(&cluster).await;
    let period = SECOND * 30;
    let lease = manager.acquire_lease("name", "me", 1, period).await;
    let mut lease = lease.unwrap().unwrap();
    fail(&mut cluster[0]);
    let start = door().now();
    if lease.renew(period).await.is_err() {
        let took = door().now().since(start);
        // Some more, for a busy machine.
        assert!(took < TIMEOUT + SECOND * 3, "{took:?}");
        lease.renew(period).await.unwrap();
    }
    let other = manager.acquire_lease("other", "me", 1, period).await;
    other.unwrap().unwrap().release().await.unwrap();
    assert!(lease.is_current());
    mend(&mut cluster[0]);
    lease.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_costs_at_most_one_request() {
    loses_its_member(Etcd::kill, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_member_costs_at_most_one_request() {
    loses_its_member(Etcd::stop, Etcd::cont).await;
}

pub(crate) async fn opening_takes_the_next_member_where_the_first_one_is_silent() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [silent.local_addr().unwrap(), etcd.address()];
    let config = Config::new(addresses.iter().map(SocketAddr::to_string));
    EtcdStore::connect(config, FirstMember::door())
        .await
        .unwrap();
}

pub(crate) async fn a_cluster_is_opened_while_it_elects_a_leader() {
    let mut cluster = EtcdCluster::start(EtcdVersion::V3_7, 3);
    let leader = cluster.wait_leader();
    let others = (0..3).filter(|member| *member != leader);
    let others: Vec<_> = others.map(|member| cluster[member].address()).collect();
    cluster[leader].stop();
    let config = Config::new(others.iter().map(SocketAddr::to_string));
    connect(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_member_is_found_again() {
    let mut etcd = Etcd::start(EtcdVersion::V3_7);
    let client = client(&[etcd.address()]);
    client.txn(put("x"), soon(SECOND * 20)).await.unwrap();
    etcd.kill();
    let failed = client.txn(put("x"), soon(SECOND * 20)).await;
    failed.unwrap_err();
    etcd.restart();
    etcd.wait_healthy();
    sleep(Duration::from_millis(100)).await;
    client.txn(put("x"), soon(SECOND * 20)).await.unwrap();
}

/// A cluster of no members is bad input, at once.
#[tokio::test]
async fn no_member_is_bad_input() {
    let none: [&str; 0] = [];
    let error = EtcdClient::new(Config::new(none), FirstMember::door()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}
