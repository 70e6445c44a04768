//! What a record hands on to its successors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leasehold_core::store::{Believe, Change, Expect, Outcome, Store, Take};
use leasehold_core::{
    AttemptId, Body, Displace, Door, LeaseName, Manager, MemoryStore, READER_VERSION, Record,
};
use leasehold_testkit::sim::Sim;

const PERIOD: Duration = Duration::from_secs(12);

/// Until when a slot is closed, and what a newer version of leasehold wrote, survive every change; each record, a
/// tombstone too, says which readers may replace it.
#[test]
fn closed_slots_and_unknown_fields_are_handed_on() {
    let sim = Sim::new(1);
    let door = sim.door();
    let store = MemoryStore::new(door.clone());
    let manager = Manager::builder(Arc::new(store.clone()), door.clone())
        .build()
        .unwrap();
    let name = LeaseName::new("x").unwrap();
    let closed = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let mut body = Body {
        machine_id: Some("scheduler".into()),
        needs: 1,
        closed: Some(closed),
        ..Body::default()
    };
    body.unknown.insert("later".into(), "kept".into());
    let attempt = AttemptId([7; 16]);
    let mut record = Record::new(Arc::new(body), attempt);
    record.period = Some(PERIOD);
    let change = Change::Take(Take {
        name: name.clone(),
        attempt,
        expect: Expect::Vacant(None),
        record,
        same_body: false,
        believe: Believe::Now,
        durable: false,
        hold: PERIOD,
    });
    sim.block_on(async {
        let until = door.now().plus(PERIOD);
        let outcomes = store.apply(vec![change], until).await;
        let Outcome::Applied(first) = &outcomes[0] else {
            panic!("{outcomes:?}")
        };
        let kept = async |after: &str| {
            let until = door.now().plus(PERIOD);
            let seen = store.get(&name, until).await.unwrap().unwrap();
            let body = &seen.record.body;
            assert_eq!(body.closed, Some(closed), "{after}");
            assert_eq!(body.unknown.get("later").unwrap(), "kept", "{after}");
            assert_eq!(body.needs, 1, "{after}");
            assert!(body.needs <= READER_VERSION);
            seen.index
        };
        let mut claim = manager.resume("x", first.index).await.unwrap();
        claim.renew(PERIOD).await.unwrap();
        kept("a renewal").await;
        claim.release().await.unwrap();
        kept("a release").await;
        let lease = manager.acquire_lease("x", "m", 0, PERIOD).await.unwrap();
        let index = kept("an acquire after a release").await;
        drop(lease);
        let dead = Displace::index(index).assume_dead("a test");
        let request = leasehold_core::Request::new("x", PERIOD);
        drop(manager.steal(request, dead).await.unwrap());
        let index = kept("a steal").await;
        let dead = Displace::index(index).assume_dead("a test");
        drop(manager.break_lease("x", dead).await.unwrap());
        kept("a break").await;
        drop(manager.acquire_lease("x", "m", 0, PERIOD).await.unwrap());
        kept("an acquire after a break").await;
        door.sleep_until(door.now().plus(PERIOD)).await;
        drop(manager.acquire_lease("x", "m", 0, PERIOD).await.unwrap());
        kept("an acquire after an expiry").await;
    });
}
