//! When a command is ended: before its lease's deadline, by its time limit, or when the wrapper says so.
//!
//! Only the clock and the deadline go in, so that every moment can be tested without waiting.

use std::time::Duration;

use leasehold::BootInstant;

use super::message::Cause;

/// TERM comes this much before the deadline, or a tenth of the period if that is more.
const LEAST_NOTICE: Duration = Duration::from_secs(1);
/// KILL comes this much before the deadline: what is killed has to be dead by then, also on a machine that has much to do.
pub(crate) const KILL_MARGIN: Duration = Duration::from_millis(200);
/// How long a command may take to end where nothing is more pressing.
const GRACE: Duration = Duration::from_secs(10);

/// How much before the deadline TERM comes, where nothing else was asked for.
pub(crate) fn notice(period: Duration) -> Duration {
    (period / 10).max(LEAST_NOTICE)
}

/// What is to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Nothing,
    Terminate(Cause),
    Kill(Cause),
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    notice: Duration,
    grace: Duration,
    limit: Option<BootInstant>,
    /// The latest deadline that the lease ever had: another holder waits until then.
    deadline: BootInstant,
    /// The wrapper wants the command's end.
    told: bool,
    /// Since when the command is to end, and why.
    ending: Option<(BootInstant, Cause)>,
    killed: bool,
}

impl Plan {
    pub(super) fn new(
        deadline: BootInstant,
        period: Duration,
        grace: Option<Duration>,
        limit: Option<BootInstant>,
    ) -> Self {
        Self {
            notice: grace.unwrap_or_else(|| notice(period)).max(KILL_MARGIN),
            grace: grace.unwrap_or(GRACE),
            limit,
            deadline,
            told: false,
            ending: None,
            killed: false,
        }
    }

    /// The lease has another deadline. The end of a lost term is told as a deadline of now; whoever took it waits until the
    /// old one.
    pub(super) fn renewed(&mut self, deadline: BootInstant) {
        self.deadline = self.deadline.max(deadline);
    }

    /// The lease is lost or given up, or whoever renewed it is gone.
    pub(super) fn told(&mut self) {
        self.told = true;
    }

    /// Whether it is too late to begin.
    pub(super) fn is_late(&self, now: BootInstant) -> bool {
        self.told || now >= self.deadline.minus(self.notice)
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed
    }

    pub(super) fn deadline(&self) -> BootInstant {
        self.deadline
    }

    /// What to do at this moment.
    pub(super) fn step(&mut self, now: BootInstant) -> Act {
        if self.killed {
            return Act::Nothing;
        }
        let overdue = self
            .ending
            .filter(|(since, _)| now >= since.plus(self.grace));
        if now >= self.last_moment() || overdue.is_some() {
            self.killed = true;
            return Act::Kill(match overdue {
                Some((_, cause)) if now < self.last_moment() => cause,
                _ if self.told => Cause::Told,
                _ => Cause::Deadline,
            });
        }
        if let Some((since, cause)) = self.ending {
            // What only ran for too long was not lost before.
            if self.told && cause == Cause::Limit {
                self.ending = Some((since, Cause::Told));
                return Act::Terminate(Cause::Told);
            }
            return Act::Nothing;
        }
        let cause = if self.told {
            Cause::Told
        } else if now >= self.deadline.minus(self.notice) {
            Cause::Deadline
        } else if self.limit.is_some_and(|limit| now >= limit) {
            Cause::Limit
        } else {
            return Act::Nothing;
        };
        self.ending = Some((now, cause));
        Act::Terminate(cause)
    }

    /// When to look again.
    pub(super) fn wake(&self) -> BootInstant {
        if self.killed {
            return BootInstant::NEVER;
        }
        match self.ending {
            Some((since, _)) => self.last_moment().min(since.plus(self.grace)),
            None => {
                let notice = self.deadline.minus(self.notice);
                notice.min(self.limit.unwrap_or(BootInstant::NEVER))
            }
        }
    }

    fn last_moment(&self) -> BootInstant {
        self.deadline.minus(KILL_MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    fn plan(period_s: u64, limit_ms: Option<u64>) -> Plan {
        let period = Duration::from_secs(period_s);
        Plan::new(at(period_s * 1000), period, None, limit_ms.map(at))
    }

    #[test]
    fn without_renewal_term_comes_a_second_and_kill_200_ms_before_the_deadline() {
        let mut plan = plan(3, None);
        assert_eq!(plan.step(at(0)), Act::Nothing);
        assert_eq!(plan.wake(), at(2_000));
        assert_eq!(plan.step(at(1_999)), Act::Nothing);
        assert_eq!(plan.step(at(2_000)), Act::Terminate(Cause::Deadline));
        assert_eq!(plan.wake(), at(2_800));
        assert_eq!(plan.step(at(2_799)), Act::Nothing);
        assert_eq!(plan.step(at(2_800)), Act::Kill(Cause::Deadline));
        assert_eq!(plan.wake(), BootInstant::NEVER);
        assert_eq!(plan.step(at(9_000)), Act::Nothing);
        assert!(plan.is_killed());
    }

    #[test]
    fn a_long_period_gives_a_tenth_of_it_as_notice() {
        let mut plan = plan(60, None);
        assert_eq!(plan.step(at(53_999)), Act::Nothing);
        assert_eq!(plan.step(at(54_000)), Act::Terminate(Cause::Deadline));
        // Ten seconds for a command to end, but never past the last moment.
        assert_eq!(plan.wake(), at(59_800));
    }

    #[test]
    fn a_grace_is_given_before_the_deadline_and_after_a_limit() {
        let period = Duration::from_secs(60);
        let grace = Some(Duration::from_secs(20));
        let mut one = Plan::new(at(60_000), period, grace, None);
        assert_eq!(one.step(at(39_999)), Act::Nothing);
        assert_eq!(one.step(at(40_000)), Act::Terminate(Cause::Deadline));
        assert_eq!(one.wake(), at(59_800));
        let mut one = Plan::new(at(60_000), period, grace, Some(at(1_000)));
        assert_eq!(one.step(at(1_000)), Act::Terminate(Cause::Limit));
        assert_eq!(one.wake(), at(21_000));
        assert_eq!(one.step(at(21_000)), Act::Kill(Cause::Limit));
        // None at all: killed without a word.
        let mut one = Plan::new(at(60_000), period, Some(Duration::ZERO), None);
        assert_eq!(one.step(at(59_799)), Act::Nothing);
        assert_eq!(one.step(at(59_800)), Act::Kill(Cause::Deadline));
    }

    #[test]
    fn a_renewal_moves_every_moment() {
        let mut plan = plan(3, None);
        assert_eq!(plan.step(at(1_900)), Act::Nothing);
        plan.renewed(at(4_000));
        assert_eq!(plan.step(at(2_999)), Act::Nothing);
        assert_eq!(plan.step(at(3_000)), Act::Terminate(Cause::Deadline));
        // A late renewal gives a command that is ending more time, not its life.
        plan.renewed(at(60_000));
        assert_eq!(plan.step(at(3_800)), Act::Nothing);
        assert_eq!(plan.step(at(13_000)), Act::Kill(Cause::Deadline));
    }

    #[test]
    fn a_theft_is_answered_at_once_and_the_old_deadline_kept() {
        let mut plan = plan(15, None);
        assert_eq!(plan.step(at(0)), Act::Nothing);
        plan.told();
        // Core ends the term now; the thief waits until the old deadline.
        plan.renewed(at(6_000));
        assert_eq!(plan.step(at(6_000)), Act::Terminate(Cause::Told));
        assert_eq!(plan.wake(), at(14_800));
        assert_eq!(plan.step(at(14_800)), Act::Kill(Cause::Told));
    }

    #[test]
    fn a_theft_of_a_long_lease_leaves_ten_seconds() {
        let mut plan = plan(600, None);
        plan.told();
        assert_eq!(plan.step(at(1_000)), Act::Terminate(Cause::Told));
        assert_eq!(plan.step(at(10_999)), Act::Nothing);
        assert_eq!(plan.step(at(11_000)), Act::Kill(Cause::Told));
    }

    #[test]
    fn after_a_stop_past_the_deadline_kill_comes_at_once() {
        let mut plan = plan(3, None);
        assert_eq!(plan.step(at(0)), Act::Nothing);
        assert_eq!(plan.step(at(8_000)), Act::Kill(Cause::Deadline));
    }

    #[test]
    fn the_time_limit_ends_a_command_but_not_its_lease() {
        let mut plan = plan(15, Some(4_000));
        assert_eq!(plan.step(at(0)), Act::Nothing);
        assert_eq!(plan.wake(), at(4_000));
        assert_eq!(plan.step(at(4_000)), Act::Terminate(Cause::Limit));
        assert_eq!(plan.wake(), at(14_000));
        plan.renewed(at(25_000));
        assert_eq!(plan.step(at(14_000)), Act::Kill(Cause::Limit));
    }

    #[test]
    fn a_lease_lost_after_the_time_limit_is_lost() {
        let mut one = plan(3, Some(1_000));
        assert_eq!(one.step(at(1_000)), Act::Terminate(Cause::Limit));
        assert_eq!(one.step(at(2_800)), Act::Kill(Cause::Deadline));
        let mut one = plan(60, Some(1_000));
        assert_eq!(one.step(at(1_000)), Act::Terminate(Cause::Limit));
        one.told();
        assert_eq!(one.step(at(1_500)), Act::Terminate(Cause::Told));
        assert_eq!(one.step(at(1_600)), Act::Nothing);
        assert_eq!(one.step(at(11_000)), Act::Kill(Cause::Told));
    }

    #[test]
    fn nothing_begins_in_the_last_moments() {
        let mut plan = plan(3, None);
        assert!(!plan.is_late(at(1_999)) && plan.is_late(at(2_000)));
        plan.told();
        assert!(plan.is_late(at(0)));
    }

    #[test]
    fn it_never_wakes_without_something_to_do() {
        for limit in [None, Some(0), Some(2_500), Some(60_000)] {
            for told_at in [None, Some(100), Some(1_900)] {
                let mut plan = plan(4, limit);
                let mut now = at(0);
                let mut steps = 0;
                while now < BootInstant::NEVER {
                    if told_at.is_some_and(|told| now >= at(told)) {
                        plan.told();
                    }
                    plan.step(now);
                    let wake = plan.wake();
                    assert!(wake > now, "{now:?} {plan:?}");
                    now = wake;
                    steps += 1;
                    assert!(steps < 10);
                }
                assert!(plan.killed);
            }
        }
    }
}
