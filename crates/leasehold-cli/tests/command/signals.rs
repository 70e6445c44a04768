//! `run` and signals.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Registry, eventually, is_at_work, parent, pid_in};

#[test]
fn term_ends_the_command_and_the_lease() {
    let registry = Registry::new();
    for (signal, number) in [
        (Signal::TERM, 15),
        (Signal::INT, 2),
        (Signal::HUP, 1),
        (Signal::USR1, 10),
    ] {
        let running = registry.start("run x", "echo $$ > pid; exec sleep 60");
        let child = pid_in(&registry.path("pid"));
        running.signal(signal);
        running.done().exits(128 + number);
        assert!(!is_at_work(child));
        assert!(!registry.is_held("x"));
        assert_eq!(registry.status("x")["ended"]["how"], "released");
        std::fs::remove_file(registry.path("pid")).unwrap();
    }
}

#[test]
fn a_command_that_ends_well_on_term_is_waited_for_and_its_status_kept() {
    let registry = Registry::new();
    let script = "trap 'sleep 1; exit 3' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let running = registry.start("run x --period 3s", script);
    pid_in(&registry.path("pid"));
    running.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        registry.is_held("x"),
        "released while the command was at work"
    );
    running.done().exits(3);
    assert!(!registry.is_held("x"));
}

#[test]
fn a_signal_ends_the_waiting_and_leaves_nothing() {
    let registry = Registry::new();
    let holder = registry.start("run x", "echo $$ > pid; exec sleep 60");
    pid_in(&registry.path("pid"));
    let fence = registry.status("x")["fence"].clone();
    let waiter = registry.start("run x --wait forever", "touch ran");
    std::thread::sleep(Duration::from_millis(500));
    waiter.signal(Signal::INT);
    waiter.done().exits(130);
    assert_eq!(registry.status("x")["fence"], fence);
    holder.signal(Signal::TERM);
    holder.done().exits(143);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!registry.path("ran").exists());
    assert!(!registry.is_held("x"));
}

#[test]
fn what_was_ignored_stays_ignored() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let script = format!(
        "trap '' HUP; exec {leasehold} run x -- sh -c 'echo $$ > pid; grep SigIgn /proc/$$/status; sleep 1'"
    );
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &script])
        .env("LEASEHOLD_STORE", registry.file())
        .current_dir(registry.folder.path());
    let running = crate::support::Running::start(command);
    let wrapper = parent(parent(pid_in(&registry.path("pid"))));
    rustix::process::kill_process(wrapper, Signal::HUP).unwrap();
    let done = running.done().exits(0);
    let mask = u64::from_str_radix(done.out.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask & 1, 1, "{done:?}");
}

#[test]
fn a_parent_that_ignores_the_ends_of_children_changes_nothing() {
    let registry = Registry::new();
    let ignoring = |words: &[&str]| {
        let mut command = std::process::Command::new("env");
        command
            .arg("--ignore-signal=CHLD")
            .args(words)
            .env("LEASEHOLD_STORE", registry.file());
        crate::support::done(command)
    };
    let status = ignoring(&["grep", "SigIgn", "/proc/self/status"]).exits(0);
    let mask = u64::from_str_radix(status.out.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_ne!(mask & (1 << 16), 0, "{status:?}");
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    ignoring(&[leasehold, "run", "x", "--", "sh", "-c", "sleep 0.2; exit 3"]).exits(3);
    assert!(!registry.is_held("x"));
}

#[cfg(target_os = "linux")]
/// Under a terminal of its own, made by `script`: the command is in the terminal's group.
#[test]
fn on_a_terminal_ctrl_c_reaches_the_command_once_and_a_sent_signal_is_passed_on() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let script = "trap \"echo INT >> heard\" INT; echo $$ > pid; while ! test -e end; do sleep 0.05; done; exit 6";
    let line = format!("trap : INT; {leasehold} run x -- sh -c '{script}'; echo status $?");
    let mut command = std::process::Command::new("script");
    command
        .args(["-qfec", &line, "/dev/null"])
        .env("LEASEHOLD_STORE", registry.file())
        .env("SHELL", "/bin/sh")
        .current_dir(registry.folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = pid_in(&registry.path("pid"));
    let wrapper = parent(parent(pid));
    let group = |pid| rustix::process::getpgid(Some(pid)).unwrap();
    assert_eq!(group(pid), group(wrapper));
    let heard = || {
        std::fs::read_to_string(registry.path("heard"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    use std::io::Write;
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"\x03").unwrap();
    keys.flush().unwrap();
    eventually("heard", || heard() == 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(heard(), 1, "Ctrl-C reached it twice");
    rustix::process::kill_process(wrapper, Signal::INT).unwrap();
    eventually("heard again", || heard() == 2);
    std::fs::write(registry.path("end"), "").unwrap();
    drop(keys);
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("status 6"), "{out}");
    assert!(!registry.is_held("x"));
}
