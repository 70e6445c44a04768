//! What servers do, shown without the store: why none is asked to survive a leader that is stopped for a while.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasehold_core::{Door, RealDoor};
use leasehold_etcd::api::{Api, Attach, Compare, Gave, Is, Op, Txn};
use leasehold_etcd::{Config, EtcdClient};
use leasehold_testkit::servers::{EtcdCluster, EtcdVersion};

use super::scene::MEMBERS;

const SECOND: Duration = Duration::from_secs(1);
/// Which loop of the resumed server is quicker is chance: it was so in one round of ten or more often.
const ROUNDS: usize = 100;

/// Whether a native lease is gone in one of some rounds that the new leader has renewed all the time.
async fn revoked(version: EtcdVersion, rounds: usize) -> bool {
    let mut etcd = EtcdCluster::start(version, MEMBERS);
    let door: Arc<dyn Door> = RealDoor::new().unwrap();
    for round in 0..rounds {
        let old = etcd.wait_leader();
        let others = (0..MEMBERS).filter(|member| *member != old);
        let others = others.map(|member| etcd[member].address().to_string());
        let client = EtcdClient::new(Config::new(others), door.clone()).unwrap();
        let soon = || door.now().plus(SECOND * 5);
        let granted = client.grant(1, soon()).await.unwrap();
        let key = Bytes::from(format!("/round/{round}"));
        let put = Txn {
            then: vec![Op::Put {
                key: key.clone(),
                value: Bytes::new(),
                lease: Attach::To(granted.id),
            }],
            ..Txn::default()
        };
        client.txn(put, soon()).await.unwrap();
        etcd[old].stop();
        _ = etcd.wait_leader();
        // When the last keep-alive was sent that the new leader has answered: from then on it lasts.
        let mut renewed = None;
        for renewal in 0..18 {
            let sent = door.now();
            let kept = client.keep_alive(granted.id, soon()).await;
            if kept.is_ok_and(|kept| !kept.ttl.is_zero()) {
                renewed = Some(sent);
            }
            // A log entry, so that the answer is of now.
            let look = Txn {
                when: vec![Compare {
                    key: key.clone(),
                    is: Is::Absent,
                }],
                then: vec![Op::Put {
                    key: Bytes::from("/gone"),
                    value: Bytes::new(),
                    lease: Attach::Nothing,
                }],
                otherwise: vec![Op::Get(key.clone())],
            };
            let told = client.txn(look, soon()).await.unwrap().done;
            if !matches!(told.gave.first(), Some(Gave::Key(Some(_)))) {
                if renewed.is_some_and(|sent| door.now() < sent.plus(granted.ttl)) {
                    eprintln!("{version}: in round {}", round + 1);
                    return true;
                }
                // This machine was too slow, and it has run out: that says nothing.
                break;
            }
            if renewal == 11 {
                // Its own clock says that the lease has run out.
                etcd[old].cont();
            }
            door.sleep_until(door.now().plus(SECOND / 8)).await;
        }
        etcd[old].cont();
        etcd.wait_healthy();
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_leader_revokes_what_was_renewed_3_4() {
    assert!(revoked(EtcdVersion::V3_4, ROUNDS).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_leader_revokes_what_was_renewed_3_5() {
    assert!(revoked(EtcdVersion::V3_5, ROUNDS).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_leader_revokes_what_was_renewed_3_7() {
    assert!(revoked(EtcdVersion::V3_7, ROUNDS).await);
}
