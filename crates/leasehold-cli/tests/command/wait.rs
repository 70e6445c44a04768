//! `leasehold wait`.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Registry, Running, eventually, json};

fn waiting(registry: &Registry, line: &str) -> Running {
    Running::start(registry.command(line.split_whitespace()))
}

#[test]
fn what_is_so_already_is_not_waited_for() {
    let registry = Registry::new();
    let free = registry.line("wait x").exits(0);
    assert_eq!(
        (&*free.out, &*free.err),
        ("x is held by nobody\n", ""),
        "a name without a record"
    );
    let fence = registry.line("acquire x --machine-id host-7").fence();
    let held = registry.line("wait x --until held").exits(0);
    assert!(held.out.starts_with("x is held by host-7 since 20"));
    registry
        .line(&format!("wait x --fence {}", fence + 1))
        .exits(0);
    let status = json(&registry.line("wait x --until held --json").exits(0).out);
    assert_eq!(
        (&status["reached"], &status["held"], &status["fence"]),
        (&true.into(), &true.into(), &fence.into())
    );
}

#[test]
fn a_release_ends_the_wait_at_once_and_a_renewal_does_not() {
    let registry = Registry::new();
    for until in ["", "--until changed", "--fence"] {
        let fence = registry.line("acquire x --period 1m").exits(0).fence();
        let until = until.replace("--fence", &format!("--fence {fence}"));
        let waiter = waiting(&registry, &format!("wait x {until} --timeout 20s"));
        std::thread::sleep(Duration::from_millis(300));
        registry.line(&format!("renew x --fence {fence}")).exits(0);
        std::thread::sleep(Duration::from_millis(300));
        registry
            .line(&format!("release x --fence {fence}"))
            .exits(0);
        let done = waiter.done().exits(0);
        let time = Duration::from_millis(500)..Duration::from_secs(5);
        assert!(time.contains(&done.took), "{until}: {done:?}");
        assert!(done.out.contains("the last term was released"), "{done:?}");
    }
}

#[test]
fn an_end_by_itself_ends_the_wait_and_a_broken_term_is_waited_out() {
    let registry = Registry::new();
    registry.line("acquire x --period 1s").exits(0);
    let done = registry.line("wait x --timeout 20s").exits(0);
    assert!(done.out.contains("has run out"), "{done:?}");
    registry.line("acquire x --period 2s").exits(0);
    let breaking = waiting(&registry, "break x");
    eventually("broken", || !registry.is_held("x"));
    let free = registry.line("wait x --timeout 20s").exits(0);
    assert!(free.took > Duration::from_millis(500), "{free:?}");
    registry.line("run x -- true").exits(0);
    breaking.done().exits(0);
}

#[test]
fn an_acquire_and_a_theft_end_the_waits_for_them() {
    let registry = Registry::new();
    let held = waiting(&registry, "wait x --until held --json");
    std::thread::sleep(Duration::from_millis(300));
    let fence = registry.line("acquire x --period 1m").exits(0).fence();
    let told = json(&held.done().exits(0).out);
    assert_eq!(
        (&told["held"], &told["fence"]),
        (&true.into(), &fence.into())
    );
    let over = waiting(&registry, &format!("wait x --fence {fence} --json"));
    let changed = waiting(&registry, "wait x --until changed --json");
    std::thread::sleep(Duration::from_millis(300));
    registry.line("steal x --assume-dead tested").exits(0);
    for waiter in [over, changed] {
        let told = json(&waiter.done().exits(0).out);
        assert!(told["fence"].as_u64() > Some(fence), "{told}");
    }
}

#[test]
fn a_time_that_has_passed_is_75_with_the_holder() {
    let registry = Registry::new();
    registry.line("acquire x --machine-id host-7").exits(0);
    let done = registry
        .line("wait x --timeout 300ms")
        .exits(75)
        .says(&["waited 300ms until x is free, in vain: x is held by host-7"]);
    assert!(done.took >= Duration::from_millis(300), "{done:?}");
    assert_eq!(done.out, "");
    let quiet = registry.line("wait -q x --timeout 300ms --json").exits(75);
    assert_eq!(quiet.err, "");
    let told = json(&quiet.out);
    assert_eq!(
        (&told["reached"], &told["machine_id"]),
        (&false.into(), &"host-7".into())
    );
    registry
        .line("wait y --until held --timeout 300ms")
        .exits(75)
        .says(&["until y is held, in vain: y is held by nobody"]);
}

#[test]
fn a_signal_ends_the_wait() {
    let registry = Registry::new();
    registry.line("acquire x").exits(0);
    let waiter = waiting(&registry, "wait x");
    std::thread::sleep(Duration::from_millis(300));
    waiter.signal(Signal::INT);
    assert_eq!(waiter.done().code, -2);
}
