//! Renews all the leases of a manager that are kept alive.

use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::{join, select};
use tokio::sync::{Notify, mpsc};
use tracing::Instrument;

use crate::belief::Term;
use crate::door::DoorExt;
use crate::error::{Error, ErrorKind};
use crate::keep_alive::KeepAlive;
use crate::manager::{Core, Manager};
use crate::meters::{Meters, Renewal};
use crate::mutants::{Mutant, mutant};
use crate::pace::Pace;
use crate::renew::Settled;
use crate::rounds::{Place, Rounds};
use crate::sync::{Mutex, MutexGuard};
use crate::time::BootInstant;

/// How many rounds are under way at most: where requests hang, others must not wait for them.
const MOST_IN_FLIGHT: u32 = 4;

/// The leases of a manager that are kept alive, and the one task that renews them. The task is there while there are any.
#[derive(Debug)]
pub(crate) struct Keeper {
    kept: Mutex<All>,
    /// Something is due sooner, or a round has ended.
    woken: Notify,
}

#[derive(Debug)]
struct All {
    rounds: Rounds<Kept>,
    in_flight: u32,
    running: bool,
}

#[derive(Debug)]
struct Kept {
    term: Term,
    pace: Pace,
}

impl All {
    /// It is kept alive no more.
    fn take(&mut self, core: &Core, place: &Place) -> Option<Kept> {
        let taken = self.rounds.remove(place);
        core.meters.kept(self.rounds.all().len());
        taken
    }
}

/// A lease that is to be renewed with others.
struct Renewing {
    place: Place,
    term: Term,
    period: Duration,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::new(All {
                rounds: Rounds::new(),
                in_flight: 0,
                running: false,
            }),
            woken: Notify::new(),
        }
    }

    /// Keeps a lease alive from now on.
    pub(crate) fn keep(core: &Arc<Core>, term: &Term, options: &KeepAlive) -> NonZeroU64 {
        let period = options.period.unwrap_or_else(|| term.period());
        term.kept(options, period);
        let (kept, term, pace) = (term, term.clone(), Pace::new(core, term, period));
        let due = pace.due(&term, core.door.chance());
        let this = &core.keeper;
        let mut all = this.lock();
        let name = term.name().clone();
        let (number, is_next) = all.rounds.add(&name, Kept { term, pace }, due);
        let start = !std::mem::replace(&mut all.running, true);
        core.meters.kept(all.rounds.all().len());
        drop(all);
        if start {
            core.door.spawn(Box::pin(run(core.clone())));
        } else if is_next {
            this.woken.notify_one();
        }
        // In this order: a shutdown that does not see it was seen to begin.
        if core.phase.is_closing() {
            if mutant(Mutant::LateKeeperIsNotTold) {
                return number;
            }
            kept.wind_down();
        }
        number
    }

    /// Keeps it alive no more. What is under way still reaches its term.
    pub(crate) fn stop(core: &Arc<Core>, term: &Term, number: NonZeroU64) {
        let place = (term.name().clone(), number);
        let stopped = core.keeper.lock().take(core, &place);
        if stopped.is_some() && term.is_over() {
            // It was lost, and its guard is quicker than its next renewal.
            tell(core, term);
        }
        // Where it was the last one the task ends.
        core.keeper.woken.notify_one();
        if let (true, Some(kept)) = (mutant(Mutant::KeepAliveAfterRelease), stopped) {
            let outlive = outlive(core.clone(), kept.term, kept.pace.period);
            core.door.spawn(Box::pin(outlive));
        }
    }

    /// It was renewed to another period, by hand: that one is kept to.
    pub(crate) fn renewed(core: &Core, term: &Term, number: NonZeroU64, period: Duration) {
        let (this, place) = (&core.keeper, (term.name().clone(), number));
        let mut all = this.lock();
        let Some(kept) = all.rounds.get_mut(&place) else {
            return;
        };
        kept.pace.period = period;
        kept.pace.succeeded(core, &kept.term);
        let due = kept.pace.due(&kept.term, core.door.chance());
        let term = kept.term.clone();
        all.rounds.put(&place, due);
        drop(all);
        term.kept_to(period);
        this.woken.notify_one();
    }

    /// The terms that are kept alive.
    pub(crate) fn terms(&self) -> Vec<Term> {
        let all = self.lock();
        all.rounds.all().map(|kept| kept.term.clone()).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().rounds.all().len()
    }

    /// Keeps none alive any more: the terms that were, which run out.
    pub(crate) fn give_up(&self, meters: &Meters) -> Vec<Term> {
        let all = self.lock().rounds.clear();
        meters.kept(0);
        self.woken.notify_one();
        all.iter().map(|kept| kept.term.view()).collect()
    }

    /// As whoever has just gone through it keeps it.
    #[cfg(test)]
    pub(crate) fn locked(&self) -> impl Sized + '_ {
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's own mark: however it ends, the next lease that is kept starts another one.
struct Running {
    core: Arc<Core>,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.keeper.lock().running = false;
        }
    }
}

async fn run(core: Arc<Core>) {
    let mut running = Running {
        core: core.clone(),
        is_over: false,
    };
    let core = &core;
    let mut counted = BootInstant::ZERO;
    loop {
        let now = core.door.now();
        if core.meters.is_on() && now.since(counted) >= Duration::from_secs(1) {
            counted = now;
            core.meters.at_risk(core.health().at_risk());
        }
        let woken = core.keeper.woken.notified();
        let next = {
            let mut all = core.keeper.lock();
            if all.rounds.is_empty() {
                // In one step: whoever adds one afterwards starts the next task.
                all.running = false;
                running.is_over = true;
                core.meters.at_risk(0);
                return;
            }
            let most = match mutant(Mutant::OneRoundHoldsUpAll) {
                true => 1,
                false => MOST_IN_FLIGHT,
            };
            match all.in_flight < most {
                true => all.rounds.next(),
                false => None,
            }
        };
        match next {
            Some(at) if at <= core.door.now() => start(core),
            Some(at) => drop(select(pin!(woken), core.door.sleep_until(at)).await),
            None => woken.await,
        }
    }
}

/// Begins the round that is due.
fn start(core: &Arc<Core>) {
    let now = core.door.now();
    let (mut round, mut lost, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = core.keeper.lock();
    for place in all.rounds.take(now, core.batch.size()) {
        let Some(kept) = all.rounds.get_mut(&place) else {
            continue;
        };
        let term = kept.term.clone();
        if term.is_over() {
            all.take(core, &place);
            lost.push(term);
            continue;
        }
        if term.locked().stalled(now).is_some() {
            stuck.push(stalled(core.clone(), place, term));
            continue;
        }
        round.push(Renewing {
            place,
            term,
            period: kept.pace.period,
        });
    }
    all.in_flight += u32::from(!round.is_empty());
    drop(all);
    if !round.is_empty() {
        let under_way = UnderWay(core.clone());
        let span = tracing::debug_span!("leasehold", operation = "renew", leases = round.len());
        core.door
            .spawn(Box::pin(renew(under_way, round).instrument(span)));
    }
    for stuck in stuck {
        core.door.spawn(Box::pin(stuck));
    }
    for term in lost {
        tell(core, &term);
    }
}

fn tell(core: &Core, term: &Term) {
    let error = term.why();
    core.meters.lost(error.lost());
    tracing::warn!(name = %term.name(), fence = term.fence(), %error, "lease lost");
    term.end(error);
}

/// It is due again as soon as its work makes progress.
async fn stalled(core: Arc<Core>, place: Place, term: Term) {
    term.progressed().await;
    let now = core.door.now();
    let mut all = core.keeper.lock();
    all.rounds.put(&place, crate::pace::Due::now(now));
    drop(all);
    core.keeper.woken.notify_one();
}

/// A round's request. Another round may be sent when it is dropped.
struct UnderWay(Arc<Core>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut all = self.0.keeper.lock();
        all.in_flight = all.in_flight.saturating_sub(1);
        drop(all);
        self.0.keeper.woken.notify_one();
    }
}

/// Renews the leases of a round, with one request.
async fn renew(under_way: UnderWay, round: Vec<Renewing>) {
    let core = under_way.0.clone();
    let (sender, mut results) = mpsc::unbounded_channel();
    let terms: Vec<_> = round
        .iter()
        .map(|renewing| (renewing.term.clone(), renewing.period))
        .collect();
    let mut open = Open::new(core.clone(), round);
    let sent = async {
        let _under_way = under_way;
        match core.begin() {
            Ok(_begun) => core.clone().renew_batch(terms, sender).await,
            Err(error) => none_sent(&terms, &error, &sender),
        }
    };
    let settled = async {
        while let Some(settled) = results.recv().await {
            open.settle(settled);
        }
    };
    join(sent, settled).await;
}

fn none_sent(terms: &[(Term, Duration)], error: &Error, results: &mpsc::UnboundedSender<Settled>) {
    for place in 0..terms.len() {
        _ = results.send((place, Err(error.duplicate())));
    }
}

/// Those of a round whose result is not known yet. However it ends, they are due again.
struct Open {
    core: Arc<Core>,
    round: Vec<Option<Renewing>>,
    /// The same for all of a round, so that they stay together.
    jitter: f64,
    began: BootInstant,
    failed: usize,
}

impl Open {
    fn new(core: Arc<Core>, round: Vec<Renewing>) -> Self {
        Self {
            jitter: core.door.chance(),
            began: core.door.now(),
            core,
            round: round.into_iter().map(Some).collect(),
            failed: 0,
        }
    }

    fn settle(&mut self, (place, result): Settled) {
        let Some(renewing) = self.round.get_mut(place).and_then(Option::take) else {
            return;
        };
        let Renewing {
            place,
            term,
            period,
        } = renewing;
        let core = &self.core;
        let took = core.door.now().since(self.began);
        let mut all = core.keeper.lock();
        let Some(kept) = all.rounds.get_mut(&place) else {
            // Its guard has gone meanwhile.
            return;
        };
        match &result {
            Ok(()) => {
                core.meters.renewal(Renewal::Renewed, took);
                kept.pace.succeeded(core, &term);
            }
            Err(error) if is_final(error) => {
                all.take(core, &place);
                drop(all);
                term.end(error.duplicate());
                core.meters.renewal(Renewal::Lost, took);
                tell(core, &term);
                core.keeper.woken.notify_one();
                return;
            }
            Err(error) => {
                core.meters.renewal(Renewal::Failed, took);
                kept.pace.failed(core.door.now());
                self.failed += 1;
                let failures = kept.pace.failures;
                // An outage is no reason to say the same of each of them.
                if self.failed == 1 {
                    tracing::warn!(name = %term.name(), %error, failures, "renewal failed, trying again");
                } else {
                    tracing::debug!(name = %term.name(), %error, failures, "renewal failed, trying again");
                }
            }
        }
        let due = match result.is_ok() && kept.pace.period != period {
            // It was renewed to another one by hand while this renewal, of the one before, waited for that.
            true => crate::pace::Due::now(core.door.now()),
            false => kept.pace.due(&term, self.jitter),
        };
        let is_next = all.rounds.put(&place, due);
        drop(all);
        if is_next {
            core.keeper.woken.notify_one();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for place in 0..self.round.len() {
            let ended = "the renewal was not driven to its end";
            self.settle((place, Err(Error::new(ErrorKind::Unavailable, ended))));
        }
    }
}

/// Whether no further renewal can succeed.
fn is_final(error: &Error) -> bool {
    if mutant(Mutant::FirstFailureEndsKeepAlive) {
        return true;
    }
    error.is_lost() || error.kind() == ErrorKind::Foreign
}

/// The mutant's last renewal: after the release, and a renewal that creates what it does not find.
async fn outlive(core: Arc<Core>, term: Term, period: Duration) {
    core.door.sleep(period / 3).await;
    let manager = Manager { core };
    let renewal = manager.acquire_lease(term.name(), term.machine_id(), 0, period);
    drop(renewal.await);
}
