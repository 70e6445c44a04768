//! Release: the change by which a term's own lease ends it.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use tracing::Instrument;

use crate::belief::{Standing, Term};
use crate::error::Result;
use crate::manager::{Begun, Core, Kept, Vacancy};
use crate::mutants::{Mutant, mutant};
use crate::names::Turn;
use crate::outcome::{Resolved, known, unknown};
use crate::record::{AttemptId, Ended, EndedHow, Record};
use crate::renew::endless;
use crate::store::{Change, Reopen, Vacate};
use crate::sync::Mutex;
use crate::time::BootInstant;

/// The leases whose guards were dropped: they are released together, as many as a request carries.
#[derive(Debug, Default)]
pub(crate) struct Dropped(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Departing>,
    running: bool,
}

/// A lease that nobody has any more.
#[derive(Debug)]
struct Departing {
    term: Term,
    last_send: BootInstant,
    begun: Begun,
}

impl Core {
    pub(crate) async fn release(self: Arc<Self>, term: &Term, begun: Begun) -> Result<()> {
        let name = term.name().clone();
        if term.locked().is_endless_proxy() {
            return Err(endless().during("release", Some(&name)));
        }
        let last_send = self.last_release(term);
        // Belief ends before the release is sent, whatever becomes of it.
        if !mutant(Mutant::ReleaseEndsBeliefAfterwards) {
            term.releasing();
        }
        let (core, term) = (self.clone(), term.clone());
        self.drive_begun(
            begun,
            "release",
            &name,
            BootInstant::NEVER,
            move |progress| async move {
                // Whether or not anybody waits for it, it will be sent.
                progress.sending();
                let turn = core.names.turn(term.name()).await;
                let result = core.released(&term, last_send, turn).await;
                if mutant(Mutant::ReleaseEndsBeliefAfterwards) {
                    term.releasing();
                }
                result
            },
        )
        .await
    }

    /// Releases a lease in the background, together with others that are.
    pub(crate) fn depart(self: &Arc<Self>, term: Term, begun: Begun) {
        if term.locked().is_endless_proxy() {
            return;
        }
        let last_send = self.last_release(&term);
        // It is not applied yet when whoever has dropped it asks again.
        if let Some(begin) = term.begin() {
            let now = self.door.now();
            self.lines.released(term.name(), now, now.since(begin));
        }
        term.releasing();
        let mut queue = self.departing();
        queue.waiting.push_back(Departing {
            term,
            last_send,
            begun,
        });
        let start = !std::mem::replace(&mut queue.running, true);
        drop(queue);
        if start {
            self.door.spawn(Box::pin(depart_all(self.clone())));
        }
    }

    fn departing(&self) -> crate::sync::MutexGuard<'_, Queue> {
        let queue = self.dropped.0.lock();
        queue.unwrap_or_else(PoisonError::into_inner)
    }

    fn last_release(&self, term: &Term) -> BootInstant {
        let now = self.door.now();
        match term.deadline() {
            Some(deadline) if deadline > now => deadline,
            // Of a claim, or of a term that was given up before it ran out in the registry.
            _ => now.plus(self.timeout),
        }
    }

    async fn released(&self, term: &Term, last_send: BootInstant, turn: Turn) -> Result<()> {
        let vacate = self.vacating(term);
        let resolved = self
            .resolve(Change::Vacate(vacate.clone()), last_send)
            .await;
        let learnt = self.learn_release(term, &vacate, resolved);
        drop(turn);
        learnt
    }

    /// Makes a term's release.
    fn vacating(&self, term: &Term) -> Vacate {
        let (index, body, standing) = {
            let state = term.locked();
            (state.index, state.body.clone(), state.standing)
        };
        let fence = Some(term.fence());
        let (ended, reopen) = match standing {
            Standing::Handle | Standing::Claim => (
                Ended {
                    how: EndedHow::Released,
                    by: body.machine_id.clone(),
                    reason: None,
                    fence,
                },
                match mutant(Mutant::DelayAfterRelease) {
                    true => Reopen::After(body.delay),
                    false => Reopen::Now,
                },
            ),
            // Not by the granting handle: nobody holds the name until that one can no longer be believed.
            Standing::Proxy => (
                Ended {
                    how: EndedHow::Broken,
                    by: Some(self.machine_id.clone()),
                    reason: Some("released through a fetched lease".into()),
                    fence,
                },
                match mutant(Mutant::ProxyReleaseIsClean) {
                    true => Reopen::Now,
                    false => Reopen::AfterReplaced,
                },
            ),
        };
        let kept = Kept::of(&Record::new(body, AttemptId([0; 16])));
        self.vacate(term.name(), index, kept, ended, reopen)
    }

    fn learn_release(&self, term: &Term, vacate: &Vacate, resolved: Resolved) -> Result<()> {
        let name = term.name();
        match resolved {
            Resolved::Applied(applied) => {
                if let (Reopen::Now, Some(begin)) = (vacate.reopen, term.begin()) {
                    let now = self.door.now();
                    self.lines.released(name, now, now.since(begin));
                }
                // Only what is vacant is worth naming. An acquire that named a tombstone still waited out would be
                // refused, and a late duplicate of it applied when the wait is over, behind everybody's back.
                if vacate.reopen == Reopen::Now && applied.wait.is_zero() {
                    let vacancy = Vacancy {
                        index: Some(applied.index),
                        ended: vacate.record.body.ended.clone(),
                        kept: Kept::of(&vacate.record),
                    };
                    self.remember(name, vacancy);
                }
                Ok(())
            }
            Resolved::Refused(found) => Err(self.moved(name, vacate.index, found)),
            Resolved::NotApplied(error) => Err(error),
            Resolved::Unknown(error) => Err(unknown(error, "treat it as held until it runs out")),
        }
    }
}

/// Releases what was dropped, one request after the other, until there is no more.
async fn depart_all(core: Arc<Core>) {
    let mut running = Running {
        core: core.clone(),
        is_over: false,
    };
    loop {
        let departing: Vec<Departing> = {
            let mut queue = core.departing();
            let count = core.batch.size().min(queue.waiting.len());
            if count == 0 {
                // In one step: whoever drops one afterwards starts the next task.
                queue.running = false;
                running.is_over = true;
                return;
            }
            queue.waiting.drain(..count).collect()
        };
        let leases = departing.len();
        let span = tracing::debug_span!("leasehold", operation = "release", leases);
        depart_some(&core, departing).instrument(span).await;
    }
}

/// However the task ends, the next lease that is dropped starts another one.
struct Running {
    core: Arc<Core>,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.departing().running = false;
        }
    }
}

async fn depart_some(core: &Arc<Core>, departing: Vec<Departing>) {
    let mut sent = Vec::with_capacity(departing.len());
    let mut changes = Vec::with_capacity(departing.len());
    for lease in departing {
        match core.names.try_turn(lease.term.name()) {
            Some(turn) => {
                let vacate = core.vacating(&lease.term);
                let at = core.request_until(lease.last_send);
                changes.push((Change::Vacate(vacate.clone()), at));
                sent.push((lease, vacate, turn));
            }
            // What waits for an earlier change must not hold up the others.
            None => {
                let own = core.clone();
                core.door.spawn(Box::pin(async move {
                    let turn = own.names.turn(lease.term.name()).await;
                    let released = own.released(&lease.term, lease.last_send, turn).await;
                    departed(lease, released);
                }));
            }
        }
    }
    let outcomes = core.batch.many(changes).await;
    for ((lease, vacate, turn), outcome) in sent.into_iter().zip(outcomes) {
        let period = vacate.record.period;
        match known(outcome, vacate.attempt, period) {
            Ok(resolved) => {
                let learnt = core.learn_release(&lease.term, &vacate, resolved);
                departed(lease, learnt);
            }
            // Likewise what takes longer to be known.
            Err(unknown) => {
                let own = core.clone();
                let name = lease.term.name().clone();
                let span = tracing::debug_span!("leasehold", operation = "release", %name);
                let resolving = async move {
                    let _turn = turn;
                    let (change, at) = (Change::Vacate(vacate.clone()), lease.last_send);
                    let outcome = crate::store::Outcome::Unknown(unknown);
                    let resolved = own.resolve_from(outcome, change, at, at).await;
                    let learnt = own.learn_release(&lease.term, &vacate, resolved);
                    departed(lease, learnt);
                };
                core.door.spawn(Box::pin(resolving.instrument(span)));
            }
        }
    }
}

fn departed(lease: Departing, released: Result<()>) {
    let Departing { term, begun, .. } = lease;
    if let Err(error) = released {
        let error = error.during("release", Some(term.name()));
        tracing::warn!(name = %term.name(), %error, "release after drop failed: the lease runs out by itself");
    }
    drop(begun);
}
