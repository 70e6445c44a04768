//! All that a command starts: waited for, inherited from it, and not in anybody's way.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::support::{Registry, Running, done, eventually, is_at_work, json, parent, pid_in};

/// The lease is released when nothing of the command is left, not when it has ended itself.
#[test]
fn the_lease_is_kept_until_nothing_of_the_command_is_left() {
    let registry = Registry::new();
    let script = "setsid sh -c 'sleep 1.5; echo done > late' >/dev/null 2>&1 & exit 4";
    let holder = registry.start("run x -v", script);
    std::thread::sleep(Duration::from_millis(700));
    assert!(
        registry.is_held("x"),
        "released while its daemon is at work"
    );
    holder
        .done()
        .exits(4)
        .says(&["processes that it started have not"]);
    assert!(registry.path("late").exists() && !registry.is_held("x"));
}

/// `x=$(leasehold run ...)`, ssh and cron wait for the end of their pipe: nobody else has it open.
#[test]
fn nobody_keeps_a_pipe_open_after_kill_9_of_the_wrapper() {
    let registry = Registry::new();
    let running = registry.start("run x --period 60s", "echo $$ > pid; exec sleep 60");
    let command = pid_in(&registry.path("pid"));
    let started = Instant::now();
    kill_process(parent(parent(command)), Signal::KILL).unwrap();
    // Reads both pipes to their ends.
    running.done().exits(-9);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    eventually("dead", || !is_at_work(command));
    eventually("released", || !registry.is_held("x"));
}

/// Nor while the guardian still has to do with a command that ignores TERM, and has no pipe itself.
#[test]
fn the_guardian_keeps_no_pipe_open() {
    let registry = Registry::new();
    let script = "exec >/dev/null 2>&1; trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let running = registry.start("run x --period 60s --grace 6s", script);
    let command = pid_in(&registry.path("pid"));
    let guardian = parent(command);
    let started = Instant::now();
    kill_process(parent(guardian), Signal::KILL).unwrap();
    running.done().exits(-9);
    assert!(
        is_at_work(guardian) && is_at_work(command),
        "it has ended too soon to tell"
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    kill_process(command, Signal::KILL).unwrap();
    eventually("released", || !registry.is_held("x"));
}

/// A grant that comes too late for the command to be ended in time is given back, and the command never begins.
#[test]
fn a_command_for_which_there_is_no_time_left_never_begins() {
    let registry = Registry::new();
    registry.line("acquire other").exits(0);
    let lock = "import sqlite3, sys, time\n\
        db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        db.execute('BEGIN IMMEDIATE')\nprint('locked', flush=True)\ntime.sleep(2.3)\ndb.execute('COMMIT')\n";
    let mut locker = Command::new("python3");
    locker
        .args(["-c", lock])
        .arg(registry.file())
        .stdout(std::process::Stdio::piped());
    let mut locker = locker.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(locker.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    registry
        .shell("run x --period 3s", "echo > ran")
        .exits(76)
        .says(&["was not started"]);
    locker.wait().unwrap();
    assert!(!registry.path("ran").exists());
    eventually("given back", || !registry.is_held("x"));
}

/// A signal ends also whoever waits for a registry that does not answer.
#[test]
fn a_signal_ends_the_opening_of_a_registry() {
    let registry = Registry::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for verb in ["run", "lead"] {
        let mut command = registry.command([verb, "x", "--", "true"]);
        let store = format!("etcd://{}/x", silent.local_addr().unwrap());
        command.env("LEASEHOLD_STORE", store);
        let running = Running::start(command);
        std::thread::sleep(Duration::from_millis(700));
        let told = Instant::now();
        running.signal(Signal::TERM);
        running.done().exits(if verb == "run" { 143 } else { 0 });
        assert!(
            told.elapsed() < Duration::from_secs(4),
            "{:?}",
            told.elapsed()
        );
    }
}

#[test]
fn a_substitution_returns_when_the_command_ends() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let script = format!("x=$({leasehold} run x -- echo out); echo \"<$x>\"");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .env("LEASEHOLD_STORE", registry.file());
    assert_eq!(done(shell).exits(0).out, "<out>\n");
}

#[test]
fn standard_input_reaches_the_command() {
    let registry = Registry::new();
    let mut command = registry.command(["run", "x", "--", "cat"]);
    let file = registry.path("input");
    std::fs::write(&file, "as it is\0\n").unwrap();
    command.stdin(std::fs::File::open(file).unwrap());
    assert_eq!(done(command).exits(0).out, "as it is\0\n");
}

/// Neither masks nor dispositions of leasehold's own reach the command.
#[test]
fn no_signal_is_blocked_or_ignored_for_the_command() {
    let registry = Registry::new();
    let status = |command: &mut Command| {
        let status = std::mem::replace(command, Command::new("true"));
        let out = done(status).exits(0).out;
        let wanted = |line: &&str| line.starts_with("SigBlk") || line.starts_with("SigIgn");
        out.lines()
            .filter(wanted)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let own = status(Command::new("cat").arg("/proc/self/status"));
    let under = status(&mut registry.command(["run", "x", "--", "cat", "/proc/self/status"]));
    assert_eq!(own.len(), 2);
    assert_eq!(own, under);
}

/// The first process of a container inherits whatever has lost its parent there, and waits for it.
#[test]
fn as_the_first_process_of_a_container_it_leaves_no_zombie() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let script = "echo $$ > inner; (sh -c 'sleep 0.3 & exit' &) ; sleep 60 & wait";
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", leasehold])
        .args(["run", "x", "--", "sh", "-c", script])
        .env("LEASEHOLD_STORE", registry.file())
        .current_dir(registry.folder.path());
    let running = Running::start(command);
    pid_in(&registry.path("inner"));
    let child = std::fs::read_to_string(format!(
        "/proc/{0}/task/{0}/children",
        running.pid.as_raw_nonzero()
    ));
    let first = child.unwrap().trim().to_owned();
    let inside = |script: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &first, "--pid", "--mount", "sh", "-c", script]);
        done(command)
    };
    // What enters a container from outside and loses its parent there goes to the first process.
    inside("(sleep 0.1 &) ; (sleep 0.2 &)").exits(0);
    let all = || inside("cat /proc/[0-9]*/stat 2>/dev/null; true").out;
    assert!(all().contains("(leasehold)"));
    std::thread::sleep(Duration::from_millis(600));
    eventually("no zombie is left", || !all().contains(") Z "));
    // TERM reaches the command there, too.
    let first = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
    kill_process(first, Signal::TERM).unwrap();
    running.done().exits(143);
    assert!(!registry.is_held("x"));
}

/// `--report` writes one line, and the command does not see the descriptor.
#[test]
fn a_report_tells_what_happened() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let report = |options: &str, command: &str, code: i32| {
        let script = format!("{leasehold} run x {options} --report 3 -- {command} 3>report");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .env("LEASEHOLD_STORE", registry.file())
            .current_dir(registry.folder.path());
        done(shell).exits(code);
        let text = std::fs::read_to_string(registry.path("report")).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        json(text.trim_end())
    };
    let told = report(
        "--machine-id me",
        "sh -c 'echo $LEASEHOLD_FENCE > fence; test ! -e /dev/fd/3 && exit 5'",
        5,
    );
    assert_eq!(
        (&told["outcome"], &told["exit_status"]),
        (&"ended".into(), &5.into())
    );
    assert_eq!(
        (&told["name"], &told["machine_id"]),
        (&"x".into(), &"me".into())
    );
    let fence = std::fs::read_to_string(registry.path("fence")).unwrap();
    assert_eq!(told["fence"].to_string(), fence.trim());
    assert_eq!(told["command"], "exited with 5");
    let told = report("--time-limit 100ms", "sleep 30", 124);
    assert_eq!(
        (&told["outcome"], &told["command_status"]),
        (&"timed out".into(), &143.into())
    );
    let told = report("", "no-such-command", 127);
    assert_eq!(told["outcome"], "failed");
    assert!(told["reason"].as_str().unwrap().contains("no-such-command"));
    let told = report("--once-per 1d", "true", 0);
    assert_eq!(told["outcome"], "ended");
    let told = report("--once-per 1d", "true", 0);
    assert_eq!(
        (&told["outcome"], &told["command"]),
        (&"skipped".into(), &serde_json::Value::Null)
    );
    registry.line("acquire y").exits(0);
    registry.line("run y --report 0 -- true").exits(64);
    let both = registry.line("run z --report 1 -- echo hello").exits(0).out;
    assert!(both.starts_with("hello\n{\""), "{both}");
    registry
        .line("run y --report 77 -- true")
        .exits(64)
        .says(&["--report 77"]);
}

/// A skip that was asked for is no failure, and says which run closed the slot; that somebody holds the lease is a conflict.
#[test]
fn once_per_slot() {
    let registry = Registry::new();
    registry
        .line("run x --once-per 1d --machine-id first -- true")
        .exits(0);
    registry
        .line("run x --once-per 1d --machine-id second -- false")
        .exits(0)
        .says(&["has run in this slot", "by first"]);
    // Whoever does not ask for slots is in none.
    registry.line("run x -- true").exits(0);
    let hushed = registry.line("-q run x --once-per 1d -- false").exits(0);
    assert_eq!(hushed.err, "");
    registry.line("acquire x").exits(0);
    registry.line("run x --once-per 1d -- true").exits(75);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_done() {
    let registry = Registry::new();
    for (line, word) in [
        ("run x --period 2s -- true", "3s at least"),
        (
            "run x --period 10s --grace 6s -- true",
            "half of the period",
        ),
        ("lead x --period 2s -- true", "3s at least"),
        ("run x --take-over sideways -- true", "higher-version"),
        ("lead x --restart sometimes -- true", "on-failure"),
    ] {
        registry.line(line).exits(64).says(&[word]);
    }
    assert!(!registry.file().exists());
    registry
        .line("guardian x")
        .exits(125)
        .says(&["nothing to be called"]);
}

/// A hold has an end, whatever the command is at.
#[test]
fn a_hold_ends_and_the_command_before_it() {
    let registry = Registry::new();
    let script = "trap 'date +%s%3N > term; exit 0' TERM; while :; do sleep 0.05; done";
    let started = Instant::now();
    registry
        .shell("run x --period 3s --max-hold 4s", script)
        .exits(76)
        .says(&["x was lost"]);
    let took = started.elapsed();
    assert!(
        took > Duration::from_millis(2500) && took < Duration::from_secs(6),
        "{took:?}"
    );
    assert!(registry.path("term").exists() && !registry.is_held("x"));
}

/// A grace is between TERM and KILL.
#[test]
fn a_command_has_its_grace() {
    let registry = Registry::new();
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let started = Instant::now();
    registry
        .shell("run x --time-limit 500ms --grace 1s", script)
        .exits(124)
        .says(&["signal 9"]);
    let took = started.elapsed();
    assert!(
        took > Duration::from_millis(1400) && took < Duration::from_secs(8),
        "{took:?}"
    );
}

/// Renewal depends on the command's reports; without them the lease runs out, and the command is ended before.
#[test]
fn a_watchdog_that_nobody_feeds_ends_the_command() {
    let registry = Registry::new();
    let script = "import os, socket, sys, time\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
        assert os.environ['WATCHDOG_USEC'] == '1000000' and 'WATCHDOG_PID' not in os.environ\n\
        a = os.environ['NOTIFY_SOCKET']\n\
        until = time.time() + float(sys.argv[1])\n\
        while time.time() < until:\n    \
            s.sendto(b'STATUS=x\\nWATCHDOG=1', '\\0' + a[1:])\n    time.sleep(0.2)\n\
        time.sleep(float(sys.argv[2]))\n";
    let run = |fed: &str, then: &str| {
        let words = [
            "run",
            "x",
            "--period",
            "3s",
            "--watchdog",
            "1s",
            "--",
            "python3",
            "-c",
            script,
        ];
        let mut command = registry.command(words);
        command.args([fed, then]).env("WATCHDOG_PID", "1");
        done(command)
    };
    run("5", "0").exits(0);
    let starved = run("0.1", "30").exits(76).says(&["--watchdog"]);
    assert!(starved.took < Duration::from_secs(8), "{starved:?}");
    assert!(!registry.is_held("x"));
}

/// A higher version takes over from a lower one, whose command has ended before the new one begins.
#[test]
fn a_higher_version_takes_over() {
    let registry = Registry::new();
    let script =
        "trap 'date +%s%3N > ended; exit 0' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let options = "--period 4s --take-over higher-version --lessee-version";
    let old = registry.start(&format!("run x {options} 1"), script);
    pid_in(&registry.path("pid"));
    registry
        .line(&format!("run x {options} 1 -- true"))
        .exits(75);
    registry.line("run x --lessee-version 2 -- true").exits(75);
    let new = registry
        .shell(&format!("run x {options} 2"), "date +%s%3N")
        .exits(0);
    old.done().exits(76);
    let ended = std::fs::read_to_string(registry.path("ended")).unwrap();
    let (ended, begun): (u64, u64) = (ended.trim().parse().unwrap(), new.fence());
    assert!(ended < begun, "{} ms late", ended - begun);
}
