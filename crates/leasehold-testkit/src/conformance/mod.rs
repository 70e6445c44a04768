//! The conformance suite: one case for each rule of the contract and situation.
//!
//! Every case is a function here, named after its rule; [`conformance!`](crate::conformance!) makes a test of each.

mod belief;
mod fault;
mod foreign;
mod input;
mod law;
mod race;
mod slot;
mod surface;
mod vacancy;
mod wait;
mod watch;

pub use belief::*;
pub use fault::*;
pub use foreign::*;
pub use input::*;
pub use law::*;
pub use race::*;
pub use slot::*;
pub use surface::*;
pub use vacancy::*;
pub use wait::*;
pub use watch::*;

/// Makes a module of tests, one for each conformance case, for a store's [`Fixture`](crate::Fixture). The expression
/// makes a fresh fixture each time it is evaluated.
///
/// ```
/// leasehold_testkit::conformance!(memory, leasehold_testkit::Memory::default());
/// ```
#[macro_export]
macro_rules! conformance {
    ($module:ident, $fixture:expr) => {
        $crate::__cases! {
            $module, $fixture;
            surface_the_nine_operations
            surface_busy_tells_who_holds
            surface_renewals_keep_or_change_note_and_data
            surface_how_a_term_ended_is_told
            surface_many_renewals_are_one_request_and_fail_alone
            surface_shutdown_refuses_new_operations
            surface_a_prefix_is_whole_segments
            surface_a_long_listing_is_complete
            one_lessee_of_64_tasks
            one_lessee_of_many_thieves
            one_lessee_works_under_a_lock
            index_only_grows_across_everything
            fence_is_constant_in_a_term_and_grows_between
            index_and_fence_laws_hold_over_random_histories
            index_and_fence_laws_hold_over_an_unreliable_way
            one_lessee_is_a_handle_never_a_machine_id
            lessee_stops_first_deadline_counts_from_the_send
            lessee_stops_first_at_its_deadline
            lessee_stops_first_whoever_is_next
            belief_never_resumes_after_the_deadline
            belief_never_resumes_by_a_late_success
            belief_never_begins_by_a_late_success
            lessee_stops_first_before_its_release_is_sent
            lessee_stops_first_by_an_unresolved_shorter_renewal
            lessee_stops_first_failed_renewal_keeps_the_lease
            one_lessee_renew_and_release_name_their_index
            not_early_after_a_grant_or_renewal
            not_early_by_a_proxys_shorter_renewal
            not_early_a_delay_follows_an_end_that_was_not_clean
            vacancy_is_prompt_after_a_release_whatever_the_delay
            vacancy_is_prompt_after_a_crash
            vacancy_is_prompt_after_a_release
            vacancy_is_prompt_for_a_waiting_lock
            vacancy_is_prompt_for_a_lock_after_a_crash
            vacancy_lock_times_out_with_who_holds_it
            once_per_slot_survives_each_end_of_a_run
            keep_alive_renews
            keep_alive_renews_in_time_to_a_longer_period
            keep_alive_tries_again_after_failures
            keep_alive_loss_is_signalled_when_stolen
            keep_alive_loss_is_signalled_at_the_deadline
            keep_alive_dropped_guard_releases
            keep_alive_dropped_guard_waits_for_its_term
            keep_alive_ends_with_the_release
            broken_term_waited_out_by_the_thief
            broken_term_waited_out_through_a_chain
            broken_term_waited_out_through_renewals
            broken_term_waited_out_through_a_release
            broken_term_waited_out_by_a_steal_that_is_too_short
            broken_term_waited_out_after_a_break
            broken_term_waited_out_after_a_break_of_a_steal
            broken_term_waited_out_after_a_proxys_release
            broken_term_waited_out_unless_assumed_dead
            broken_term_steal_names_the_index_it_saw
            waiting_from_after_the_reply
            resuming_is_a_claim_on_the_fence
            resuming_is_a_claim_whose_release_is_clean
            resuming_is_a_claim_of_that_term_only
            resuming_is_a_claim_that_waits_as_its_term_does
            unknown_is_not_failure_acquire_applied
            unknown_is_not_success_acquire_lost
            unknown_is_not_failure_renew_applied
            unknown_is_not_failure_release_steal_and_break
            unknown_a_late_duplicate_of_an_acquire_is_refused
            unknown_a_late_duplicate_of_a_refused_acquire_is_refused
            unknown_late_duplicates_of_renew_and_release_are_refused
            unknown_acquire_applied_after_the_re_read_is_released
            unknown_a_dropped_acquire_is_given_back
            unknown_a_dropped_renewal_reaches_the_lease
            unknown_a_dropped_release_goes_on
            unknown_release_goes_on_being_resolved
            unknown_release_overtakes_a_renewal
            unknown_a_poisoned_change_fails_alone
            unknown_every_operation_ends_by_the_timeout
            watch_level_triggered_tells_now_and_later
            watch_level_triggered_converges
            watch_level_triggered_covers_whole_segments
            watch_level_triggered_tells_expiry
            watch_level_triggered_tells_the_end_of_a_wait
            watch_level_triggered_survives_lost_notifications
            watch_level_triggered_goes_on_after_failures
            nothing_of_others_damaged_fleets_records_are_held
            nothing_of_others_damaged_the_unreadable_is_left_alone
            nothing_of_others_damaged_foreign_terms_need_an_assertion
            nothing_of_others_damaged_by_a_proxys_release_or_renewal
            nothing_of_others_damaged_a_foreign_term_can_be_claimed
            nothing_of_others_damaged_unknown_fields_are_kept
            nothing_of_others_damaged_lists_go_on
            hostile_names_are_kept_apart
            hostile_names_that_are_none_are_refused
            hostile_ids_notes_and_data_come_back
            hostile_ids_notes_and_data_that_are_none_are_refused
            assumptions_declared_periods_are_granted
            assumptions_declared_are_consistent
            assumptions_declared_batch_is_applied
        }
    };
}

/// The tests of a list of cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    ($module:ident, $fixture:expr; $($case:ident)*) => {
        mod $module {
            #[allow(unused_imports, reason = "the fixture may be named by its full path")]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::run(
                        || ::std::boxed::Box::new($fixture),
                        |harness| ::std::boxed::Box::pin($crate::conformance::$case(harness)),
                    );
                }
            )*
        }
    };
}
