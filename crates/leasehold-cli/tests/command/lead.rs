//! `lead`: campaigns, runs its command while it leads, campaigns again.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Registry, eventually, is_at_work, now_ms, pid_in};

/// Each start of the command: when, and by which fence.
const SCRIPT: &str = "echo $(date +%s%3N) $LEASEHOLD_FENCE >> starts; echo $$ > pid.new; mv pid.new pid; exec sleep 60";

fn starts(registry: &Registry) -> Vec<(u128, u64)> {
    let text = std::fs::read_to_string(registry.path("starts")).unwrap_or_default();
    let start = |line: &str| {
        let (at, fence) = line.split_once(' ').unwrap();
        (at.parse().unwrap(), fence.parse().unwrap())
    };
    text.lines().map(start).collect()
}

#[test]
fn the_next_candidate_leads_at_once_when_the_leader_is_told_to_end() {
    let registry = Registry::new();
    let first = registry.start("lead x --period 30s", SCRIPT);
    let command = pid_in(&registry.path("pid"));
    let second = registry.start("lead x --period 30s", SCRIPT);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(starts(&registry).len(), 1, "one leads");
    let told = now_ms();
    first.signal(Signal::TERM);
    // It was told to end, and did.
    first.done().exits(0);
    assert!(!is_at_work(command));
    eventually("led again", || starts(&registry).len() == 2);
    let starts = starts(&registry);
    let took = starts[1].0 - told;
    assert!(
        took < 2000,
        "the next one began {took} ms later: nobody told it"
    );
    assert!(starts[1].1 > starts[0].1);
    second.signal(Signal::INT);
    second.done().exits(0);
    assert!(!registry.is_held("x"));
}

#[test]
fn a_leader_that_was_displaced_campaigns_again() {
    let registry = Registry::new();
    let leader = registry.start("lead x --period 3s", SCRIPT);
    let command = pid_in(&registry.path("pid"));
    registry.line("break x --reason test").exits(0);
    assert!(!is_at_work(command));
    eventually("led again", || starts(&registry).len() == 2);
    leader.signal(Signal::TERM);
    leader.done().exits(0).says(&["x was lost", "broken"]);
}

#[test]
fn a_command_that_has_ended_is_run_again_as_was_said() {
    let registry = Registry::new();
    // The third run ends well.
    let script = "echo >> runs; test $(wc -l < runs) -ge 3";
    let runs = || {
        std::fs::read_to_string(registry.path("runs"))
            .unwrap()
            .lines()
            .count()
    };
    registry.shell("lead x --restart never", script).exits(1);
    assert_eq!(runs(), 1);
    registry.shell("lead x", script).exits(0);
    assert_eq!(runs(), 3);
    let always = registry.start("lead x --restart always", script);
    eventually("run again and again", || runs() >= 5);
    always.signal(Signal::TERM);
    always.done().exits(0);
    registry.line("lead x -- no-such-command").exits(127);
    assert!(!registry.is_held("x"));
}

/// While it waits, too.
#[test]
fn a_candidate_can_be_told_to_end() {
    let registry = Registry::new();
    registry.line("acquire x --period 1m").exits(0);
    let candidate = registry.start("lead x", SCRIPT);
    std::thread::sleep(Duration::from_millis(300));
    candidate.signal(Signal::TERM);
    candidate.done().exits(0);
    // Anything else is no way to end a service well.
    let candidate = registry.start("lead x", SCRIPT);
    std::thread::sleep(Duration::from_millis(300));
    candidate.signal(Signal::HUP);
    candidate.done().exits(129);
    assert!(starts(&registry).is_empty());
}

/// systemd, or whoever else listens, hears that the candidate stands, who leads, and what the command tells; not of the command's
/// process as if it were the service's.
#[test]
fn a_service_manager_is_told() {
    let registry = Registry::new();
    let socket = UnixDatagram::bind(registry.path("notify")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let script = "python3 -c \"import os, socket; a = os.environ['NOTIFY_SOCKET']; \
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
        s.sendto(b'STATUS=busy\\nMAINPID=1\\nEXTEND_TIMEOUT_USEC=5\\nSTOPPING=1\\nWATCHDOG=1', '\\0' + a[1:] if a[0] == '@' else a)\"; exec sleep 60";
    let mut command = registry.script("lead x", script);
    command.env("NOTIFY_SOCKET", registry.path("notify"));
    let leader = crate::support::Running::start(command);
    let mut heard = Vec::new();
    let mut buffer = [0; 1000];
    while !heard
        .iter()
        .any(|message: &String| message.contains("STATUS=busy"))
    {
        let length = socket.recv(&mut buffer).unwrap();
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    assert_eq!(heard[0], "READY=1");
    assert!(
        heard
            .iter()
            .any(|message| message.starts_with("STATUS=leads x, fence "))
    );
    assert_eq!(
        heard.last().unwrap(),
        "STATUS=busy\nEXTEND_TIMEOUT_USEC=5\nWATCHDOG=1"
    );
    leader.signal(Signal::TERM);
    leader.done().exits(0);
}

/// A service manager's watchdog is fed while a candidate waits, as no command is there to do it.
#[test]
fn a_waiting_candidate_is_alive() {
    let registry = Registry::new();
    registry.line("acquire x --period 1m").exits(0);
    let socket = UnixDatagram::bind(registry.path("notify")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut command = registry.script("lead x", SCRIPT);
    command
        .env("NOTIFY_SOCKET", registry.path("notify"))
        .env("WATCHDOG_USEC", "400000");
    let candidate = crate::support::Running::start(command);
    let mut buffer = [0; 1000];
    let mut fed = 0;
    while fed < 3 {
        let length = socket.recv(&mut buffer).unwrap();
        fed += usize::from(&buffer[..length] == b"WATCHDOG=1");
    }
    candidate.signal(Signal::TERM);
    candidate.done().exits(0);
}

/// Nobody else feeds a command's watchdog, or speaks to the service manager in its name.
#[test]
fn another_user_is_not_heard() {
    let registry = Registry::new();
    let socket = UnixDatagram::bind(registry.path("notify")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let script = "printf %s \"$NOTIFY_SOCKET\" > address; exec sleep 60";
    let mut command = registry.script("lead x", script);
    command.env("NOTIFY_SOCKET", registry.path("notify"));
    let leader = crate::support::Running::start(command);
    let address = || std::fs::read_to_string(registry.path("address")).unwrap_or_default();
    eventually("begun", || !address().is_empty());
    let say = |user: &str, what: &str| {
        let send = "import os, socket, sys; os.setuid(int(sys.argv[3])); \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), '\\0' + sys.argv[1][1:])";
        let mut command = std::process::Command::new("python3");
        command.args(["-c", send, &address(), what, user]);
        crate::support::done(command).exits(0);
    };
    say("65534", "STATUS=forged");
    say("0", "STATUS=own");
    let mut buffer = [0; 1000];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        assert_ne!(&buffer[..length], b"STATUS=forged");
        if &buffer[..length] == b"STATUS=own" {
            break;
        }
    }
    leader.signal(Signal::TERM);
    leader.done().exits(0);
}
