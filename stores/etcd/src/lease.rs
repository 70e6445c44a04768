//! One native lease as its owner knows it: when it runs out, at the earliest.

use std::time::Duration;

use leasehold_core::BootInstant;
use leasehold_core::mutants::{Mutant, mutant};

use crate::api::{Granted, Kept, LeaseId};

/// A native lease of this client's: granted, kept alive and revoked by nobody else.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    pub(crate) id: LeaseId,
    /// What the server granted: that counts, not what was asked for.
    pub(crate) ttl: Duration,
    /// What was asked for, in seconds.
    pub(crate) asked: u64,
    margin: Duration,
    /// When its last counted renewal was sent.
    counted: BootInstant,
    /// A keep-alive that was answered, but by nobody knows whom.
    answered: Option<Answered>,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    sent: BootInstant,
    /// The raft term of whoever answered; the least one where it relies on an earlier answer.
    term: u64,
}

impl Native {
    /// A grant is in the registry's own log, so its answer needs no further proof.
    pub(crate) fn granted(
        granted: Granted,
        asked: u64,
        margin: Duration,
        sent: BootInstant,
    ) -> Self {
        Self {
            id: granted.id,
            ttl: granted.ttl,
            asked,
            margin,
            counted: sent,
            answered: None,
        }
    }

    /// When the last counted renewal was sent: deadlines count from there.
    pub(crate) fn counted(&self) -> BootInstant {
        self.counted
    }

    /// Until when it is sure to be there.
    pub(crate) fn deadline(&self) -> BootInstant {
        self.sure_from(self.counted)
    }

    /// Until when it is there if whoever answered its last keep-alive could.
    pub(crate) fn hoped(&self) -> BootInstant {
        let answered = self.answered.map_or(self.counted, |answered| answered.sent);
        self.sure_from(answered.max(self.counted))
    }

    /// Whether it can never be believed again, now that a leader of this term has been heard of: it is past its last
    /// counted renewal, and what it was told since, by somebody of an earlier term, will never count.
    pub(crate) fn is_spoilt(&self, term: u64, now: BootInstant) -> bool {
        let told = |answered: Answered| answered.term >= term;
        now >= self.deadline() && !self.answered.is_some_and(told)
    }

    fn sure_from(&self, sent: BootInstant) -> BootInstant {
        sent.plus(self.ttl).minus(self.margin)
    }

    /// A keep-alive that was sent at `sent` was answered, just now. It proves nothing yet: a deposed leader answers
    /// too. And it may only ever count if it came while an earlier renewal still did: a lease that is being revoked
    /// is kept alive as well.
    pub(crate) fn answered(&mut self, sent: BootInstant, kept: Kept, now: BootInstant) {
        if mutant(Mutant::KeepAliveAloneExtends) {
            self.counted = self.counted.max(sent);
        }
        let mut term = kept.term;
        if now >= self.deadline() {
            // The answers it relies on must have come from the leader, too.
            match self.answered {
                Some(earlier) if now < self.sure_from(earlier.sent) => {
                    term = term.min(earlier.term)
                }
                _ => return,
            }
        }
        match self.answered {
            Some(earlier) if earlier.term > term || earlier.sent > sent => {}
            _ => self.answered = Some(Answered { sent, term }),
        }
    }

    /// A change that was sent at `sent` is known to have been applied, told by a leader of this term. Whether the
    /// expiry moved.
    ///
    /// Rules, both here and nowhere else:
    /// - *keep-alive-alone-extends*: an answered keep-alive counts by such a change only, and from the earlier send.
    /// - *keep-alive-of-older-term-counts*: only if whoever answered it was not of an older term.
    pub(crate) fn count(&mut self, sent: BootInstant, term: u64) -> bool {
        let answered = if mutant(Mutant::KeepAliveOfOlderTermCounts) {
            self.answered
        } else {
            self.answered.filter(|answered| answered.term >= term)
        };
        let Some(answered) = answered else {
            return false;
        };
        let counted = if mutant(Mutant::KeepAliveCountsFromItsOwnSend) {
            answered.sent
        } else {
            answered.sent.min(sent)
        };
        let moved = counted > self.counted || mutant(Mutant::KeepAliveAloneExtends);
        self.counted = self.counted.max(counted);
        moved
    }
}

/// The whole seconds to ask for, so that they last as long.
pub(crate) fn seconds(length: Duration) -> u64 {
    let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    seconds.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::ZERO.plus(Duration::from_secs(seconds))
    }

    fn kept(term: u64) -> Kept {
        let ttl = Duration::from_secs(10);
        Kept { ttl, term }
    }

    fn native() -> Native {
        let ttl = Duration::from_secs(10);
        Native::granted(Granted { id: 1, ttl }, 10, Duration::from_secs(1), at(0))
    }

    #[test]
    fn a_keep_alive_alone_proves_nothing() {
        let mut native = native();
        native.answered(at(3), kept(7), at(3));
        assert_eq!(native.counted(), at(0));
        // By the earlier send of the two.
        assert!(native.count(at(2), 7));
        assert_eq!(native.counted(), at(2));
        assert!(!native.count(at(2), 7));
        assert!(native.count(at(5), 7));
        assert_eq!(native.counted(), at(3));
    }

    #[test]
    fn a_keep_alive_of_an_older_term_never_counts() {
        let mut native = native();
        native.answered(at(3), kept(7), at(3));
        assert!(!native.count(at(3), 8));
        // One that says no term is of an older one.
        native.answered(at(4), kept(0), at(4));
        assert!(!native.count(at(4), 1) || native.counted() == at(3));
        assert!(native.deadline() <= at(12));
    }

    #[test]
    fn a_keep_alive_must_come_before_the_deadline_of_what_counts() {
        let mut late = native();
        late.answered(at(8), kept(7), at(9));
        assert!(!late.count(at(8), 7), "it may have been revoked meanwhile");
        // A chain of answers is worth as much as its oldest term.
        let mut chain = native();
        chain.answered(at(6), kept(7), at(6));
        chain.answered(at(12), kept(8), at(12));
        assert!(!chain.clone().count(at(12), 8));
        assert!(chain.count(at(12), 7));
    }

    #[test]
    fn what_a_new_leader_spoils() {
        let mut native = native();
        native.answered(at(6), kept(7), at(6));
        assert!(!native.is_spoilt(8, at(8)), "its grant counts still");
        assert!(!native.is_spoilt(7, at(12)));
        assert!(native.is_spoilt(8, at(12)));
        // What the new leader says rests on what the old one said.
        native.answered(at(12), kept(8), at(12));
        assert!(native.is_spoilt(8, at(12)));
        assert!(!native.count(at(12), 8));
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
    }
}
