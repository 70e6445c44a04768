//! What a process does of itself: it reads, begins an operation, sends, gives up.

use crate::clause::Clause;
use crate::event::Op;
use crate::model::Clock;
use crate::registry;
use crate::state::{
    ABSENT, AGAIN, APPLIED, ASKED, GONE, HELD, Handle, LIVE, Native, OVER, OWN, Pending, RESENT,
    Reply, Request, SHORT, STANDING, Sight,
};
use crate::step::Step;

impl Step<'_> {
    /// What a read shows now, timed from when this record was first seen.
    pub(crate) fn sighted(&self, p: usize) -> Sight {
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

    pub(crate) fn look(&mut self, p: usize) {
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
    pub(crate) fn fresh(&self) -> u8 {
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

    pub(crate) fn start(&mut self, p: usize, op: Op, short: bool) {
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
    pub(crate) fn grant_native(&mut self, p: usize, op: Op, period: u8) {
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
    pub(crate) fn reuse(&mut self, p: usize) -> bool {
        let lease = self.state.processes[p].extra;
        let alive = lease > 0 && self.state.native[usize::from(lease) - 1].alive != 0;
        if alive {
            self.state.processes[p].pending.lease = lease;
        }
        alive
    }

    /// Sends the outstanding change, or finds its outcome as it reads.
    pub(crate) fn send(&mut self, p: usize) {
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
                    Op::Steal if self.model.weak(Clause::InheritedWaitDroppedBySteal) => {
                        process.sight.hold
                    }
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

    pub(crate) fn resend(&mut self, p: usize) {
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

    pub(crate) fn keep_alive(&mut self, p: usize) {
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

    pub(crate) fn give_up(&mut self, p: usize, revoke: bool) {
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
}
