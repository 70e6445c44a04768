//! Where several threads share memory in a subtle way, under many schedules of them. Built and run by
//! `scripts/schedules` only: a lost wake-up or turn is a deadlock there, and a failure names the schedule to replay.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner, thread};

use crate::batch::Batch;
use crate::door::Door;
use crate::line::Lines;
use crate::names::Names;
use crate::record::{AttemptId, Body, Record};
use crate::store::{Believe, Change, Expect, Outcome, Page, Scope, Seen, Signal, Take};
use crate::sync::Mutex;
use crate::{
    BootInstant, Capabilities, Error, ErrorKind, LeaseName, Manager, MemoryStore, Prefix, Result,
    Signals, Store,
};

/// Half of the runs choose at random, half with few but far-reaching preemptions (PCT). `SCHEDULES` sets their number.
fn check(test: impl Fn() + Send + Sync + 'static) {
    let runs = std::env::var("SCHEDULES").map_or(2000, |runs| runs.parse().expect("a number"));
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 19;
        config.max_steps = MaxSteps::FailAfter(1_000_000);
        config
    };
    let test = Arc::new(test);
    let again = test.clone();
    let random = RandomScheduler::new_from_seed(1, runs / 2);
    Runner::new(random, config()).run(move || test());
    let pct = PctScheduler::new_from_seed(2, 3, runs.div_ceil(2));
    Runner::new(pct, config()).run(move || again());
}

/// Once in a while, as the scheduler's own randomness will have it.
fn by_chance() -> bool {
    use shuttle::rand::Rng as _;
    shuttle::rand::thread_rng().gen_bool(0.5)
}

fn name(text: &str) -> LeaseName {
    LeaseName::new(text).expect("a name")
}

/// A door whose time moves only when it is told to, and wakes whoever sleeps.
#[derive(Debug, Default)]
struct StepDoor {
    now: AtomicU64,
    ids: AtomicU64,
    asleep: Arc<Mutex<Vec<Waker>>>,
}

impl StepDoor {
    fn pass(&self, length: Duration) {
        let nanos = u64::try_from(length.as_nanos()).expect("short");
        self.now.fetch_add(nanos, Ordering::SeqCst);
        let asleep =
            std::mem::take(&mut *self.asleep.lock().unwrap_or_else(PoisonError::into_inner));
        asleep.into_iter().for_each(Waker::wake);
    }
}

impl Door for Arc<StepDoor> {
    fn now(&self) -> BootInstant {
        BootInstant::from_nanos(1 + self.now.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()> {
        let door = self.clone();
        std::future::poll_fn(move |cx| {
            let mut asleep = door.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            if door.now() >= at {
                return Poll::Ready(());
            }
            asleep.push(cx.waker().clone());
            Poll::Pending
        })
        .boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(shuttle::future::spawn(task));
    }

    fn random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let id = self.ids.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&id.to_le_bytes()[..chunk.len()]);
        }
    }

    fn process(&self) -> u32 {
        1
    }
}

/// A registry that takes its time, before and after each change, so that requests overlap.
#[derive(Debug)]
struct SlowStore {
    inner: MemoryStore,
    applied: std::sync::Mutex<BTreeMap<AttemptId, u32>>,
    in_flight: AtomicU32,
    pauses: u32,
}

/// A request is over, whether answered or given up.
struct End<'a>(&'a AtomicU32);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SlowStore {
    fn new(door: &Arc<StepDoor>, pauses: u32) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(Arc::new(door.clone())),
            applied: std::sync::Mutex::default(),
            in_flight: AtomicU32::new(0),
            pauses,
        })
    }

    fn applied(&self, attempt: AttemptId) -> u32 {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(&attempt).copied().unwrap_or_default()
    }

    /// How many changes were applied so far.
    fn total(&self) -> usize {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.len()
    }

    async fn pause(&self) {
        for _ in 0..self.pauses {
            shuttle::future::yield_now().await;
        }
    }
}

impl Store for SlowStore {
    fn declared(&self) -> Capabilities {
        let mut capabilities = self.inner.declared();
        capabilities.batch = 2;
        capabilities
    }

    fn location(&self) -> String {
        "slow".into()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        self.inner.get(name, until)
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            let _end = End(&self.in_flight);
            self.pause().await;
            for change in &changes {
                let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
                *applied.entry(change.attempt()).or_default() += 1;
            }
            let outcomes = self.inner.apply(changes, until).await;
            self.pause().await;
            outcomes
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        self.inner.list(prefix, after, max, until)
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.inner.watch(scope)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.inner.close(until)
    }
}

/// Polls a future a few times, and drops it unless it is ready by then.
fn give_up<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let polls = if by_chance() { 1 } else { 3 };
    for _ in 0..polls {
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return Some(output);
        }
        thread::yield_now();
    }
    None
}

/// One change a name at a time: the turn is nobody's twice, reaches everybody who waits, and is not lost with those
/// who gave up, whether before or while it was handed to them.
#[test]
fn a_turn_is_passed_on_past_those_who_give_up() {
    check(|| {
        let names = Arc::new(Names::default());
        let busy = Arc::new(AtomicBool::new(false));
        let hold = |_turn: &crate::names::Turn, busy: &AtomicBool| {
            assert!(!busy.swap(true, Ordering::SeqCst), "two have the turn");
            thread::yield_now();
            busy.store(false, Ordering::SeqCst);
        };
        let mut threads = Vec::new();
        for patient in [true, true, false, false] {
            let (names, busy) = (names.clone(), busy.clone());
            threads.push(thread::spawn(move || {
                let name = name("a");
                let turn = match patient {
                    true => Some(block_on(names.turn(&name))),
                    false => give_up(names.turn(&name)),
                };
                if let Some(turn) = &turn {
                    hold(turn, &busy);
                }
                drop(turn);
                if let Some(turn) = names.try_turn(&name) {
                    hold(&turn, &busy);
                }
            }));
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(names.outstanding(), 0);
    });
}

/// The place of whoever is first in a line is nobody's twice, reaches everybody who waits, and is not lost with those who
/// gave up, whether before or while they became the first.
#[test]
fn the_first_place_is_passed_on_past_those_who_give_up() {
    check(|| {
        let lines = Arc::new(Lines::default());
        let busy = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for patient in [true, true, false, false] {
            let (lines, busy) = (lines.clone(), busy.clone());
            threads.push(thread::spawn(move || {
                let mut place = lines.enter(&name("a"));
                let first = match patient {
                    true => Some(block_on(place.first())),
                    false => give_up(place.first()),
                };
                if first.is_some() {
                    assert!(!busy.swap(true, Ordering::SeqCst), "two are first");
                    thread::yield_now();
                    busy.store(false, Ordering::SeqCst);
                }
            }));
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert!(lines.is_empty());
    });
}

/// *Watch is level-triggered*: what was told after a watch began is heard, by each watch that covers it.
#[test]
fn no_signal_is_lost() {
    check(|| {
        let signals = Signals::default();
        let watch = signals.watch(Scope::Prefix(Prefix::all()));
        let other = signals.watch(Scope::Name(name("b")));
        let mut threads = Vec::new();
        for told in ["a", "b"] {
            let signals = signals.clone();
            threads.push(thread::spawn(move || {
                // Once: a second wake-up would make good for one that came too early.
                signals.name(&name(told));
            }));
        }
        threads.push(thread::spawn(move || {
            block_on(async move {
                let mut other = other;
                assert_eq!(other.next().await, Some(Signal::Name(name("b"))));
            });
        }));
        block_on(async move {
            let mut watch = watch;
            let mut heard = BTreeSet::new();
            while heard.len() < 2 {
                match watch.next().await {
                    Some(Signal::Name(name)) => _ = heard.insert(name),
                    other => panic!("{other:?}"),
                }
            }
        });
        for thread in threads {
            thread.join().expect("no panic");
        }
        signals.any();
        assert!(signals.is_idle());
    });
}

fn take(at: u8, period: Duration) -> Change {
    let attempt = AttemptId([at; 16]);
    let body = Body {
        machine_id: Some("m".into()),
        needs: 1,
        ..Body::default()
    };
    let mut record = Record::new(Arc::new(body), attempt);
    record.period = Some(period);
    Change::Take(Take {
        name: name(&format!("n{at}")),
        attempt,
        expect: Expect::Vacant(None),
        record,
        same_body: false,
        believe: Believe::Now,
        durable: false,
        hold: period,
    })
}

/// Group commit: while requests are answered there is one at a time, each change is sent once, and whoever gives up,
/// with a request of its own in flight or not, takes no other's turn along.
#[test]
fn every_change_is_sent_once_and_answered() {
    check(|| {
        let door = Arc::new(StepDoor::default());
        let store = SlowStore::new(&door, 1);
        let batch = Arc::new(Batch::new(store.clone(), Arc::new(door.clone())));
        let period = Duration::from_secs(9);
        let mut threads = Vec::new();
        for (at, patient) in [(1, false), (2, true), (3, true), (4, true)] {
            let batch = batch.clone();
            threads.push(thread::spawn(move || {
                let sending = batch.one(take(at, period), BootInstant::NEVER);
                let outcome = match patient {
                    true => Some(block_on(sending)),
                    false => give_up(sending),
                };
                if let Some(outcome) = outcome {
                    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
                }
            }));
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        for at in 2..=4 {
            assert_eq!(store.applied(AttemptId([at; 16])), 1);
        }
        // The queue is empty and idle again: the next one is sent in place.
        let outcome = block_on(batch.one(take(9, period), BootInstant::NEVER));
        assert!(matches!(outcome, Outcome::Applied(_)));
    });
}

/// A change whose time is over while it waits: if it was never sent it says so, and it never is sent afterwards.
#[test]
fn what_was_given_up_unsent_stays_unsent() {
    check(|| {
        let door = Arc::new(StepDoor::default());
        let store = SlowStore::new(&door, 2);
        let batch = Arc::new(Batch::new(store.clone(), Arc::new(door.clone())));
        let period = Duration::from_secs(9);
        let at_most = BootInstant::ZERO.plus(Duration::from_secs(4));
        let mut threads = Vec::new();
        for at in 1..=3 {
            let batch = batch.clone();
            threads.push(thread::spawn(move || {
                (at, block_on(batch.one(take(at, period), at_most)))
            }));
        }
        for _ in 0..4 {
            door.pass(Duration::from_secs(1));
            thread::yield_now();
        }
        let answers: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        // Whatever still goes on in the background comes to its end.
        while Arc::strong_count(&batch) > 1 {
            thread::yield_now();
        }
        assert_eq!(store.in_flight.load(Ordering::SeqCst), 0);
        for (at, outcome) in answers {
            let applied = store.applied(AttemptId([at; 16]));
            match outcome {
                Outcome::Applied(_) => assert_eq!(applied, 1),
                Outcome::NotApplied(_) => assert_eq!(applied, 0, "sent after all"),
                Outcome::Unknown(_) => assert!(applied <= 1),
                Outcome::Refused { found } => panic!("{found:?}"),
            }
        }
    });
}

fn manager(door: &Arc<StepDoor>, store: &Arc<SlowStore>) -> Manager {
    Manager::builder(store.clone(), Arc::new(door.clone()))
        .machine_id("m")
        .build()
        .expect("a manager")
}

const PERIOD: Duration = Duration::from_secs(10);

/// *One lessee*, whoever gives up half-way: a grant that nobody waits for any more is released, and no operation is
/// left outstanding.
#[test]
fn one_lessee_though_callers_give_up() {
    check(|| {
        let door = Arc::new(StepDoor::default());
        let store = SlowStore::new(&door, 1);
        let manager = manager(&door, &store);
        let lessees = Arc::new(AtomicU32::new(0));
        let mut threads = Vec::new();
        for patient in [true, true, false] {
            let (manager, lessees) = (manager.clone(), lessees.clone());
            threads.push(thread::spawn(move || {
                let acquiring = manager.acquire_lease("a", "m", 0, PERIOD);
                let lease = match patient {
                    true => Some(block_on(acquiring)),
                    false => give_up(acquiring),
                };
                if let Some(Some(lease)) = lease.map(|lease| lease.expect("no failure")) {
                    assert_eq!(lessees.fetch_add(1, Ordering::SeqCst), 0, "two lessees");
                    assert!(lease.is_current());
                    thread::yield_now();
                    lessees.fetch_sub(1, Ordering::SeqCst);
                    block_on(lease.release()).expect("released");
                }
            }));
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        while manager.core.names.outstanding() > 0 {
            thread::yield_now();
        }
        let vacant = block_on(manager.get_lease("a")).expect("memory");
        assert!(vacant.is_none(), "a grant that nobody has is left behind");
    });
}

/// A renewal that its caller gave up goes on in the background while the lease is released: the release is a success, and
/// the name is vacant.
#[test]
fn a_release_overtakes_a_renewal_that_was_given_up() {
    check(|| {
        let door = Arc::new(StepDoor::default());
        let store = SlowStore::new(&door, 1);
        let manager = manager(&door, &store);
        block_on(async {
            let lease = manager.acquire_lease("a", "m", 0, PERIOD).await;
            let mut lease = lease.expect("memory").expect("vacant");
            let term = lease.term();
            let before = lease.index();
            {
                let mut renewing = pin!(lease.renew(PERIOD));
                std::future::poll_fn(|cx| {
                    _ = renewing.as_mut().poll(cx);
                    Poll::Ready(())
                })
                .await;
            }
            if by_chance() {
                shuttle::future::yield_now().await;
            }
            let released = lease.release().await;
            assert!(!term.is_current());
            released.expect("released");
            assert!(term.index() >= before);
            assert!(manager.get_lease("a").await.expect("memory").is_none());
            let again = manager.acquire_lease("a", "m", 0, PERIOD).await;
            assert!(again.expect("memory").is_some());
        });
    });
}

/// Shutdown waits for what is outstanding, and nothing is begun after it has returned.
#[test]
fn shutdown_waits_for_what_is_outstanding() {
    check(|| {
        let door = Arc::new(StepDoor::default());
        let store = SlowStore::new(&door, 1);
        let manager = manager(&door, &store);
        let worker = {
            let manager = manager.clone();
            thread::spawn(
                move || match block_on(manager.acquire_lease("a", "m", 0, PERIOD)) {
                    Ok(lease) => assert!(lease.is_some()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
                },
            )
        };
        let done = Arc::new(AtomicBool::new(false));
        let clock = {
            let (door, done) = (door.clone(), done.clone());
            thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    door.pass(Duration::from_millis(1));
                    thread::yield_now();
                }
            })
        };
        block_on(manager.shutdown(Duration::from_secs(3600))).expect("nothing hangs");
        let total = store.total();
        done.store(true, Ordering::SeqCst);
        worker.join().expect("no panic");
        clock.join().expect("no panic");
        assert_eq!(store.total(), total, "changed after the shutdown");
        let refused: Result<_, Error> = block_on(manager.acquire_lease("b", "m", 0, PERIOD));
        assert_eq!(
            refused.expect_err("shut down").kind(),
            ErrorKind::Unavailable
        );
    });
}
