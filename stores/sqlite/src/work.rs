//! Work that could not be done at once, because somebody else had the lock, and the thread that tries it again.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use leasehold_core::store::{Change, Outcome, Page, Seen};
use leasehold_core::{BootInstant, Error, ErrorKind, LeaseName, Prefix};
use tokio::sync::oneshot;

use crate::fault::Fault;
use crate::store::Shared;
use crate::sync::{AtomicU8, Condvar, Mutex, MutexGuard, Ordering};

/// The first wait for a lock.
const LEAST_WAIT: Duration = Duration::from_micros(50);
/// The longest.
const MOST_WAIT: Duration = Duration::from_millis(2);

/// An operation.
#[derive(Debug)]
pub(crate) enum Ask {
    Get(LeaseName),
    List(Prefix, Option<LeaseName>, usize),
    Apply(Vec<Change>),
}

/// Its answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Seen(Option<Seen>),
    Page(Page),
    Outcomes(Vec<Outcome>),
}

/// Whose turn a job is: exactly one of the worker, and the caller who gives up, decides what becomes of it.
#[derive(Debug, Default)]
struct Turn(AtomicU8);

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const ENDED: u8 = 2;

impl Turn {
    fn turn(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// True: it will never run again.
    fn give_up(&self) -> bool {
        self.turn(QUEUED, ENDED)
    }
}

#[derive(Debug)]
struct Job {
    ask: Ask,
    since: BootInstant,
    until: BootInstant,
    turn: Arc<Turn>,
    reply: oneshot::Sender<Result<Answer, Error>>,
}

/// The jobs that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: Vec<Job>,
    running: bool,
    stopped: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the worker once it has done what waits or may not wait longer.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.wake.notify_all();
    }
}

/// Leaves an operation to the worker and waits for its answer until then. What was not begun by then never is, and that
/// is said; what is being done at that moment has an unknown outcome.
pub(crate) async fn wait(
    shared: &Arc<Shared>,
    ask: Ask,
    until: BootInstant,
) -> Result<Answer, Error> {
    let since = shared.door.now();
    let turn = Arc::<Turn>::default();
    let (reply, answer) = oneshot::channel();
    // What a refusal has to look like, once the job has gone to the worker.
    let changes = match &ask {
        Ask::Apply(changes) => Some(changes.len()),
        Ask::Get(_) | Ask::List(..) => None,
    };
    let late = |known: bool| match changes {
        None => Err(shared.locked_for(since)),
        Some(count) if known => Ok(Answer::Outcomes(
            (0..count)
                .map(|_| Outcome::NotApplied(shared.locked_for(since)))
                .collect(),
        )),
        Some(count) => Ok(Answer::Outcomes(unknown(count, &shared.path))),
    };
    let job = Job {
        ask,
        since,
        until,
        turn: turn.clone(),
        reply,
    };
    submit(shared, job);
    let mut answer = answer;
    // A job that runs at that very moment is given a moment more.
    for at in [until, until.plus(Duration::from_millis(20))] {
        match select(answer, shared.door.sleep_until(at)).await {
            Either::Left((Ok(answer), _)) => return answer,
            Either::Left((Err(_), _)) => return late(turn.give_up()),
            Either::Right(((), _)) if turn.give_up() => return late(true),
            Either::Right(((), waiting)) => answer = waiting,
        }
    }
    match answer.now_or_never() {
        Some(Ok(answer)) => answer,
        _ => late(turn.give_up()),
    }
}

/// Hands a job to the worker, which is started by the first.
fn submit(shared: &Arc<Shared>, job: Job) {
    let mut state = shared.queue.lock();
    if state.stopped {
        drop(job.reply.send(Err(shared.closed())));
        return;
    }
    if !state.running {
        let worker = shared.clone();
        if let Err(error) = shared
            .threads
            .start("leasehold-sqlite", move || run(&worker))
        {
            drop(job.reply.send(Err(error)));
            return;
        }
        state.running = true;
    }
    state.jobs.push(job);
    shared.queue.wake.notify_one();
}

fn run(shared: &Arc<Shared>) {
    let mut waiting: Vec<Job> = Vec::new();
    let mut wait = LEAST_WAIT;
    loop {
        {
            let mut state = shared.queue.lock();
            if state.jobs.is_empty() {
                if waiting.is_empty() {
                    if state.stopped {
                        state.running = false;
                        return;
                    }
                    wait = LEAST_WAIT;
                    state = shared
                        .queue
                        .wake
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                } else {
                    let nap = shared.jittered(wait);
                    wait = (wait * 2).min(MOST_WAIT);
                    state = shared
                        .queue
                        .wake
                        .wait_timeout(state, nap)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
            if state.stopped {
                // Closing: nobody may wait for another process's lock any longer.
                for job in waiting.iter_mut().chain(&mut state.jobs) {
                    job.until = job.until.min(shared.door.now());
                }
            }
            waiting.append(&mut state.jobs);
        }
        let before = waiting.len();
        // Writes wait for one lock: after the first that did not get it the others need not try.
        let mut locked = false;
        waiting = waiting
            .into_iter()
            .filter_map(|job| attempt(shared, job, &mut locked))
            .collect();
        if waiting.len() < before {
            wait = LEAST_WAIT;
        }
    }
}

/// Tries a job; gives it back if it has to wait.
fn attempt(shared: &Arc<Shared>, job: Job, locked: &mut bool) -> Option<Job> {
    let is_write = matches!(job.ask, Ask::Apply(_));
    if is_write && *locked && shared.door.now() < job.until {
        return Some(job);
    }
    if !job.turn.turn(QUEUED, RUNNING) {
        return None;
    }
    let answer = shared.run(&job.ask);
    let answer = match answer {
        Ok(answer) => Ok(answer),
        Err(Fault::Failed(failure)) => refuse(&job.ask, || failure.error()),
        Err(Fault::Busy) => {
            *locked |= is_write;
            let now = shared.door.now();
            if now < job.until {
                job.turn.0.store(QUEUED, Ordering::SeqCst);
                return Some(job);
            }
            refuse(&job.ask, || shared.locked_for(job.since))
        }
    };
    job.turn.0.store(ENDED, Ordering::SeqCst);
    drop(job.reply.send(answer));
    None
}

/// A failure that changed nothing, in the form of the operation's answer.
pub(crate) fn refuse(ask: &Ask, error: impl Fn() -> Error) -> Result<Answer, Error> {
    match ask {
        Ask::Get(_) | Ask::List(..) => Err(error()),
        Ask::Apply(changes) => Ok(Answer::Outcomes(
            changes
                .iter()
                .map(|_| Outcome::NotApplied(error()))
                .collect(),
        )),
    }
}

/// The outcome of a change that was being made when its time was over.
pub(crate) fn unknown(count: usize, path: &std::path::Path) -> Vec<Outcome> {
    (0..count)
        .map(|_| {
            Outcome::Unknown(Error::new(
                ErrorKind::OutcomeUnknown,
                format!(
                    "the time was over while {} was being written",
                    path.display()
                ),
            ))
        })
        .collect()
}
