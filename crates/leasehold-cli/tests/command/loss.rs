//! `run` and a lease that is lost: the command ends before another may hold the lease.

use std::time::Duration;

use crate::support::{Registry, eventually, is_at_work, now_ms, pid_in};

#[test]
fn a_theft_ends_the_command_before_the_thief_begins() {
    let registry = Registry::new();
    let script =
        "trap 'date +%s%3N > ended; exit 0' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let holder = registry.start("run x --period 4s --note important", script);
    pid_in(&registry.path("pid"));
    let old = registry.status("x")["fence"].as_u64().unwrap();
    let thief = registry
        .line("steal x --period 4s --reason maintenance")
        .exits(0)
        .says(&["displacing: x is held by", "important"]);
    let begun = now_ms();
    holder
        .done()
        .exits(76)
        .says(&["x was lost", "exited with 0"]);
    let ended: u128 = std::fs::read_to_string(registry.path("ended"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(
        ended < begun,
        "the command ended {} ms after the theft was complete",
        ended - begun
    );
    let status = registry.status("x");
    assert!(thief.fence() > old);
    assert_eq!(status["fence"].as_u64(), Some(thief.fence()));
    assert_eq!(status["ended"]["how"], "stolen");
    assert_eq!(status["ended"]["reason"], "maintenance");
    // The wait is over, and what was granted is the whole period.
    assert_eq!(status["wait_ms"], 0);
    assert!(status["left_ms"].as_u64().unwrap() > 3000, "{status}");
}

/// Complaint 3: the command is killed long after the loss, and two are at work meanwhile.
#[test]
fn complaint_03_a_command_that_ignores_term_is_killed_before_the_deadline() {
    let registry = Registry::new();
    let script = "trap '' TERM; echo $$ > pid; while :; do date +%s%3N > last.new; mv last.new last; sleep 0.01; done";
    let holder = registry.start("run x --period 3s", script);
    let child = pid_in(&registry.path("pid"));
    let status = registry.line("break x --json").exits(0);
    let vacant = now_ms();
    let waited = crate::support::json(&status.out)["waited_ms"]
        .as_u64()
        .unwrap();
    assert!(waited > 1000, "{waited}");
    assert!(!is_at_work(child), "the name is vacant, and it is at work");
    holder.done().exits(76).says(&["signal 9", "broken"]);
    let last: u128 = std::fs::read_to_string(registry.path("last"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(
        last + 100 < vacant,
        "at work until {} ms before the end",
        vacant.saturating_sub(last)
    );
    assert!(!registry.is_held("x"));
}

#[test]
fn without_its_registry_a_command_works_until_the_last_second_and_not_after_the_deadline() {
    let registry = Registry::new();
    // Each line: when the command was at work.
    let script = "trap 'echo TERM $(date +%s%3N) >> log' TERM; echo $$ > pid; \
                  while :; do date +%s%3N >> log; sleep 0.01; done";
    let holder = registry.start("run x --period 4s", script);
    let child = pid_in(&registry.path("pid"));
    let status = registry.status("x");
    // No renewal came yet: a bound of the first deadline.
    let deadline = now_ms() + u128::from(status["left_ms"].as_u64().unwrap());
    for file in ["leases.db", "leases.db-wal", "leases.db-shm"] {
        std::fs::remove_file(registry.path(file)).unwrap();
    }
    let done = holder.done().exits(76).says(&["x was lost", "signal 9"]);
    assert!(done.took < Duration::from_secs(6));
    eventually("killed", || !is_at_work(child));
    let log = std::fs::read_to_string(registry.path("log")).unwrap();
    let time = |line: &str| line.trim_start_matches("TERM ").parse::<u128>().unwrap();
    let term = time(log.lines().find(|line| line.starts_with("TERM")).unwrap());
    // A log that was cut off by KILL may end in half a line.
    let last = log
        .lines()
        .rev()
        .filter(|line| line.len() >= 13)
        .map(time)
        .next()
        .unwrap();
    assert!(
        term + 500 < deadline && term + 1500 > deadline,
        "TERM at deadline - {}",
        deadline - term
    );
    assert!(
        last < deadline,
        "at work {} ms after the deadline",
        last - deadline
    );
    assert!(last > term, "it had no time to end");
}

#[test]
fn a_loss_that_is_learnt_at_the_release_is_told() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let script = format!("{leasehold} steal x --assume-dead test >/dev/null 2>&1; exit 0");
    registry
        .shell("run x --period 60s", &script)
        .exits(76)
        .says(&["x was lost", "exited with 0"]);
    assert!(registry.is_held("x"), "the thief's");
}
