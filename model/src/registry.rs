//! The registry's atomic step, for each of the clocks.

use crate::clause::Clause;
use crate::event::Op;
use crate::law::Law;
use crate::model::{Clock, Model};
use crate::state::{
    ABSENT, AGAIN, DENIED, DONE, GONE, HELD, OWN, Record, Reply, Request, STANDING, TOMBSTONE,
};
use crate::step::Step;

/// How long a change holds and how long its wait is, from what is left of the two instants that it finds.
pub(crate) fn instants(model: &Model, op: Op, period: u8, hold: u8, wait: u8) -> (u8, u8) {
    match op {
        Op::Acquire if model.weak(Clause::BlindAcquire) => (period, 0),
        Op::Acquire if model.weak(Clause::InheritedWaitDroppedByExpiry) => (period, 0),
        Op::Acquire => (period.max(wait), wait),
        Op::Renew if model.weak(Clause::InheritedWaitDroppedByRenew) => (period, 0),
        Op::Renew => (period.max(wait), wait),
        Op::ProxyRenew if model.weak(Clause::ProxyRenewCutsShort) => (period.max(wait), wait),
        Op::ProxyRenew => (period.max(hold).max(wait), wait),
        // What remains of the grant, without the wait that its record carries.
        Op::Steal if model.weak(Clause::InheritedWaitDroppedBySteal) => (period, hold),
        Op::Steal if model.weak(Clause::InheritedWaitDroppedByExpiry) => (period, hold.max(wait)),
        Op::Steal => (period.max(hold).max(wait), hold.max(wait)),
        Op::StealFromDead if model.weak(Clause::AssumeDeadSkipsInherited) => (period, 0),
        Op::StealFromDead => (period.max(wait), wait),
        Op::Release if model.weak(Clause::InheritedWaitDroppedByRelease) => (0, 0),
        Op::Release => (wait, wait),
        Op::Break if model.weak(Clause::BreakVacantAtOnce) => (0, 0),
        Op::ProxyRelease if model.weak(Clause::ProxyReleaseIsClean) => (wait, wait),
        Op::Break | Op::ProxyRelease if model.weak(Clause::InheritedWaitDroppedByBreak) => {
            (hold, 0)
        }
        Op::Break | Op::ProxyRelease => (hold.max(wait), wait),
        Op::KeepAlive => (hold, wait),
    }
}

/// Applies or refuses a change.
pub(crate) fn apply(step: &mut Step<'_>, request: &Request) -> Reply {
    let Some(op) = Op::of(request.op) else {
        return Reply::default();
    };
    let record = step.state.record;
    let attempt = request.attempt;
    if !in_place(step, op, request) {
        let (hold, wait) = left(step.model, &record);
        let verdict = match () {
            () if record.kind != ABSENT && record.attempt == attempt => OWN,
            () if request.expect == record.index => STANDING,
            () if request.expect == 0 && step.model.vanishes() => STANDING,
            () => GONE,
        };
        return Reply {
            verdict,
            attempt,
            index: record.index,
            hold,
            wait,
            term: record.term,
        };
    }
    if request.flags & AGAIN != 0 && !step.model.vanishes() {
        step.breaks(Law::Once);
    }
    if request.flags & DENIED != 0 {
        step.breaks(Law::Reports);
    }
    let index = match step.model {
        model if model.weak(Clause::ReleaseDeletesRecord) => record.index + 1,
        model if model.weak(Clause::IndexFromBeforeTheStep) => request.fence,
        _ => record.counter + 1,
    };
    if index <= record.top {
        step.breaks(Law::IndexGrows);
    }
    remember(step, op, request);
    write(step, op, request, index);
    let record = step.state.record;
    let (hold, wait) = left(step.model, &record);
    Reply {
        verdict: DONE,
        attempt,
        index,
        hold,
        wait,
        term: record.term,
    }
}

/// What is left of a record's instants, as a reply tells it.
fn left(model: &Model, record: &Record) -> (u8, u8) {
    match model.clock {
        Clock::Server => (0, record.wait),
        Clock::Observed | Clock::Native => (record.hold_length, record.wait_length),
    }
}

fn in_place(step: &Step<'_>, op: Op, request: &Request) -> bool {
    let model = step.model;
    let record = &step.state.record;
    let named = request.expect == record.index;
    let alive = |lease: u8| {
        lease == 0
            || usize::from(lease)
                .checked_sub(1)
                .is_some_and(|slot| step.state.native[slot].alive != 0)
    };
    let held = match model.clock {
        Clock::Server => record.kind == HELD && record.hold > 0,
        Clock::Observed | Clock::Native => record.kind == HELD,
    };
    match op {
        Op::Acquire if model.weak(Clause::BlindAcquire) => true,
        Op::Acquire => match model.clock {
            Clock::Server => {
                let vacant = record.kind == ABSENT || record.hold <= model.spare();
                vacant && (named || model.weak(Clause::AcquireNamesNoVacancy))
            }
            Clock::Observed => named,
            Clock::Native => record.kind == ABSENT && alive(request.lease),
        },
        Op::Renew if model.weak(Clause::RenewWithoutCas) => held,
        Op::Release if model.weak(Clause::ReleaseWithoutIndex) => held,
        Op::Steal | Op::StealFromDead if model.weak(Clause::StealIgnoresProgress) => held,
        Op::Renew => held && named,
        _ => held && named && alive(request.lease),
    }
}

fn write(step: &mut Step<'_>, op: Op, request: &Request, index: u8) {
    let model = step.model;
    let old = step.state.record;
    let fence = match op {
        Op::Acquire => index,
        Op::Steal | Op::StealFromDead if model.weak(Clause::StealKeepsFence) => old.fence,
        Op::Steal | Op::StealFromDead => request.expect + 1,
        Op::Renew if model.weak(Clause::RenewDropsFence) => index,
        _ => old.fence,
    };
    let new_term = op == Op::Acquire || op.steals();
    if new_term && fence <= old.top || op == Op::Renew && fence != old.fence {
        step.breaks(Law::Fence);
    }
    let record = &mut step.state.record;
    record.kind = if op.vacates() { TOMBSTONE } else { HELD };
    record.index = index;
    record.counter = record.counter.max(index);
    record.top = record.top.max(index).max(fence);
    record.attempt = request.attempt;
    record.fence = if op.vacates() { 0 } else { fence };
    match model.clock {
        Clock::Server => {
            (record.hold, record.wait) = instants(model, op, request.hold, old.hold, old.wait);
            (record.hold_length, record.wait_length) = (record.hold, record.wait);
            if op.vacates() && model.weak(Clause::ReleaseDeletesRecord) {
                vanish(step);
            }
        }
        Clock::Observed => (record.hold_length, record.wait_length) = (request.hold, request.wait),
        Clock::Native => {
            let clean = op == Op::Release && request.wait == 0;
            let at_once = op == Op::Break && model.weak(Clause::BreakVacantAtOnce)
                || op == Op::ProxyRelease && model.weak(Clause::ProxyReleaseIsClean);
            (record.hold_length, record.wait_length) = if op.vacates() {
                (request.wait, request.wait)
            } else {
                (request.hold, request.wait)
            };
            if op != Op::Renew && op != Op::ProxyRenew {
                record.lease = request.lease;
            }
            if clean || at_once {
                vanish(step);
            }
        }
    }
}

/// Keeps what the law *not early* asks for.
fn remember(step: &mut Step<'_>, op: Op, request: &Request) {
    if !step.model.checks(Law::NotEarly) {
        return;
    }
    let period = match step.model.clock {
        Clock::Server => request.hold,
        // What an observer writes covers waits as well; a period at the least.
        Clock::Observed | Clock::Native => step.model.period(step.model.bounds.short),
    };
    let (early, wait) = (step.state.record.early, step.state.record.early_wait);
    // There the period counts from the native lease's grant or keep-alive, which the put may follow late.
    let period = match step.model.clock {
        Clock::Native if op == Op::Renew => early,
        Clock::Native if request.lease > 0 => {
            period.min(step.state.native[usize::from(request.lease) - 1].left)
        }
        _ => period,
    };
    if op == Op::Acquire && (early > 0 || wait > 0) {
        step.breaks(Law::NotEarly);
    }
    let record = &mut step.state.record;
    (record.early, record.early_wait) = match op {
        Op::Acquire => (period, 0),
        Op::Renew => (period, wait),
        Op::ProxyRenew => (early.max(period), wait),
        Op::Steal => (period, wait.max(early)),
        Op::StealFromDead => (period, wait),
        Op::Release => (0, wait),
        Op::Break | Op::ProxyRelease | Op::KeepAlive => (early, wait),
    };
}

/// The record vanishes: deleted, expired with its native lease, or collected.
pub(crate) fn vanish(step: &mut Step<'_>) {
    let counts = step.model.clock == Clock::Native;
    let record = &mut step.state.record;
    *record = Record {
        counter: record.counter + u8::from(counts),
        top: record.top,
        term: record.term,
        early: record.early,
        early_wait: record.early_wait,
        ..Record::default()
    };
}

/// A native lease ends, and the key that is attached to it with it.
pub(crate) fn expire(step: &mut Step<'_>, slot: usize) {
    step.state.native[slot].alive = 0;
    step.state.native[slot].left = 0;
    if step.state.record.kind != ABSENT && usize::from(step.state.record.lease) == slot + 1 {
        vanish(step);
    }
}

/// The registry restarts, or its leader changes: grants and waits are timed anew, in full.
pub(crate) fn restart(step: &mut Step<'_>) {
    step.state.restarts += 1;
    let model = step.model;
    let record = &mut step.state.record;
    if model.clock == Clock::Native {
        record.term += 1;
        for native in step
            .state
            .native
            .iter_mut()
            .filter(|native| native.alive != 0)
        {
            native.left = native.ttl;
        }
        return;
    }
    if model.weak(Clause::RestartForgetsTimers) {
        (record.hold, record.wait) = (0, 0);
    } else if model.weak(Clause::RestartForgetsWaits) {
        (record.hold, record.wait) = (record.hold_length, 0);
    } else if model.weak(Clause::RestartKeepsOldTimers) {
        // The new clock's reading is ahead of the old one's, here by one tick.
        record.hold = record.hold.saturating_sub(model.fast());
        record.wait = record.wait.saturating_sub(model.fast());
    } else {
        (record.hold, record.wait) = (record.hold_length, record.wait_length);
    }
}
