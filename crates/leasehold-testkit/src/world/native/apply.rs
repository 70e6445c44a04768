//! Applying changes: many in one transaction, keep-alives beside it, and what the answers mean.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};
use leasehold_core::store::{Applied, Change, Outcome, Seen};
use leasehold_core::{AttemptId, BootInstant};

use super::api::{Done, Entry, Failed, Gave, Kept, LeaseId, Op, Replied, Txn};
use super::lease::Native;
use super::plan::{Need, Plan};
use super::store::{Client, error};
use super::table::{Held, Taken};

/// What a keep-alive that went beside a transaction has shown.
type Beside = Option<Kept>;

/// An outcome, and whether its expiry is still to be moved: the change was applied, no keep-alive counted.
enum Judged {
    Known(Outcome),
    Unmoved(Applied),
}

impl Client {
    pub(crate) async fn apply(
        self: &Arc<Self>,
        changes: Vec<Change>,
        until: BootInstant,
    ) -> Vec<Outcome> {
        let count = changes.len();
        let now = self.door.now();
        // However this future ends: what has no outcome by then is looked after.
        let attempts: Vec<AttemptId> = changes.iter().map(Change::attempt).collect();
        let _loose = Loose(self, attempts);
        let (mut ready, mut places, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for (place, change) in changes.into_iter().enumerate() {
            match self.plan_at_once(&change, now) {
                Ok(plan) => {
                    places.push(place);
                    ready.push(plan);
                }
                // What needs another answer first does not hold up the others.
                Err(need) => rest.push((place, self.one(change, need, now, until))),
            }
        }
        let rest = rest
            .into_iter()
            .map(|(place, one)| async move { (place, one.await) });
        let (together, singly) = join(self.send(ready, until), join_all(rest)).await;
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(count, || None);
        for (place, outcome) in places.into_iter().zip(together).chain(singly) {
            outcomes[place] = Some(outcome);
        }
        let missing = || Outcome::Unknown(error(Failed::NoAnswer));
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(missing))
            .collect()
    }

    /// Plans a change with what is there.
    fn plan_at_once(self: &Arc<Self>, change: &Change, now: BootInstant) -> Result<Plan, Need> {
        let need = match self.table().plan(change, now, &mut None) {
            Err(need) => need,
            plan => return plan,
        };
        let Need::Ready(seconds) = need else {
            return Err(need);
        };
        let Some(native) = self.ready(seconds) else {
            return Err(need);
        };
        let mut native = Some(native);
        let plan = self.table().plan(change, now, &mut native);
        if let Some(native) = native {
            self.give_back(native);
        }
        plan
    }

    /// One change that needs another answer before it can be sent.
    async fn one(
        self: &Arc<Self>,
        change: Change,
        mut need: Need,
        now: BootInstant,
        until: BootInstant,
    ) -> Outcome {
        // The transaction needs its time, too.
        let half = now.plus(until.since(now) / 2);
        for _ in 0..8 {
            let mut native = None;
            match need {
                Need::Read => match self.read(change.name(), half).await {
                    Ok(found) if stands(&change, found.as_ref()) => {}
                    Ok(Some(seen)) if seen.record.attempt == Some(change.attempt()) => {
                        let Change::Take(take) = &change else {
                            return Outcome::Refused { found: Some(seen) };
                        };
                        let plan = self.table().ask(take, self.door.now());
                        return self.alone(plan, until).await;
                    }
                    // Refused as it was seen: it can only have changed further.
                    Ok(found) => return self.refused(&change, found),
                    Err(failed) => return Outcome::NotApplied(error(failed)),
                },
                Need::Ready(seconds) | Need::Fresh(seconds) => {
                    match self.grant(seconds, half).await {
                        Ok(granted) => native = Some(granted),
                        Err(failed) => return Outcome::NotApplied(error(failed)),
                    }
                }
            }
            let now = self.door.now();
            let planned = self.table().plan(&change, now, &mut native);
            if let Some(native) = native {
                self.give_back(native);
            }
            match planned {
                Ok(plan) => return self.alone(plan, until).await,
                Err(more) => need = more,
            }
        }
        Outcome::NotApplied(error(Failed::NotSent))
    }

    async fn alone(self: &Arc<Self>, plan: Plan, until: BootInstant) -> Outcome {
        let mut outcomes = self.send(vec![plan], until).await;
        let lost = || Outcome::Unknown(error(Failed::NoAnswer));
        outcomes.pop().unwrap_or_else(lost)
    }

    /// Sends what is ready in one request, each change a transaction of its own within it.
    fn send(self: &Arc<Self>, plans: Vec<Plan>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            if plans.is_empty() {
                return Vec::new();
            }
            let txn = match &*plans {
                [plan] => plan.txn.clone(),
                plans => Txn {
                    then: plans.iter().map(|plan| Op::Txn(plan.txn.clone())).collect(),
                    ..Txn::default()
                },
            };
            let now = self.door.now();
            let half = now.plus(until.since(now) / 2);
            let keeps = plans.iter().map(|plan| self.keep(plan, half));
            let (replied, beside) = join(self.api.txn(txn, until), join_all(keeps)).await;
            match replied {
                Ok(replied) => self.judge(plans, replied, beside, until).await,
                Err(Failed::NoSuchLease) => self.sunk(plans, until).await,
                Err(failed) => {
                    let outcome = |plan: &Plan| match failed {
                        Failed::NotSent => {
                            self.not_sent(plan);
                            Outcome::NotApplied(error(failed))
                        }
                        _ => {
                            if let Some(pending) = self.table().pending.get_mut(&plan.attempt()) {
                                pending.unknown = true;
                            }
                            Outcome::Unknown(error(failed))
                        }
                    };
                    plans.iter().map(outcome).collect()
                }
            }
        }
        .boxed()
    }

    /// One put names a native lease that is gone: nothing of the request was applied.
    ///
    /// Rule *one-dead-lease-sinks-the-batch*: the others are sent again, each by itself.
    async fn sunk(self: &Arc<Self>, plans: Vec<Plan>, until: BootInstant) -> Vec<Outcome> {
        if plans.len() > 1 {
            let singly = plans.into_iter().map(|plan| self.send(vec![plan], until));
            return join_all(singly).await.into_iter().flatten().collect();
        }
        let mut outcomes = Vec::with_capacity(1);
        for plan in plans {
            // Gone for good, and with it every earlier send of this attempt.
            let gone = {
                let mut table = self.table();
                let pending = table.pending.get_mut(&plan.attempt());
                pending.and_then(|pending| pending.native.take())
            };
            let now = self.door.now();
            outcomes.push(match gone {
                Some(native) if now < until => {
                    let need = Need::Fresh(native.asked);
                    self.one(plan.change, need, now, until).await
                }
                _ => Outcome::NotApplied(error(Failed::NoSuchLease)),
            });
        }
        outcomes
    }

    /// A keep-alive of the native lease that carries a change.
    async fn keep(&self, plan: &Plan, until: BootInstant) -> Beside {
        let id = plan.native.filter(|_| plan.keep)?;
        let sent = self.door.now();
        let kept = self.api.keep_alive(id, until).await.ok()?;
        let now = self.door.now();
        if !kept.ttl.is_zero()
            && let Some(native) = self.table().native(plan.name(), plan.attempt(), id)
        {
            native.answered(sent, kept, now);
        }
        Some(kept)
    }

    async fn judge(
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
        let done: Vec<Done> = match &*plans {
            [_] => vec![done],
            _ => done.gave.into_iter().filter_map(nested).collect(),
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
        join_all(settled).await
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
        let Some(held) = table.held.get_mut(name) else {
            // Forgotten long after its deadline.
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
        let (ttl, counted, kept) = (held.native.ttl, held.native.counted(), held.native.id);
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
        if let Some(spare) = spare {
            self.unused(spare, unknown, false, &|_| true);
        }
        // Only now is it known that the name has left it.
        if let Some(old) = old.filter(|old| old.native.id != kept) {
            self.revoke(old.native.id);
        }
        let applied = Applied {
            index,
            granted: ttl,
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
        let own = named.is_some_and(|index| table.own(plan.name(), index).is_some());
        let lost = if own {
            table.held.remove(plan.name())
        } else {
            None
        };
        drop(table);
        // One that still has the key is left to run out: whoever named it has to learn of the loss first.
        let bare = |id: u64| lease.is_none_or(|entry| entry.lease != id);
        if let Some(lost) = lost.filter(|lost| bare(lost.native.id)) {
            self.revoke(lost.native.id);
        }
        if let Some(pending) = pending
            && let Some(native) = pending.native
        {
            self.unused(native, pending.unknown, pending.acquires, &bare);
        }
        Outcome::Refused { found }
    }

    /// The native lease of an attempt that was refused.
    ///
    /// Rule *reused-native-lease*: one whose attempt may have been applied, or may still be, is never used again. An
    /// acquire's that was answered once cannot be: the vacancy that it names is gone for good.
    fn unused(
        self: &Arc<Self>,
        native: Native,
        unknown: bool,
        acquires: bool,
        bare: &impl Fn(u64) -> bool,
    ) {
        if unknown {
            self.unresolved(&native, acquires);
        } else if bare(native.id) {
            self.give_back(native);
        }
    }

    /// A change that can only be refused. Whether it was sent before or not, it was not applied: its record would stand.
    fn refused(self: &Arc<Self>, change: &Change, found: Option<Seen>) -> Outcome {
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

    /// A request that never left: what it was to use is as it was.
    fn not_sent(self: &Arc<Self>, plan: &Plan) {
        let mut table = self.table();
        let again = |pending: &mut super::table::Pending| pending.unknown;
        if table.pending.get_mut(&plan.attempt()).is_none_or(again) {
            return;
        }
        let pending = table.pending.remove(&plan.attempt());
        drop(table);
        if let Some(native) = pending.and_then(|pending| pending.native) {
            self.give_back(native);
        }
    }

    /// Nobody will learn what became of an attempt. Its native lease is never used again.
    ///
    /// Rule *revoke-after-unresolved-steal*: only an acquire's is revoked. That of a steal, a break or a renewal is left
    /// to run out: the name would be free while somebody may still believe.
    fn unresolved(self: &Arc<Self>, native: &Native, acquires: bool) {
        if acquires {
            self.revoke(native.id);
        }
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

/// Whether the record that a change names stands.
fn stands(change: &Change, found: Option<&Seen>) -> bool {
    match change.expect() {
        leasehold_core::store::Expect::Index(index) => {
            found.is_some_and(|seen| seen.index == index && seen.is_held())
        }
        leasehold_core::store::Expect::Vacant(_) => true,
    }
}

/// Attempts that are being made: those without an outcome when this is dropped are looked after.
struct Loose<'a>(&'a Arc<Client>, Vec<AttemptId>);

impl Drop for Loose<'_> {
    fn drop(&mut self) {
        for attempt in &self.1 {
            self.0.loose(*attempt);
        }
    }
}

impl Client {
    /// An attempt has no outcome yet. It may be sent again; when that can help nobody any more it is forgotten.
    fn loose(self: &Arc<Self>, attempt: AttemptId) {
        let forget_at = {
            let mut table = self.table();
            let Some(pending) = table.pending.get_mut(&attempt) else {
                return;
            };
            let watched = std::mem::replace(&mut pending.watched, true);
            pending.unknown = true;
            if watched {
                return;
            }
            match &pending.native {
                Some(native) => native.hoped(),
                None => pending.sent.plus(pending.hold),
            }
        };
        let client = self.clone();
        self.door.spawn(Box::pin(async move {
            client.door.sleep_until(forget_at).await;
            let forgotten = client.table().pending.remove(&attempt);
            if let Some(pending) = forgotten
                && let Some(native) = pending.native
            {
                client.unresolved(&native, pending.acquires);
            }
        }));
    }
}
