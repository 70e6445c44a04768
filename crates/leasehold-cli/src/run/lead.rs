//! `leasehold lead`: campaign, run the command while leading, campaign again.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold::{BootInstant, Election, Held, Manager};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::attend::Ending;
use super::guard::Guard;
use super::notify::Outer;
use super::signals::Signals;
use super::{Job, begun, by_signal, finish, give_back, interrupted, open};
use crate::args::{Lead, Restart};
use crate::exit::{Failure, LOST, OWN_FAILURE};
use crate::verbs::{Context, not_acquired};

/// The least pause between two terms; twice as long each time, up to a period, while the terms are shorter than that.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn lead(context: &Context, args: Lead) -> Result<u8, Failure> {
    args.work.check()?;
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(OWN_FAILURE, format!("cannot listen to signals: {error}")))?;
    let manager = match open(context, &args.work, &mut signals).await? {
        Either::Left(manager) => manager,
        Either::Right(signal) => return Ok(asked(signal)),
    };
    let starter = Outer::of_this_process()
        .map_err(|error| Failure::new(OWN_FAILURE, format!("$NOTIFY_SOCKET: {error}")))?;
    let candidate = Candidate {
        context,
        manager: &manager,
        args: &args,
        starter,
        led_since: Cell::new(BootInstant::NEVER),
    };
    candidate.tell("READY=1");
    let mut pause = PAUSE;
    loop {
        candidate.led_since.set(BootInstant::NEVER);
        if let Some(code) = candidate.term(&mut signals).await? {
            return Ok(code);
        }
        if manager.door().now().since(candidate.led_since.get()) > args.work.period {
            pause = PAUSE;
        }
        let rest = std::pin::pin!(manager.door().sleep_until(manager.door().now().plus(pause)));
        let signal = std::pin::pin!(signals.ended());
        if let Either::Right((signal, _)) = select(rest, signal).await {
            return Ok(asked(signal.number));
        }
        pause = (pause * 2).min(args.work.period);
    }
}

/// The exit status of a candidate that was told to end: as is usual of services, 0 if in one of the usual ways.
fn asked(signal: i32) -> u8 {
    match signal {
        SIGTERM | SIGINT => 0,
        other => by_signal(other),
    }
}

struct Candidate<'a> {
    context: &'a Context,
    manager: &'a Manager,
    args: &'a Lead,
    starter: Option<Outer>,
    /// Since when this candidate leads, or led last.
    led_since: Cell<BootInstant>,
}

impl Candidate<'_> {
    fn tell(&self, message: &str) {
        if let Some(starter) = &self.starter {
            starter.tell(message);
        }
    }

    /// Tells a starter that wants to hear of it that this candidate is alive, for as long as there is no command to do so.
    async fn alive(&self) -> std::convert::Infallible {
        let interval = std::env::var("WATCHDOG_USEC").ok();
        let interval = interval
            .and_then(|text| text.parse().ok())
            .map(Duration::from_micros);
        let Some(interval) = interval.filter(|_| self.starter.is_some()) else {
            return std::future::pending().await;
        };
        let door = self.manager.door();
        loop {
            self.tell("WATCHDOG=1");
            door.sleep_until(door.now().plus((interval / 2).max(PAUSE)))
                .await;
        }
    }

    fn election(&self) -> Election {
        let work = &self.args.work;
        let mut election = self
            .manager
            .election(self.args.name.as_str())
            .period(work.period)
            .version(work.lessee.lessee_version)
            .take_over(work.take_over.into())
            .keep_alive(work.keep_alive());
        if let Some(note) = &work.lessee.note {
            election = election.note(note);
        }
        if let Some(data) = &work.lessee.data {
            election = election.data(data.clone());
        }
        election
    }

    /// One term, if it comes to one. The exit status, unless another is to be tried for.
    async fn term(&self, signals: &mut Signals) -> Result<Option<u8>, Failure> {
        let name = self.args.name.as_str();
        let mut guard = Guard::new(name, &self.args.work, self.context.store.as_deref())?;
        self.tell(&format!("STATUS=waits for {name}"));
        let held = match self.campaign(signals).await? {
            Either::Left(held) => held,
            Either::Right(signal) => return Ok(Some(asked(signal))),
        };
        match begun(&held, &guard, signals).await {
            Either::Left(Ok(())) => {}
            // It was lost before it began.
            Either::Left(Err(_)) => return Ok(None),
            Either::Right(signal) => {
                interrupted(self.context, self.manager, name, signal).await;
                return Ok(Some(asked(signal)));
            }
        }
        self.led_since.set(self.manager.door().now());
        let fence = held.fence();
        crate::log::began(fence);
        self.context
            .output
            .notice(&format!("{name}: leads, fence {fence}"));
        self.tell(&format!("STATUS=leads {name}, fence {fence}"));
        let job = Job {
            context: self.context,
            manager: self.manager,
            held: &held,
            work: &self.args.work,
            limit: None,
            began: self.led_since.get(),
        };
        let ending = match job.work(&mut guard, signals).await {
            Ok(ending) => ending,
            Err(failure) => {
                give_back(self.context, held).await;
                return Err(failure);
            }
        };
        self.after(held, &ending).await
    }

    /// The lease; or the signal that came first.
    async fn campaign(&self, signals: &mut Signals) -> Result<Either<Held, i32>, Failure> {
        let election = self.election();
        let elected = {
            let campaign = std::pin::pin!(election.campaign());
            let signal = std::pin::pin!(signals.ended());
            let waiting = select(campaign, signal);
            let waited = match select(waiting, std::pin::pin!(self.alive())).await {
                Either::Left((waited, _)) => waited,
                Either::Right((never, _)) => match never {},
            };
            match waited {
                Either::Left((elected, _)) => elected,
                Either::Right((signal, _)) => {
                    let name = self.args.name.as_str();
                    interrupted(self.context, self.manager, name, signal.number).await;
                    return Ok(Either::Right(signal.number));
                }
            }
        };
        elected
            .map(Either::Left)
            .map_err(|error| not_acquired(self.manager, error))
    }

    /// Releases, and decides whether to campaign again.
    async fn after(&self, held: Held, ending: &Ending) -> Result<Option<u8>, Failure> {
        let asked = ending.asked;
        if asked {
            self.tell("STOPPING=1");
        }
        match finish(self.context, held, ending).await {
            _ if asked => Ok(Some(0)),
            Err(failure) if failure.code() == LOST && ending.left.is_none() => {
                self.context.output.message(failure.message());
                Ok(None)
            }
            Err(failure) => Err(failure),
            Ok(code) => {
                let again = match self.args.restart {
                    Restart::Never => false,
                    Restart::OnFailure => code != 0,
                    Restart::Always => true,
                };
                let name = &self.args.name;
                self.context
                    .output
                    .notice(&format!("{name}: the command {}", ending.how));
                Ok((!again).then_some(code))
            }
        }
    }
}
