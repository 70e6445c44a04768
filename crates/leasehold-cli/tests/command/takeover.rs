//! A holder that dies or stops without a word: the next one comes after the period, and not before.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Registry, eventually, is_at_work, now_ms, pid_in};

#[test]
fn after_kill_9_a_waiter_takes_over_when_the_period_is_over_and_not_before() {
    let registry = Registry::new();
    let holder = registry.start(
        "run x --period 3s",
        "echo $$ > pid; exec sleep 60 >/dev/null 2>&1",
    );
    let orphan = pid_in(&registry.path("pid"));
    let fence = registry.status("x")["fence"].as_u64().unwrap();
    let waiter = registry.start(
        "run x --period 3s --wait 30s",
        "date +%s%3N; echo $LEASEHOLD_FENCE",
    );
    std::thread::sleep(Duration::from_millis(1500));
    let status = registry.status("x");
    let seen = now_ms();
    holder.signal(Signal::KILL);
    holder.done().exits(-9);
    // At most this was left, and at least a millisecond less.
    let left = u128::from(status["left_ms"].as_u64().unwrap());
    let done = waiter.done().exits(0);
    let mut lines = done.out.lines();
    let taken: u128 = lines.next().unwrap().parse().unwrap();
    assert!(
        taken >= seen + left - 30,
        "{} ms early",
        seen + left - taken
    );
    assert!(
        taken <= seen + left + 2000,
        "{} ms late",
        taken - seen - left
    );
    assert!(lines.next().unwrap().parse::<u64>().unwrap() > fence);
    assert_eq!(registry.status("x")["ended"]["how"], "released");
    assert!(is_at_work(orphan), "documented: nobody is left to end it");
    rustix::process::kill_process(orphan, Signal::KILL).unwrap();
}

#[test]
fn a_stopped_holder_knows_at_once_that_it_lost_and_kills_its_command() {
    let registry = Registry::new();
    let holder = registry.start(
        "run x --period 3s",
        "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done",
    );
    let child = pid_in(&registry.path("pid"));
    holder.signal(Signal::STOP);
    let waiter = registry.start("run x --period 3s --wait 30s", "date +%s%3N; exec sleep 30");
    eventually("taken over", || {
        registry.status("x")["held"] == true
            && registry.status("x")["fence"] == registry.status("x")["index"]
            && registry.status("x")["ended"]["how"] == "expired"
    });
    assert!(is_at_work(child), "documented: nobody ends it meanwhile");
    let continued = Instant::now();
    holder.signal(Signal::CONT);
    eventually("killed", || !is_at_work(child));
    // TERM is ignored: this was KILL, and without a grace.
    assert!(
        continued.elapsed() < Duration::from_millis(700),
        "{:?}",
        continued.elapsed()
    );
    holder.done().exits(76).says(&["x was lost", "signal 9"]);
    // The other's lease is untouched.
    assert!(registry.is_held("x"));
    waiter.signal(Signal::TERM);
    waiter.done().exits(143);
}

#[test]
fn two_waiters_come_one_after_the_other() {
    let registry = Registry::new();
    let holder = registry.start("run x --period 3s", "sleep 1");
    registry.wait_until_held("x");
    let script = "set -C; : > alone || exit 9; sleep 0.5; rm alone; echo $LEASEHOLD_FENCE";
    let waiters = [0, 1].map(|_| registry.start("run x --period 3s --wait forever", script));
    holder.done().exits(0);
    let fences: Vec<u64> = waiters.map(|waiter| waiter.done().exits(0).fence()).into();
    assert_ne!(fences[0], fences[1]);
}

#[test]
fn a_release_wakes_a_waiter_at_once() {
    let registry = Registry::new();
    let holder = registry.start("run x --period 60s", "sleep 1; date +%s%3N");
    registry.wait_until_held("x");
    let waiter = registry.start("run x --wait 20s", "date +%s%3N");
    let released: u128 = holder.done().exits(0).out.trim().parse().unwrap();
    let taken: u128 = waiter.done().exits(0).out.trim().parse().unwrap();
    assert!(
        taken >= released && taken - released < 3000,
        "{} ms",
        taken - released
    );
}
