//! Whoever waits comes next, and not before.

use crate::support::Registry;

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
