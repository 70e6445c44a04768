//! Applying changes: many in one transaction, keep-alives beside it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};
use leasehold_core::mutants::{Mutant, mutant};
use leasehold_core::store::{Change, Expect, Outcome, Seen};
use leasehold_core::{AttemptId, BootInstant, Error};

use crate::api::{Failed, Kept, Op, Txn};
use crate::doubt::Loose;
use crate::plan::{Need, Plan};
use crate::store::Client;

/// How many bytes of keys and values one request carries: etcd takes 1.5 MiB in all.
const LARGEST: usize = 1 << 20;

/// What a keep-alive that went beside a transaction has shown.
pub(crate) type Beside = Option<Kept>;

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
        let _loose = Loose::new(self, attempts);
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
        let missing = || Outcome::Unknown(Failed::no_answer().error());
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
                    Err(failed) => return Outcome::NotApplied(failed.error()),
                },
                Need::Ready(seconds) | Need::Fresh(seconds) => {
                    match self.grant(seconds, half).await {
                        Ok(granted) => native = Some(granted),
                        Err(failed) => return Outcome::NotApplied(failed.error()),
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
        Outcome::NotApplied(Failed::unreached().error())
    }

    async fn alone(self: &Arc<Self>, plan: Plan, until: BootInstant) -> Outcome {
        let mut outcomes = self.send(vec![plan], until).await;
        let lost = || Outcome::Unknown(Failed::no_answer().error());
        outcomes.pop().unwrap_or_else(lost)
    }

    /// Sends what is ready, in as few requests as the server takes.
    fn send(
        self: &Arc<Self>,
        mut plans: Vec<Plan>,
        until: BootInstant,
    ) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
            let mut requests = Vec::with_capacity(1);
            while !plans.is_empty() {
                let rest = plans.split_off(fitting(&plans).min(self.most()));
                requests.push(self.request(std::mem::replace(&mut plans, rest), until));
            }
            let outcomes = join_all(requests).await;
            outcomes.into_iter().flatten().collect()
        }
        .boxed()
    }

    /// Sends one request, each change a transaction of its own within it.
    fn request(
        self: &Arc<Self>,
        plans: Vec<Plan>,
        until: BootInstant,
    ) -> BoxFuture<'_, Vec<Outcome>> {
        async move {
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
                Err(Failed::TooMany) if plans.len() > 1 => {
                    self.too_many(plans.len());
                    self.send(plans, until).await
                }
                Err(Failed::NoSpace(error)) => self.no_space(plans, &error, until).await,
                Err(failed) => {
                    let outcome = |plan: &Plan| match &failed {
                        Failed::NotDone(_) | Failed::TooMany => {
                            self.not_sent(plan);
                            Outcome::NotApplied(failed.error())
                        }
                        _ => self.not_known(plan, failed.error()),
                    };
                    plans.iter().map(outcome).collect()
                }
            }
        }
        .boxed()
    }

    fn not_known(&self, plan: &Plan, error: Error) -> Outcome {
        if let Some(pending) = self.table().pending.get_mut(&plan.attempt()) {
            pending.unknown = true;
        }
        Outcome::Unknown(error)
    }

    /// A request was refused for want of space, and may have been applied before that. It will not be later, so what
    /// stands now tells.
    async fn no_space(
        self: &Arc<Self>,
        plans: Vec<Plan>,
        error: &Error,
        until: BootInstant,
    ) -> Vec<Outcome> {
        let settled = plans.into_iter().map(|plan| async move {
            // It was the question itself: 3.5 refuses even that. Core asks again, with pauses.
            if !plan.txn.writes() {
                return self.not_known(&plan, error.duplicate());
            }
            let Ok(found) = self.read(plan.name(), until).await else {
                return self.not_known(&plan, error.duplicate());
            };
            let named = match plan.change.expect() {
                Expect::Index(index) => Some(index),
                Expect::Vacant(index) => index,
            };
            match found {
                // An earlier send of it may still be under way: that is for core to know.
                found if found.as_ref().map(|seen| seen.index) == named => {
                    self.not_sent(&plan);
                    Outcome::NotApplied(error.duplicate())
                }
                Some(seen) if seen.record.attempt == Some(plan.attempt()) => {
                    let Change::Take(take) = &plan.change else {
                        return Outcome::Refused { found: Some(seen) };
                    };
                    // It was done: whatever becomes of the question, its native lease is not free.
                    let unknown = self.not_known(&plan, error.duplicate());
                    let plan = self.table().ask(take, self.door.now());
                    match self.alone(plan, until).await {
                        // Nor was it refused, if something else stands there by now.
                        Outcome::NotApplied(_) | Outcome::Refused { .. } => unknown,
                        outcome => outcome,
                    }
                }
                _ => self.not_known(&plan, error.duplicate()),
            }
        });
        join_all(settled).await
    }

    /// One put names a native lease that is gone: nothing of the request was applied.
    ///
    /// Rule *one-dead-lease-sinks-the-batch*: the others are sent again, each by itself.
    async fn sunk(self: &Arc<Self>, plans: Vec<Plan>, until: BootInstant) -> Vec<Outcome> {
        if plans.len() > 1 {
            if mutant(Mutant::OneDeadLeaseSinksTheBatch) {
                plans.iter().for_each(|plan| self.not_sent(plan));
                let sunk = |_| Outcome::NotApplied(Failed::NoSuchLease.error());
                return plans.iter().map(sunk).collect();
            }
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
                _ => Outcome::NotApplied(Failed::NoSuchLease.error()),
            });
        }
        outcomes
    }

    /// A keep-alive of the native lease that carries a change.
    pub(crate) async fn keep(&self, plan: &Plan, until: BootInstant) -> Beside {
        let id = plan.native.filter(|_| plan.keep)?;
        let sent = self.door.now();
        let kept = self.api.keep_alive(id, until).await.ok()?;
        self.told_term(kept.term);
        let now = self.door.now();
        if !kept.ttl.is_zero()
            && let Some(native) = self.table().native(plan.name(), plan.attempt(), id)
        {
            native.answered(sent, kept, now);
        }
        Some(kept)
    }
}

/// How many changes fit into one request by their size, one at least.
fn fitting(plans: &[Plan]) -> usize {
    let mut size = 0;
    let fits = |plan: &&Plan| {
        size += plan.txn.size();
        size <= LARGEST
    };
    plans.iter().take_while(fits).count().max(1)
}

/// Whether the record that a change names stands.
fn stands(change: &Change, found: Option<&Seen>) -> bool {
    match change.expect() {
        Expect::Index(index) => found.is_some_and(|seen| seen.index == index && seen.is_held()),
        Expect::Vacant(_) => true,
    }
}
