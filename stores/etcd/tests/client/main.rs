//! The client, held against real servers: encryption, users, members that fail, limits, and what it shows of secrets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod identity;
mod limits;
mod members;
mod secrets;
mod support;
mod tls;
mod users;
mod watches;

/// These mostly wait: they do so at the same time. Servers are started by functions that block, so each case has a thread
/// of its own to block.
#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn cases_that_mostly_wait() {
    let mut cases = tokio::task::JoinSet::new();
    cases.spawn(watches::an_idle_watch_leaves_a_member_that_is_stopped());
    cases.spawn(watches::a_watch_that_is_idle_for_long_is_not_closed_for_its_pings());
    cases.spawn(members::a_cluster_is_opened_while_it_elects_a_leader());
    cases.spawn(members::opening_takes_the_next_member_where_the_first_one_is_silent());
    cases.spawn(members::a_handshake_without_an_answer_ends());
    cases.spawn(members::what_was_never_sent_is_not_unknown());
    cases.spawn(users::many_requests_log_in_once());
    cases.spawn(users::tokens_that_run_out_are_replaced());
    cases.spawn(users::signed_tokens_that_run_out_are_replaced());
    cases.spawn(users::a_role_for_the_prefix_suffices_for_everything());
    cases.join_all().await;
}
