//! Whatever bytes a registry holds, reading them is total, stable and never takes what is another's for vacant.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use leasehold_core::register::Register as _;
use leasehold_core::store::{Believe, Change, Expect, Outcome, Take};
use leasehold_core::{
    AttemptId, BootInstant, Door as _, ErrorKind, LeaseName, MAX_INDEX, MAX_MACHINE_ID_BYTES,
    MemoryRegister, Observed, Origin, READER_VERSION, Record, Store as _,
};
use serde_json::Value;

use crate::door::StillDoor;

pub fn check(data: &[u8]) {
    let record = Record::decode(data);
    assert_eq!(
        Record::decode(data),
        record,
        "the same bytes read differently"
    );
    judged(&record);
    bounds(&record);
    survives(&record);
    kept(data, &record);
    left_alone(data, &record);
}

/// Held or not, and judgeable or not, follow from the origin alone.
fn judged(record: &Record) {
    match &record.origin {
        Origin::Leasehold => {
            assert_eq!(record.is_held(), record.body.machine_id.is_some());
            assert!(record.judged().is_ok());
        }
        Origin::Fleet => {
            assert!(record.is_held() && record.judged().is_ok());
            assert!(record.body.machine_id.is_some());
            assert!(record.index.is_none() && record.fence.is_none() && record.attempt.is_none());
            assert!(record.period.is_none() && record.wait.is_zero() && record.hold.is_zero());
            assert_eq!(record.fence_at(5), 5);
        }
        Origin::Newer(needs) => {
            assert!(*needs > READER_VERSION && record.is_held());
            assert_eq!(record.judged().unwrap_err().kind(), ErrorKind::Foreign);
        }
        Origin::Unreadable(found) => {
            assert!(record.is_held() && !found.is_empty());
            assert!(
                !found.chars().any(char::is_control),
                "foreign bytes in a message"
            );
            assert_eq!(record.judged().unwrap_err().kind(), ErrorKind::Foreign);
        }
    }
}

fn bounds(record: &Record) {
    assert!(record.index.is_none_or(|n| n <= MAX_INDEX));
    assert!(record.fence.is_none_or(|n| n <= MAX_INDEX));
    assert!(record.fence_at(MAX_INDEX) <= MAX_INDEX);
    if record.judged().is_ok()
        && let Some(id) = &record.body.machine_id
    {
        assert!((1..=MAX_MACHINE_ID_BYTES).contains(&id.len()));
    }
    if let Some(ended) = &record.body.ended {
        assert!(ended.fence.is_none_or(|n| n <= MAX_INDEX));
    }
}

/// What is ours survives being written again, to the last field; what is newer stays newer.
fn survives(record: &Record) {
    let again = Record::decode(&record.encode());
    match &record.origin {
        Origin::Leasehold => {
            assert_eq!(&again, record);
            let body = Record::decode(&record.encode_body());
            assert_eq!(body.origin, Origin::Leasehold);
            assert_eq!(body.body, record.body);
            assert!(body.index.is_none() && body.fence.is_none() && body.attempt.is_none());
            assert!(body.period.is_none() && body.wait.is_zero() && body.hold.is_zero());
        }
        Origin::Newer(_) => assert_eq!(again.origin, record.origin),
        Origin::Fleet | Origin::Unreadable(_) => {}
    }
}

/// Fields this version does not know are still there after it has written the record.
fn kept(data: &[u8], record: &Record) {
    if record.origin != Origin::Leasehold {
        return;
    }
    let known = [
        "MachineID",
        "Version",
        "needs",
        "index",
        "fence",
        "attempt",
        "period",
        "wait",
        "hold",
        "since",
        "note",
        "data",
        "policy",
        "closed",
        "ran",
        "delay",
        "unconfirmed",
        "ended",
    ];
    let read: Value = serde_json::from_slice(data).expect("ours is JSON");
    let written: Value = serde_json::from_slice(&record.encode()).expect("ours is JSON");
    for (key, value) in read.as_object().expect("ours is an object") {
        if !known.contains(&key.as_str()) {
            assert_eq!(written.get(key), Some(value), "{key}");
        }
    }
}

/// No acquire touches a record that is not ours, however much time passes; one of ours only once it has run out.
fn left_alone(data: &[u8], record: &Record) {
    let name = LeaseName::new("a").expect("a name");
    let door = Arc::new(StillDoor::new());
    let register = MemoryRegister::new();
    register.plant(&name, data);
    let store = Observed::new(register.clone(), door.clone());
    let bytes = || {
        let read = register.read(&name, BootInstant::NEVER).now_or_never();
        let (bytes, _) = read
            .expect("at once")
            .expect("memory")
            .expect("still there");
        bytes
    };
    let seen = store.get(&name, BootInstant::NEVER).now_or_never();
    let seen = seen.expect("at once").expect("memory").expect("planted");
    assert_eq!(seen.record, *record);
    assert!(seen.index <= MAX_INDEX && seen.fence() <= MAX_INDEX);
    let acquire = || {
        let attempt = AttemptId([3; 16]);
        let mut grant = Record::new(Arc::default(), attempt);
        grant.period = Some(Duration::from_secs(1));
        let take = Take {
            name: name.clone(),
            attempt,
            expect: Expect::Vacant(Some(seen.index)),
            record: grant,
            same_body: false,
            believe: Believe::Now,
            durable: false,
            hold: Duration::from_secs(1),
        };
        let outcomes = store
            .apply(vec![Change::Take(take)], BootInstant::NEVER)
            .now_or_never();
        outcomes
            .expect("at once")
            .pop()
            .expect("an outcome a change")
    };
    let Some(left) = seen.left else {
        // Nobody knows when it ends: it never does.
        assert!(seen.is_held());
        door.pass(Duration::MAX / 2);
        assert!(matches!(acquire(), Outcome::Refused { .. }));
        assert_eq!(bytes(), data);
        return;
    };
    assert_eq!(record.origin, Origin::Leasehold);
    if !left.is_zero() {
        door.pass(left - Duration::from_nanos(1));
        assert!(matches!(acquire(), Outcome::Refused { .. }), "early");
        assert_eq!(bytes(), data);
        door.pass(Duration::from_nanos(1));
    }
    // At the end of the clock nothing lasts a second.
    if door.now().plus(Duration::from_secs(1)) == BootInstant::NEVER {
        return;
    }
    match acquire() {
        Outcome::Applied(applied) => {
            assert!(applied.index > seen.index && applied.index <= MAX_INDEX);
            let now = Record::decode(&bytes());
            assert_eq!(now.origin, Origin::Leasehold);
            assert_eq!(now.index, Some(applied.index));
            assert!(now.hold >= Duration::from_secs(1));
        }
        // The numbers are used up.
        Outcome::NotApplied(_) if seen.index == MAX_INDEX => assert_eq!(bytes(), data),
        other => panic!("it is vacant and was not taken: {other:?}"),
    }
}
