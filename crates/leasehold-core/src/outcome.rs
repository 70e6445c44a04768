//! From a store's outcome to a known one: *unknown is not failure, and not success*.

use std::time::Duration;

use crate::door::DoorExt;
use crate::error::{Error, ErrorKind};
use crate::manager::Core;
use crate::mutants::{Mutant, mutant};
use crate::record::AttemptId;
use crate::store::{Applied, Change, Expect, Outcome, Seen};
use crate::time::BootInstant;
use crate::timing::{request_limit, request_part};

/// What became of a change, after all that could be done to find out.
#[derive(Debug)]
pub(crate) enum Resolved {
    Applied(Applied),
    Refused(Option<Seen>),
    NotApplied(Error),
    Unknown(Error),
}

impl Core {
    /// Sends a change and resolves its outcome. While it is unknown the same attempt is sent again, before `last_send`
    /// only (the first send's deadline): the attempt names what it replaces, so it is applied at most once.
    pub(crate) async fn resolve(&self, change: Change, last_send: BootInstant) -> Resolved {
        let outcome = self
            .batch
            .one(change.clone(), self.request_until(last_send))
            .await;
        if mutant(Mutant::AmbiguousAcquireIsFailure)
            && let (Expect::Vacant(_), Outcome::Unknown(error)) = (change.expect(), &outcome)
        {
            return Resolved::NotApplied(error.duplicate());
        }
        self.resolve_from(outcome, change, last_send, last_send)
            .await
    }

    /// As [`Core::resolve`], the first outcome being known already. `useful` is until when a success still helps: up to
    /// there nothing is left untried.
    pub(crate) async fn resolve_from(
        &self,
        outcome: Outcome,
        change: Change,
        useful: BootInstant,
        last_send: BootInstant,
    ) -> Resolved {
        // Nothing was sent before, so what is known now is final.
        let (attempt, period) = (change.attempt(), change.record().period);
        let mut unknown = match known(outcome, attempt, period) {
            Ok(resolved) => return resolved,
            Err(error) => error,
        };
        tracing::debug!(name = %change.name(), attempt = %change.attempt(), %unknown, "outcome unknown, resolving");
        let mut pause = Duration::from_millis(5);
        let last_send = if mutant(Mutant::ResendAfterDeadline) {
            last_send.plus(self.timeout).plus(self.timeout)
        } else {
            last_send
        };
        loop {
            let jittered = pause.mul_f64(0.5 + self.door.chance());
            pause = (pause * 2).min(Duration::from_secs(1));
            let now = self.door.now();
            let moment = Duration::from_millis(1);
            let mut left = last_send.since(now);
            let least = if mutant(Mutant::UnknownIsGivenUpEarly) {
                jittered
            } else {
                moment
            };
            if left < least {
                return Resolved::Unknown(unknown);
            }
            if useful.since(now) >= moment {
                left = left.min(useful.since(now));
            }
            // Until the last moment that counts: what is left is halved rather than given up.
            let again = now.plus(jittered.min(left / 2));
            self.door.sleep_until(again).await;
            let outcome = self
                .batch
                .one(change.clone(), self.part_until(useful, last_send))
                .await;
            match known(outcome, attempt, period) {
                // This send was not applied; the earlier one still may be.
                Ok(Resolved::NotApplied(error)) | Err(error) => unknown = error,
                Ok(Resolved::Refused(found)) if may_yet_be_vacant(&change, found.as_ref()) => {}
                Ok(resolved) => return resolved,
            }
        }
    }

    /// Until when one request may take: half the operation's time-out, and not past the last useful moment.
    pub(crate) fn request_until(&self, last_send: BootInstant) -> BootInstant {
        let now = self.door.now();
        let least = now.plus(Duration::from_millis(5));
        now.plus(request_limit(self.timeout))
            .min(last_send)
            .max(least)
    }

    /// The same for a request that is not the only one in its time: where it hangs, half of what is left is left for the
    /// next one. Little is not halved, as a slow registry's answers would never be waited for.
    pub(crate) fn part_until(&self, useful: BootInstant, last_send: BootInstant) -> BootInstant {
        let now = self.door.now();
        let left = useful.since(now);
        if left.is_zero() || mutant(Mutant::OneRequestTakesAllTheTime) {
            return self.request_until(last_send);
        }
        self.request_until(last_send.min(now.plus(request_part(left))))
    }
}

/// What the outcome of one send says, or why it says nothing. A refusal whose found record shows this attempt's id is
/// a success: an earlier send of it was applied.
pub(crate) fn known(
    outcome: Outcome,
    attempt: AttemptId,
    period: Option<Duration>,
) -> Result<Resolved, Error> {
    Ok(match outcome {
        Outcome::Refused { found: Some(found) }
            if shows(&found, attempt) && !mutant(Mutant::AttemptNotRecognised) =>
        {
            Resolved::Applied(Applied {
                index: found.index,
                // A record's lengths may have been rounded up.
                granted: found.record.period.min(period).unwrap_or_default(),
                counted_from: None,
                extended: true,
                wait: found.wait,
            })
        }
        Outcome::Applied(applied) => Resolved::Applied(applied),
        Outcome::Refused { found } => Resolved::Refused(found),
        Outcome::NotApplied(error) => Resolved::NotApplied(error),
        Outcome::Unknown(error) => return Err(error),
    })
}

/// Whether a refusal says nothing about earlier sends of a change: the vacancy that it names still stands and is none for
/// the moment (the registry's clock was set back), so an earlier send that arrives later may be applied. What has moved on never comes back. A grant that has
/// run out may be one again, where a registry that starts anew times it anew; but what is left then of a late renewal,
/// steal or release nobody believes, and it runs out by itself: the sooner answer is worth more.
fn may_yet_be_vacant(change: &Change, found: Option<&Seen>) -> bool {
    if mutant(Mutant::EarlyRefusalDecides) {
        return false;
    }
    change.expect() == Expect::Vacant(found.map(|seen| seen.index))
}

pub(crate) fn shows(seen: &Seen, attempt: AttemptId) -> bool {
    seen.record.attempt == Some(attempt)
}

/// The error of an outcome that stayed unknown.
pub(crate) fn unknown(error: Error, consequence: &str) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        format!("{error}; whether it was applied is unknown: {consequence}"),
    )
    .with_source(error)
}
