//! What an event does.

use crate::clause::Clause;
use crate::event::{Event, Op, REGISTRY};
use crate::law::Law;
use crate::model::{Clock, Model};
use crate::registry;
use crate::state::{
    AGAIN, ALIVE, APPLIED, DEAD, DONE, OVER, PROCESSES, Process, Reply, Request, State,
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
    pub(crate) fn happens(&mut self, event: Event) {
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
    pub(crate) fn judge(&mut self, before: &State) {
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

    pub(crate) fn apply(&mut self, p: usize, slot: usize, keep: bool) {
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
        if reply.verdict != DONE || request.flags & AGAIN != 0 {
            // Duplicates are late ones of what was applied, and one a request: a driver repeats no write by itself.
            self.state.processes[p].requests[slot] = Request::default();
        }
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
    pub(crate) fn reply(&mut self, p: usize, reply: Reply) {
        let process = &mut self.state.processes[p];
        if process.pending.attempt == reply.attempt
            && process.pending.op != 0
            && let Some(slot) = process.replies.iter_mut().find(|slot| slot.verdict == 0)
        {
            *slot = reply;
        }
    }

    pub(crate) fn tick(&mut self, fast: u8) {
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
