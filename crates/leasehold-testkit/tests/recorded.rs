//! What a recorded store says of a change that is sent more than once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::store::{Believe, Change, Expect, Outcome, Store, Take};
use leasehold_core::{AttemptId, Body, BootInstant, Door, LeaseName, MemoryStore, Record};
use leasehold_testkit::history::{self, Header, Recorder, check};
use leasehold_testkit::sim::Sim;
use leasehold_testkit::{Fault, Faulty, Recorded};

const SECOND: Duration = Duration::from_secs(1);

fn acquire(name: &LeaseName, attempt: u8) -> Change {
    let attempt = AttemptId([attempt; 16]);
    let body = Body {
        machine_id: Some("m".into()),
        needs: 1,
        ..Body::default()
    };
    let record = Record {
        period: Some(SECOND * 10),
        ..Record::new(Arc::new(body), attempt)
    };
    Change::Take(Take {
        name: name.clone(),
        attempt,
        expect: Expect::Vacant(None),
        record,
        same_body: false,
        believe: Believe::Now,
        hold: SECOND * 10,
    })
}

/// The first sending's answer, that it was not applied, comes when a second one is under way: that one was.
#[test]
fn a_first_answer_does_not_decide_about_a_second_sending() {
    let sim = Sim::new(1);
    let door = sim.door();
    let there = Faulty::new(Arc::new(MemoryStore::new(door.clone())), door.clone());
    there.then(Fault::Refuse);
    let way = Faulty::new(Arc::new(there), door.clone());
    way.then(Fault::DelaySend(SECOND))
        .then(Fault::Late(SECOND * 2));
    let recorder = Recorder::new(Header::exact("simulated"));
    let clock = door.clone();
    let now = move || u64::try_from(clock.truth_now().as_nanos()).unwrap();
    let store = Recorded::new(Arc::new(way), recorder.clone(), 1, now);
    let name = LeaseName::new("x").unwrap();
    sim.block_on(async {
        let until = BootInstant::NEVER;
        let first = store.apply(vec![acquire(&name, 7)], until);
        let second = store.apply(vec![acquire(&name, 7)], until);
        let (first, second) = futures_util::future::join(first, second).await;
        assert!(matches!(first[..], [Outcome::NotApplied(_)]), "{first:?}");
        assert!(matches!(second[..], [Outcome::Unknown(_)]), "{second:?}");
        door.sleep_until(door.now().plus(SECOND * 3)).await;
        // Whoever sends another change of the name sends this one no longer.
        let other = store.apply(vec![acquire(&name, 8)], until).await;
        assert!(matches!(other[..], [Outcome::Refused { .. }]), "{other:?}");
    });
    let history = recorder.take();
    let of_the_acquire = history.operations().next().unwrap().outcome;
    assert_eq!(of_the_acquire, history::Outcome::Unknown);
    check(&history).unwrap();
}
