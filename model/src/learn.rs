//! What a process makes of what it learns: belief, and reports.

use crate::clause::Clause;
use crate::event::Op;
use crate::law::Law;
use crate::model::Clock;
use crate::state::{
    ABSENT, ALIVE, DEAD, DENIED, GONE, HELD, Handle, LIVE, OVER, OWN, Pending, RESENT, Reply,
    SHORT, STANDING, Sight, TOMBSTONE,
};
use crate::step::Step;

impl Step<'_> {
    /// The outstanding change is over.
    pub(crate) fn done(&mut self, p: usize) {
        let process = &mut self.state.processes[p];
        if process.pending.op == Op::Release as u8 {
            process.handle = Handle::default();
        }
        process.pending = Pending::default();
    }

    /// The outstanding change is reported as not applied.
    pub(crate) fn deny(&mut self, p: usize) {
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

    /// A process learns what became of its outstanding change.
    pub(crate) fn learn(&mut self, p: usize, reply: Reply) {
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

    pub(crate) fn succeeded(&mut self, p: usize, op: Op, reply: Reply) {
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
    pub(crate) fn kept(&mut self, p: usize, reply: Reply) {
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
    pub(crate) fn both(&mut self, p: usize) {
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
}
