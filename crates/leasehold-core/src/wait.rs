//! How somebody waits for a lock: in a line with the others of the manager, and woken by the store's signals.

use std::time::Duration;

use futures_util::future::{Either, select};

use crate::belief::Term;
use crate::door::{DoorExt, until};
use crate::error::{Error, ErrorKind, Result};
use crate::line::{Place, Told};
use crate::lock::{Lock, LockAttempt};
use crate::manager::Vacancy;
use crate::name::LeaseName;
use crate::record::{AttemptId, Record};
use crate::request::Busy;
use crate::status::Status;
use crate::store::{Scope, Seen};
use crate::time::BootInstant;

/// The least time for the first try.
const FIRST_TRY: Duration = Duration::from_secs(1);
/// The net under lost notifications: a waiter tries again this often.
const RE_TRY: Duration = Duration::from_secs(30);
/// The first pause after a failure.
const PAUSE: Duration = Duration::from_millis(10);

impl Lock {
    /// Waits one's turn in the line, then for the name, until then at most.
    pub(crate) async fn wait(&self, at: BootInstant) -> Result<LockAttempt> {
        let core = &self.manager().core;
        // Bad input is told at once, however long the line is.
        let (name, _) = core.check("acquire", self.request().clone())?;
        let door = &core.door;
        core.usable()
            .map_err(|error| error.during("acquire", Some(&name)))?;
        let now = door.now();
        let rest = core.lines.rest(&name, now);
        let mut place = core.lines.enter(&name);
        // However short the wait, one try is made in earnest.
        let earnest = at.max(now.plus(FIRST_TRY));
        if until(door, at, place.first()).await.is_none() {
            match until(door, earnest, place.first_or_told()).await {
                // Those before have gone just now.
                Some(None) => {}
                Some(Some(told)) => return told.answer.map(LockAttempt::Busy),
                None => return Err(unanswered(&name)),
            }
        }
        // From before the first try, so that no release falls between.
        place.subscribe(|| core.store.watch(Scope::Name(name.clone())));
        if let Some(rest) = rest.filter(|rest| door.now() < *rest) {
            door.sleep_until(rest.min(at)).await;
        }
        let attempt = self.wait_as_first(&mut place, &name, at, earnest).await;
        if let Ok(LockAttempt::Held(held)) = &attempt {
            // The next one in the line need not ask.
            let answer = Ok(Busy {
                status: granted(held.own_term()),
            });
            let at = door.now();
            place.tell(Told { answer, at });
        }
        attempt
    }

    /// Whoever is the first of the line waits for the name.
    async fn wait_as_first(
        &self,
        place: &mut Place,
        name: &LeaseName,
        at: BootInstant,
        earnest: BootInstant,
    ) -> Result<LockAttempt> {
        let core = &self.manager().core;
        let door = &core.door;
        let mut pause = PAUSE;
        let mut bound = earnest;
        // Whoever comes first of all tries at once.
        let mut first = !place.is_told();
        let mut known = place.fresh();
        let mut holder: Option<Busy> = None;
        let mut woken = door.now();
        loop {
            let seen_at = known.as_ref().map(|told| told.at);
            let tried = match known.take() {
                Some(told) => {
                    let tried = async { self.taken_over(told.answer?).await };
                    until(door, bound, tried).await
                }
                None => {
                    place.stale();
                    until(door, bound, self.try_again(name, &mut first)).await
                }
            };
            bound = at;
            let tried = tried.unwrap_or_else(|| match holder.clone() {
                // The last answer that there was time for.
                Some(busy) => Ok(LockAttempt::Busy(busy)),
                None => Err(unanswered(name)),
            });
            let now = door.now();
            if let Some(before) = &holder {
                let follows = |fence: u64| fence != before.status().fence();
                match &tried {
                    Ok(LockAttempt::Held(held)) => {
                        let begin = held.own_term().begin().unwrap_or(now);
                        core.meters.vacant(begin.since(woken));
                    }
                    Ok(LockAttempt::Busy(busy)) if follows(busy.status().fence()) => {
                        core.meters.vacant(now.since(woken));
                    }
                    _ => {}
                }
            }
            let (answer, wake) = match tried {
                Ok(LockAttempt::Busy(busy)) => {
                    pause = PAUSE;
                    holder = Some(busy.clone());
                    let left = busy.left().unwrap_or(RE_TRY).min(RE_TRY);
                    let wake = seen_at.unwrap_or(now).plus(left);
                    (Ok(busy), wake)
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        // Expired: it was granted, and that was known too late. It was given back.
                        ErrorKind::Unavailable | ErrorKind::OutcomeUnknown | ErrorKind::Expired
                    ) =>
                {
                    holder = None;
                    let wake = now.plus(pause.mul_f64(0.5 + door.chance()));
                    pause = (pause * 2).min(Duration::from_secs(1));
                    core.usable()?;
                    (Err(error), wake)
                }
                other => return other,
            };
            let told = Told {
                answer,
                at: seen_at.unwrap_or(now),
            };
            if door.now() >= at {
                place.tell(told.clone());
                return told.answer.map(LockAttempt::Busy);
            }
            let failed = told.answer.is_err();
            place.tell(told);
            let timer = door.sleep_until(wake.min(at));
            let ended = {
                let signal = std::pin::pin!(place.signal());
                match select(signal, timer).await {
                    // After a failure only the pause helps, and a closed store's stream is over.
                    Either::Left((signal, timer)) if failed || signal.is_none() => Some(timer),
                    _ => None,
                }
            };
            // Whatever becomes of this call: what was signalled has to be looked at.
            place.stale();
            if let Some(timer) = ended {
                timer.await;
            }
            woken = door.now();
        }
    }

    /// One try of somebody who waits. Whoever was woken looks first: a read costs the registry less than a change that it
    /// refuses, and tells which vacancy is to be named.
    async fn try_again(&self, name: &LeaseName, first: &mut bool) -> Result<LockAttempt> {
        if std::mem::take(first) {
            return self.try_acquire().await;
        }
        let core = &self.manager().core;
        if let Some(seen) = core.get("acquire", name).await? {
            let judged = seen.record.judged();
            judged.map_err(|error| error.during("acquire", Some(name)))?;
            if !seen.is_vacant() {
                let status = Status::new(name.clone(), seen);
                return self.taken_over(Busy { status }).await;
            }
            core.remember(name, Vacancy::of(&seen));
        }
        self.try_acquire().await
    }
}

/// What the registry holds of a term that was just granted.
fn granted(term: &Term) -> Status {
    let left = Some(term.remaining());
    let wait = term.begin().map(|begin| begin.since(term.door().now()));
    let state = term.locked();
    let record = Record {
        fence: Some(term.fence()),
        period: Some(state.period),
        attempt: None,
        ..Record::new(state.body.clone(), AttemptId([0; 16]))
    };
    let seen = Seen {
        index: state.index,
        record,
        wait: wait.unwrap_or_default(),
        left,
    };
    Status::new(term.name().clone(), seen)
}

/// The error where the registry has said nothing at all.
fn unanswered(name: &LeaseName) -> Error {
    let message =
        "the registry did not answer within the time to wait; what was asked for is given back";
    Error::new(ErrorKind::Unavailable, message).during("acquire", Some(name))
}
