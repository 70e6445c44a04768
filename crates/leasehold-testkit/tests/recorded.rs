//! What a recorded store says of a change that is sent more than once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::store::{
    Applied, Believe, Change, Expect, Outcome, Page, Scope, Seen, Signal, Store, Take,
};
use leasehold_core::{
    AttemptId, Body, BootInstant, Capabilities, Door, Error, ErrorKind, LeaseName, MemoryStore,
    Prefix, Record, Result,
};
use leasehold_testkit::history::{self, Header, Recorder, check};
use leasehold_testkit::sim::Sim;
use leasehold_testkit::{Audit, Carrier, Fault, Faulty, Recorded};

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
        durable: false,
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

/// A store whose grants another object carries: what each sending of a change is told, in turn.
#[derive(Debug)]
struct Told {
    inner: MemoryStore,
    outcomes: Mutex<VecDeque<Outcome>>,
}

impl Store for Told {
    fn declared(&self) -> Capabilities {
        self.inner.declared()
    }

    fn connected(&self) -> Capabilities {
        self.inner.connected()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn get<'a>(&'a self, _: &'a LeaseName, _: BootInstant) -> BoxFuture<'a, Result<Option<Seen>>> {
        Box::pin(async { Ok(None) })
    }

    fn apply(&self, changes: Vec<Change>, _: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        let mut outcomes = self.outcomes.lock().unwrap();
        let told = changes.iter().map(|_| outcomes.pop_front().unwrap());
        let told: Vec<_> = told.collect();
        Box::pin(async { told })
    }

    fn list<'a>(
        &'a self,
        _: &'a Prefix,
        _: Option<&'a LeaseName>,
        _: usize,
        _: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async { Ok(Page::default()) })
    }

    fn watch(&self, _: Scope) -> BoxStream<'static, Signal> {
        stream::pending().boxed()
    }

    fn close(&self, _: BootInstant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// The first answer comes before a keep-alive of what carries the grant has counted, the answer to a second sending
/// after it: whoever goes by the second believes for longer.
#[test]
fn a_later_answer_tells_a_better_count() {
    let sim = Sim::new(1);
    let door: Arc<dyn Door> = sim.door();
    let second = |at: u64| BootInstant::from_nanos(at * 1_000_000_000);
    let applied = |counted: u64| {
        Outcome::Applied(Applied {
            index: 4,
            granted: SECOND * 10,
            counted_from: Some(second(counted)),
            extended: true,
            wait: Duration::ZERO,
        })
    };
    let unknown = Outcome::Unknown(Error::new(ErrorKind::OutcomeUnknown, "no answer"));
    // The best one counts, however the answers come.
    for (outcomes, counted) in [
        (vec![applied(1), applied(3)], 3),
        (vec![applied(3), applied(1)], 3),
        (vec![unknown, applied(1), applied(2), applied(5)], 5),
    ] {
        let sent = outcomes.len();
        let audit = Audit::new(Carrier::NativeLeases);
        let store = Arc::new(Told {
            inner: MemoryStore::new(door.clone()),
            outcomes: Mutex::new(outcomes.into()),
        });
        let client = audit.client(store, door.clone());
        let name = LeaseName::new("x").unwrap();
        for _ in 0..sent {
            let until = BootInstant::NEVER;
            sim.block_on(client.store().apply(vec![acquire(&name, 7)], until));
        }
        let history = audit.history();
        let operations: Vec<_> = history.operations().collect();
        assert_eq!(operations.len(), 1, "one change");
        assert_eq!(operations[0].counted, Some(second(counted).as_nanos()));
    }
}
