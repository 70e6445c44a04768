//! What can happen next.

use crate::clause::Clause;
use crate::model::{Clock, Model};
use crate::state::{
    ABSENT, ASKED, DONE, FLIGHT, HELD, LIVE, NATIVE, NONE, OVER, OWN, Process, RESENT, State,
};

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Op {
    /// Takes a vacant name.
    Acquire = 1,
    /// Extends the own term.
    Renew,
    /// Replaces a named grant, and waits it out.
    Steal,
    /// Ends the own term.
    Release,
    /// Ends a named grant of another; the name stays taken until it is waited out.
    Break,
    /// Renews through a lease that was only fetched.
    ProxyRenew,
    /// Releases through a lease that was only fetched.
    ProxyRelease,
    /// A steal whose thief knows the replaced grant's lessee to be dead, and rightly.
    StealFromDead,
    /// Keeps a native lease alive; never by itself.
    KeepAlive,
}

impl Op {
    /// The operation of a number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        [
            Self::Acquire,
            Self::Renew,
            Self::Steal,
            Self::Release,
            Self::Break,
            Self::ProxyRenew,
            Self::ProxyRelease,
            Self::StealFromDead,
            Self::KeepAlive,
        ]
        .into_iter()
        .find(|op| *op as u8 == number)
    }

    /// Whether it makes a grant that its own handle may believe.
    #[must_use]
    pub fn grants(self) -> bool {
        matches!(self, Self::Acquire | Self::Steal | Self::StealFromDead)
    }

    /// Whether it is a steal.
    #[must_use]
    pub fn steals(self) -> bool {
        matches!(self, Self::Steal | Self::StealFromDead)
    }

    /// Whether it leaves a record without a lessee.
    #[must_use]
    pub fn vacates(self) -> bool {
        matches!(self, Self::Release | Self::Break | Self::ProxyRelease)
    }
}

/// Something that happens. Processes, requests and replies are named by their places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A process reads the record.
    Look(usize),
    /// A process sends a read (only where a weakened clause tells sending from receiving).
    Ask(usize),
    /// A process begins an operation and sends it; true: for the short period.
    Start(usize, Op, bool),
    /// A process sends the same attempt again.
    Resend(usize),
    /// A process asks for its native lease to be kept alive.
    KeepAlive(usize),
    /// A process reports the outcome as unknown; true: and revokes the native lease that it granted for it.
    GiveUp(usize, bool),
    /// The registry takes a request; true: a duplicate of it stays under way.
    Apply(usize, usize, bool),
    /// A deposed leader answers a keep-alive.
    ApplyDeposed(usize, usize),
    /// A process receives a reply.
    Receive(usize, usize),
    /// A process crashes, and forgets all but what it has under way.
    Crash(usize),
    /// The registry restarts; on the native-lease clock: another leader is elected.
    Restart,
    /// The registry ends a native lease that has run out.
    Expire(usize),
    /// The registry collects a tombstone.
    Collect,
    /// Time passes; each bit: whose clock is fast (processes, then the registry).
    Tick(u8),
}

/// The registry's bit in a tick.
pub const REGISTRY: u8 = 1 << 3;

/// All that can happen in a state.
pub fn events(model: &Model, state: &State, found: &mut Vec<Event>) {
    found.clear();
    for (p, process) in state
        .processes
        .iter()
        .enumerate()
        .take(model.bounds.processes.into())
    {
        own(model, state, p, process, found);
        for (slot, request) in process.requests.iter().enumerate() {
            let Some(op) = Op::of(request.op) else {
                continue;
            };
            found.push(Event::Apply(p, slot, false));
            if model.bounds.duplicates && op != Op::KeepAlive {
                found.push(Event::Apply(p, slot, true));
            }
            if op == Op::KeepAlive && state.record.term > 0 {
                found.push(Event::ApplyDeposed(p, slot));
            }
        }
        for slot in 0..FLIGHT {
            if process.replies[slot].verdict != 0 {
                found.push(Event::Receive(p, slot));
            }
        }
    }
    if state.restarts < model.bounds.restarts {
        found.push(Event::Restart);
    }
    for slot in 0..NATIVE {
        if state.native[slot].alive != 0 && state.native[slot].left == 0 {
            found.push(Event::Expire(slot));
        }
    }
    if model.bounds.collect && state.record.kind != ABSENT && state.record.hold == 0 {
        found.push(Event::Collect);
    }
    ticks(model, state, found);
}

/// What a process can do.
fn own(model: &Model, state: &State, p: usize, process: &Process, found: &mut Vec<Event>) {
    let pending = &process.pending;
    let room = process.requests.iter().any(|request| request.op == 0);
    let handle = process.handle.standing;
    if let Some(op) = Op::of(pending.op) {
        let copies = process
            .requests
            .iter()
            .filter(|r| r.op == pending.op)
            .count();
        let in_time = pending.left > 0 || op.vacates() || model.weak(Clause::ResendAfterDeadline);
        // A sole copy under way that is resent, or one that was lost (or its reply was).
        if room && copies < FLIGHT && in_time && pending.term == 0 {
            found.push(Event::Resend(p));
        }
        let asks = model.clock == Clock::Native && op == Op::Renew && pending.flags & ASKED == 0;
        if asks && room && handle == LIVE {
            found.push(Event::KeepAlive(p));
        }
        if pending.left == 0 || op.vacates() || pending.term > 0 {
            found.push(Event::GiveUp(p, false));
            let revokes = op == Op::Acquire
                || (model.weak(Clause::RevokeAfterUnresolvedSteal)
                    && (op.steals() || op == Op::Break));
            if pending.lease > 0 && revokes {
                found.push(Event::GiveUp(p, true));
            }
        }
        if model.weak(Clause::ReReadDecides) && pending.flags & RESENT == 0 {
            found.push(Event::Look(p));
        }
    } else {
        starts(model, state, p, process, found);
    }
    if state.crashes < model.bounds.crashes {
        let forgets = Process {
            requests: process.requests,
            ..Process::default()
        };
        if *process != forgets {
            found.push(Event::Crash(p));
        }
    }
}

/// What a process can begin.
fn starts(model: &Model, state: &State, p: usize, process: &Process, found: &mut Vec<Event>) {
    let (sight, record) = (&process.sight, &state.record);
    let handle = process.handle.standing;
    if model.weak(Clause::WaitFromSend) && process.extra == 0 && handle != LIVE {
        found.push(Event::Ask(p));
    }
    // A look that would show nothing new changes nothing, and is the same state.
    let reads = !model.weak(Clause::WaitFromSend) || process.extra > 0;
    if handle != LIVE && record.kind != ABSENT && reads {
        found.push(Event::Look(p));
    }
    if state.operations >= model.bounds.operations || process.requests.iter().all(|r| r.op != 0) {
        return;
    }
    let lengths: &[bool] = if model.bounds.short {
        &[false, true]
    } else {
        &[false]
    };
    // On the server's clock a process names what it saw; elsewhere it reads again as it sends.
    let (kind, index, hold) = match model.clock {
        Clock::Server => (sight.kind, sight.index, sight.hold),
        Clock::Observed | Clock::Native if sight.index == record.index => {
            (record.kind, record.index, sight.hold)
        }
        Clock::Observed | Clock::Native => (record.kind, record.index, record.hold_length),
    };
    let standing = kind == record.kind && index == record.index;
    let free = model.clock != Clock::Native || state.native.iter().any(|native| native.ttl == 0);
    for op in model.bounds.ops {
        let can = match op {
            // An acquire that names what is gone already would be refused, and nothing else would come of it.
            Op::Acquire => {
                let vacant = match model.clock {
                    Clock::Server => kind != HELD || hold <= model.spare(),
                    Clock::Observed => kind == ABSENT || hold <= model.spare(),
                    Clock::Native => kind == ABSENT,
                };
                let blind =
                    model.weak(Clause::BlindAcquire) || model.weak(Clause::AcquireNamesNoVacancy);
                handle != LIVE && free && (blind || (standing && vacant))
            }
            Op::Renew => handle == LIVE,
            Op::Release => handle == LIVE || handle == OVER,
            Op::Steal | Op::Break => handle != LIVE && kind == HELD && hold > 0 && free,
            Op::ProxyRenew | Op::ProxyRelease => handle == NONE && kind == HELD && hold > 0 && free,
            Op::StealFromDead => {
                handle != LIVE && kind == HELD && hold > 0 && free && is_dead(state, index)
            }
            Op::KeepAlive => false,
        };
        if can {
            for short in lengths {
                if !short || !op.vacates() {
                    found.push(Event::Start(p, *op, *short));
                }
            }
        }
    }
}

/// Whether the lessee of the grant of an index is dead: nobody has, or can still get, a handle of its term.
fn is_dead(state: &State, index: u8) -> bool {
    let record = &state.record;
    record.index == index
        && state.processes.iter().all(|process| {
            let live = process.handle.standing == LIVE && process.handle.fence == record.fence;
            let pending = &process.pending;
            let learns = pending.op != 0 && pending.attempt == record.attempt;
            // A proxy may have renewed it since.
            let told = process.replies.iter().any(|reply| {
                let fence = if pending.op == Op::Acquire as u8 {
                    reply.index
                } else {
                    pending.expect + 1
                };
                matches!(reply.verdict, DONE | OWN) && fence == record.fence
            });
            !live && !learns && !told
        })
}

/// Each way in which time can pass: the clocks that nobody counts by do not matter.
fn ticks(model: &Model, state: &State, found: &mut Vec<Event>) {
    let mut counting = 0_u8;
    for (p, process) in state.processes.iter().enumerate() {
        let handle = &process.handle;
        let pending = &process.pending;
        let sight = &process.sight;
        let sees = model.clock != Clock::Server && (sight.hold > 0 || sight.wait > 0);
        if handle.begin + handle.deadline + pending.left + pending.kept_left + process.extra > 0
            || sees
        {
            counting |= 1 << p;
        }
    }
    let record = &state.record;
    let native = state
        .native
        .iter()
        .any(|native| native.alive != 0 && native.left > 0);
    if record.hold > 0 || record.wait > 0 || native {
        counting |= REGISTRY;
    }
    if counting == 0 && record.early == 0 && record.early_wait == 0 {
        return;
    }
    if !model.bounds.drift {
        found.push(Event::Tick(0));
        return;
    }
    // Every subset of those that count.
    let mut fast = counting;
    loop {
        found.push(Event::Tick(fast));
        if fast == 0 {
            break;
        }
        fast = (fast - 1) & counting;
    }
}
