//! Which states are the same: those that differ only in what can no longer matter, or in which process is which.

use crate::clause::Clause;
use crate::event::Op;
use crate::model::{Clock, Model};
use crate::state::{
    ABSENT, APPLIED, FLIGHT, Handle, LIVE, NATIVE, Native, OVER, PROCESSES, Packed, Process,
    Record, Reply, Request, Sight, State,
};

/// The one state that stands for all that differ only in what can no longer matter, and where each process went.
#[must_use]
pub fn canonical(model: &Model, state: &State) -> (Packed, [usize; PROCESSES]) {
    let mut state = *state;
    let record = state.record;
    for process in &mut state.processes {
        let pending = process.pending;
        let handle = &mut process.handle;
        if handle.standing == LIVE && handle.deadline == 0 {
            handle.standing = OVER;
        }
        if handle.standing == OVER {
            let gone = handle.index != record.index && model.refuses();
            let busy = pending.op == Op::Renew as u8 || pending.op == Op::Release as u8;
            let begin = if model.clock == Clock::Native && !gone {
                handle.begin
            } else {
                0
            };
            *handle = match gone && !busy {
                true => Handle::default(),
                false => Handle {
                    standing: OVER,
                    index: handle.index,
                    begin,
                    ..Handle::default()
                },
            };
        }
        let stale =
            process.sight.index != record.index && !model.weak(Clause::TimingSurvivesRenewal);
        let proxy = pending.op == Op::ProxyRenew as u8;
        // On the server's clock it is only for beginning an operation.
        let busy =
            model.clock == Clock::Server && (pending.op != 0 || process.handle.standing == LIVE);
        if (stale || busy) && !(proxy && model.clock == Clock::Server) && model.refuses() {
            process.sight = Sight::default();
        }
        for request in &mut process.requests {
            let Some(op) = Op::of(request.op) else {
                continue;
            };
            let waited = pending.op != 0 && pending.attempt == request.attempt;
            if !waited
                && op != Op::KeepAlive
                && model.refuses()
                && is_hopeless(model, &state.record, request)
            {
                *request = Request::default();
            }
            if !waited && op != Op::KeepAlive && request.lease > 0 {
                let native = &state.native[usize::from(request.lease) - 1];
                if native.alive == 0 && op != Op::Renew {
                    *request = Request::default();
                }
            }
        }
        if pending.flags & APPLIED != 0 && model.refuses() && !model.vanishes() {
            process.pending.flags &= !APPLIED;
        }
        for reply in &mut process.replies {
            if pending.op == 0 || reply.attempt != pending.attempt {
                *reply = Reply::default();
            }
        }
        process.sort_flight();
    }
    forget(model, &mut state);
    state.pack(model.bounds.processes.into())
}

/// Whether a request can only be refused, now and later.
fn is_hopeless(model: &Model, record: &Record, request: &Request) -> bool {
    if request.expect == 0 {
        record.kind != ABSENT && !model.vanishes()
    } else {
        request.expect != record.index
    }
}

/// Forgets what nobody can ask for any more.
fn forget(model: &Model, state: &mut State) {
    let attempt = state.record.attempt;
    for process in &mut state.processes {
        let gave = process.gave;
        let under_way = process
            .requests
            .iter()
            .any(|request| request.op != 0 && request.attempt == gave);
        if gave != 0 && gave != attempt && !under_way {
            process.gave = 0;
        }
    }
    let asked = |process: &Process| {
        process.gave == attempt || (process.pending.op != 0 && process.pending.attempt == attempt)
    };
    if !state.processes.iter().any(asked) {
        state.record.attempt = 0;
    }
    if model.clock == Clock::Server && state.restarts >= model.bounds.restarts {
        state.record.hold_length = 0;
        state.record.wait_length = 0;
    }
    if model.clock != Clock::Native {
        return;
    }
    for slot in 0..NATIVE {
        let lease = slot as u8 + 1;
        let named = state.record.lease == lease
            || state.processes.iter().any(|process| {
                process.handle.lease == lease
                    || process.pending.lease == lease
                    || (model.weak(Clause::ReusedNativeLease) && process.extra == lease)
                    || process.requests[..FLIGHT]
                        .iter()
                        .any(|request| request.lease == lease)
            });
        if !named {
            state.native[slot] = Native::default();
        } else if state.native[slot].alive == 0 {
            state.native[slot].left = 0;
        }
    }
}
