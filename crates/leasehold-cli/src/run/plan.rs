//! When a command is ended: before its lease's deadline, by its time limit, or when its lease is known to be lost.
//!
//! Only the clock and the deadline go in, so that every moment can be tested without waiting.

use std::time::Duration;

use leasehold::BootInstant;

/// TERM comes this much before the deadline, or a tenth of the period if that is more.
const LEAST_NOTICE: Duration = Duration::from_secs(1);
/// KILL comes this much before the deadline.
const LAST_MOMENT: Duration = Duration::from_millis(200);
/// How long a command may take to end where nothing is more pressing.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// What is to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Nothing,
    Terminate,
    Kill,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    period: Duration,
    limit: Option<BootInstant>,
    /// The latest deadline that the lease ever had: another holder waits until then.
    deadline: BootInstant,
    /// Since when the registry says that the lease is lost.
    told: Option<BootInstant>,
    /// Since when the command is asked to end.
    ending: Option<BootInstant>,
    killed: bool,
    lost: bool,
    timed_out: bool,
}

impl Plan {
    pub(super) fn new(period: Duration, limit: Option<BootInstant>) -> Self {
        Self {
            period,
            limit,
            deadline: BootInstant::ZERO,
            told: None,
            ending: None,
            killed: false,
            lost: false,
            timed_out: false,
        }
    }

    /// The registry says that the lease is lost, or its deadline has passed.
    pub(super) fn told(&mut self, now: BootInstant) {
        self.lost = true;
        self.told.get_or_insert(now);
    }

    /// What to do at this moment, given the lease's deadline.
    pub(super) fn step(&mut self, now: BootInstant, deadline: Option<BootInstant>) -> Act {
        // The end of a lost term is told as a deadline of now; whoever took it waits until the old one.
        self.deadline = self.deadline.max(deadline.unwrap_or(BootInstant::ZERO));
        if self.killed {
            return Act::Nothing;
        }
        let last = self.last_moment();
        if now >= last || self.ending.is_some_and(|since| now >= since.plus(GRACE)) {
            self.killed = true;
            self.lost |= now >= last;
            return Act::Kill;
        }
        if self.ending.is_some() {
            return Act::Nothing;
        }
        if self.told.is_some() || now >= self.notice() {
            self.lost = true;
        } else if self.limit.is_some_and(|limit| now >= limit) {
            self.timed_out = true;
        } else {
            return Act::Nothing;
        }
        self.ending = Some(now);
        Act::Terminate
    }

    /// When to look again.
    pub(super) fn wake(&self, now: BootInstant) -> BootInstant {
        if self.killed {
            return BootInstant::NEVER;
        }
        if let Some(since) = self.ending {
            return self.last_moment().min(since.plus(GRACE));
        }
        // Just after a renewal is due, so that the deadline known here is the one it brought.
        let renewed = self.deadline.minus(self.period.mul_f64(0.6));
        let next = if renewed > now {
            renewed
        } else {
            self.notice()
        };
        next.min(self.limit.unwrap_or(BootInstant::NEVER))
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(super) fn has_timed_out(&self) -> bool {
        self.timed_out
    }

    fn notice(&self) -> BootInstant {
        self.deadline.minus((self.period / 10).max(LEAST_NOTICE))
    }

    fn last_moment(&self) -> BootInstant {
        self.deadline.minus(LAST_MOMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    fn plan(period_s: u64, limit_ms: Option<u64>) -> Plan {
        Plan::new(Duration::from_secs(period_s), limit_ms.map(at))
    }

    #[test]
    fn without_renewal_term_comes_a_second_and_kill_200_ms_before_the_deadline() {
        let mut plan = plan(3, None);
        let deadline = Some(at(3_000));
        assert_eq!(plan.step(at(0), deadline), Act::Nothing);
        assert_eq!(plan.wake(at(0)), at(1_200));
        assert_eq!(plan.step(at(1_200), deadline), Act::Nothing);
        assert_eq!(plan.wake(at(1_200)), at(2_000));
        assert_eq!(plan.step(at(1_999), deadline), Act::Nothing);
        assert_eq!(plan.step(at(2_000), deadline), Act::Terminate);
        assert_eq!(plan.wake(at(2_000)), at(2_800));
        assert_eq!(plan.step(at(2_799), deadline), Act::Nothing);
        assert_eq!(plan.step(at(2_800), deadline), Act::Kill);
        assert_eq!(plan.wake(at(2_800)), BootInstant::NEVER);
        assert_eq!(plan.step(at(9_000), deadline), Act::Nothing);
        assert!(plan.is_lost());
    }

    #[test]
    fn a_long_period_gives_a_tenth_of_it_as_notice() {
        let mut plan = plan(60, None);
        assert_eq!(plan.step(at(53_999), Some(at(60_000))), Act::Nothing);
        assert_eq!(plan.step(at(54_000), Some(at(60_000))), Act::Terminate);
        // Ten seconds for a command to end, but never past the last moment.
        assert_eq!(plan.wake(at(54_000)), at(59_800));
    }

    #[test]
    fn a_renewal_moves_every_moment() {
        let mut plan = plan(3, None);
        assert_eq!(plan.step(at(0), Some(at(3_000))), Act::Nothing);
        assert_eq!(plan.step(at(2_000), Some(at(4_000))), Act::Nothing);
        assert_eq!(plan.wake(at(2_000)), at(2_200));
        assert_eq!(plan.step(at(2_999), Some(at(4_000))), Act::Nothing);
        assert_eq!(plan.step(at(3_000), Some(at(4_000))), Act::Terminate);
        // A late renewal gives a command that is ending more time, not its life.
        assert_eq!(plan.step(at(3_800), Some(at(60_000))), Act::Nothing);
        assert_eq!(plan.step(at(13_000), Some(at(60_000))), Act::Kill);
        assert!(plan.is_lost());
    }

    #[test]
    fn a_theft_is_answered_at_once_and_the_old_deadline_kept() {
        let mut plan = plan(15, None);
        assert_eq!(plan.step(at(0), Some(at(15_000))), Act::Nothing);
        plan.told(at(6_000));
        // Core ends the term now; the thief waits until the old deadline.
        assert_eq!(plan.step(at(6_000), Some(at(6_000))), Act::Terminate);
        assert_eq!(plan.wake(at(6_000)), at(14_800));
        assert_eq!(plan.step(at(14_800), Some(at(6_000))), Act::Kill);
    }

    #[test]
    fn a_theft_of_a_long_lease_leaves_ten_seconds() {
        let mut plan = plan(600, None);
        assert_eq!(plan.step(at(0), Some(at(600_000))), Act::Nothing);
        plan.told(at(1_000));
        assert_eq!(plan.step(at(1_000), None), Act::Terminate);
        assert_eq!(plan.step(at(10_999), None), Act::Nothing);
        assert_eq!(plan.step(at(11_000), None), Act::Kill);
    }

    #[test]
    fn after_a_stop_past_the_deadline_kill_comes_at_once() {
        let mut plan = plan(3, None);
        assert_eq!(plan.step(at(0), Some(at(3_000))), Act::Nothing);
        assert_eq!(plan.step(at(8_000), Some(at(3_000))), Act::Kill);
        assert!(plan.is_lost());
    }

    #[test]
    fn the_time_limit_ends_a_command_but_not_its_lease() {
        let mut plan = plan(15, Some(4_000));
        assert_eq!(plan.step(at(0), Some(at(15_000))), Act::Nothing);
        assert_eq!(plan.wake(at(0)), at(4_000));
        assert_eq!(plan.step(at(4_000), Some(at(15_000))), Act::Terminate);
        assert_eq!(plan.wake(at(4_000)), at(14_000));
        assert_eq!(plan.step(at(14_000), Some(at(25_000))), Act::Kill);
        assert!(plan.has_timed_out() && !plan.is_lost());
    }

    #[test]
    fn a_lease_lost_after_the_time_limit_is_lost() {
        let mut plan = plan(3, Some(1_000));
        assert_eq!(plan.step(at(1_000), Some(at(3_000))), Act::Terminate);
        assert_eq!(plan.step(at(2_800), Some(at(3_000))), Act::Kill);
        assert!(plan.is_lost());
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
                        plan.told(now);
                    }
                    plan.step(now, Some(at(4_000)));
                    let wake = plan.wake(now);
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
