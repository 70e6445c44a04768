//! `leasehold wait`: by the library's watch, which converges on the latest record whatever is lost on the way.

use std::pin::pin;
use std::time::Duration;

use clap::ValueEnum;
use futures_util::future::{Either, pending, select};
use leasehold::{ErrorKind, LeaseName, Status};
use serde_json::Value;

use super::Context;
use super::look::absent;
use crate::args::name;
use crate::duration::{duration, human};
use crate::exit::{BUSY, Failure, UNAVAILABLE, sentence};
use crate::show;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
What is waited for:
  free      an acquire would be granted now: nobody holds it, and no broken term is waited out
  held      somebody holds it
  changed   another term than when the wait began, or an end, or a beginning: a renewal is no change
  --fence   the term of this fence is over: released, run out, stolen or broken

Prints the state that ended the wait, which may be past already: only an acquire makes sure of a name. What began and ended \
between two looks may be missed by `held`, never by `changed` and --fence. While the registry cannot be reached \
it waits on, and says so once.

Exit status 0: it is so. 75: the time has passed. 69: the time has passed, and the registry cannot be reached.")]
pub(crate) struct Wait {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    /// What to wait for
    #[arg(
        long,
        value_name = "STATE",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    until: Until,
    /// Wait until the term of this fence is over, instead
    #[arg(long, value_name = "N", conflicts_with = "until")]
    fence: Option<u64>,
    /// How long to wait at most [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print a JSON object, after the time has passed too: `reached` tells
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Until {
    #[default]
    Free,
    Held,
    Changed,
}

/// How long the last look may take, after the time has passed.
const LAST_LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn wait(context: &Context, args: Wait) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let door = manager.door();
    let mut timer = match args.timeout {
        Some(timeout) => door.sleep_until(door.now().plus(timeout)),
        None => Box::pin(pending()),
    };
    let mut watch = manager.watch(&args.name)?;
    let mut goal = Goal::new(args.until, args.fence);
    let (mut waiting, mut down) = (false, false);
    loop {
        let status = match select(pin!(watch.next()), &mut timer).await {
            Either::Left((Ok(event), _)) => event.status,
            Either::Left((Err(error), _)) if error.kind() == ErrorKind::Unavailable => {
                if !std::mem::replace(&mut down, true) {
                    let error = sentence(&error);
                    context.output.warning(&format!("{error}; trying again"));
                }
                continue;
            }
            Either::Left((Err(error), _)) => return Err(error.into()),
            Either::Right(_) => break,
        };
        if std::mem::take(&mut down) {
            context.output.message("the registry answers again");
        }
        if goal.is_reached(status.as_ref()) {
            told(context, &args, status.as_ref(), true)?;
            return Ok(0);
        }
        if !std::mem::replace(&mut waiting, true) {
            context.output.notice(&format!(
                "waiting until {}: {}",
                goal.words(&args.name),
                state(&args.name, status.as_ref())
            ));
        }
    }
    // Whether the registry can be reached is not known of a watch that has nothing to tell.
    let limit = door.sleep_until(door.now().plus(LAST_LOOK));
    let look = match select(pin!(manager.status(&args.name)), limit).await {
        Either::Left((look, _)) => look.map_err(Failure::from),
        Either::Right(_) => Err(Failure::new(UNAVAILABLE, "no answer")),
    };
    let waited = format!(
        "waited {} until {}",
        human(args.timeout.unwrap_or_default()),
        goal.words(&args.name)
    );
    let status = look.map_err(|failure| {
        let message = format!("{waited}, and then: {}", failure.message());
        Failure::new(failure.code(), message)
    })?;
    let reached = goal.is_reached(status.as_ref());
    if reached || args.json {
        told(context, &args, status.as_ref(), reached)?;
    }
    if reached {
        return Ok(0);
    }
    let state = state(&args.name, status.as_ref());
    Err(Failure::answer(BUSY, format!("{waited}, in vain: {state}")))
}

/// The result: a state as `get --json` tells it, or a sentence.
fn told(
    context: &Context,
    args: &Wait,
    status: Option<&Status>,
    reached: bool,
) -> Result<(), Failure> {
    if !args.json {
        return context.output.line(&state(&args.name, status));
    }
    let mut object = match status {
        Some(status) => show::status(status),
        None => absent(args.name.as_str()),
    };
    object.insert("reached".into(), reached.into());
    context.output.json(&Value::Object(object))
}

fn state(name: &LeaseName, status: Option<&Status>) -> String {
    match status {
        Some(status) => show::sentence(status),
        None => format!("{name} is held by nobody"),
    }
}

/// What of a state decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    held: bool,
    vacant: bool,
    /// None where the registry has no record.
    fence: Option<u64>,
}

impl Look {
    fn at(status: Option<&Status>) -> Self {
        match status {
            Some(status) => Self {
                held: status.is_held(),
                vacant: status.is_vacant(),
                fence: Some(status.fence()),
            },
            None => Self {
                held: false,
                vacant: true,
                fence: None,
            },
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
enum Goal {
    Free,
    Held,
    /// Another term than that of the first look.
    Changed(Option<Look>),
    Over(u64),
}

impl Goal {
    fn new(until: Until, fence: Option<u64>) -> Self {
        match (fence, until) {
            (Some(fence), _) => Self::Over(fence),
            (None, Until::Free) => Self::Free,
            (None, Until::Held) => Self::Held,
            (None, Until::Changed) => Self::Changed(None),
        }
    }

    /// Whether a state ends the wait. The first one is what changes are told from.
    fn is_reached(&mut self, status: Option<&Status>) -> bool {
        self.is_reached_at(Look::at(status))
    }

    fn is_reached_at(&mut self, now: Look) -> bool {
        match self {
            Self::Free => now.vacant,
            Self::Held => now.held,
            Self::Over(fence) => !(now.held && now.fence == Some(*fence)),
            Self::Changed(first) => {
                let first = *first.get_or_insert(now);
                // A record that was cleared away is no news, but one of a later term is: it has ended meanwhile.
                let newer = now.fence.is_some() && now.fence != first.fence;
                now.held != first.held || now.vacant != first.vacant || newer
            }
        }
    }

    fn words(self, name: &LeaseName) -> String {
        match self {
            Self::Free => format!("{name} is free"),
            Self::Held => format!("{name} is held"),
            Self::Changed(_) => format!("{name} changes"),
            Self::Over(fence) => format!("the term of fence {fence} is over"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn held(fence: u64) -> Look {
        Look {
            held: true,
            vacant: false,
            fence: Some(fence),
        }
    }

    const fn vacant(fence: u64) -> Look {
        Look {
            held: false,
            vacant: true,
            fence: Some(fence),
        }
    }

    /// A broken term that is waited out.
    const CLOSED: Look = Look {
        held: false,
        vacant: false,
        fence: Some(7),
    };
    const ABSENT: Look = Look {
        held: false,
        vacant: true,
        fence: None,
    };

    #[track_caller]
    fn reached(mut goal: Goal, looks: &[Look], last: bool) {
        let (end, before) = looks.split_last().unwrap();
        for look in before {
            assert!(!goal.is_reached_at(*look), "{goal:?} by {look:?}");
        }
        assert_eq!(goal.is_reached_at(*end), last, "{goal:?} by {end:?}");
    }

    #[test]
    fn a_name_is_free_when_an_acquire_would_be_granted() {
        reached(Goal::Free, &[held(7), CLOSED, vacant(7)], true);
        reached(Goal::Free, &[ABSENT], true);
        reached(Goal::Held, &[ABSENT, CLOSED, vacant(7), held(9)], true);
    }

    #[test]
    fn a_change_is_another_term_an_end_or_a_beginning() {
        let changed = Goal::Changed(None);
        reached(changed, &[held(7), held(7)], false);
        reached(changed, &[held(7), held(8)], true);
        reached(changed, &[held(7), vacant(7)], true);
        reached(changed, &[held(7), CLOSED], true);
        reached(changed, &[CLOSED, vacant(7)], true);
        reached(changed, &[vacant(7), held(8)], true);
        reached(changed, &[vacant(7), ABSENT], false);
        reached(changed, &[ABSENT, vacant(7)], true);
        // A term came and went between two looks.
        reached(changed, &[vacant(7), vacant(9)], true);
    }

    #[test]
    fn a_term_is_over_when_another_stands_or_none() {
        let over = Goal::Over(7);
        reached(over, &[held(7), held(8)], true);
        reached(over, &[held(7), vacant(7)], true);
        reached(over, &[held(7), CLOSED], true);
        reached(over, &[ABSENT], true);
    }
}
