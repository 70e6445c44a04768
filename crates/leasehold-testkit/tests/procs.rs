//! Children are started, heard and killed.

use std::time::Duration;

use leasehold_testkit::procs;

#[test]
fn children_tell_their_parent() {
    if let Some(me) = procs::child() {
        me.tell(&format!("{} {}", me.number, me.input));
        me.tell("end");
        return;
    }
    let told = procs::spawn("children_tell_their_parent", 3, "a word").wait();
    assert_eq!(
        told,
        [
            ["0 a word", "end"],
            ["1 a word", "end"],
            ["2 a word", "end"]
        ]
    );
}

#[test]
fn a_child_that_fails_fails_its_parent() {
    if procs::child().is_some() {
        std::process::exit(3);
    }
    let children = procs::spawn("a_child_that_fails_fails_its_parent", 1, "");
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| children.wait()));
    assert!(waited.is_err());
}

#[test]
fn a_child_can_be_killed() {
    if let Some(me) = procs::child() {
        me.tell("started");
        loop {
            std::thread::park_timeout(Duration::from_secs(60));
        }
    }
    let mut children = procs::spawn("a_child_can_be_killed", 1, "");
    while children.told()[0].is_empty() {
        std::thread::yield_now();
    }
    children.kill(0);
    assert_eq!(children.told(), [["started"]]);
}

#[test]
fn a_race_that_overlaps_is_found_out() {
    let told = |lines: &[&str]| vec![lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>()];
    procs::check_race(&told(&["1 10 20", "2 20 30"]), 2);
    assert!(
        std::panic::catch_unwind(|| procs::check_race(&told(&["1 10 20", "2 19 30"]), 2)).is_err()
    );
    assert!(
        std::panic::catch_unwind(|| procs::check_race(&told(&["2 10 20", "1 20 30"]), 2)).is_err()
    );
}
