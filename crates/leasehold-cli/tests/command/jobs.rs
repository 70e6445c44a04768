//! `run` on a real terminal: who has it, what its keys do, and what a person sees meanwhile.

use std::time::Duration;

use rustix::process::Pid;

use crate::support::{Registry, eventually, is_at_work, parent, pid_in};
use crate::terminal::{PROMPT, Terminal};

/// The last line that is not empty.
fn last(lines: &[String]) -> &str {
    lines
        .iter()
        .rev()
        .find(|line| !line.is_empty())
        .map_or("", String::as_str)
}

fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.contains(") T "))
}

#[test]
fn who_waits_sees_who_holds_the_lease_and_how_long_still() {
    let registry = Registry::new();
    let words = [
        "acquire",
        "x",
        "--machine-id",
        "host",
        "--period",
        "1h",
        "--note",
        "upgrade",
    ];
    let fence = crate::support::done(registry.command(words))
        .exits(0)
        .fence();
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("run x --wait 10m -- echo got it");
    let waiting = |lines: &[String]| {
        last(lines).starts_with("waiting ") && last(lines).contains("x is held by")
    };
    let first = terminal.until("waiting", waiting);
    let second = terminal.until("repainted", |lines| {
        waiting(lines) && last(lines) != last(&first)
    });
    assert!(
        last(&second).contains(" of 10m: ") && last(&second).contains("s left"),
        "{second:?}"
    );
    assert!(last(&second).contains("held by host"), "{second:?}");
    assert!(last(&second).chars().count() < 80);
    registry
        .line(&format!("release x --fence {fence}"))
        .exits(0);
    let lines = terminal.until("done", |lines| {
        last(lines).ends_with(PROMPT) && lines.len() > 2
    });
    assert!(lines.iter().any(|line| line == "got it"), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.starts_with("waiting ")),
        "{lines:?}"
    );
}

#[test]
fn waiting_ends_with_ctrl_c() {
    let registry = Registry::new();
    registry.line("acquire x --period 1h").exits(0);
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("run x --wait forever -- touch ran");
    terminal.until("waiting", |lines| last(lines).starts_with("waiting "));
    terminal.press("C-c");
    terminal.until("a prompt", |lines| last(lines).ends_with(PROMPT));
    terminal.shell("echo status $?");
    terminal.until("a status", |lines| {
        lines.iter().any(|line| line == "status 130")
    });
    assert!(!registry.path("ran").exists());
}

#[test]
fn ctrl_z_stops_the_command_and_not_the_renewals() {
    let registry = Registry::new();
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("run x --period 3s -- sh -c 'echo $$ > pid; while :; do sleep 0.05; done'");
    let command = pid_in(&registry.path("pid"));
    terminal.press("C-z");
    terminal.until("told", |lines| {
        lines.concat().contains("Ctrl-Z again continues it")
    });
    assert!(is_stopped(command));
    let fence = registry.status("x")["fence"].clone();
    std::thread::sleep(Duration::from_secs(5));
    assert!(is_stopped(command) && registry.status("x")["fence"] == fence && registry.is_held("x"));
    terminal.press("C-z");
    eventually("continued", || !is_stopped(command));
    // And again; then Ctrl-C ends even what is stopped.
    terminal.press("C-z");
    eventually("stopped", || is_stopped(command));
    terminal.press("C-c");
    terminal.until("a prompt", |lines| last(lines).ends_with(PROMPT));
    assert!(!is_at_work(command));
    eventually("released", || !registry.is_held("x"));
}

#[test]
fn the_command_has_the_terminal() {
    let registry = Registry::new();
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("run x -- sh -c 'read word; echo \"<$word>\"; tty; stty -a | head -1'");
    eventually("held", || registry.is_held("x"));
    terminal.shell("hello");
    let lines = terminal.until("done", |lines| {
        last(lines).ends_with(PROMPT) && lines.len() > 3
    });
    assert!(lines.iter().any(|line| line == "<hello>"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("/dev/pts/")),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("rows 24; columns 80")),
        "{lines:?}"
    );
}

#[test]
fn a_shell_can_put_it_into_the_background_and_fetch_it() {
    let registry = Registry::new();
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("run x -- sh -c 'echo $$ > pid; exec sleep 100' &");
    let command = pid_in(&registry.path("pid"));
    terminal.shell("fg");
    terminal.until("in front", |lines| {
        lines.concat().matches("run x -- sh").count() == 2
    });
    // `fg` continues the group; the key comes when it has the terminal.
    std::thread::sleep(Duration::from_millis(300));
    terminal.press("C-c");
    terminal.until("a prompt", |lines| last(lines).ends_with(PROMPT));
    eventually("dead", || !is_at_work(command));
    eventually("released", || !registry.is_held("x"));
}

#[test]
fn the_terminal_is_free_after_kill_9_of_the_wrapper() {
    let registry = Registry::new();
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("run x -- sh -c 'echo $$ > pid; exec sleep 100'");
    let command = pid_in(&registry.path("pid"));
    rustix::process::kill_process(parent(parent(command)), rustix::process::Signal::KILL).unwrap();
    terminal.until("a prompt", |lines| last(lines).ends_with(PROMPT));
    eventually("dead", || !is_at_work(command));
    eventually("released", || !registry.is_held("x"));
    terminal.shell("echo still here");
    terminal.until("at work", |lines| {
        lines.iter().any(|line| line == "still here")
    });
}

/// In the background a command that reads is stopped, and its lease goes on being renewed.
#[test]
fn a_command_that_wants_the_terminal_waits_for_it() {
    let registry = Registry::new();
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("run x --period 3s -- sh -c 'echo $$ > pid; read a; echo \"<$a>\"' &");
    let command = pid_in(&registry.path("pid"));
    eventually("stopped", || is_stopped(command));
    let fence = registry.status("x")["fence"].clone();
    std::thread::sleep(Duration::from_secs(5));
    assert!(is_stopped(command) && registry.status("x")["fence"] == fence && registry.is_held("x"));
    terminal.shell("fg");
    eventually("continued", || !is_stopped(command));
    terminal.shell("word");
    terminal.until("read", |lines| lines.iter().any(|line| line == "<word>"));
}

/// A terminal that hangs up tells only the first process of its session: here the wrapper.
#[test]
fn a_terminal_that_hangs_up_ends_the_command() {
    let registry = Registry::new();
    let terminal = Terminal::new(&registry, &[]);
    terminal.shell(&format!(
        "exec {} run x -- sh -c 'echo $$ > pid; exec sleep 100'",
        env!("CARGO_BIN_EXE_leasehold")
    ));
    let command = pid_in(&registry.path("pid"));
    drop(terminal);
    eventually("dead", || !is_at_work(command));
    eventually("released", || !registry.is_held("x"));
}
