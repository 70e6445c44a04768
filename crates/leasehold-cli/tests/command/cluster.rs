//! The same words with an etcd cluster as the registry.

use std::process::Command;
use std::time::Duration;

use leasehold_testkit::servers::{Etcd, EtcdVersion};

use crate::support::{Done, Registry, Running, done, json};
use crate::terminal::Terminal;

fn command(etcd: &Etcd, line: &str) -> Command {
    let mut command = Registry::new().command(line.split_whitespace());
    command
        .env("LEASEHOLD_STORE", format!("etcd://{}/team", etcd.address()))
        .current_dir("/");
    command
}

fn line(etcd: &Etcd, words: &str) -> Done {
    done(command(etcd, words))
}

#[test]
fn leases_reach_across_machines() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let line = |words: &str| line(&etcd, words);
    let fence = line("acquire jobs/x --period 1m --machine-id host-7")
        .exits(0)
        .fence();
    line("run jobs/x -- true")
        .exits(75)
        .says(&["jobs/x is held by host-7", "etcd://", "/team"]);
    line(&format!("renew jobs/x --fence {fence} --period 2m")).exits(0);
    line(&format!("check jobs/x --fence {fence}")).exits(0);
    let status = json(&line("get jobs/x --json").exits(0).out);
    assert_eq!(
        (&status["fence"], &status["period_ms"], &status["held"]),
        (&fence.into(), &120_000.into(), &true.into())
    );
    assert!(line("list jobs").exits(0).out.contains("jobs/x"));
    line(&format!("release jobs/x --fence {fence}")).exits(0);
    let next = line("run jobs/x -- printenv LEASEHOLD_FENCE").exits(0);
    assert!(next.fence() > fence);
}

/// A server with bugs that break the contract is named as such when it is opened.
#[test]
fn old_servers_are_warned_of() {
    for version in EtcdVersion::ALL {
        let etcd = Etcd::start(version);
        let told = line(&etcd, "-v get jobs/x");
        let warned = told.err.contains("bugs that can let two lessees believe");
        assert_eq!(warned, version != EtcdVersion::V3_7, "{version}: {told:?}");
    }
}

/// It says that what it shows may be old, counts down meanwhile, and says so no more although nothing has changed.
#[test]
fn a_table_says_when_the_registry_does_not_answer_and_when_it_does_again() {
    let mut etcd = Etcd::start(EtcdVersion::V3_7);
    line(&etcd, "acquire x --period 1h --machine-id h").exits(0);
    let store = format!("LEASEHOLD_STORE=etcd://{}/team", etcd.address());
    let terminal = Terminal::new(&Registry::new(), &[&store]);
    terminal.leasehold("watch x");
    let is_well = |lines: &[String]| {
        lines[1].starts_with("x     h ") && lines[2..].iter().all(String::is_empty)
    };
    terminal.until("a table", is_well);
    etcd.kill();
    // A watch reads twice a minute where it has nothing to read for.
    let killed = std::time::Instant::now();
    let lines = loop {
        let lines = terminal.lines();
        if lines[2].starts_with("trying again: ") {
            break lines;
        }
        assert!(killed.elapsed().as_secs() < 60, "{lines:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    terminal.until("counted down", |now| {
        now[1] != lines[1] && now[1].starts_with("x ")
    });
    etcd.restart();
    terminal.until("well again", is_well);
}

/// A registry that goes away while somebody waits is told once, and the wait goes on.
#[test]
fn a_wait_outlives_an_outage() {
    let mut etcd = Etcd::start(EtcdVersion::V3_7);
    line(&etcd, "acquire jobs/x --period 4s").exits(0);
    let waiter = |words: &str| Running::start(command(&etcd, words));
    let (patient, hasty) = (
        waiter("wait jobs/x --until changed"),
        waiter("wait jobs/x --timeout 3s"),
    );
    std::thread::sleep(Duration::from_secs(1));
    etcd.kill();
    hasty
        .done()
        .exits(69)
        .says(&["waited 3s until jobs/x is free, and then: "]);
    // The end of the term is looked for in vain several times.
    std::thread::sleep(Duration::from_secs(3));
    etcd.restart();
    etcd.wait_healthy();
    let done = patient.done().exits(0);
    assert_eq!(done.err.matches("trying again").count(), 1, "{done:?}");
    assert_eq!(done.err.matches("answers again").count(), 1, "{done:?}");
    assert!(done.out.contains("held by nobody"), "{done:?}");
}
