//! Simulated worlds: what every change must pass, and that the simulation itself can be trusted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;

use leasehold_testkit::world::{Assumption, Kind, Report, simulate};

/// Few seeds, as this is not optimised: CI runs the command for a thousand of each kind.
fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=if std::env::var_os("LEASEHOLD_SEEDS").is_some() {
        200
    } else {
        25
    }
}

fn every_law_holds(kind: Kind) {
    let mut report = Report::default();
    for seed in seeds() {
        if let Some(failure) = simulate(kind, seed, None, false, &mut report).failure {
            panic!("{kind}: {failure}");
        }
    }
    // Worlds in which nothing happens prove nothing.
    assert!(report.beliefs > 5 * report.seeds, "{report:?}");
    assert!(report.operations > 100 * report.seeds, "{report:?}");
    assert!(report.accepted > report.seeds, "{report:?}");
    // Which faults those are, the command says: in a thousand worlds none of their kind may be missing.
    assert!(report.faults.len() > 5, "{report:?}");
    assert_eq!(report.stale, 0);
}

#[test]
fn every_law_holds_by_the_boot_clock() {
    every_law_holds(Kind::Boot);
}

#[test]
fn every_law_holds_by_the_servers_wall_clock() {
    every_law_holds(Kind::Wall);
}

#[test]
fn every_law_holds_by_observers_clocks() {
    every_law_holds(Kind::Observed);
}

#[test]
fn every_law_holds_on_native_leases() {
    every_law_holds(Kind::Native);
}

fn told(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_leasehold-testkit"))
        .arg("simulate")
        .args(arguments)
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    // How long it took is no part of the story.
    let story = text.lines().filter(|line| !line.contains("seeds/s"));
    story.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_same_seed_tells_the_same_story_in_every_process() {
    for kind in Kind::ALL {
        let kind = kind.to_string();
        let arguments = ["--store", &kind, "--seeds", "11", "--trace"];
        let first = told(&arguments);
        assert!(first.lines().count() > 100, "{first}");
        assert_eq!(first, told(&arguments));
        let other = told(&["--store", &kind, "--seeds", "12", "--trace"]);
        assert_ne!(first, other);
    }
}

#[test]
fn ranges_are_resumed_where_they_stopped() {
    let folder = std::env::temp_dir().join(format!("leasehold-resume-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("progress").display().to_string();
    let run = |seeds| told(&["--store", "boot", "--seeds", seeds, "--resume", &file]);
    let whole = told(&["--store", "boot", "--seeds", "1..=6"]);
    let parts = [run("1..=4"), run("1..=6")];
    assert_eq!(run("1..=6"), "boot: done up to seed 6\n");
    // Progress of other seeds is none of these.
    let arguments = [
        "simulate", "--store", "boot", "--seeds", "2..=6", "--resume", &file,
    ];
    let mut other = Command::new(env!("CARGO_BIN_EXE_leasehold-testkit"));
    let other = other.args(arguments).output().unwrap();
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    assert!(String::from_utf8_lossy(&other.stderr).contains("of seeds from 1 on"));
    std::fs::remove_dir_all(&folder).unwrap();
    // Every seed adds its own to the sum of traces, once.
    let sum = |text: &str| {
        let line = text
            .lines()
            .find_map(|line| line.split_once("trace of them all: "));
        u64::from_str_radix(line.unwrap().1, 16).unwrap()
    };
    assert_eq!(sum(&whole), sum(&parts[0]).wrapping_add(sum(&parts[1])));
}

/// An assumption that no such world makes is not broken in silence.
#[test]
fn what_a_kind_does_not_assume_cannot_be_broken() {
    let arguments = ["simulate", "--store", "boot", "--break", "no-step-forward"];
    let mut run = Command::new(env!("CARGO_BIN_EXE_leasehold-testkit"));
    let run = run.args(arguments).output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stderr).contains("no-step-forward"));
}

/// Without an assumption that the contract declares, laws fail: the simulation sees it, and the fence still refuses
/// whoever is late.
#[test]
fn without_an_assumption_a_law_fails_and_the_fence_refuses() {
    let mut refused = 0;
    for assumption in Assumption::ALL {
        let mut laws = std::collections::BTreeSet::new();
        let concerned = |kind: &Kind| assumption.concerns(*kind);
        for kind in Kind::ALL.into_iter().filter(concerned) {
            let mut report = Report::default();
            for seed in 1..=24 {
                let ran = simulate(kind, seed, Some(assumption), false, &mut report);
                let broken = ran.failure.map(|failure| failure.broken);
                laws.extend(broken.into_iter().flatten().map(|broken| broken.law));
            }
            assert!(report.accepted > 0, "{assumption}: {report:?}");
            refused += report.refused;
            if assumption.fence_holds(kind) {
                assert_eq!(report.stale, 0, "{assumption}: {report:?}");
            }
        }
        assert!(laws.contains("one lessee"), "{assumption}: {laws:?}");
    }
    assert!(refused > 0, "the fence had nobody to refuse");
}
