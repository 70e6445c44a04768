//! What etcd does, shown without the store: why no server is asked to survive a leader that is stopped for longer than a
//! lease lasts. `cargo run -p leasehold-etcd --example deposed_leader -- 3.7` (or 3.4, 3.5); takes seconds to a minute.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an experiment")]

use std::process::ExitCode;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasehold_core::{Door, RealDoor};
use leasehold_etcd::api::{Api, Attach, Compare, Gave, Is, Op, Txn};
use leasehold_etcd::{Config, EtcdClient};
use leasehold_testkit::servers::{EtcdCluster, EtcdVersion};

const MEMBERS: usize = 3;
const SECOND: Duration = Duration::from_secs(1);
/// Which loop of the resumed server is quicker is chance: it was so in one round of ten or more often.
const ROUNDS: usize = 100;

/// In which of some rounds a native lease is gone that the new leader has renewed all the time.
async fn revoked(version: EtcdVersion) -> Option<usize> {
    let mut etcd = EtcdCluster::start(version, MEMBERS);
    let door: Arc<dyn Door> = RealDoor::new().unwrap();
    for round in 0..ROUNDS {
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
                    return Some(round + 1);
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
    None
}

#[tokio::main]
async fn main() -> ExitCode {
    let version = match std::env::args().nth(1).as_deref() {
        Some("3.4") => EtcdVersion::V3_4,
        Some("3.5") => EtcdVersion::V3_5,
        None | Some("3.7") => EtcdVersion::V3_7,
        Some(other) => {
            eprintln!("{other} is not one of 3.4, 3.5, 3.7");
            return ExitCode::from(2);
        }
    };
    match revoked(version).await {
        Some(round) => {
            println!(
                "etcd {version}: a lease was revoked that the new leader had renewed, in round {round}"
            );
            ExitCode::SUCCESS
        }
        None => {
            println!("{version}: not in {ROUNDS} rounds");
            ExitCode::FAILURE
        }
    }
}
