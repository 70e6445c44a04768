//! What the answers to changes mean.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::BootInstant;
use leasehold_core::store::{Applied, Change, Outcome, Seen};

use crate::api::{Done, Entry, Failed, Gave, LeaseId, Replied};
use crate::apply::Beside;
use crate::lease::Native;
use crate::plan::{Plan, granted};
use crate::store::Client;
use crate::table::{Held, Taken};

/// An outcome, and whether its expiry is still to be moved: the change was applied, no keep-alive counted.
enum Judged {
    Known(Outcome),
    Unmoved(Applied),
}

impl Client {
    pub(crate) async fn judge(
        self: &Arc<Self>,
        plans: Vec<Plan>,
        replied: Replied,
        beside: Vec<Beside>,
        until: BootInstant,
    ) -> Vec<Outcome> {
        let Replied {
            done,
            revision,
            term,
        } = replied;
        self.told_term(term);
        let count = plans.len();
        let done: Vec<Done> = match &*plans {
            [_] => vec![done],
            _ => done.gave.into_iter().map_while(nested).collect(),
        };
        let judged: Vec<(Plan, Judged)> = plans
            .into_iter()
            .zip(done)
            .zip(beside)
            .map(|((plan, done), beside)| {
                let gone = beside.is_some_and(|kept| kept.ttl.is_zero() && kept.term >= term);
                let judged = self.judge_one(&plan, &done, (revision, term), gone);
                (plan, judged)
            })
            .collect();
        let settled = judged.into_iter().map(|(plan, judged)| async move {
            match judged {
                Judged::Known(outcome) => outcome,
                Judged::Unmoved(applied) => {
                    Outcome::Applied(self.resend(&plan, applied, term, until).await)
                }
            }
        });
        let mut outcomes = join_all(settled).await;
        // What is missing must not shift the others, nor those of another request.
        outcomes.resize_with(count, || Outcome::Unknown(Failed::no_answer().error()));
        outcomes
    }

    fn judge_one(
        self: &Arc<Self>,
        plan: &Plan,
        done: &Done,
        (revision, term): (u64, u64),
        gone: bool,
    ) -> Judged {
        if done.held {
            return match &plan.change {
                Change::Take(_) if gone => Judged::Known(self.lost(plan, revision)),
                Change::Take(_) => {
                    self.taken(plan, revision, term, plan.native.unwrap_or_default())
                }
                Change::Vacate(_) => Judged::Known(self.vacated(plan, revision)),
            };
        }
        let entry = |place: usize| match done.gave.get(place) {
            Some(Gave::Key(entry)) => entry.as_ref(),
            _ => None,
        };
        let lease: Option<&Entry> = entry(0);
        let now = self.door.now();
        let found = self
            .table()
            .seen(plan.name(), (lease, entry(1)), revision, now);
        let own = |seen: &Seen| seen.record.attempt == Some(plan.attempt());
        match (&plan.change, &found, lease) {
            // An earlier send of it was applied. What carries the grant is known here and nowhere else: core would
            // count from the send.
            (Change::Take(_), Some(seen), Some(entry)) if own(seen) => {
                let carried = self
                    .table()
                    .native(plan.name(), plan.attempt(), entry.lease)
                    .is_some();
                if carried && !gone {
                    return self.taken(plan, seen.index, term, entry.lease);
                }
                self.table().pending.remove(&plan.attempt());
                // Nobody knows until when it is there: it is not to be believed, and is given back.
                Judged::Known(Outcome::Applied(Applied {
                    index: seen.index,
                    granted: seen.record.period.unwrap_or_default(),
                    counted_from: Some(BootInstant::ZERO),
                    extended: true,
                    wait: seen.wait,
                }))
            }
            _ => Judged::Known(self.refused_by(plan, found, lease)),
        }
    }

    /// A grant is known to stand with this index, and what carries it.
    fn taken(self: &Arc<Self>, plan: &Plan, index: u64, term: u64, carrier: LeaseId) -> Judged {
        let now = self.door.now();
        let (name, attempt) = (plan.name(), plan.attempt());
        let mut table = self.table();
        let pending = table.pending.remove(&attempt);
        let unknown = pending.as_ref().is_some_and(|pending| pending.unknown);
        let (moved_to, spare): (Option<Native>, Option<Native>) = pending
            .and_then(|pending| pending.native)
            .into_iter()
            .map(|native| match native.id == carrier {
                true => (Some(native), None),
                false => (None, Some(native)),
            })
            .next()
            .unwrap_or_default();
        let mut old = None;
        if let Some(native) = moved_to {
            let held = Held {
                index,
                attempt,
                sent: plan.sent,
                native,
                moved: true,
                wait_until: plan.wait_until,
            };
            old = table.hold(name, held, now);
        }
        let kept = table.held.get(name).map(|held| held.native.id);
        // Forgotten since, with the native lease that carries it; or learnt so late that another grant of this client's
        // has followed. What is known of another native lease says nothing about this one.
        let carried = |held: &&mut Held| held.index <= index && held.native.id == carrier;
        let Some(held) = table.held.get_mut(name).filter(carried) else {
            drop(table);
            self.left(spare, unknown, old, kept);
            return Judged::Known(Outcome::Applied(unbelievable(index)));
        };
        held.index = index;
        if held.attempt != attempt {
            held.attempt = attempt;
            held.sent = plan.sent;
            held.moved = false;
        }
        held.wait_until = held.wait_until.max(plan.wait_until);
        // The change may have been sent when it was first asked for.
        let sent = held.sent;
        held.moved |= held.native.count(sent, term);
        let moved = held.moved;
        let (ttl, counted) = (held.native.ttl, held.native.counted());
        let wait = held.wait_until.since(now);
        table.see(
            name,
            Taken {
                index,
                first: now,
                wait,
                hold: ttl,
                held: true,
            },
        );
        drop(table);
        self.left(spare, unknown, old, kept);
        let applied = Applied {
            index,
            granted: match &plan.change {
                Change::Take(take) => granted(take, ttl),
                Change::Vacate(_) => ttl,
            },
            counted_from: Some(counted.min(sent)),
            extended: moved,
            wait,
        };
        if applied.extended {
            Judged::Known(Outcome::Applied(applied))
        } else {
            Judged::Unmoved(applied)
        }
    }

    /// What a known grant leaves behind: the native lease that its attempt did not need, and that of a grant whose name is
    /// only now known to have left it. Neither is what keeps the name.
    fn left(
        self: &Arc<Self>,
        spare: Option<Native>,
        unknown: bool,
        past: Option<Held>,
        kept: Option<LeaseId>,
    ) {
        if let Some(spare) = spare {
            self.unused(spare, unknown, false, &|_| true);
        }
        if let Some(past) = past.filter(|past| Some(past.native.id) != kept) {
            self.revoke(past.native.id);
        }
    }

    /// A change was applied, and no keep-alive has counted yet: one more is sent. If that fails too the new index
    /// counts and the old deadline stands.
    async fn resend(
        &self,
        plan: &Plan,
        applied: Applied,
        term: u64,
        until: BootInstant,
    ) -> Applied {
        // Early enough to be told.
        let now = self.door.now();
        _ = self.keep(plan, now.plus(until.since(now) * 3 / 4)).await;
        let mut table = self.table();
        let held = table.held.get_mut(plan.name());
        let Some(held) = held.filter(|held| held.index == applied.index) else {
            return applied;
        };
        held.moved |= held.native.count(held.sent, term);
        let extended = held.moved;
        Applied {
            counted_from: Some(held.native.counted().min(held.sent)),
            extended,
            wait: held.wait_until.since(self.door.now()),
            ..applied
        }
    }

    fn vacated(self: &Arc<Self>, plan: &Plan, index: u64) -> Outcome {
        let now = self.door.now();
        let mut table = self.table();
        let own = match &plan.change {
            Change::Vacate(vacate) => table.own(plan.name(), vacate.index).is_some(),
            Change::Take(_) => false,
        };
        let held = if own {
            table.held.remove(plan.name())
        } else {
            None
        };
        let wait = plan.wait_until.since(now);
        if let Some(end) = plan.taken_until {
            table.see(
                plan.name(),
                Taken {
                    index,
                    first: now,
                    wait,
                    hold: end.since(now),
                    held: false,
                },
            );
        }
        drop(table);
        if let Some(held) = held {
            // Its key is known to be gone, and every attempt that could put it back names what is gone.
            self.give_back(held.native);
        }
        Outcome::Applied(Applied {
            index,
            granted: Duration::ZERO,
            counted_from: None,
            extended: true,
            wait,
        })
    }

    /// A change was refused.
    fn refused_by(
        self: &Arc<Self>,
        plan: &Plan,
        found: Option<Seen>,
        lease: Option<&Entry>,
    ) -> Outcome {
        let mut table = self.table();
        let pending = table.pending.remove(&plan.attempt());
        // A grant of this client's that was named and does not stand any more is lost.
        let named = match plan.change.expect() {
            leasehold_core::store::Expect::Index(index) => Some(index),
            leasehold_core::store::Expect::Vacant(_) => None,
        };
        // One that still has the key may have been renewed by a change that is not judged yet; else it is left to run out,
        // as whoever named it has to learn of the loss first.
        let bare = |id: u64| lease.is_none_or(|entry| entry.lease != id);
        let own = named.and_then(|index| table.own(plan.name(), index));
        let lost = match own.is_some_and(|held| bare(held.native.id)) {
            true => table.held.remove(plan.name()),
            false => None,
        };
        drop(table);
        if let Some(lost) = lost {
            self.revoke(lost.native.id);
        }
        if let Some(pending) = pending
            && let Some(native) = pending.native
        {
            self.unused(native, pending.unknown, pending.acquires, &bare);
        }
        Outcome::Refused { found }
    }

    /// A change that can only be refused. Whether it was sent before or not, it was not applied: its record would stand.
    pub(crate) fn refused(self: &Arc<Self>, change: &Change, found: Option<Seen>) -> Outcome {
        let pending = self.table().pending.remove(&change.attempt());
        if let Some(native) = pending.and_then(|pending| pending.native) {
            self.unresolved(&native, false);
        }
        Outcome::Refused { found }
    }

    /// The grant was applied, and is gone with its native lease: it was one, for others to see, and nobody may believe it.
    fn lost(self: &Arc<Self>, plan: &Plan, index: u64) -> Outcome {
        let mut table = self.table();
        table.pending.remove(&plan.attempt());
        let id = plan.native;
        if table
            .held
            .get(plan.name())
            .is_some_and(|held| Some(held.native.id) == id)
        {
            table.held.remove(plan.name());
        }
        Outcome::Applied(unbelievable(index))
    }
}

/// A grant that nobody may believe: it can only be given back.
fn unbelievable(index: u64) -> Applied {
    Applied {
        index,
        granted: Duration::ZERO,
        counted_from: Some(BootInstant::ZERO),
        extended: true,
        wait: Duration::ZERO,
    }
}

fn nested(gave: Gave) -> Option<Done> {
    match gave {
        Gave::Done(done) => Some(done),
        Gave::Nothing | Gave::Key(_) => None,
    }
}
