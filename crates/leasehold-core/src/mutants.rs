//! The bugs that the tests must catch: built in under the cfg `leasehold_mutants` alone, and chosen at run time.
//!
//! Built with `--cfg leasehold_mutants`, the environment variable `LEASEHOLD_MUTANT` names the one bug that the process
//! has; `scripts/mutants` runs the tests against each of them and writes docs/track-record.md. Built without, [`mutant`]
//! is a constant `false`, and nothing of this remains in the binary. Not part of the public interface.
//!
//! A point reads `if mutant(Mutant::X) { the bug } else { the rule }`, stands where the rule lives, and holds no
//! operator of its own, so that cargo-mutants finds nothing there that no test could reach.

/// Where a bug comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// Peers have shipped it.
    Peers,
    /// A clause of the contract, weakened.
    Contract,
}

macro_rules! mutants {
    ($($from:ident $mutant:ident $name:literal $clause:literal: $bug:literal)*) => {
        /// A bug.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant {
            $(#[doc = $bug] $mutant,)*
        }

        #[cfg(leasehold_mutants)]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mutant),*];

            /// The name that chooses it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$mutant => $name),* }
            }

            /// What it does wrong.
            #[must_use]
            pub fn bug(self) -> &'static str {
                match self { $(Self::$mutant => $bug),* }
            }

            /// The clause of the contract that it breaks.
            #[must_use]
            pub fn clause(self) -> &'static str {
                match self { $(Self::$mutant => $clause),* }
            }

            /// Where it comes from.
            #[must_use]
            pub fn from(self) -> From {
                match self { $(Self::$mutant => From::$from),* }
            }
        }
    };
}

mutants! {
    Peers BlindAcquire "blind-acquire" "One lessee":
        "acquire by a blind patch without a revision (two winners)"
    Peers ReleaseDeletesRecord "release-deletes-record" "The index only grows":
        "release deletes the record, so the next fence starts again"
    Peers FenceCounterOverflows "fence-counter-overflows" "The fence":
        "the fence counter overflows (at 255)"
    Peers FenceCounterResets "fence-counter-resets" "The index only grows":
        "the fence counter is reset when a lease expires"
    Peers LossSignalIsAStub "loss-signal-is-a-stub" "The lessee stops first":
        "the loss signal is a stub"
    Peers KeepAliveOfAnothersKey "keep-alive-of-anothers-key" "One lessee":
        "keep-alive succeeds though the key is another's"
    Peers FirstFailureEndsKeepAlive "first-failure-ends-keep-alive" "The lessee stops first":
        "the first failed renewal ends the keep-alive for good"
    Peers HungCallLeavesCurrent "hung-call-leaves-current" "The lessee stops first":
        "a hung call leaves `is_current()` true for ever"
    Peers RenewWithoutCas "renew-without-cas" "One lessee":
        "renew without compare-and-swap"
    Peers DeadlineFromReply "deadline-from-reply" "The lessee stops first":
        "the deadline is counted from the reply"
    Peers RenewDeadlineFromReply "renew-deadline-from-reply" "The lessee stops first":
        "a renewal's deadline is counted from the reply"
    Peers ReleaseWithoutIndex "release-without-index" "One lessee":
        "release without index"
    Peers EarlyVacancy "early-vacancy" "Not early":
        "the name is vacant before the period is over"
    Peers LostWatchEvent "lost-watch-event" "Vacancy is prompt":
        "the event of a release is lost"
    Peers LostNotification "lost-notification" "Vacancy is prompt":
        "the same in SQLite: other processes are not told of a commit"
    Peers StealIgnoresProgress "steal-ignores-progress" "One lessee":
        "a steal ignores that the lease has moved past the index"
    Peers StealWithoutWait "steal-without-wait" "A broken term is waited out":
        "a steal does not wait for the replaced term's end"
    Peers AmbiguousAcquireIsFailure "ambiguous-acquire-is-failure" "Unknown is not failure, and not success":
        "an ambiguous acquire is treated as a failure"
    Peers AcquireAppliedAfterReRead "acquire-applied-after-re-read" "Unknown is not failure, and not success":
        "an ambiguous acquire is applied after the re-read, and stays"
    Peers AmbiguousRenewIsLoss "ambiguous-renew-is-loss" "Unknown is not failure, and not success":
        "an ambiguous renewal (an error, but applied) loses the lease"
    Peers KeepAliveAfterRelease "keep-alive-after-release" "One lessee":
        "the keep-alive outlives the release"
    Contract OneRequestTakesAllTheTime "one-request-takes-all-the-time" "Unknown is not failure, and not success":
        "a request that hangs takes the time that the next one would have had"
    Contract ShutdownWaitsForNobody "shutdown-waits-for-nobody" "The lessee stops first":
        "a shutdown ends the renewals of work that is still being ended"
    Contract AtRiskIsNeverTold "at-risk-is-never-told" "The lessee stops first":
        "an overdue renewal is not told to those at work"
    Contract EndingComesAtTheEnd "ending-comes-at-the-end" "The lessee stops first":
        "those at work are told to stop when it is too late"
    Contract OneRoundHoldsUpAll "one-round-holds-up-all" "Unknown is not failure, and not success":
        "a renewal that hangs holds up those of the manager's other leases"
    Contract RequestsSplitARound "requests-split-a-round" "Unknown is not failure, and not success":
        "leases that are renewed together are split over two requests, and are told when the slower one is answered"
    Contract RoundsLeaveTheirOrder "rounds-leave-their-order" "Assumptions are declared":
        "a renewal that is not due yet never goes with its neighbour's"
    Contract WaitersOutliveTheShutdown "waiters-outlive-the-shutdown" "Vacancy is prompt":
        "who waits for a lock waits on while the manager is shut down"
    Contract DroppedGuardIsForgottenByShutdown "dropped-guard-is-forgotten-by-shutdown" "Vacancy is prompt":
        "a shutdown does not wait for the release of a guard that was dropped just before"
    Contract APanickingStoreEndsKeepAlive "a-panicking-store-ends-keep-alive" "Unknown is not failure, and not success":
        "a panic of the store takes whoever renews with it"
    Contract HoldHasNoEnd "hold-has-no-end" "The lessee stops first":
        "a lease is renewed for longer than it may be held"
    Contract EarlierDeadlineIsNotTold "earlier-deadline-is-not-told" "Belief never resumes":
        "the loss is told at the long deadline although a shorter renewal is unresolved"
    Contract LateKeeperIsNotTold "late-keeper-is-not-told" "Vacancy is prompt":
        "work that begins during a shutdown is not told to end"
    Contract ShutdownForbidsItsOwnReads "shutdown-forbids-its-own-reads" "Unknown is not failure, and not success":
        "what is outstanding at a shutdown may not look any more, and stays unresolved"
    Contract ForkedChildUsesItsParentsManager "forked-child-uses-its-parents-manager" "One lessee":
        "a forked child goes on with the leases of its parent"
    Contract NewcomerOvertakesTheLine "newcomer-overtakes-the-line" "Vacancy is prompt":
        "whoever comes last to a line of waiters is served first"
    Peers InstantForBootClock "instant-for-boot-clock" "The lessee stops first":
        "`Instant` instead of the boot clock"
    Peers WaitFromSend "wait-from-send" "Holding counts from before, waiting from after":
        "a wait is counted from sending the read"
    Peers BeliefRevivedByLateReply "belief-revived-by-late-reply" "Belief never resumes":
        "belief is revived by a late reply"
    Peers ShorterRenewKeepsLongDeadline "shorter-renew-keeps-long-deadline" "The lessee stops first":
        "a shorter renewal with unknown outcome keeps the long deadline"
    Peers IndexFromBeforeTheStep "index-from-before-the-step" "The index only grows":
        "the index is drawn before the row lock"
    Peers IndexBeforeTheRowLock "index-before-the-row-lock" "The index only grows":
        "the same in SQLite: the index is drawn before the write lock"
    Peers OneBadRenewalSinksTheBatch "one-bad-renewal-sinks-the-batch" "Unknown is not failure, and not success":
        "one bad renewal sinks its batch"
    Peers ReusedNativeLease "reused-native-lease" "Unknown is not failure, and not success":
        "a reused native lease keeps a given-up name alive"
    Peers WorkOutlivesItsLease "work-outlives-its-lease" "The lessee stops first":
        "work goes on after its lease is lost"
    Peers ReleasedWhileInUse "released-while-in-use" "One lessee":
        "a lease is released while the work it was handed to goes on"
    Peers StuckWorkIsRenewed "stuck-work-is-renewed" "The lessee stops first":
        "a lease is renewed although its work is stuck"
    Peers NotLeadingAtSecondTick "not-leading-at-second-tick" "The lessee stops first":
        "the leader publishes \"not leading\" at its second tick"
    Peers LeadershipIsAFlag "leadership-is-a-flag" "One lessee":
        "whether it leads is a flag that the candidate lowers when it gets to it"
    Peers ElectorIsOneShot "elector-is-one-shot" "Vacancy is prompt":
        "a candidate that has lost its term never campaigns again"
    Contract ActsBeforeItsBegin "acts-before-its-begin" "A broken term is waited out":
        "a leader of a higher version acts before the term that it took over is waited out"
    Contract TakeOverIgnoresPolicy "take-over-ignores-policy" "One lessee":
        "a candidate takes over from one of another policy, and is taken over from in turn"
    Contract KeepAliveAloneExtends "keep-alive-alone-extends" "The lessee stops first":
        "a native lease's answered keep-alive moves the deadline by itself"
    Contract KeepAliveOfOlderTermCounts "keep-alive-of-older-term-counts" "The lessee stops first":
        "a native lease's keep-alive counts although a deposed leader answered it"
    Contract KeepAliveCountsFromItsOwnSend "keep-alive-counts-from-its-own-send" "The lessee stops first":
        "a native lease's renewal counts from the keep-alive's send, though the change was sent earlier"
    Contract RevokeAfterUnresolvedSteal "revoke-after-unresolved-steal" "A broken term is waited out":
        "the native lease of an unresolved steal is revoked"
    Contract StealTtlTooShort "steal-ttl-too-short" "A broken term is waited out":
        "a steal's native lease is shorter than its wait"
    Contract StealKeepsNativeLease "steal-keeps-native-lease" "The fence":
        "a steal that is not waited out stays on the native lease of the term that it replaced, so that the protected side takes one for the other"
    Contract TombstoneTtlTooShort "tombstone-ttl-too-short" "A broken term is waited out":
        "a tombstone's native lease is shorter than its wait"
    Contract OneDeadLeaseSinksTheBatch "one-dead-lease-sinks-the-batch" "Unknown is not failure, and not success":
        "one native lease that is gone fails every change of its request"
    Contract NoMargin "no-margin" "The lessee stops first":
        "no margin between belief and period where clocks drift"
    Contract StealKeepsFence "steal-keeps-fence" "The fence":
        "a steal keeps the fence"
    Contract FenceAdmitsSmaller "fence-admits-smaller" "The fence":
        "the protected side admits a fence that is smaller than one it has seen"
    Contract RefusedUpdateAdmits "refused-update-admits" "The fence":
        "an update of no row counts as admitted by the protected side"
    Contract RenewDropsFence "renew-drops-fence" "The fence":
        "a renewal does not write the fence along"
    Contract InheritedWaitDropped "inherited-wait-dropped" "A broken term is waited out":
        "a wait that the record carries is dropped by its successor"
    Contract BreakVacantAtOnce "break-vacant-at-once" "A broken term is waited out":
        "a broken name is vacant at once"
    Contract ProxyReleaseIsClean "proxy-release-is-clean" "A broken term is waited out":
        "a release through a fetched lease makes the name vacant at once"
    Contract ProxyRenewCutsShort "proxy-renew-cuts-short" "Not early":
        "a fetched lease's shorter renewal ends the handle's term early"
    Contract AcquireNamesNoVacancy "acquire-names-no-vacancy" "Unknown is not failure, and not success":
        "an acquire takes any vacancy, not the one it saw"
    Contract AttemptNotRecognised "attempt-not-recognised" "Unknown is not failure, and not success":
        "a refusal that shows the own attempt is not taken for a success"
    Contract EarlyRefusalDecides "early-refusal-decides" "Unknown is not failure, and not success":
        "a refusal while the named vacancy still stands decides about earlier sends"
    Contract ResendAfterDeadline "resend-after-deadline" "Unknown is not failure, and not success":
        "an attempt is sent again after its first send's deadline"
    Contract ReleaseEndsBeliefAfterwards "release-ends-belief-afterwards" "The lessee stops first":
        "belief ends only after the release was answered"
    Contract BeginBeforeSuccessKnown "begin-before-success-known" "Holding counts from before, waiting from after":
        "belief begins when the grant was sent, not when it is known"
    Contract BeginIgnored "begin-ignored" "A broken term is waited out":
        "`is_current()` ignores the begin"
    Contract LateSuccessNotGivenBack "late-success-not-given-back" "Belief never resumes":
        "a success that is learnt too late is not released"
    Contract AbandonedAcquireNotGivenBack "abandoned-acquire-not-given-back" "Unknown is not failure, and not success":
        "an acquire that nobody waits for any more is kept"
    Contract ClaimBelievesAtOnce "claim-believes-at-once" "Resuming is a claim":
        "a resumed term is current before its own renewal succeeded"
    Contract ForeignRecordIsVacant "foreign-record-is-vacant" "Nothing of others is damaged":
        "a record that nobody can place in time counts as vacant"
    Contract UnknownFieldsDropped "unknown-fields-dropped" "Nothing of others is damaged":
        "a record's unknown fields are dropped"
    Contract IndexMayStandStill "index-may-stand-still" "The index only grows":
        "the index of an observed record may stand still"
    Contract WatchWithoutExpiry "watch-without-expiry" "Watch is level-triggered":
        "a watch does not tell that a lease has run out"
    Contract WatchWithoutReRead "watch-without-re-read" "Watch is level-triggered":
        "a watch does not read again by itself"
    Contract UnknownIsGivenUpEarly "unknown-is-given-up-early" "Unknown is not failure, and not success":
        "an unknown outcome is not resolved up to the last moment that counts"
    Contract DroppedChangeIsForgotten "dropped-change-is-forgotten" "Unknown is not failure, and not success":
        "a change whose future is dropped does not go on"
    Peers EveryWaiterAsks "every-waiter-asks" "Vacancy is prompt":
        "a thundering herd: every waiter asks the registry whenever a name is vacant"
    Contract LeaverWakesNobody "leaver-wakes-nobody" "Vacancy is prompt":
        "whoever leaves a line of waiters does not wake the next one"
    Peers ReleaserDoesNotYield "releaser-does-not-yield" "Vacancy is prompt":
        "a releaser that asks again goes before those who wait in other processes"
    Contract RenewalDropsDelay "renewal-drops-delay" "Not early":
        "a renewal does not carry the delay after an unclean end along"
    Contract DelayAfterRelease "delay-after-release" "Vacancy is prompt":
        "a clean release waits the delay after an unclean end"
    Contract ReleaseReopensSlot "release-reopens-slot" "Once per slot":
        "a release, or a break, opens a slot that is closed"
    Contract GivenBackClosesSlot "given-back-closes-slot" "Once per slot":
        "a grant that nobody took up leaves its slot closed"
    Peers ClosedForEver "closed-for-ever" "Once per slot":
        "a wall clock that was far ahead closes a slot for as long"
    Contract SlotIsNotSynced "slot-is-not-synced" "Once per slot":
        "a grant that closes a slot is told before it would survive a loss of power"
    Contract TwoChangesOfAName "two-changes-of-a-name" "Unknown is not failure, and not success":
        "changes of one name do not wait for each other"
}

/// Bugs of peers that nothing here can have yet, and why.
#[cfg(leasehold_mutants)]
pub const NOT_YET: &[(&str, &str)] = &[("hand-over keeps the fence", "no hand-over yet")];

/// Whether the process has this bug: never, in a build without the cfg.
#[cfg(not(leasehold_mutants))]
#[inline(always)]
#[must_use]
pub const fn mutant(_bug: Mutant) -> bool {
    false
}

/// Whether the process has this bug.
///
/// # Panics
/// Where `LEASEHOLD_MUTANT` names none.
#[cfg(leasehold_mutants)]
#[must_use]
pub fn mutant(bug: Mutant) -> bool {
    chosen() == Some(bug)
}

/// The bug that the process has.
///
/// # Panics
/// Where `LEASEHOLD_MUTANT` names none.
#[cfg(leasehold_mutants)]
#[expect(clippy::panic, reason = "a typing error must not pass for a survivor")]
#[must_use]
pub fn chosen() -> Option<Mutant> {
    static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("LEASEHOLD_MUTANT").ok()?;
        let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
        Some(*found.unwrap_or_else(|| panic!("LEASEHOLD_MUTANT: no mutant is called {name:?}")))
    })
}
