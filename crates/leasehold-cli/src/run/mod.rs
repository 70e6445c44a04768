//! `leasehold run`: acquire, run the command, renew meanwhile, release when nothing of it is left, exit with its status.

mod attend;
mod guard;
mod lead;
mod notify;
mod report;
mod signals;
mod status;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold::{BootInstant, Held, KeepAlive, LockAttempt, Manager};

use crate::args::{Run, Work};
use crate::duration::human;
use crate::exit::{CONFIGURATION, Failure, LOST, OWN_FAILURE, TIME_LIMIT, USAGE, sentence};
use crate::guardian::{KILL_MARGIN, Order, Report as Told, is_proc_ours, notice};
use crate::verbs::{Context, busy, not_acquired, obtain};
use attend::{Attend, Ending};
use guard::Guard;
pub(crate) use lead::lead;
use notify::Notify;
use report::Report;
use signals::Signals;

/// The least period: the moments at which a command is ended before its deadline need room.
const LEAST_PERIOD: Duration = Duration::from_secs(3);
/// How long an acquisition that was interrupted may take to be undone.
const UNDO: Duration = Duration::from_secs(1);

/// What `run` begins with, before there is any other thread.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The guardian's socket: it gets ready while the registry is asked.
    guard: std::io::Result<OwnedFd>,
    report: Report,
}

/// Begins; nothing else may have begun in this process.
pub(crate) fn begin(args: &Run, store: Option<&OsStr>) -> Result<Begun, Failure> {
    args.work.check()?;
    // First: the command must not have its descriptor.
    let report = Report::open(args.report, args.name.as_str())?;
    let guard = Guard::fork(args.name.as_str(), &args.work, store);
    Ok(Begun { guard, report })
}

pub(crate) async fn run(
    context: &Context,
    args: Run,
    begun: Result<Begun, Failure>,
) -> Result<u8, Failure> {
    let Begun { guard, mut report } = begun?;
    let guard = Guard::forked(guard);
    let result = one(context, &args, guard, &mut report).await;
    if let Err(failure) = report.write(&result) {
        context.output.warning(failure.message());
    }
    result
}

/// The registry; or the signal that came while it was opened.
async fn open(
    context: &Context,
    work: &Work,
    signals: &mut Signals,
) -> Result<Either<Manager, i32>, Failure> {
    let opened = std::pin::pin!(context.open_for(&work.lessee));
    let signal = std::pin::pin!(signals.ended());
    match select(opened, signal).await {
        Either::Left((opened, _)) => opened.map(Either::Left),
        Either::Right((signal, _)) => Ok(Either::Right(signal.number)),
    }
}

/// The exit status of whoever a signal ended.
fn by_signal(signal: i32) -> u8 {
    128 + u8::try_from(signal).unwrap_or_default()
}

async fn one(
    context: &Context,
    args: &Run,
    guard: Result<Guard, Failure>,
    report: &mut Report,
) -> Result<u8, Failure> {
    let mut guard = guard?;
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(OWN_FAILURE, format!("cannot listen to signals: {error}")))?;
    let manager = match open(context, &args.work, &mut signals).await? {
        Either::Left(manager) => manager,
        Either::Right(signal) => return Ok(by_signal(signal)),
    };
    let held = match acquire(context, &manager, args, &guard, &mut signals, report).await? {
        Ok(held) => held,
        Err(code) => return Ok(code),
    };
    report.acquired(&held);
    let job = Job {
        context,
        manager: &manager,
        held: &held,
        work: &args.work,
        limit: args.time_limit,
        began: manager.door().now(),
    };
    let ending = match job.work(&mut guard, &mut signals).await {
        Ok(ending) => ending,
        Err(failure) => {
            give_back(context, held).await;
            return Err(failure);
        }
    };
    report.ended(&ending);
    finish(context, held, &ending).await
}

impl Work {
    /// What no parser can see.
    fn check(&self) -> Result<(), Failure> {
        let wrong = |message| Err(Failure::new(USAGE, message));
        if self.period < LEAST_PERIOD {
            return wrong(format!(
                "--period {}: 3s at least are needed, to end the command in time if the lease is lost",
                human(self.period)
            ));
        }
        if self.grace.is_some_and(|grace| grace > self.period / 2) {
            return wrong(format!(
                "--grace {}: half of the period at most ({}), because renewals need the rest",
                human(self.grace.unwrap_or_default()),
                human(self.period / 2)
            ));
        }
        let least = self.notice() + KILL_MARGIN;
        if self.max_hold.is_some_and(|limit| limit <= least) {
            return wrong(format!(
                "--max-hold {}: more than {} are needed, for the command to end in",
                human(self.max_hold.unwrap_or_default()),
                human(least)
            ));
        }
        if !is_proc_ours() {
            return Err(Failure::new(
                CONFIGURATION,
                "/proc is not that of this process's namespace, so nobody could tell what the command starts: mount it",
            ));
        }
        Ok(())
    }

    /// How long before its deadline the command is told to end.
    fn notice(&self) -> Duration {
        self.grace.unwrap_or_else(|| notice(self.period))
    }

    /// How the lease is kept alive.
    fn keep_alive(&self) -> KeepAlive {
        let mut options = KeepAlive::new().grace(self.notice());
        if let Some(limit) = self.max_hold {
            options = options.max_hold(limit);
        }
        if let Some(limit) = self.watchdog {
            options = options.progress_within(limit);
        }
        options
    }
}

/// The lease; or the exit status where a signal came first.
async fn acquire(
    context: &Context,
    manager: &Manager,
    args: &Run,
    guard: &Guard,
    signals: &mut Signals,
    report: &mut Report,
) -> Result<Result<Held, u8>, Failure> {
    let work = &args.work;
    let mut lock = work
        .lessee
        .lock(manager, args.name.as_str(), work.period)
        .take_over(work.take_over.into())
        .keep_alive(work.keep_alive());
    if let Some(period) = args.once_per {
        lock = lock.once_per(period);
    }
    let attempt = {
        let attempt = std::pin::pin!(obtain(manager, &lock, args.wait, context.output));
        let signal = std::pin::pin!(signals.ended());
        match select(attempt, signal).await {
            Either::Left((attempt, _)) => Either::Left(attempt),
            Either::Right((signal, _)) => Either::Right(signal.number),
        }
    };
    let attempt = match attempt {
        Either::Left(attempt) => attempt,
        Either::Right(signal) => {
            return Ok(Err(interrupted(
                context,
                manager,
                args.name.as_str(),
                signal,
            )
            .await));
        }
    };
    let held = match attempt {
        Ok(LockAttempt::Held(held)) => held,
        Ok(LockAttempt::Busy(found)) => {
            report.refused("busy");
            return Err(busy(manager, &found, args.conflict_exit));
        }
        // What this very invocation asked for is no conflict.
        Ok(LockAttempt::Skipped(skipped)) => {
            report.refused("skipped");
            return Err(Failure::answer(0, skipped.to_string()));
        }
        Err(error) => return Err(not_acquired(manager, error)),
    };
    match begun(&held, guard, signals).await {
        Either::Left(Ok(())) => Ok(Ok(held)),
        Either::Left(Err(error)) => Err(Failure::from(error)),
        Either::Right(signal) => Ok(Err(interrupted(
            context,
            manager,
            args.name.as_str(),
            signal,
        )
        .await)),
    }
}

/// A lease that was taken over begins when the term before it has been waited out; unless a signal comes first.
async fn begun(
    held: &Held,
    guard: &Guard,
    signals: &mut Signals,
) -> Either<leasehold::Result<()>, i32> {
    // From now on the guardian gives it back, if nobody else does.
    guard.tell(&Order::Granted(held.fence()));
    let term = held.term();
    let begun = std::pin::pin!(term.begun());
    let signal = std::pin::pin!(signals.ended());
    match select(begun, signal).await {
        Either::Left((begun, _)) => Either::Left(begun),
        Either::Right((signal, _)) => Either::Right(signal.number),
    }
}

/// What was under way is undone: an acquire that nobody waits for any more is released.
async fn interrupted(context: &Context, manager: &Manager, name: &str, signal: i32) -> u8 {
    context.output.notice(&format!("{name}: stopped waiting"));
    // What could not be undone in time runs out by itself within a period.
    _ = manager.shutdown(UNDO).await;
    by_signal(signal)
}

/// A command under a lease that is held.
struct Job<'a> {
    context: &'a Context,
    manager: &'a Manager,
    held: &'a Held,
    work: &'a Work,
    limit: Option<Duration>,
    began: BootInstant,
}

impl Job<'_> {
    /// Runs it until nothing of it is left. When this fails the command has not begun.
    async fn work(&self, guard: &mut Guard, signals: &mut Signals) -> Result<Ending, Failure> {
        if self.work.strict {
            let report = {
                let report = std::pin::pin!(guard.next());
                match select(report, std::pin::pin!(signals.ended())).await {
                    Either::Left((report, _)) => report,
                    Either::Right((signal, _)) => {
                        return Err(Failure::silent(by_signal(signal.number)));
                    }
                }
            };
            self.level(report.as_ref())?;
        }
        let notify = Notify::open(&self.held.term().machine_id(), self.work.watchdog.is_some());
        let notify = notify.map_err(|error| {
            Failure::new(
                OWN_FAILURE,
                format!("cannot listen to the command: {error}"),
            )
        })?;
        Attend {
            job: self,
            notify: notify.as_ref(),
        }
        .attend(guard, signals)
        .await
    }

    /// With what means the guardian watches: told, and refused where it is too weak.
    fn level(&self, report: Option<&Told>) -> Result<(), Failure> {
        let output = self.context.output;
        match report {
            Some(Told::Ready(Ok(cgroup))) => {
                output.verbose(&format!("guardian: level cgroup, {cgroup}"));
            }
            Some(Told::Ready(Err(why))) if self.work.strict => {
                return Err(Failure::new(
                    CONFIGURATION,
                    format!(
                        "--strict: the command could only be watched as a process tree, because {why}; what becomes \
                         another user could not be killed"
                    ),
                ));
            }
            Some(Told::Ready(Err(why))) => {
                output.verbose(&format!("guardian: level process tree, because {why}"));
            }
            _ => {
                let message = "the guardian has ended before the command began";
                return Err(Failure::new(OWN_FAILURE, message));
            }
        }
        Ok(())
    }
}

/// The command never ran.
async fn give_back(context: &Context, held: Held) {
    if let Err(error) = held.release().await {
        context.output.warning(&sentence(&error));
    }
}

/// Releases, and says how it all went.
async fn finish(context: &Context, held: Held, ending: &Ending) -> Result<u8, Failure> {
    let name = held.name().clone();
    let lost = |why: &str| {
        Err(Failure::new(
            LOST,
            format!("{name} was lost: {why}; the command {}", ending.how),
        ))
    };
    if let Some(why) = &ending.lost {
        // It may be ours still: it was about to be lost when the command was ended.
        if held.is_current() && ending.left.is_none() {
            give_back(context, held).await;
        }
        return lost(why);
    }
    if let Err(error) = held.check() {
        return lost(&sentence(&error));
    }
    let left = held.term().left();
    match held.release().await {
        Ok(()) => {}
        Err(error) if error.is_lost() => return lost(&sentence(&error)),
        Err(error) => context.output.warning(&format!(
            "{}: the command {}, but the lease could not be released: it runs out in {} at most",
            sentence(&error),
            ending.how,
            human(left)
        )),
    }
    if ending.unguarded {
        return Err(Failure::new(
            OWN_FAILURE,
            format!(
                "{name}: the guardian was killed, and so the command {}",
                ending.how
            ),
        ));
    }
    if ending.timed_out {
        return Err(Failure::new(
            TIME_LIMIT,
            format!("the command ran into its time limit and {}", ending.how),
        ));
    }
    Ok(ending.code)
}
