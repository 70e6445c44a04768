//! The clauses of the contract that are weakened in turn.

use crate::event::Op;
use crate::law::Law;
use crate::model::{Bounds, Clock};

macro_rules! clauses {
    ($($(#[$doc:meta])* $variant:ident $name:literal $guards:literal;)*) => {
        /// A clause of the contract, named by the mistake that breaks it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Clause { $(#[doc = $guards] $variant,)* }
        impl Clause {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Its name, the same as that of the mutant in the code where there is one of just this clause.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The clause, as it stands in the contract.
            #[must_use]
            pub fn guards(self) -> &'static str { match self { $(Self::$variant => $guards,)* } }
        }
    };
}

clauses! {
    BeginBeforeSuccessKnown "begin-before-success-known" "Belief begins only after the success is known.";
    DeadlineFromReply "deadline-from-reply" "The deadline counts from before the grant was asked for.";
    RenewDeadlineFromReply "renew-deadline-from-reply" "A renewal's deadline counts from before it was asked for.";
    DeadlineFromResend "deadline-from-resend" "The deadline counts from an attempt's first send.";
    NoMargin "no-margin" "The lessee stops a margin for the clocks' drift before the period is over.";
    EarlyVacancy "early-vacancy" "A name is not vacant sooner than the granted period.";
    WaitFromSend "wait-from-send" "Waiting counts from when the reply that showed the record was received.";
    TimingSurvivesRenewal "timing-survives-renewal" "An observer times each record anew, told apart by its revision.";
    BlindAcquire "blind-acquire" "Of changes that name the same predecessor at most one is applied.";
    AcquireNamesNoVacancy "acquire-names-no-vacancy" "An acquire names the vacancy that it saw.";
    AmbiguousAcquireIsFailure "ambiguous-acquire-is-failure" "An outcome that stays unknown is reported as unknown.";
    AttemptNotRecognised "attempt-not-recognised" "A refusal whose found record shows this attempt is a success.";
    ReReadDecides "re-read-decides" "A re-read decides only if it shows the attempt, or the predecessor is gone for good.";
    EarlyRefusalDecides "early-refusal-decides" "A refusal while the predecessor still stands does not decide about earlier sends.";
    ResendAfterDeadline "resend-after-deadline" "An attempt is sent again only before its first send's deadline.";
    RenewWithoutCas "renew-without-cas" "A renewal replaces only the grant that it names.";
    RenewDropsFence "renew-drops-fence" "The fence is constant in a term: a renewal writes it along.";
    ShorterRenewKeepsLongDeadline "shorter-renew-keeps-long-deadline" "While a renewal is unresolved the smaller deadline counts.";
    BeliefRevivedByLateReply "belief-revived-by-late-reply" "A success learnt after the deadline is not used.";
    ReleaseEndsBeliefAfterwards "release-ends-belief-afterwards" "Belief ends before a release is sent.";
    ReleaseWithoutIndex "release-without-index" "A release ends only the grant that it names.";
    ReleaseDeletesRecord "release-deletes-record" "A store that keeps the index in its record keeps the record.";
    IndexFromBeforeTheStep "index-from-before-the-step" "The index is assigned inside the atomic step.";
    StealWithoutWait "steal-without-wait" "A steal's belief begins when the replaced grant can no longer be believed.";
    StealIgnoresProgress "steal-ignores-progress" "A steal replaces only the grant that it names.";
    StealKeepsFence "steal-keeps-fence" "A steal's fence is the replaced index + 1.";
    BreakVacantAtOnce "break-vacant-at-once" "A broken term is waited out before the name is vacant.";
    ProxyReleaseIsClean "proxy-release-is-clean" "A release by anyone but the granting handle is waited out.";
    ProxyRenewCutsShort "proxy-renew-cuts-short" "A proxy's renewal never ends the term sooner than its handle may believe.";
    InheritedWaitDroppedByRenew "inherited-wait-dropped-by-renew" "A steal's wait stays in the record through a renewal.";
    InheritedWaitDroppedByRelease "inherited-wait-dropped-by-release" "A steal's wait stays through a release.";
    InheritedWaitDroppedByBreak "inherited-wait-dropped-by-break" "A steal's wait stays through a break.";
    InheritedWaitDroppedBySteal "inherited-wait-dropped-by-steal" "A steal's wait stays through a further steal.";
    InheritedWaitDroppedByExpiry "inherited-wait-dropped-by-expiry" "No expiry makes a name vacant before the steal's wait is over.";
    AssumeDeadSkipsInherited "assume-dead-skips-inherited" "To assume a lessee dead never skips an inherited wait.";
    RestartForgetsTimers "restart-forgets-timers" "After a registry's restart grants are timed anew, in full.";
    RestartForgetsWaits "restart-forgets-waits" "After a registry's restart waits are timed anew, in full.";
    RestartKeepsOldTimers "restart-keeps-old-timers" "Instants of the clock before a restart are not compared with the clock after it.";
    KeepAliveAloneExtends "keep-alive-alone-extends" "A deadline never moves on a keep-alive alone.";
    KeepAliveOfOlderTermCounts "keep-alive-of-older-term-counts" "A keep-alive counts only from a leader no older than the swap's.";
    KeepAliveCountsFromItsOwnSend "keep-alive-counts-from-its-own-send" "A renewal counts from the earlier send of swap and keep-alive.";
    ReusedNativeLease "reused-native-lease" "A new acquire gets a new native lease; a used one is not used again.";
    RevokeAfterUnresolvedSteal "revoke-after-unresolved-steal" "The native lease of an unresolved steal or break is left to expire.";
    StealTtlTooShort "steal-ttl-too-short" "A steal's native lease lasts at least as long as its wait.";
    TombstoneTtlTooShort "tombstone-ttl-too-short" "A tombstone's native lease covers its wait.";
}

/// One search of the table: a clause on one clock.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The clause.
    pub clause: Clause,
    /// The clock.
    pub clock: Clock,
    /// The law that its counterexample breaks.
    pub law: Law,
    /// The bounds.
    pub bounds: Bounds,
    /// Where there is no counterexample: why.
    pub why_none: Option<&'static str>,
}

use Op::{Acquire, Break, ProxyRelease, ProxyRenew, Release, Renew, Steal, StealFromDead};

const fn bounds(operations: u8, ops: &'static [Op]) -> Bounds {
    Bounds {
        processes: 3,
        operations,
        crashes: 0,
        restarts: 0,
        drift: false,
        short: false,
        duplicates: false,
        collect: false,
        ops,
    }
}

impl Case {
    const fn new(clause: Clause, clock: Clock, law: Law, bounds: Bounds) -> Self {
        Self {
            clause,
            clock,
            law,
            bounds,
            why_none: None,
        }
    }

    const fn none(mut self, why: &'static str) -> Self {
        self.why_none = Some(why);
        self
    }

    const fn drift(mut self) -> Self {
        self.bounds.drift = true;
        self
    }

    const fn short(mut self) -> Self {
        self.bounds.short = true;
        self
    }

    const fn duplicates(mut self) -> Self {
        self.bounds.duplicates = true;
        self
    }

    const fn collect(mut self) -> Self {
        self.bounds.collect = true;
        self
    }

    const fn restarts(mut self, restarts: u8) -> Self {
        self.bounds.restarts = restarts;
        self
    }

    const fn two(mut self) -> Self {
        self.bounds.processes = 2;
        self
    }

    const fn crashes(mut self, crashes: u8) -> Self {
        self.bounds.crashes = crashes;
        self
    }
}

/// Every search of the table.
#[must_use]
pub fn cases() -> Vec<Case> {
    use Clause as C;
    use Clock::{Native, Observed, Server};
    use Law::{Fence, IndexGrows, NeverResumes, Once, OneLessee, Reports};
    let mut cases = Vec::new();
    let mut on = |clocks: &[Clock], clause, law, bounds: Bounds| {
        for clock in clocks {
            // Two processes are enough where more than three operations are needed.
            let case = Case::new(clause, *clock, law, bounds);
            cases.push(if bounds.operations > 3 {
                case.two()
            } else {
                case
            });
        }
    };
    let all = &Clock::ALL;
    let two = &[Server, Observed];
    on(
        all,
        C::BeginBeforeSuccessKnown,
        OneLessee,
        bounds(2, &[Acquire]),
    );
    on(all, C::DeadlineFromReply, OneLessee, bounds(2, &[Acquire]));
    on(
        two,
        C::RenewDeadlineFromReply,
        OneLessee,
        bounds(3, &[Acquire, Renew]),
    );
    on(two, C::DeadlineFromResend, OneLessee, bounds(2, &[Acquire]));
    on(two, C::BlindAcquire, OneLessee, bounds(2, &[Acquire]));
    on(
        &[Observed],
        C::TimingSurvivesRenewal,
        OneLessee,
        bounds(4, &[Acquire, Renew]),
    );
    on(
        &[Observed],
        C::WaitFromSend,
        OneLessee,
        bounds(2, &[Acquire]),
    );
    on(
        all,
        C::AmbiguousAcquireIsFailure,
        Reports,
        bounds(2, &[Acquire]),
    );
    on(two, C::AttemptNotRecognised, Reports, bounds(2, &[Acquire]));
    on(all, C::ReReadDecides, Reports, bounds(2, &[Acquire]));
    on(all, C::RenewDropsFence, Fence, bounds(2, &[Acquire, Renew]));
    on(
        all,
        C::BeliefRevivedByLateReply,
        NeverResumes,
        bounds(2, &[Acquire, Renew]),
    );
    on(
        all,
        C::ReleaseEndsBeliefAfterwards,
        OneLessee,
        bounds(3, &[Acquire, Release]),
    );
    on(
        two,
        C::ReleaseWithoutIndex,
        OneLessee,
        bounds(4, &[Acquire, Release]),
    );
    on(
        &[Server],
        C::ReleaseDeletesRecord,
        IndexGrows,
        bounds(3, &[Acquire, Release]),
    );
    on(
        all,
        C::StealWithoutWait,
        OneLessee,
        bounds(2, &[Acquire, Steal]),
    );
    on(
        &[Server],
        C::StealIgnoresProgress,
        Fence,
        bounds(3, &[Acquire, Steal]),
    );
    on(all, C::StealKeepsFence, Fence, bounds(2, &[Acquire, Steal]));
    on(
        all,
        C::BreakVacantAtOnce,
        OneLessee,
        bounds(3, &[Acquire, Break]),
    );
    on(
        all,
        C::ProxyReleaseIsClean,
        OneLessee,
        bounds(3, &[Acquire, ProxyRelease]),
    );
    on(
        two,
        C::InheritedWaitDroppedByRenew,
        OneLessee,
        bounds(5, &[Acquire, Steal, Renew, Release]),
    );
    on(
        &[Native],
        C::InheritedWaitDroppedByRelease,
        OneLessee,
        bounds(4, &[Acquire, Steal, Release]),
    );
    on(
        two,
        C::InheritedWaitDroppedByRelease,
        OneLessee,
        bounds(4, &[Acquire, Steal, Release]),
    );
    on(
        &[Native],
        C::ReusedNativeLease,
        OneLessee,
        bounds(4, &[Acquire, Release]),
    );
    on(
        &[Native],
        C::TombstoneTtlTooShort,
        OneLessee,
        bounds(3, &[Acquire, Break]),
    );
    cases.extend([
        Case::new(C::NoMargin, Server, OneLessee, bounds(2, &[Acquire])).drift(),
        Case::new(C::NoMargin, Observed, OneLessee, bounds(2, &[Acquire])).drift(),
        Case::new(C::NoMargin, Native, OneLessee, bounds(2, &[Acquire])).drift(),
        Case::new(C::EarlyVacancy, Server, OneLessee, bounds(2, &[Acquire])),
        Case::new(C::EarlyVacancy, Observed, OneLessee, bounds(2, &[Acquire])),
        Case::new(C::AcquireNamesNoVacancy, Server, Once, bounds(3, &[Acquire, Release])).duplicates(),
        Case::new(C::EarlyRefusalDecides, Server, Reports, bounds(4, &[Acquire, Steal, Release])).two(),
        Case::new(C::ShorterRenewKeepsLongDeadline, Server, OneLessee, bounds(3, &[Acquire, Renew])).short(),
        Case::new(C::ShorterRenewKeepsLongDeadline, Observed, OneLessee, bounds(3, &[Acquire, Renew])).short(),
        Case::new(C::IndexFromBeforeTheStep, Server, IndexGrows, bounds(3, &[Acquire, Release])).collect(),
        Case::new(C::ProxyRenewCutsShort, Server, OneLessee, bounds(3, &[Acquire, ProxyRenew])).short(),
        Case::new(C::ProxyRenewCutsShort, Observed, OneLessee, bounds(3, &[Acquire, ProxyRenew])).short(),
        Case::new(C::InheritedWaitDroppedByExpiry, Server, OneLessee, bounds(3, &[Acquire, Steal])).two().short(),
        Case::new(C::InheritedWaitDroppedByExpiry, Observed, OneLessee, bounds(3, &[Acquire, Steal])).two().short(),
        Case::new(C::InheritedWaitDroppedBySteal, Server, OneLessee, bounds(3, &[Acquire, Steal])).short(),
        Case::new(C::InheritedWaitDroppedBySteal, Observed, OneLessee, bounds(3, &[Acquire, Steal])).short(),
        Case::new(C::InheritedWaitDroppedBySteal, Native, OneLessee, bounds(3, &[Acquire, Steal])).short(),
        Case::new(C::AssumeDeadSkipsInherited, Server, OneLessee, bounds(3, &[Acquire, Steal, StealFromDead]))
            .crashes(1),
        Case::new(C::AssumeDeadSkipsInherited, Observed, OneLessee, bounds(3, &[Acquire, Steal, StealFromDead]))
            .crashes(1),
        Case::new(C::RestartForgetsTimers, Server, OneLessee, bounds(2, &[Acquire])).restarts(1),
        Case::new(C::RestartForgetsWaits, Server, OneLessee, bounds(4, &[Acquire, Steal, Release])).two().restarts(1),
        Case::new(C::RevokeAfterUnresolvedSteal, Native, OneLessee, bounds(3, &[Acquire, Steal])).two().short(),
        Case::new(C::KeepAliveAloneExtends, Native, OneLessee, bounds(3, &[Acquire, Renew, Steal])).two(),
        Case::new(C::RenewWithoutCas, Server, OneLessee, bounds(3, &[Acquire, Renew, Steal])).two(),
        Case::new(C::RenewWithoutCas, Observed, OneLessee, bounds(3, &[Acquire, Renew, Steal])).two(),
        Case::new(C::RestartKeepsOldTimers, Server, OneLessee, bounds(2, &[Acquire])).restarts(1),
        Case::new(C::KeepAliveOfOlderTermCounts, Native, OneLessee, bounds(3, &[Acquire, Renew])).two().restarts(1),
        Case::new(C::KeepAliveCountsFromItsOwnSend, Native, OneLessee, bounds(3, &[Acquire, Renew])).two().restarts(1),
        Case::new(C::StealTtlTooShort, Native, OneLessee, bounds(3, &[Acquire, Steal])).two().short(),
        Case::new(C::InheritedWaitDroppedByBreak, Server, OneLessee, bounds(4, &[Acquire, Steal, Break])).two()
            .none("the tombstone holds for the replaced grant, which lasts no shorter than the wait"),
        Case::new(C::ResendAfterDeadline, Server, OneLessee, bounds(3, &[Acquire, Renew])).two()
            .none("belief counts from the first send; what is lost is time: the name is held by nobody for longer"),
    ]);
    cases.sort_by_key(|case| (case.clause, case.clock));
    cases
}
