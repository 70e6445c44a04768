//! What is kept in etcd beside the leases refuses those whose term is over. The protected side is a client of its own, which
//! speaks JSON to etcd's gateway.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "tests"
)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use leasehold_core::{Displace, ErrorKind, Lease, Manager, RealDoor, Request, Result};
use leasehold_etcd::fence::{Found, Standing};
use leasehold_etcd::keys::{Keyspace, PREFIX};
use leasehold_etcd::{Config, EtcdStore};
use leasehold_testkit::procs;
use leasehold_testkit::servers::{Etcd, EtcdVersion, post};
use serde_json::{Value, json};

const PERIOD: Duration = Duration::from_secs(2);

static SERVER: LazyLock<Etcd> = LazyLock::new(|| Etcd::start(EtcdVersion::V3_7));

/// A client of the user's.
#[derive(Clone, Copy)]
struct Raw(std::net::SocketAddr);

impl Raw {
    fn ask(self, what: &str, body: &Value) -> Value {
        let answer = post(self.0, &format!("/v3/kv/{what}"), &body.to_string()).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn read(self, key: &[u8]) -> Option<Value> {
        let answer = self.ask("range", &json!({ "key": bytes(key) }));
        answer["kvs"].get(0).cloned()
    }

    fn last(self, key: &str) -> Option<String> {
        let value = self.read(key.as_bytes())?["value"].clone();
        Some(String::from_utf8(BASE64_STANDARD.decode(value.as_str()?).unwrap()).unwrap())
    }

    /// Writes a key if all of that holds.
    fn write(self, when: Value, key: &str, by: &str) -> bool {
        let put = json!({ "request_put": { "key": bytes(key.as_bytes()), "value": bytes(by.as_bytes()) } });
        let answer = self.ask("txn", &json!({ "compare": when, "success": [put] }));
        answer["succeeded"] == true
    }

    fn standing(self, name: &str, fence: u64) -> Result<Standing> {
        let found = self.read(&key(name));
        let number = |field: &str| match &found {
            Some(found) => found[field].as_str().map_or(0, |n| n.parse().unwrap()),
            None => 0,
        };
        let value = found.as_ref().map(|found| found["value"].as_str().unwrap());
        let value = value.map(|value| BASE64_STANDARD.decode(value).unwrap());
        let found = value.as_ref().map(|value| Found {
            value,
            lease: number("lease"),
            create_revision: number("create_revision"),
            mod_revision: number("mod_revision"),
        });
        Standing::of(name, found, fence)
    }

    /// What every lessee does: the writes of its term, each if the term stands at that moment.
    fn guarded(self, standing: Standing, name: &str, by: &str) -> bool {
        self.write(when(standing, name), &guarded_key(name), by)
    }
}

fn when(standing: Standing, name: &str) -> Value {
    let key = bytes(&key(name));
    json!([
        { "target": "LEASE", "result": "EQUAL", "key": key, "lease": standing.lease.to_string() },
        { "target": "CREATE", "result": "EQUAL", "key": key,
          "create_revision": standing.create_revision.to_string() },
    ])
}

fn guarded_key(name: &str) -> String {
    format!("/data/{name}")
}

fn key(name: &str) -> bytes::Bytes {
    Keyspace::new(PREFIX).lease_key(name)
}

fn bytes(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

async fn manager(server: std::net::SocketAddr) -> Manager {
    let door = RealDoor::new().unwrap();
    let config = Config::new([server.to_string()]);
    let store = EtcdStore::connect(config, door.clone()).await.unwrap();
    Manager::builder(Arc::new(store), door).build().unwrap()
}

async fn take(manager: &Manager, name: &str) -> Lease {
    let door = manager.door();
    loop {
        let lease = manager.acquire_lease(name, "m", 0, PERIOD).await.unwrap();
        match lease {
            Some(lease) => return lease,
            None => door.sleep_until(door.now().plus(PERIOD / 20)).await,
        }
    }
}

/// The holder checks that its term stands, and is stopped there; its successor works; it goes on, and writes.
async fn late_write(test: &str, version: EtcdVersion) {
    if let Some(me) = procs::child() {
        let server = me.input.parse().unwrap();
        let (raw, manager) = (Raw(server), manager(server).await);
        let lease = take(&manager, "x").await;
        let standing = raw.standing("x", lease.fence()).unwrap();
        assert!(raw.guarded(standing, "x", "old"));
        assert!(lease.is_current());
        me.stop_here();
        assert!(!raw.guarded(standing, "x", "old"), "late, and applied");
        let error = raw.standing("x", lease.fence()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed);
        // Without the comparison it is done: that the term stood was true when it was asked.
        assert!(raw.write(json!([]), "/data/bare", "old"));
        return me.tell(&format!("{}\n{error}", lease.fence()));
    }
    let server = Etcd::start(version);
    let raw = Raw(server.address());
    let children = procs::spawn(test, 1, &server.address().to_string());
    children.wait_stopped(0);
    assert_eq!(raw.last("/data/x").as_deref(), Some("old"));
    let manager = manager(server.address()).await;
    let new = take(&manager, "x").await;
    let standing = raw.standing("x", new.fence()).unwrap();
    assert!(raw.guarded(standing, "x", "new"));
    assert!(raw.write(json!([]), "/data/bare", "new"));
    children.cont(0);
    // It outlives its term long enough.
    let kept = new.keep_alive(leasehold_core::KeepAlive::new());
    let told = children.wait().remove(0);
    kept.check().unwrap();
    assert_eq!(raw.last("/data/x").as_deref(), Some("new"));
    assert_eq!(
        raw.last("/data/bare").as_deref(),
        Some("old"),
        "not late at all"
    );
    for part in [told[0].as_str(), &kept.fence().to_string()] {
        assert!(told[1].contains(part), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_s_late_write_is_refused_by_3_4() {
    late_write(
        "a_stopped_process_s_late_write_is_refused_by_3_4",
        EtcdVersion::V3_4,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_s_late_write_is_refused_by_3_5() {
    late_write(
        "a_stopped_process_s_late_write_is_refused_by_3_5",
        EtcdVersion::V3_5,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_s_late_write_is_refused_by_3_7() {
    late_write(
        "a_stopped_process_s_late_write_is_refused_by_3_7",
        EtcdVersion::V3_7,
    )
    .await;
}

/// Every renewal moves the key's revision: whoever compared that would be refused in its own term.
#[tokio::test(flavor = "multi_thread")]
async fn renewals_change_nothing_that_is_compared() {
    let (raw, manager) = (Raw(SERVER.address()), manager(SERVER.address()).await);
    let mut lease = take(&manager, "renewed").await;
    let standing = raw.standing("renewed", lease.fence()).unwrap();
    for _ in 0..3 {
        let index = lease.index();
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.index() > index);
        assert_eq!(raw.standing("renewed", lease.fence()).unwrap(), standing);
        assert!(raw.guarded(standing, "renewed", "own"));
    }
    // Another period is another native lease: refused, and told anew in the same term.
    lease.renew(PERIOD * 2).await.unwrap();
    assert!(!raw.guarded(standing, "renewed", "own"));
    let standing = raw.standing("renewed", lease.fence()).unwrap();
    assert!(raw.guarded(standing, "renewed", "own"));
}

/// One client, term after term: it may well use its native lease again, and the old term is refused all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_native_lease_that_is_used_again_lets_no_earlier_term_in() {
    let (raw, manager) = (Raw(SERVER.address()), manager(SERVER.address()).await);
    let mut before: Vec<(u64, Standing)> = Vec::new();
    let mut again = 0;
    for _ in 0..8 {
        let lease = take(&manager, "again").await;
        let standing = raw.standing("again", lease.fence()).unwrap();
        assert!(raw.guarded(standing, "again", "own"));
        for (fence, earlier) in &before {
            assert!(!raw.guarded(*earlier, "again", "late"));
            let error = raw.standing("again", *fence).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Changed);
            again += u32::from(earlier.lease == standing.lease);
        }
        before.push((lease.fence(), standing));
        lease.release().await.unwrap();
        assert!(!raw.guarded(standing, "again", "late"));
    }
    assert!(
        again > 0,
        "no native lease was used again: nothing was shown"
    );
}

/// A steal begins a term, be it one's own from oneself and without a wait: the native lease of before must not carry it.
#[tokio::test(flavor = "multi_thread")]
async fn a_steal_refuses_the_term_that_it_replaced() {
    let (raw, manager) = (Raw(SERVER.address()), manager(SERVER.address()).await);
    for (name, assumed_dead) in [("stolen", false), ("dead", true)] {
        let old = take(&manager, name).await;
        let standing = raw.standing(name, old.fence()).unwrap();
        assert!(raw.guarded(standing, name, "old"));
        let displace = match assumed_dead {
            true => Displace::index(old.index()).assume_dead("its task has ended"),
            false => Displace::index(old.index()),
        };
        let request = Request::new(name, PERIOD).machine_id("m");
        let new = manager.steal(request, displace).await.unwrap();
        assert!(new.fence() > old.fence());
        assert!(!raw.guarded(standing, name, "late"), "{name}");
        let error = raw.standing(name, old.fence()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed);
        let later = raw.standing(name, new.fence()).unwrap();
        assert!(raw.guarded(later, name, "new"));
        // Alone it would let the old one in.
        assert_eq!(later.create_revision, standing.create_revision);
    }
}

/// For what is kept in another cluster than the leases: numbers of one length are ordered as their texts are.
#[test]
fn a_mark_by_value_refuses_smaller_fences() {
    let raw = Raw(SERVER.address());
    let mark = |fence: u64| format!("{fence:016}");
    let admit = |fence: u64| {
        let least = bytes(mark(fence + 1).as_bytes());
        let when = json!([
            { "target": "VALUE", "result": "LESS", "key": bytes(b"/guard"), "value": least }
        ]);
        raw.write(when, "/guard", &mark(fence))
    };
    assert!(!admit(7), "a key that is not there has no value");
    assert!(raw.write(json!([]), "/guard", &mark(0)));
    for (fence, admitted) in [
        (7, true),
        (7, true),
        (6, false),
        (10, true),
        (9, false),
        (1 << 52, true),
        (10, false),
    ] {
        assert_eq!(admit(fence), admitted, "{fence}");
    }
    assert_eq!(raw.last("/guard"), Some(mark(1 << 52)));
}
