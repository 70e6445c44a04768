//! `leasehold run`: acquire, run the command, renew meanwhile, release when its work has ended, exit with its status.

mod child;
mod group;
mod plan;
mod signals;
mod supervise;

use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold::{Held, LockAttempt, Manager};

use crate::args::Run;
use crate::duration::human;
use crate::exit::{Failure, LOST, OWN_FAILURE, TIME_LIMIT, USAGE, sentence};
use crate::verbs::{Context, busy, not_acquired, obtain};
use child::Child;
use signals::Signals;
use supervise::Ending;

/// The least period: the moments at which a command is ended before its deadline need room.
const LEAST_PERIOD: Duration = Duration::from_secs(3);
/// How long an acquisition that was interrupted may take to be undone.
const UNDO: Duration = Duration::from_secs(1);

pub(crate) async fn run(context: &Context, args: Run) -> Result<u8, Failure> {
    if args.period < LEAST_PERIOD {
        return Err(Failure::new(
            USAGE,
            format!(
                "--period {}: `run` needs 3s at least, to end the command in time if the lease is lost",
                human(args.period)
            ),
        ));
    }
    let manager = context.open_for(&args.lessee).await?;
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(OWN_FAILURE, format!("cannot listen to signals: {error}")))?;
    let held = match acquire(context, &manager, &args, &mut signals).await? {
        Ok(held) => held,
        Err(code) => return Ok(code),
    };
    // The command may be started late (the process was stopped after the answer): then it is not started.
    if !held.is_current() {
        return Err(Failure::new(
            LOST,
            format!("{} was lost before the command was started", args.name),
        ));
    }
    let child = match Child::spawn(&args, &manager, held.fence()) {
        Ok(child) => child,
        Err(failure) => {
            give_back(context, held).await;
            return Err(failure);
        }
    };
    let ending = supervise::supervise(context, &manager, &held, child, &mut signals, &args).await?;
    finish(context, held, &ending).await
}

/// The lease; or the exit status where a signal came first.
async fn acquire(
    context: &Context,
    manager: &Manager,
    args: &Run,
    signals: &mut Signals,
) -> Result<Result<Held, u8>, Failure> {
    let lock = args.lessee.lock(manager, args.name.as_str(), args.period);
    let attempt = {
        let attempt = std::pin::pin!(obtain(&lock, args.wait, context.output));
        let signal = std::pin::pin!(signals.next());
        match select(attempt, signal).await {
            Either::Left((attempt, _)) => attempt,
            Either::Right((signal, _)) => {
                context
                    .output
                    .notice(&format!("{}: stopped waiting", args.name));
                return Ok(Err(interrupted(manager, signal.number).await));
            }
        }
    };
    match attempt {
        Ok(LockAttempt::Held(held)) => Ok(Ok(held)),
        Ok(LockAttempt::Busy(found)) => Err(busy(manager, &found, args.conflict_exit)),
        Ok(LockAttempt::Skipped(skipped)) => {
            Err(Failure::answer(args.conflict_exit, skipped.to_string()))
        }
        Err(error) => Err(not_acquired(manager, error)),
    }
}

/// What was under way is undone: an acquire that nobody waits for any more is released.
async fn interrupted(manager: &Manager, signal: i32) -> u8 {
    // What could not be undone in time runs out by itself within a period.
    _ = manager.shutdown(UNDO).await;
    128 + u8::try_from(signal).unwrap_or_default()
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
    let code = ending.code;
    let lost = |why: &str| {
        Err(Failure::new(
            LOST,
            format!("{name} was lost: {why}; the command {}", ending.how),
        ))
    };
    if let Some(why) = &ending.lost {
        // It may be ours still: it was about to be lost when the command was ended.
        if held.is_current() {
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
    if ending.timed_out {
        return Err(Failure::new(
            TIME_LIMIT,
            format!("the command ran into its time limit and {}", ending.how),
        ));
    }
    Ok(code)
}
