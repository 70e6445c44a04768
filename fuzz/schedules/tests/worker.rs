//! SQLite's worker: the store's own file, with a stand-in for the database. A job is the worker's or its caller's to end,
//! never both's, and none is forgotten.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use leasehold_core::store::{Applied, Believe, Change, Expect, Outcome, Take};
use leasehold_core::{AttemptId, BootInstant, Door, LeaseName, Record};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner, thread};

use store::Shared;
use work::{Answer, Ask, wait};

#[path = "../../../stores/sqlite/src/work.rs"]
#[allow(dead_code, reason = "the stand-in answers changes only")]
mod work;

mod sync {
    use std::sync::{Arc, LockResult, PoisonError};
    use std::time::Duration;

    pub(crate) use shuttle::sync::atomic::{AtomicU8, Ordering};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};

    /// Shuttle's own never times out. Here that may happen whenever the scheduler likes.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

    impl Condvar {
        pub(crate) fn wait<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
        ) -> LockResult<MutexGuard<'a, T>> {
            self.0.wait(guard)
        }

        pub(crate) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let (alarm, end) = (self.0.clone(), over.clone());
            shuttle::thread::spawn(move || {
                while !end.load(Ordering::SeqCst) {
                    shuttle::thread::yield_now();
                    alarm.notify_all();
                }
            });
            let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
            over.store(true, Ordering::SeqCst);
            Ok((guard, ()))
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

mod fault {
    use leasehold_core::Error;

    pub(crate) enum Fault {
        Busy,
        #[allow(dead_code, reason = "the stand-in never fails")]
        Failed(Failure),
    }

    pub(crate) struct Failure;

    impl Failure {
        pub(crate) fn error(&self) -> Error {
            unreachable!("the stand-in never fails")
        }
    }
}

mod store {
    use super::*;
    use leasehold_core::{Error, ErrorKind, Result};

    #[derive(Debug)]
    pub(crate) struct Shared {
        pub(crate) queue: crate::work::Queue,
        pub(crate) threads: Threads,
        pub(crate) door: Arc<dyn Door>,
        pub(crate) path: Arc<Path>,
        pub(crate) done: std::sync::Mutex<BTreeMap<AttemptId, u32>>,
    }

    #[derive(Debug, Default)]
    pub(crate) struct Threads(pub(crate) crate::sync::Mutex<Vec<thread::JoinHandle<()>>>);

    impl Threads {
        pub(crate) fn start(&self, _: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
            let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            threads.push(thread::spawn(run));
            Ok(())
        }
    }

    impl Shared {
        pub(crate) fn run(
            self: &Arc<Self>,
            ask: &Ask,
        ) -> std::result::Result<Answer, super::fault::Fault> {
            thread::yield_now();
            let Ask::Apply(changes) = ask else {
                return Ok(Answer::Seen(None));
            };
            if super::by_chance() {
                return Err(super::fault::Fault::Busy);
            }
            let mut outcomes = Vec::new();
            for change in changes {
                let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                *done.entry(change.attempt()).or_default() += 1;
                outcomes.push(Outcome::Applied(Applied {
                    index: 1,
                    granted: Duration::ZERO,
                    counted_from: None,
                    extended: true,
                    wait: Duration::ZERO,
                }));
            }
            thread::yield_now();
            Ok(Answer::Outcomes(outcomes))
        }

        pub(crate) fn closed(&self) -> Error {
            Error::new(ErrorKind::Unavailable, "closed")
        }

        pub(crate) fn locked_for(&self, _: BootInstant) -> Error {
            Error::new(ErrorKind::Unavailable, "locked")
        }

        pub(crate) fn jittered(&self, wait: Duration) -> Duration {
            wait
        }
    }
}

fn by_chance() -> bool {
    use shuttle::rand::Rng as _;
    shuttle::rand::thread_rng().gen_bool(0.5)
}

/// A door whose time moves only when it is told to.
#[derive(Debug, Default, Clone)]
struct StepDoor(Arc<(AtomicU64, sync::Mutex<Vec<Waker>>)>);

impl StepDoor {
    fn pass(&self, length: Duration) {
        self.0
            .0
            .fetch_add(length.as_nanos() as u64, Ordering::SeqCst);
        let asleep = std::mem::take(&mut *self.0.1.lock().unwrap_or_else(PoisonError::into_inner));
        asleep.into_iter().for_each(Waker::wake);
    }
}

impl Door for StepDoor {
    fn now(&self) -> BootInstant {
        BootInstant::from_nanos(1 + self.0.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()> {
        let door = self.clone();
        std::future::poll_fn(move |cx| {
            let mut asleep = door.0.1.lock().unwrap_or_else(PoisonError::into_inner);
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
        buffer.fill(0);
    }

    fn process(&self) -> u32 {
        1
    }
}

fn change(at: u8) -> Change {
    let attempt = AttemptId([at; 16]);
    Change::Take(Take {
        name: LeaseName::new("a").expect("a name"),
        attempt,
        expect: Expect::Vacant(None),
        record: Record::new(Arc::default(), attempt),
        same_body: false,
        believe: Believe::Now,
        durable: false,
        hold: Duration::ZERO,
    })
}

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
    Runner::new(RandomScheduler::new_from_seed(1, runs / 2), config()).run(move || test());
    Runner::new(
        PctScheduler::new_from_seed(2, 3, runs.div_ceil(2)),
        config(),
    )
    .run(move || again());
}

mod schedules {
    use super::*;

    /// What was given up is never done, what was done is told, and closing ends the worker, whoever waits.
    #[test]
    fn a_job_is_the_worker_s_or_its_caller_s() {
        check(|| {
            let door = StepDoor::default();
            let shared = Arc::new(Shared {
                queue: Default::default(),
                threads: Default::default(),
                door: Arc::new(door.clone()),
                path: Path::new("/x").into(),
                done: Default::default(),
            });
            let until = door.now().plus(Duration::from_millis(2));
            let callers: Vec<_> = (1..=3)
                .map(|at| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let ask = Ask::Apply(vec![change(at)]);
                        (at, block_on(wait(&shared, ask, until)))
                    })
                })
                .collect();
            let clock = {
                let ended = Arc::new(AtomicBool::new(false));
                let (door, end) = (door.clone(), ended.clone());
                let clock = thread::spawn(move || {
                    while !end.load(Ordering::SeqCst) {
                        door.pass(Duration::from_millis(1));
                        thread::yield_now();
                    }
                });
                (clock, ended)
            };
            let mut answers = Vec::new();
            let closes_early = by_chance();
            if closes_early {
                shared.queue.stop();
            }
            for caller in callers {
                answers.push(caller.join().expect("no panic"));
            }
            shared.queue.stop();
            let workers = std::mem::take(&mut *shared.threads.0.lock().unwrap());
            assert!(workers.len() <= 1);
            for worker in workers {
                worker.join().expect("no panic");
            }
            clock.1.store(true, Ordering::SeqCst);
            clock.0.join().expect("no panic");
            let done = shared.done.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, answer) in answers {
                let times = done.get(&AttemptId([at; 16])).copied().unwrap_or_default();
                match answer.map(|answer| match answer {
                    Answer::Outcomes(mut outcomes) => outcomes.pop(),
                    _ => panic!("an answer of another kind"),
                }) {
                    Ok(Some(Outcome::Applied(_))) => assert_eq!(times, 1),
                    Ok(Some(Outcome::NotApplied(_))) => assert_eq!(times, 0, "done after all"),
                    Ok(Some(Outcome::Unknown(_))) => assert!(times <= 1),
                    Err(_) => assert!(closes_early && times == 0),
                    other => panic!("{other:?}"),
                }
            }
        });
    }
}
