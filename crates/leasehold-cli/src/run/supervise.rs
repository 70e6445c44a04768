//! Watching over the command and its lease at once.

use std::time::Duration;

use leasehold::{BootInstant, Held, Manager};
use rustix::process::Signal;

use super::child::{self, Child};
use super::plan::{Act, Plan};
use super::signals::{Came, Signals};
use crate::args::Run;
use crate::exit::{Failure, OWN_FAILURE, sentence};
use crate::verbs::Context;

/// How often to look whether what the command left in the background has ended: at first, and at last.
const LOOK: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(250)];

/// How it all ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// The command's exit status.
    pub(super) code: u8,
    /// The same in words.
    pub(super) how: String,
    /// Why the lease was lost, if it was.
    pub(super) lost: Option<String>,
    pub(super) timed_out: bool,
}

/// Returns when nothing of the command is at work any more.
pub(super) async fn supervise(
    context: &Context,
    manager: &Manager,
    held: &Held,
    mut child: Child,
    signals: &mut Signals,
    args: &Run,
) -> Result<Ending, Failure> {
    let door = manager.door();
    let limit = args.time_limit.map(|limit| door.now().plus(limit));
    let mut plan = Plan::new(args.period, limit);
    let mut why: Option<String> = None;
    let mut look = LOOK[0];
    while child.is_at_work() {
        let now = door.now();
        match plan.step(now, held.deadline()) {
            Act::Nothing => {}
            Act::Terminate => {
                if plan.is_lost() {
                    why.get_or_insert_with(|| "it could not be renewed in time".into());
                }
                context.output.message(&format!(
                    "{}: ending the command: {}",
                    args.name,
                    because(&plan, why.as_deref())
                ));
                child.signal(Signal::TERM);
                // A stopped command hears nothing until it is continued.
                child.signal(Signal::CONT);
            }
            Act::Kill => {
                context
                    .output
                    .message(&format!("{}: killing the command", args.name));
                child.signal(Signal::KILL);
            }
        }
        let mut wake = plan.wake(now);
        if child.status().is_some() {
            if look == LOOK[0] {
                context.output.notice(&format!(
                    "the command has ended, but processes that it started have not: {} is kept until they have",
                    args.name
                ));
            }
            wake = wake.min(now.plus(look));
            look = (look * 2).min(LOOK[1]);
        }
        tokio::select! {
            biased;
            status = child.wait(), if child.status().is_none() => {
                if let Err(error) = status {
                    child.signal(Signal::KILL);
                    return Err(Failure::new(OWN_FAILURE, format!("cannot wait for the command: {error}")));
                }
            }
            came = signals.next() => forward(&child, came),
            error = held.lost(), if why.is_none() => {
                why = Some(sentence(&error));
                plan.told(door.now());
            }
            () = sleep(manager, wake) => {}
        }
    }
    let (code, how) = match child.status() {
        Some(status) => (child::code(status), child::how(status)),
        None => (OWN_FAILURE, "ended".into()),
    };
    let lost = plan.is_lost().then(|| {
        why.unwrap_or_else(|| "its deadline has passed without a successful renewal".into())
    });
    Ok(Ending {
        code,
        how,
        lost,
        timed_out: plan.has_timed_out(),
    })
}

fn because<'a>(plan: &Plan, why: Option<&'a str>) -> &'a str {
    match why {
        Some(why) if plan.is_lost() => why,
        _ => "it ran into its time limit",
    }
}

async fn sleep(manager: &Manager, at: BootInstant) {
    manager.door().sleep_until(at).await;
}

fn forward(child: &Child, came: Came) {
    // A key on the terminal has reached the command already.
    if came.from_terminal && child.hears_the_terminal() {
        return;
    }
    if let Some(signal) = came.signal {
        child.signal(signal);
    }
}
