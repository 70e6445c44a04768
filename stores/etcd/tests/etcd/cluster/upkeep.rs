//! What operators do to a cluster under load, and what they do too late.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use leasehold_core::{Door, RealDoor};
use leasehold_etcd::api::{Api, Attach, Failed, Op, Range, Txn};
use leasehold_etcd::{Config, EtcdClient};
use leasehold_testkit::servers::{Etcd, EtcdOptions, EtcdVersion};

use super::scene::{MEMBERS, Scene};

const SECOND: Duration = Duration::from_secs(1);

fn put(key: &str, length: usize) -> Txn {
    Txn {
        then: vec![Op::Put {
            key: Bytes::from(key.to_owned()),
            value: Bytes::from(vec![b'x'; length]),
            lease: Attach::Nothing,
        }],
        ..Txn::default()
    }
}

fn one(key: &str) -> Range {
    Range {
        from: Bytes::from(key.to_owned()),
        to: None,
        most: 1,
    }
}

impl Scene {
    /// Forgets every revision but the latest.
    fn compact(&self) {
        // Not by a transaction: old servers without space refuse even one that writes nothing.
        let status = self.etcd[0].ctl(&["endpoint", "status", "-w", "json"]);
        let status = status.unwrap();
        let (_, rest) = status.split_once(r#""revision":"#).unwrap();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
        if let Err(error) = self.etcd[0].ctl(&["compact", &rest[..end]]) {
            // Nothing has happened since the last time.
            assert!(error.contains("has been compacted"), "{error}");
        }
    }

    fn defragment(&self) {
        for member in 0..MEMBERS {
            let member = &self.etcd[member];
            if let Err(error) = member.ctl(&["defrag"]) {
                let log = member.log();
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(60)..];
                panic!("{error}\n{}", last.join("\n"));
            }
        }
    }
}

fn compaction_and_defragmentation(version: EtcdVersion) {
    let mut scene = Scene::start(&format!("{version}, compacted and defragmented"), version);
    scene.rounds(|scene| {
        for _ in 0..5 {
            scene.compact();
            scene.pause(SECOND / 10);
        }
        scene.defragment();
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn compaction_and_defragmentation_3_4() {
    compaction_and_defragmentation(EtcdVersion::V3_4);
}

#[test]
fn compaction_and_defragmentation_3_7() {
    compaction_and_defragmentation(EtcdVersion::V3_7);
}

fn space_runs_out(version: EtcdVersion) {
    const PIECE: usize = 1 << 18;
    let options = EtcdOptions::new(version).args(["--quota-backend-bytes=8388608"]);
    let mut scene = Scene::start(&format!("{version}, out of space"), options);
    scene.rounds(|scene| {
        let (raw, door) = (scene.raw(), scene.door());
        let full = (0..1000).any(|_| {
            let until = door.now().plus(SECOND * 5);
            let told = scene.block_on(raw.txn(put("/fill", PIECE), until));
            // A busy machine may be late with its answer, which says nothing.
            matches!(told, Err(Failed::NoSpace(_)))
        });
        assert!(full, "it took everything");
        _ = scene.load.failures();
        scene.pause(SECOND * 4);
        // Every renewal was in vain.
        assert_eq!(scene.load.believing(), 0);
        assert!(!scene.is_served(0, SECOND));
        // Whoever asks is told all the same, by whatever serves reads.
        let ranges = ["/fill", "/there-is-no-such-key", "/fill"].map(one).into();
        let until = door.now().plus(SECOND * 5);
        let told = scene.block_on(raw.range(ranges, until)).unwrap();
        let found: Vec<usize> = told.entries.iter().map(Vec::len).collect();
        assert_eq!(found, [1, 0, 1]);
        assert!(told.revision >= told.entries[0][0].revision);
        assert_eq!(told.entries[0][0].revision, told.entries[2][0].revision);
        let failures = scene.load.failures();
        let told = |(_, (_, error)): (&String, &(u64, String))| {
            let says = |part| error.contains(part);
            says("database space exceeded") && says("compact and defragment etcd")
        };
        assert!(failures.iter().any(told), "{failures:#?}");
        scene.compact();
        scene.defragment();
        scene.etcd[0].ctl(&["alarm", "disarm"]).unwrap();
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn space_runs_out_3_4() {
    space_runs_out(EtcdVersion::V3_4);
}

#[test]
fn space_runs_out_3_5() {
    space_runs_out(EtcdVersion::V3_5);
}

#[test]
fn space_runs_out_3_7() {
    space_runs_out(EtcdVersion::V3_7);
}

/// The request that finds the quota exceeded when it is applied is applied all the same, and answered as if it were not.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_want_of_space_may_be_done() {
    // Each write counts at once, so that those under way together exceed the quota together.
    let args = ["--quota-backend-bytes=4194304", "--backend-batch-limit=1"];
    let mut done = 0;
    for version in EtcdVersion::ALL {
        let etcd = Etcd::start(EtcdOptions::new(version).args(args));
        let door: std::sync::Arc<dyn Door> = RealDoor::new().unwrap();
        let config = Config::new([etcd.address().to_string()]);
        let client = EtcdClient::new(config, door.clone()).unwrap();
        let until = door.now().plus(SECOND * 30);
        for batch in 0..100 {
            let keys: Vec<String> = (0..16).map(|n| format!("/{batch}/{n}")).collect();
            let puts = keys.iter().map(|key| client.txn(put(key, 1 << 16), until));
            let failed = join_all(puts).await.into_iter().zip(&keys);
            let failed: Vec<_> = failed.filter(|(told, _)| told.is_err()).collect();
            for (told, key) in &failed {
                // By a plain read: 3.5 refuses transactions that write nothing, too.
                let is_there = etcd
                    .ctl(&["get", "--keys-only", key])
                    .unwrap()
                    .contains(&**key);
                done += usize::from(is_there);
                let told = told.as_ref().unwrap_err();
                assert!(!is_there || !matches!(told, Failed::NotDone(_)), "{told:?}");
            }
            if !failed.is_empty() {
                break;
            }
        }
    }
    assert!(done > 0, "no server did what it refused");
}
