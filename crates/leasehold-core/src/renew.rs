//! Renew: the change that a term's own lease makes again and again.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::belief::{Renewed, Term};
use crate::door::DoorExt;
use crate::error::{Error, ErrorKind, Result};
use crate::lost::Lost;
use crate::manager::{Core, Kept};
use crate::mutants::{Mutant, mutant};
use crate::outcome::{Resolved, known, unknown};
use crate::record::{AttemptId, Body, Record, check_details};
use crate::request::Changes;
use crate::store::{Applied, Believe, Change, Expect, Outcome, Take};
use crate::time::BootInstant;

/// A renewal's place among those of a batch, and its result.
pub(crate) type Settled = (usize, Result<()>);

/// What a resolved renewal means.
enum Learnt {
    Result(Result<()>),
    /// It was applied with this index, but the term was over before that was known.
    TooLate(u64),
}

/// A renewal that is ready to be sent.
#[derive(Debug)]
struct Renewal {
    take: Take,
    sent: BootInstant,
    /// The deadline if all that was asked for is granted: also when sending again must stop.
    deadline: BootInstant,
}

impl Core {
    pub(crate) async fn renew(
        self: Arc<Self>,
        term: &Term,
        period: Duration,
        changes: Changes,
    ) -> Result<()> {
        let name = term.name().clone();
        let checked = self.check_period(period).and_then(|()| {
            check_details(
                changes.note.as_ref().and_then(|note| note.as_deref()),
                changes.data.as_ref().and_then(|data| data.as_deref()),
            )
        });
        checked
            .and_then(|()| alive(term))
            .map_err(|error| error.during("renew", Some(&name)))?;
        let at = term.deadline().unwrap_or(BootInstant::NEVER);
        let (core, term) = (self.clone(), term.clone());
        self.drive("renew", &name, at, move |progress| async move {
            let _turn = core.names.turn(term.name()).await;
            progress.awaited()?;
            let renewal = core.prepare(&term, period, changes, core.door.attempt_id())?;
            progress.sending();
            let change = Change::Take(renewal.take.clone());
            let until = core.renewal_until(&term, &renewal);
            let outcome = core.batch.one(change, until).await;
            let resolved = core.resolve_renewal(&term, &renewal, outcome).await;
            core.renewed(&term, &renewal, resolved).await
        })
        .await
    }

    /// Renews many terms with as few requests as the store's batches allow. Answered when all is known, by the time-out
    /// or the last deadline of those that are not; what is unknown by then goes on being resolved.
    pub(crate) async fn renew_all(
        self: Arc<Self>,
        terms: Vec<Term>,
        period: Duration,
    ) -> Vec<Result<()>> {
        let begun = self.begin();
        let begun = match begun.and_then(|begun| self.check_period(period).map(|()| begun)) {
            Ok(begun) => begun,
            Err(error) => {
                return terms
                    .iter()
                    .map(|term| Err(error.duplicate().during("renew", Some(term.name()))))
                    .collect();
            }
        };
        let (sender, mut results) = tokio::sync::mpsc::unbounded_channel();
        let mut all: Vec<Option<Result<()>>> = Vec::with_capacity(terms.len());
        all.resize_with(terms.len(), || None);
        let settle = |all: &mut [Option<Result<()>>], settled: Settled| {
            let (place, result) = settled;
            if let Some(slot) = all.get_mut::<usize>(place) {
                *slot = Some(result);
            }
        };
        let timeout = self.door.now().plus(self.timeout);
        let deadline = |term: &Term| term.deadline().unwrap_or(BootInstant::NEVER);
        let last = terms.iter().map(deadline).max();
        let at = timeout.min(last.unwrap_or(BootInstant::ZERO));
        let core = self.clone();
        let renewing = terms.iter().map(|term| (term.clone(), period)).collect();
        let driven = crate::door::Driven::new(&self.door, move |_| async move {
            let _begun = begun;
            core.renew_batch(renewing, sender).await;
        });
        _ = crate::door::until(&self.door, at, driven).await;
        while let Ok(settled) = results.try_recv() {
            settle(&mut all, settled);
        }
        // The rest is being resolved, each by itself.
        let open = terms.iter().zip(&all).filter(|(_, slot)| slot.is_none());
        let at = timeout.min(
            open.map(|(term, _)| deadline(term))
                .max()
                .unwrap_or(BootInstant::ZERO),
        );
        while let Some(Some(settled)) = crate::door::until(&self.door, at, results.recv()).await {
            settle(&mut all, settled);
        }
        let late = || {
            Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "the registry did not answer in time; whether it was applied is unknown and goes on being resolved",
            ))
        };
        let name = |(result, term): (Option<Result<()>>, &Term)| {
            result
                .unwrap_or_else(late)
                .map_err(|error| error.during("renew", Some(term.name())))
        };
        all.into_iter().zip(&terms).map(name).collect()
    }

    /// Renews terms, each to a period, with as few requests as the store's batches allow, and tells each result as soon as
    /// it is known. It ends when all requests were answered; what is unknown by then goes on being resolved.
    pub(crate) async fn renew_batch(
        self: Arc<Self>,
        terms: Vec<(Term, Duration)>,
        results: tokio::sync::mpsc::UnboundedSender<Settled>,
    ) {
        let tell = |place: usize, result: Result<()>| drop(results.send((place, result)));
        let mut terms = terms.into_iter().enumerate().peekable();
        // One request after the other: what one has answered is known before the next one is sent.
        while terms.peek().is_some() {
            let mut turns = Vec::new();
            while turns.len() < self.batch.size() {
                let Some((place, (term, period))) = terms.next() else {
                    break;
                };
                match self.names.try_turn(term.name()) {
                    Some(turn) => turns.push((place, term, period, turn)),
                    // What waits for an earlier change must not hold up the others.
                    None => {
                        let (core, results) = (self.clone(), results.clone());
                        self.door.spawn(Box::pin(async move {
                            let renewed = core.renew(&term, period, Changes::none()).await;
                            drop(results.send((place, renewed)));
                        }));
                    }
                }
            }
            let attempts = self.door.attempt_ids(turns.len());
            let mut ready = Vec::with_capacity(turns.len());
            let mut changes = Vec::with_capacity(turns.len());
            for ((place, term, period, turn), attempt) in turns.into_iter().zip(attempts) {
                match self.prepare(&term, period, Changes::none(), attempt) {
                    Ok(renewal) => {
                        let at = self.renewal_until(&term, &renewal);
                        changes.push((Change::Take(renewal.take.clone()), at));
                        ready.push((place, term, renewal, turn));
                    }
                    Err(error) => tell(place, Err(error)),
                }
            }
            let outcomes = self.batch.many(changes).await;
            for ((place, term, renewal, turn), outcome) in ready.into_iter().zip(outcomes) {
                let unsettled =
                    match known(outcome, renewal.take.attempt, renewal.take.record.period) {
                        Ok(resolved) => match self.learn(&term, &renewal, resolved) {
                            Learnt::Result(result) => {
                                tell(place, result);
                                continue;
                            }
                            Learnt::TooLate(index) => Ok(index),
                        },
                        Err(unknown) => Err(Outcome::Unknown(unknown)),
                    };
                // What takes longer must not hold up the others.
                let (core, results) = (self.clone(), results.clone());
                let span =
                    tracing::debug_span!("leasehold", operation = "renew", name = %term.name());
                let resolving = async move {
                    let _turn = turn;
                    let result = match unsettled {
                        Ok(index) => core.too_late(&term, &renewal, index).await,
                        Err(outcome) => {
                            let resolved = core.resolve_renewal(&term, &renewal, outcome).await;
                            core.renewed(&term, &renewal, resolved).await
                        }
                    };
                    drop(results.send((place, result)));
                };
                self.door.spawn(Box::pin(resolving.instrument(span)));
            }
        }
    }

    /// Makes a term's renewal, and from here on the smaller deadline counts.
    fn prepare(
        &self,
        term: &Term,
        period: Duration,
        changes: Changes,
        attempt: AttemptId,
    ) -> Result<Renewal> {
        alive(term)?;
        let (index, body, hold) = {
            let state = term.locked();
            let Some(hold) = state.hold(period) else {
                return Err(endless());
            };
            (state.index, state.body.clone(), hold)
        };
        self.check_period(period)?;
        self.check_delay(period, body.delay)?;
        // A record that fleet wrote becomes ours by this.
        let same_body = changes.is_none() && body.needs > 0;
        let body = if same_body {
            body
        } else {
            let mut body = Body::clone(&body);
            body.needs = body.needs.max(1);
            body.note = changes.note.unwrap_or(body.note);
            body.data = changes.data.unwrap_or(body.data);
            Arc::new(body)
        };
        let record = Record {
            fence: if mutant(Mutant::RenewDropsFence) {
                None
            } else {
                Some(term.fence())
            },
            period: Some(period),
            ..Record::new(body, attempt)
        };
        let sent = self.door.now();
        let deadline = self.deadline(sent, period, None);
        let expect = Expect::Index(index);
        let name = term.name().clone();
        let take = Take {
            name,
            attempt,
            expect,
            record,
            same_body,
            believe: Believe::Now,
            hold,
            durable: false,
        };
        term.renewing(deadline);
        Ok(Renewal {
            take,
            sent,
            deadline,
        })
    }

    /// Until when its first request may take.
    fn renewal_until(&self, term: &Term, renewal: &Renewal) -> BootInstant {
        let useful = term.deadline().unwrap_or(renewal.deadline);
        self.part_until(useful, renewal.deadline)
    }

    /// A success still helps up to the term's own deadline; later ones are only learnt to be given back.
    async fn resolve_renewal(&self, term: &Term, renewal: &Renewal, outcome: Outcome) -> Resolved {
        match known(outcome, renewal.take.attempt, renewal.take.record.period) {
            Ok(resolved) => resolved,
            Err(error) => {
                if mutant(Mutant::AmbiguousRenewIsLoss) {
                    return Resolved::Refused(None);
                }
                let change = Change::Take(renewal.take.clone());
                let useful = term.deadline().unwrap_or(renewal.deadline);
                let outcome = Outcome::Unknown(error);
                self.resolve_from(outcome, change, useful, renewal.deadline)
                    .await
            }
        }
    }

    async fn renewed(&self, term: &Term, renewal: &Renewal, resolved: Resolved) -> Result<()> {
        match self.learn(term, renewal, resolved) {
            Learnt::Result(result) => result,
            Learnt::TooLate(index) => self.too_late(term, renewal, index).await,
        }
    }

    /// What became of a renewal reaches its term, at once.
    fn learn(&self, term: &Term, renewal: &Renewal, resolved: Resolved) -> Learnt {
        let applied = match weakened(resolved, renewal) {
            Resolved::Applied(applied) => applied,
            Resolved::Refused(found) => {
                let lost = Lost::told(term.fence(), found.as_ref());
                let error = self.moved(term.name(), term.index(), found).with_lost(lost);
                term.end(error.duplicate());
                return Learnt::Result(Err(error));
            }
            Resolved::NotApplied(error) => {
                term.failed(&error);
                return Learnt::Result(Err(error));
            }
            Resolved::Unknown(error) => {
                let error = unknown(error, "the earlier deadline counts");
                term.failed(&error);
                return Learnt::Result(Err(error));
            }
        };
        let begin = self.door.now().plus(applied.wait);
        let sent = if mutant(Mutant::RenewDeadlineFromReply) {
            self.door.now()
        } else {
            renewal.sent
        };
        let deadline = self.deadline(sent, applied.granted, applied.counted_from);
        let deadline = applied.extended.then_some(deadline);
        let body = renewal.take.record.body.clone();
        match term.renewed(applied.index, applied.granted, body, begin, deadline) {
            // Its own call did not do what it says: whoever renews by hand has to try again before the old deadline.
            Renewed::Extended if !applied.extended => Learnt::Result(Err(Error::new(
                ErrorKind::Unavailable,
                "the registry took the renewal, but not that the expiry has moved: the earlier deadline counts",
            ))),
            Renewed::Extended | Renewed::NoBelief => Learnt::Result(Ok(())),
            Renewed::Releasing => Learnt::Result(Err(Error::new(
                ErrorKind::Expired,
                "the renewal succeeded, but the lease is being released",
            ))),
            Renewed::TooLate => Learnt::TooLate(applied.index),
        }
    }

    /// A success that was learnt after the deadline is released, not used.
    async fn too_late(&self, term: &Term, renewal: &Renewal, index: u64) -> Result<()> {
        if !mutant(Mutant::LateSuccessNotGivenBack) {
            let record = &renewal.take.record;
            let kept = Kept::of(record);
            self.give_back(term.name(), index, record, term.fence(), kept)
                .await;
        }
        Err(Error::new(
            ErrorKind::Expired,
            "the renewal succeeded only after the deadline, so the term is over; it was released",
        ))
    }
}

/// The error for a fetched lease that leasehold did not write.
pub(crate) fn endless() -> Error {
    Error::new(
        ErrorKind::Foreign,
        "it was only fetched, and nobody knows when its term ends: whoever knows its lessee to be dead resumes it, or \
         steals it saying so (assume dead)",
    )
}

/// What became of a renewal: what it came to, except under the mutant that takes another's grant for its own.
fn weakened(resolved: Resolved, renewal: &Renewal) -> Resolved {
    match resolved {
        Resolved::Refused(Some(found))
            if mutant(Mutant::KeepAliveOfAnothersKey) && found.is_held() =>
        {
            Resolved::Applied(Applied {
                index: found.index,
                granted: renewal.take.record.period.unwrap_or_default(),
                counted_from: None,
                extended: true,
                wait: Duration::ZERO,
            })
        }
        _ => resolved,
    }
}

/// An error if the term is over for its handle.
fn alive(term: &Term) -> Result<()> {
    if term.is_over() {
        return Err(Error::new(
            ErrorKind::Expired,
            "the term is over: its deadline has passed, or it was lost or released",
        ));
    }
    Ok(())
}
