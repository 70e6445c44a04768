//! After the storm: faults have stopped, and the contract asks for progress in bounded time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_core::{Attempt, Delivery, Door, LockAttempt, Request, Status};

use crate::world::ledger::Broken;
use crate::world::process::Process;
use crate::world::torture::NAMES;
use crate::world::whole::World;

/// What a watch has told last, a name each.
pub(crate) type Told = Arc<Mutex<std::collections::BTreeMap<String, Option<(u64, bool)>>>>;

/// Watches a name and writes down what it is told.
pub(crate) async fn watch(me: Process, name: &'static str, told: Told) {
    let Ok(mut watch) = me.manager().watch(name) else {
        return;
    };
    loop {
        if let Ok(event) = watch.next().await {
            let state = event.status.as_ref().map(shown);
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(name.to_owned(), state);
        }
    }
}

/// What pushes is only asked again every half minute.
const QUIET: Duration = Duration::from_secs(36);

fn shown(status: &Status) -> (u64, bool) {
    (status.index(), status.is_held())
}

fn late(what: String) -> Broken {
    Broken {
        law: "vacancy is prompt",
        seen: what,
    }
}

/// Holds the calm world to what it owes: operations end, names become vacant, waiters are woken, watches converge.
pub(crate) async fn hold(world: &World, told: &Told) -> Result<(), Broken> {
    let period = world.kind().period();
    let judge = world.process("judge");
    let slack = period / 4;
    // Whatever was under way ends: the time-out of an operation is two periods, and each may wait for two.
    let at = judge.door().now().plus(period * 16);
    while !world.at_work().is_empty() {
        if judge.door().now() >= at {
            let seen = format!("still at work: {:?}", world.at_work());
            return Err(Broken {
                law: "nothing hangs",
                seen,
            });
        }
        judge.sleep(period / 4).await;
    }
    // Before anything changes again, which would tell whoever has heard of nothing since the storm.
    converge(world, &judge, told).await?;
    re_read(world, &judge, told).await?;
    for name in NAMES {
        let manager = judge.manager();
        let capabilities = manager.capabilities().clone();
        let poll = match capabilities.delivery {
            Delivery::Poll(every) => every * 2,
            _ => Duration::ZERO,
        };
        // Two periods for the last grant, two for a wait that it inherited, and clocks that run apart.
        let drift = world.kind().longer(period * 4);
        let most = period * 4 + drift + capabilities.granularity + poll + world.registry().lag();
        let lock = manager.lock(name).period(period);
        let Ok(LockAttempt::Held(held)) = lock.acquire_within(most + slack).await else {
            return Err(late(format!("{name}: not vacant within {most:?}")));
        };
        let watched = judge.believes(held.term());

        // A waiter is woken by a release.
        let second = world.process("second");
        let lock = second.manager().lock(name).period(period);
        let waiting = lock.acquire_within(period * 10);
        let releasing = async {
            judge.sleep(period * 2).await;
            judge.forget(watched);
            let released = held.release().await;
            (released, judge.door().truth_now())
        };
        let (waited, (released, at)) = futures_util::future::join(
            async { (waiting.await, second.door().truth_now()) },
            releasing,
        )
        .await;
        let (Ok(LockAttempt::Held(held)), Ok(())) = (waited.0, released) else {
            return Err(late(format!("{name}: a release woke nobody")));
        };
        let took = waited.1.saturating_sub(at);
        if took > poll + slack {
            return Err(late(format!(
                "{name}: a waiter was woken {took:?} after a release"
            )));
        }
        second.believes(held.term());

        // A crashed holder's name becomes vacant by itself.
        let third = world.process("third");
        let lock = third.manager().lock(name).period(period);
        let waiting = lock.acquire_within(period * 20);
        let crashing = async {
            judge.sleep(period).await;
            drop(held);
            world.kill("second");
            judge.door().truth_now()
        };
        let (waited, at) = futures_util::future::join(
            async { (waiting.await, third.door().truth_now()) },
            crashing,
        )
        .await;
        let Ok(LockAttempt::Held(held)) = waited.0 else {
            return Err(late(format!("{name}: a crash freed nothing")));
        };
        let took = waited.1.saturating_sub(at);
        let most = period + world.kind().longer(period) * 2 + capabilities.granularity + poll;
        if took > most + slack {
            return Err(late(format!(
                "{name}: taken over {took:?} after a crash, more than {most:?}"
            )));
        }
        third.believes(held.term());

        // So it does where nobody waits: those who watch are told.
        drop(held);
        world.kill("third");
        judge.sleep(most + slack).await;
        if told_of(told, name).is_none_or(|last| last.is_some_and(|(_, held)| held)) {
            return Err(Broken {
                law: "watch is level-triggered",
                seen: format!("{name}: a watch has not told within {most:?} that a crash freed it"),
            });
        }
    }
    if world.registry().kept() > 0 {
        world.deserted(period * 20).await;
        let kept = world.registry().kept();
        if kept > 0 {
            return Err(Broken {
                law: "nothing leaks",
                seen: format!("{kept} native leases and names outlive everybody"),
            });
        }
    }
    Ok(())
}

/// Watches converge on what stands, at the latest by their slow re-read, whatever notice was lost.
async fn converge(world: &World, judge: &Process, told: &Told) -> Result<(), Broken> {
    let mut now = Vec::new();
    for quiet in [QUIET, world.kind().period() * 4] {
        judge.sleep(quiet).await;
        now.clear();
        for name in NAMES {
            // Twice: whoever observes must have seen a record for its whole length to know that it has run out.
            let Ok(status) = judge.manager().status(name).await else {
                return Err(late(format!("{name}: cannot be read in calm weather")));
            };
            now.push((name, status.as_ref().map(shown)));
        }
    }
    for (name, stands) in now {
        let last = told_of(told, name);
        // Where a native lease has run out, every reader has a number of his own for the vacancy.
        let same = match (stands, last) {
            (Some((_, false)) | None, Some(Some((_, held)))) if world.kind().carries() => !held,
            (stands, last) => last == Some(stands),
        };
        if !same {
            return Err(Broken {
                law: "watch is level-triggered",
                seen: format!("{name}: {stands:?} stands, the watch told {last:?} last"),
            });
        }
    }
    Ok(())
}

/// What a notification that is lost would have told, a slow re-read tells.
async fn re_read(world: &World, judge: &Process, told: &Told) -> Result<(), Broken> {
    let [name, ..] = NAMES;
    world.lose_notices(true);
    let request = Request::new(name, QUIET * 2);
    let Ok(Attempt::Acquired(lease)) = judge.manager().try_acquire(request).await else {
        return Err(late(format!("{name}: not vacant after {QUIET:?} of quiet")));
    };
    let (key, index) = (judge.believes(lease.term()), lease.index());
    judge.sleep(QUIET).await;
    let last = told_of(told, name);
    world.lose_notices(false);
    judge.forget(key);
    drop(lease.release().await);
    if last != Some(Some((index, true))) {
        return Err(Broken {
            law: "watch is level-triggered",
            seen: format!(
                "{name}: {last:?} was told {QUIET:?} after a grant of which no notice came"
            ),
        });
    }
    Ok(())
}

/// What the watch of a name has told last; none: nothing yet.
fn told_of(told: &Told, name: &str) -> Option<Option<(u64, bool)>> {
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    told.get(name).copied()
}
