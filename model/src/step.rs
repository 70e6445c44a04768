//! What an event does.

use crate::clause::Clause;
use crate::event::{Event, Op, REGISTRY};
use crate::law::Law;
use crate::model::{Clock, Model};
use crate::registry;
use crate::state::{
    ABSENT, AGAIN, ALIVE, APPLIED, ASKED, DEAD, DENIED, DONE, FLIGHT, GONE, HELD, Handle, LIVE,
    NATIVE, Native, OVER, OWN, PROCESSES, Packed, Pending, Process, RESENT, Reply, Request, SHORT,
    STANDING, Sight, State, TOMBSTONE,
};

/// A step under way.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) model: &'a Model,
    pub(crate) state: State,
    pub(crate) broken: Option<Law>,
}

/// The state after an event, not yet in canonical form, and the law that it breaks, if any.
#[must_use]
pub fn step(model: &Model, state: &State, event: Event) -> (State, Option<Law>) {
    let mut step = Step {
        model,
        state: *state,
        broken: None,
    };
    step.happens(event);
    step.judge(state);
    (step.state, step.broken)
}

impl Step<'_> {
    fn happens(&mut self, event: Event) {
        match event {
            Event::Look(p) => self.look(p),
            Event::Ask(p) => self.state.processes[p].extra = 1,
            Event::Start(p, op, short) => self.start(p, op, short),
            Event::Resend(p) => self.resend(p),
            Event::KeepAlive(p) => self.keep_alive(p),
            Event::GiveUp(p, revoke) => self.give_up(p, revoke),
            Event::Apply(p, slot, keep) => self.apply(p, slot, keep),
            Event::ApplyDeposed(p, slot) => {
                let request = std::mem::take(&mut self.state.processes[p].requests[slot]);
                let term = self.state.record.term - 1;
                self.reply(
                    p,
                    Reply {
                        verdict: ALIVE,
                        attempt: request.attempt,
                        term,
                        ..Reply::default()
                    },
                );
            }
            Event::Receive(p, slot) => {
                let reply = std::mem::take(&mut self.state.processes[p].replies[slot]);
                if reply.attempt == self.state.processes[p].pending.attempt {
                    self.learn(p, reply);
                }
            }
            Event::Crash(p) => {
                let requests = self.state.processes[p].requests;
                self.state.processes[p] = Process {
                    requests,
                    ..Process::default()
                };
                self.state.crashes += 1;
            }
            Event::Restart => registry::restart(self),
            Event::Expire(slot) => registry::expire(self, slot),
            Event::Collect => registry::vanish(self),
            Event::Tick(fast) => self.tick(fast),
        }
    }

    /// A law is broken; the first one counts.
    pub(crate) fn breaks(&mut self, law: Law) {
        if self.broken.is_none() && self.model.checks(law) {
            self.broken = Some(law);
        }
    }

    /// The laws that can be seen from before and after.
    fn judge(&mut self, before: &State) {
        let mut current = 0;
        for p in 0..PROCESSES {
            let (old, new) = (&before.processes[p], &self.state.processes[p]);
            if !new.is_current() {
                continue;
            }
            current += 1;
            if old.handle.standing == OVER {
                self.breaks(Law::NeverResumes);
            }
        }
        if current > 1 {
            self.breaks(Law::OneLessee);
        }
    }

    /// What a read shows now, timed from when this record was first seen.
    fn sighted(&self, p: usize) -> Sight {
        let (record, known) = (&self.state.record, &self.state.processes[p].sight);
        if record.kind == ABSENT {
            return Sight::default();
        }
        let (hold, wait) = match self.model.clock {
            Clock::Server => {
                let counts =
                    self.model.has(Op::ProxyRenew) || self.model.weak(Clause::EarlyVacancy);
                (
                    if counts {
                        record.hold
                    } else {
                        record.hold.min(1)
                    },
                    0,
                )
            }
            _ if known.index == record.index => (known.hold, known.wait),
            _ if self.model.weak(Clause::TimingSurvivesRenewal)
                && known.kind == HELD
                && record.kind == HELD =>
            {
                (known.hold, known.wait)
            }
            _ => (record.hold_length, record.wait_length),
        };
        Sight {
            kind: record.kind,
            index: record.index,
            hold,
            wait,
        }
    }

    fn look(&mut self, p: usize) {
        let record = self.state.record;
        let pending = self.state.processes[p].pending;
        if pending.op != 0 {
            // Only where the weakened clause lets any re-read decide.
            if record.attempt != pending.attempt {
                self.deny(p);
            }
            return;
        }
        let mut sight = self.sighted(p);
        let process = &mut self.state.processes[p];
        if process.extra > 0 {
            let ago = process.extra - 1;
            process.extra = 0;
            if process.sight.index != sight.index {
                sight.hold = sight.hold.saturating_sub(ago);
                sight.wait = sight.wait.saturating_sub(ago);
            }
        }
        process.sight = sight;
        if process.gave != 0 {
            // Its own, reported as unknown: it is given back.
            if record.kind == HELD && record.attempt == process.gave {
                let begin = if self.model.clock == Clock::Native {
                    sight.wait
                } else {
                    0
                };
                process.handle = Handle {
                    standing: OVER,
                    index: record.index,
                    begin,
                    ..Handle::default()
                };
            }
            process.gave = 0;
        }
    }

    /// The least attempt id that nobody uses.
    fn fresh(&self) -> u8 {
        let used = |id: u8| {
            self.state.record.attempt == id
                || self.state.processes.iter().any(|process| {
                    process.pending.attempt == id
                        || process.gave == id
                        || process.requests.iter().any(|request| request.attempt == id)
                        || process.replies.iter().any(|reply| reply.attempt == id)
                })
        };
        (1..15).find(|id| !used(*id)).unwrap_or(15)
    }

    fn start(&mut self, p: usize, op: Op, short: bool) {
        self.state.operations += 1;
        if op.grants() || op.vacates() && op != Op::Release {
            self.state.processes[p].handle = Handle::default();
        }
        if self.model.clock != Clock::Server && op != Op::Renew && op != Op::Release {
            self.state.processes[p].sight = self.sighted(p);
        }
        let attempt = self.fresh();
        let period = self.model.period(short);
        let process = &mut self.state.processes[p];
        process.gave = 0;
        process.pending = Pending {
            op: op as u8,
            attempt,
            expect: match op {
                Op::Renew | Op::Release => process.handle.index,
                _ => process.sight.index,
            },
            left: if op.vacates() || op == Op::ProxyRenew {
                0
            } else {
                self.model.believed(period)
            },
            flags: if short { SHORT } else { 0 },
            ..Pending::default()
        };
        let (left, wait) = (
            process.pending.left,
            process.sight.wait.max(process.sight.hold),
        );
        match op {
            Op::Renew if !self.model.weak(Clause::ShorterRenewKeepsLongDeadline) => {
                process.handle.deadline = process.handle.deadline.min(left);
            }
            // Belief ends before the release is sent.
            Op::Release => {
                if !self.model.weak(Clause::ReleaseEndsBeliefAfterwards) {
                    process.handle.standing = OVER;
                }
                if self.model.weak(Clause::ReusedNativeLease) {
                    process.extra = process.handle.lease;
                }
            }
            _ if op.grants() && self.model.weak(Clause::BeginBeforeSuccessKnown) => {
                let begin = if op.steals() { wait } else { 0 };
                process.handle = Handle {
                    standing: LIVE,
                    begin,
                    deadline: left,
                    ..Handle::default()
                };
            }
            _ => {}
        }
        if self.model.clock == Clock::Native {
            self.grant_native(p, op, period);
        }
        self.send(p);
    }

    /// Grants the native lease that a change attaches the key to. Its request and reply are one event: a delay of either
    /// would only make the process count its deadline from earlier.
    fn grant_native(&mut self, p: usize, op: Op, period: u8) {
        let process = &self.state.processes[p];
        let inherited = match op {
            // Its own wait is what is left until it believes.
            Op::Release => process.handle.begin,
            _ => process.sight.wait,
        };
        let replaced = process.sight.hold.max(inherited);
        let ttl = match op {
            Op::Acquire if self.model.weak(Clause::ReusedNativeLease) && self.reuse(p) => return,
            Op::Acquire => period,
            Op::Steal | Op::StealFromDead if self.model.weak(Clause::StealTtlTooShort) => period,
            Op::Steal | Op::StealFromDead => period.max(replaced),
            Op::Break | Op::ProxyRelease if self.model.weak(Clause::TombstoneTtlTooShort) => {
                self.model.slow()
            }
            Op::Break | Op::ProxyRelease => replaced,
            Op::Release if inherited > 0 => inherited,
            _ => return,
        };
        if let Some(slot) = self.state.native.iter().position(|native| native.ttl == 0) {
            self.state.native[slot] = Native {
                ttl,
                left: ttl,
                alive: 1,
            };
            self.state.processes[p].pending.lease = slot as u8 + 1;
        }
    }

    /// Takes a native lease that the process has from before.
    fn reuse(&mut self, p: usize) -> bool {
        let lease = self.state.processes[p].extra;
        let alive = lease > 0 && self.state.native[usize::from(lease) - 1].alive != 0;
        if alive {
            self.state.processes[p].pending.lease = lease;
        }
        alive
    }

    /// Sends the outstanding change, or finds its outcome as it reads.
    fn send(&mut self, p: usize) {
        let process = &self.state.processes[p];
        let Pending {
            op: number,
            attempt,
            expect,
            lease,
            flags,
            ..
        } = process.pending;
        let Some(op) = Op::of(number) else { return };
        let period = self.model.period(flags & SHORT != 0);
        let mut request = Request {
            op: number,
            attempt,
            expect,
            lease,
            ..Request::default()
        };
        if flags & APPLIED != 0 {
            request.flags |= AGAIN;
        }
        match self.model.clock {
            Clock::Server => {
                request.hold = match op {
                    Op::ProxyRenew if self.model.weak(Clause::ProxyRenewCutsShort) => period,
                    Op::ProxyRenew => period.max(process.sight.hold),
                    _ if op.vacates() => 0,
                    _ => period,
                };
                if self.model.weak(Clause::IndexFromBeforeTheStep) {
                    self.state.record.counter += 1;
                    request.fence = self.state.record.counter;
                }
            }
            Clock::Observed => {
                let sight = self.sighted(p);
                self.state.processes[p].sight = sight;
                if sight.index != expect {
                    let record = self.state.record;
                    let own = record.kind != ABSENT && record.attempt == attempt;
                    let verdict = if own { OWN } else { GONE };
                    let (hold, wait) = (sight.hold, sight.wait);
                    self.learn(
                        p,
                        Reply {
                            verdict,
                            attempt,
                            index: record.index,
                            hold,
                            wait,
                            term: 0,
                        },
                    );
                    return;
                }
                let held = sight.kind == HELD && sight.hold > 0;
                let in_place = if op == Op::Acquire {
                    sight.hold <= self.model.spare()
                } else {
                    held
                };
                if !in_place && !self.model.weak(Clause::BlindAcquire) {
                    // It names what stands, which has run out: refused, unless an earlier copy is under way.
                    self.learn(
                        p,
                        Reply {
                            verdict: STANDING,
                            attempt,
                            index: expect,
                            ..Reply::default()
                        },
                    );
                    return;
                }
                (request.hold, request.wait) =
                    registry::instants(self.model, op, period, sight.hold, sight.wait);
            }
            Clock::Native => {
                let own_wait = process.handle.begin;
                request.wait = match op {
                    Op::Renew if self.model.weak(Clause::InheritedWaitDroppedByRenew) => 0,
                    Op::Release if self.model.weak(Clause::InheritedWaitDroppedByRelease) => 0,
                    Op::Renew | Op::Release => own_wait,
                    Op::StealFromDead if self.model.weak(Clause::AssumeDeadSkipsInherited) => 0,
                    Op::StealFromDead => process.sight.wait,
                    Op::Acquire => 0,
                    _ => process.sight.hold.max(process.sight.wait),
                };
                request.hold = period;
            }
        }
        let requests = &mut self.state.processes[p].requests;
        if let Some(slot) = requests.iter_mut().find(|slot| slot.op == 0) {
            *slot = request;
        }
    }

    fn resend(&mut self, p: usize) {
        let from_here = self.model.weak(Clause::DeadlineFromResend);
        let pending = &mut self.state.processes[p].pending;
        pending.flags |= RESENT;
        if from_here && Op::of(pending.op).is_some_and(Op::grants) {
            pending.left = self
                .model
                .believed(self.model.period(pending.flags & SHORT != 0));
        }
        self.send(p);
    }

    fn keep_alive(&mut self, p: usize) {
        let believed = self.model.believed(self.model.period(false));
        let process = &mut self.state.processes[p];
        process.pending.flags |= ASKED;
        if self.model.weak(Clause::KeepAliveCountsFromItsOwnSend) {
            process.pending.kept_left = believed;
        }
        let (attempt, lease) = (process.pending.attempt, process.handle.lease);
        let request = Request {
            op: Op::KeepAlive as u8,
            attempt,
            lease,
            ..Request::default()
        };
        if let Some(slot) = process.requests.iter_mut().find(|slot| slot.op == 0) {
            *slot = request;
        }
    }

    fn give_up(&mut self, p: usize, revoke: bool) {
        let pending = self.state.processes[p].pending;
        let grants = Op::of(pending.op).is_some_and(Op::grants);
        if grants {
            self.state.processes[p].gave = pending.attempt;
            self.state.processes[p].handle = Handle::default();
        }
        if grants && self.model.weak(Clause::AmbiguousAcquireIsFailure) {
            self.deny(p);
        }
        let attached = self.state.record.lease == pending.lease;
        if revoke && pending.lease > 0 {
            registry::expire(self, usize::from(pending.lease) - 1);
            // An acquire's own lessee ends it.
            if pending.op == Op::Acquire as u8 && self.state.record.kind == ABSENT && attached {
                self.state.record.early = 0;
            }
        }
        if self.model.weak(Clause::ReusedNativeLease) && pending.op == Op::Acquire as u8 && !revoke
        {
            self.state.processes[p].extra = pending.lease;
        }
        self.done(p);
    }

    /// The outstanding change is over.
    fn done(&mut self, p: usize) {
        let process = &mut self.state.processes[p];
        if process.pending.op == Op::Release as u8 {
            process.handle = Handle::default();
        }
        process.pending = Pending::default();
    }

    /// The outstanding change is reported as not applied.
    fn deny(&mut self, p: usize) {
        let process = &mut self.state.processes[p];
        let attempt = process.pending.attempt;
        for request in process
            .requests
            .iter_mut()
            .filter(|r| r.op != 0 && r.attempt == attempt)
        {
            request.flags |= DENIED;
        }
        let stands = self.state.record.kind != ABSENT && self.state.record.attempt == attempt;
        if Op::of(process.pending.op).is_some_and(Op::grants) {
            process.handle = Handle::default();
        } else if process.pending.op == Op::Renew as u8 {
            process.handle.standing = OVER;
        }
        self.done(p);
        if stands {
            self.breaks(Law::Reports);
        }
    }

    fn apply(&mut self, p: usize, slot: usize, keep: bool) {
        let request = self.state.processes[p].requests[slot];
        if !keep {
            self.state.processes[p].requests[slot] = Request::default();
        }
        if request.op == Op::KeepAlive as u8 {
            let term = self.state.record.term;
            let verdict = match usize::from(request.lease)
                .checked_sub(1)
                .map(|lease| &mut self.state.native[lease])
            {
                Some(native) if native.alive != 0 => {
                    native.left = native.ttl;
                    ALIVE
                }
                _ => DEAD,
            };
            return self.reply(
                p,
                Reply {
                    verdict,
                    attempt: request.attempt,
                    term,
                    ..Reply::default()
                },
            );
        }
        let reply = registry::apply(self, &request);
        if reply.verdict == DONE {
            let process = &mut self.state.processes[p];
            for copy in process
                .requests
                .iter_mut()
                .filter(|r| r.op != 0 && r.attempt == request.attempt)
            {
                copy.flags |= AGAIN;
            }
            if process.pending.attempt == request.attempt {
                process.pending.flags |= APPLIED;
            }
        }
        self.reply(p, reply);
    }

    /// Sends a reply to whoever still waits for it; where there is no room for it, it is lost.
    fn reply(&mut self, p: usize, reply: Reply) {
        let process = &mut self.state.processes[p];
        if process.pending.attempt == reply.attempt
            && process.pending.op != 0
            && let Some(slot) = process.replies.iter_mut().find(|slot| slot.verdict == 0)
        {
            *slot = reply;
        }
    }

    /// A process learns what became of its outstanding change.
    fn learn(&mut self, p: usize, reply: Reply) {
        let pending = self.state.processes[p].pending;
        let Some(op) = Op::of(pending.op) else { return };
        let unrecognised = reply.verdict == OWN && self.model.weak(Clause::AttemptNotRecognised);
        match reply.verdict {
            ALIVE | DEAD => self.kept(p, reply),
            // Not decisive while an earlier copy may still be applied.
            STANDING
                if pending.flags & RESENT != 0 && !self.model.weak(Clause::EarlyRefusalDecides) => {
            }
            GONE | STANDING => self.deny(p),
            _ if unrecognised => self.deny(p),
            _ => self.succeeded(p, op, reply),
        }
    }

    fn succeeded(&mut self, p: usize, op: Op, reply: Reply) {
        let model = self.model;
        let process = &mut self.state.processes[p];
        let pending = process.pending;
        let believed = model.believed(model.period(pending.flags & SHORT != 0));
        if model.clock != Clock::Server && process.sight.index != reply.index {
            let kind = if op.vacates() { TOMBSTONE } else { HELD };
            process.sight = Sight {
                kind,
                index: reply.index,
                hold: reply.hold,
                wait: reply.wait,
            };
        }
        match op {
            Op::Acquire | Op::Steal | Op::StealFromDead => {
                let from_reply = model.weak(Clause::DeadlineFromReply);
                let deadline = if from_reply { believed } else { pending.left };
                let early =
                    model.weak(Clause::BeginBeforeSuccessKnown) && process.handle.standing == LIVE;
                let begin = match op {
                    _ if early => process.handle.begin,
                    _ if op.steals() && model.weak(Clause::StealWithoutWait) => 0,
                    _ => reply.wait,
                };
                let fence = match op {
                    Op::Acquire => reply.index,
                    _ => pending.expect + 1,
                };
                let standing = if deadline > 0 { LIVE } else { OVER };
                process.handle = Handle {
                    standing,
                    index: reply.index,
                    fence,
                    begin,
                    deadline,
                    lease: pending.lease,
                };
                self.done(p);
            }
            Op::Renew if model.clock == Clock::Native => {
                process.handle.index = reply.index;
                process.pending.term = reply.term + 1;
                self.both(p);
            }
            Op::Renew => {
                let handle = &mut process.handle;
                handle.index = reply.index;
                let from_reply = model.weak(Clause::RenewDeadlineFromReply);
                let deadline = if from_reply { believed } else { pending.left };
                let revived = model.weak(Clause::BeliefRevivedByLateReply);
                if handle.standing == LIVE && handle.deadline > 0 {
                    handle.deadline = deadline;
                } else if revived && deadline > 0 {
                    handle.standing = LIVE;
                    handle.deadline = deadline;
                } else {
                    handle.standing = OVER;
                }
                self.done(p);
            }
            Op::Release => {
                if model.clock == Clock::Server {
                    process.sight = Sight {
                        kind: TOMBSTONE,
                        index: reply.index,
                        ..Sight::default()
                    };
                }
                self.done(p);
            }
            Op::Break | Op::ProxyRelease | Op::ProxyRenew | Op::KeepAlive => self.done(p),
        }
    }

    /// The answer to a keep-alive.
    fn kept(&mut self, p: usize, reply: Reply) {
        let alone = self.model.weak(Clause::KeepAliveAloneExtends);
        let process = &mut self.state.processes[p];
        if reply.verdict == ALIVE {
            process.pending.kept = reply.term + 1;
            if alone && process.handle.standing == LIVE {
                process.handle.deadline = process.handle.deadline.max(process.pending.left);
            }
        }
        self.both(p);
    }

    /// A renewal on the native-lease clock counts once both the swap and the keep-alive are known to have succeeded,
    /// the latter by a leader no older than the former's.
    fn both(&mut self, p: usize) {
        let own_send = self.model.weak(Clause::KeepAliveCountsFromItsOwnSend);
        let any_term = self.model.weak(Clause::KeepAliveOfOlderTermCounts);
        let revived = self.model.weak(Clause::BeliefRevivedByLateReply);
        let process = &mut self.state.processes[p];
        let pending = process.pending;
        if pending.term == 0 || pending.kept == 0 {
            return;
        }
        let handle = &mut process.handle;
        let counts = pending.kept >= pending.term || any_term;
        if revived && counts && handle.standing == OVER && pending.left > 0 {
            handle.standing = LIVE;
            handle.deadline = pending.left;
        } else if handle.standing == LIVE && handle.deadline > 0 && counts {
            handle.deadline = if own_send {
                pending.kept_left
            } else {
                pending.left.max(handle.deadline)
            };
        }
        self.done(p);
    }

    fn tick(&mut self, fast: u8) {
        let model = self.model;
        let rate = |bit: u8| {
            if fast & bit != 0 {
                model.fast()
            } else {
                model.slow()
            }
        };
        for (p, process) in self.state.processes.iter_mut().enumerate() {
            let by = rate(1 << p);
            let less = |left: &mut u8| *left = left.saturating_sub(by);
            less(&mut process.handle.begin);
            less(&mut process.handle.deadline);
            less(&mut process.pending.left);
            less(&mut process.pending.kept_left);
            if model.clock != Clock::Server {
                less(&mut process.sight.hold);
                less(&mut process.sight.wait);
            }
            if process.extra > 0 && model.weak(Clause::WaitFromSend) {
                process.extra = (process.extra + by).min(15);
            }
        }
        let by = rate(REGISTRY);
        let record = &mut self.state.record;
        record.hold = record.hold.saturating_sub(by);
        record.wait = record.wait.saturating_sub(by);
        let counted = if model.clock == Clock::Server {
            by
        } else {
            model.fast()
        };
        record.early = record.early.saturating_sub(counted);
        record.early_wait = record.early_wait.saturating_sub(counted);
        for native in &mut self.state.native {
            native.left = native.left.saturating_sub(by);
        }
    }
}

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
fn is_hopeless(model: &Model, record: &crate::state::Record, request: &Request) -> bool {
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
