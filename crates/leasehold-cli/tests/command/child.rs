//! `run`: the command's environment, its end, and what is left behind.

use std::process::Command;
use std::time::Duration;

use crate::support::{Registry, Running, done, eventually, is_at_work, pid_in};

/// Complaint 16: the command's exit status is not passed on.
#[test]
fn complaint_16_the_exit_status_is_the_command_s_and_the_lease_is_released() {
    let registry = Registry::new();
    for code in [0, 1, 7, 64, 75, 76, 124, 255] {
        let done = registry.shell("run jobs/x", &format!("exit {code}"));
        assert_eq!(
            (done.exits(code).err.as_str(), registry.is_held("jobs/x")),
            ("", false)
        );
    }
    let status = registry.status("jobs/x");
    assert_eq!(status["ended"]["how"], "released");
    assert_eq!(status["vacant"], true);
}

#[test]
fn a_signalled_command_gives_128_and_the_signal() {
    let registry = Registry::new();
    registry.shell("run x", "kill -KILL $$").exits(128 + 9);
    registry.shell("run x", "kill -SEGV $$").exits(128 + 11);
    registry.shell("run x", "kill -TERM $$").exits(128 + 15);
}

#[test]
fn a_command_that_cannot_be_started_gives_126_or_127_and_leaves_no_lease() {
    let registry = Registry::new();
    registry
        .line("run x -- no-such-command")
        .exits(127)
        .says(&["no-such-command"]);
    registry.line("run x -- ./no-such-file").exits(127);
    assert!(!registry.is_held("x"));
    std::fs::write(registry.path("text"), "echo").unwrap();
    registry
        .line("run x -- ./text")
        .exits(126)
        .says(&["./text"]);
    registry.line("run x -- .").exits(126);
    assert!(!registry.is_held("x"));
}

#[test]
fn the_environment_is_untouched_but_for_three_variables() {
    let registry = Registry::new();
    let environment = |leasehold: bool| {
        let mut command = if leasehold {
            registry.command(["run", "a/b", "--machine-id", "m 1", "--", "env", "-0"])
        } else {
            let mut command = Command::new("env");
            command.arg("-0");
            command
        };
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("LEASEHOLD_STORE", registry.file())
            .env("ODD", "a\nb=c")
            .env("LEASEHOLD_FENCE", "not a number")
            .env("LEASEHOLD_PERIOD", "15s")
            .current_dir(registry.folder.path());
        let done = done(command).exits(0);
        let mut lines: Vec<String> = done.out.split_terminator('\0').map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut expected = environment(false);
    let (mut own, rest): (Vec<String>, Vec<String>) =
        environment(true).into_iter().partition(|line| {
            [
                "LEASEHOLD_NAME=",
                "LEASEHOLD_MACHINE_ID=",
                "LEASEHOLD_FENCE=",
            ]
            .iter()
            .any(|key| line.starts_with(key))
        });
    expected.retain(|line| !line.starts_with("LEASEHOLD_FENCE="));
    assert_eq!(rest, expected);
    own.sort();
    let fence = own[0].strip_prefix("LEASEHOLD_FENCE=").unwrap();
    assert!(fence.parse::<u64>().unwrap() > 0);
    assert_eq!(own[1..], ["LEASEHOLD_MACHINE_ID=m 1", "LEASEHOLD_NAME=a/b"]);
}

#[test]
fn runs_can_be_nested() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let done = registry
        .shell(
            "run outer",
            &format!(
                "echo $LEASEHOLD_NAME $LEASEHOLD_MACHINE_ID $LEASEHOLD_FENCE; \
                 {leasehold} run inner -- sh -c 'echo $LEASEHOLD_NAME $LEASEHOLD_MACHINE_ID $LEASEHOLD_FENCE; exit 5'"
            ),
        )
        .exits(5);
    let lines: Vec<Vec<&str>> = done
        .out
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!([lines[0][0], lines[1][0]], ["outer", "inner"]);
    assert_ne!(lines[0][1], lines[1][1]);
    assert_ne!(lines[0][2], lines[1][2]);
    // The same name is not vacant inside itself.
    let again = format!("{leasehold} run outer -- true");
    registry.shell("run outer", &again).exits(75);
}

#[test]
fn standard_input_and_output_are_the_command_s() {
    let registry = Registry::new();
    std::fs::write(registry.path("in"), "hello").unwrap();
    let mut command = registry.command(["run", "x", "--", "cat"]);
    command.stdin(std::fs::File::open(registry.path("in")).unwrap());
    assert_eq!(done(command).exits(0).out, "hello");
}

#[test]
fn a_held_lease_is_renewed_for_as_long_as_it_takes() {
    let registry = Registry::new();
    let running = registry.start("run x --period 3s", "sleep 4.5");
    registry.wait_until_held("x");
    let first = registry.status("x");
    std::thread::sleep(Duration::from_millis(3500));
    let later = registry.status("x");
    assert_eq!(later["held"], true);
    assert_eq!(first["fence"], later["fence"]);
    assert!(first["index"].as_u64() < later["index"].as_u64());
    running.done().exits(0);
    assert!(!registry.is_held("x"));
}

#[test]
fn the_lease_is_kept_until_what_the_command_left_in_the_background_has_ended() {
    let registry = Registry::new();
    let mut command = registry.script(
        "run x --period 3s",
        "(echo $$ > pid; exec sleep 1.5 >/dev/null 2>&1) & exit 4",
    );
    // Without a terminal: in a session of its own.
    command = without_terminal(command);
    let done = done(command).exits(4);
    assert!(done.took >= Duration::from_millis(1500), "{done:?}");
    assert!(!registry.is_held("x"));
}

#[test]
fn a_time_limit_ends_the_command_and_all_it_started() {
    let registry = Registry::new();
    let command = registry.script(
        "run x --time-limit 500ms",
        "sleep 60 >/dev/null 2>&1 & echo $! > pid; wait",
    );
    let done = done(without_terminal(command))
        .exits(124)
        .says(&["time limit"]);
    assert!(done.took < Duration::from_secs(5), "{done:?}");
    let background = pid_in(&registry.path("pid"));
    eventually("ended", || !is_at_work(background));
    assert!(!registry.is_held("x"));
}

/// Complaint 15: only the shell is killed, and what it has started works on. Without a terminal the whole group is ended,
/// deaf to TERM as it may be, before the lease is anybody else's.
#[test]
fn complaint_15_a_loss_ends_what_the_shell_has_started_too() {
    let registry = Registry::new();
    let script = "trap '' TERM; \
                  sh -c 'echo $$ > pid; while :; do sleep 0.05; done' >/dev/null 2>&1 & wait";
    let command = registry.script("run x --period 3s", script);
    let holder = Running::start(without_terminal(command));
    let started = pid_in(&registry.path("pid"));
    assert!(is_at_work(started));
    registry.line("break x").exits(0);
    assert!(
        !is_at_work(started),
        "the name is vacant, and it is at work"
    );
    holder.done().exits(76).says(&["signal 9", "broken"]);
}

/// The same command in a session without a terminal.
fn without_terminal(command: Command) -> Command {
    let mut wrapped = Command::new("setsid");
    wrapped
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(key, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}
