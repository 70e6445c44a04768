//! The examples do what they say: each is run by several processes, of which one is killed, stopped, or told to end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests; real processes take real time"
)]

#[path = "../examples/database/mod.rs"]
mod database;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use leasehold::{BootInstant, Door, RealDoor};

/// An example that runs; killed when it is dropped.
struct Example {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Example {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut child = Command::new(program(name))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (out, told) = (child.stdout.take().unwrap(), lines.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                told.lock().unwrap().push(line.unwrap());
            }
        });
        let reader = Some(reader);
        Self {
            child,
            lines,
            reader,
        }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// What follows some words in a line of its output.
    fn told(&self, words: &str) -> Option<String> {
        let lines = self.lines();
        let mut after = lines.iter().filter_map(|line| line.split_once(words));
        after.next().map(|(_, rest)| rest.to_owned())
    }

    /// Whatever it has told until it ended.
    fn all_lines(&mut self) -> Vec<String> {
        let reader = self.reader.take();
        reader.unwrap().join().unwrap();
        self.lines()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Whether it has ended well, or at all.
    fn ended(&mut self) -> Option<bool> {
        let ended = self.child.try_wait().unwrap();
        ended.map(|status| status.success())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where cargo has put an example.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let program = folder.join("examples").join(name);
    assert!(
        program.exists(),
        "not built: cargo build -p leasehold --all-features --examples (cargo test without --test does it)"
    );
    program
}

fn now() -> BootInstant {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    RealDoor::on(runtime.unwrap().handle().clone()).now()
}

/// How long it takes.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = now();
    while !is_so() {
        let waited = now().since(start);
        assert!(waited < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    now().since(start)
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn leads(address: &str) -> bool {
    let answer = ask(
        address,
        "GET /leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    match answer.split(' ').nth(1) {
        Some("200") => true,
        Some("503") => false,
        _ => panic!("{answer}"),
    }
}

#[test]
fn leader_axum_resigns_when_told_to_end_and_drains_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("leases.db").display());
    let start = || {
        let replica = Example::start("leader_axum", &[&url, "127.0.0.1:0"]);
        until("it listens", || replica.told("listening on ").is_some());
        let address = replica.told("listening on ").unwrap();
        (replica, address)
    };
    let mut replicas = [start(), start(), start()];
    let leading = |replicas: &[(Example, String)]| {
        let all: Vec<_> = replicas.iter().map(|(_, address)| leads(address)).collect();
        let leading = all.iter().filter(|leads| **leads).count();
        assert!(leading <= 1, "{all:?}");
        all.iter().position(|leads| *leads)
    };
    until("one leads", || leading(&replicas).is_some());
    let first = leading(&replicas).unwrap();
    replicas.swap(0, first);
    let [(first, address), others @ ..] = &mut replicas;

    // A request that takes a while, and is under way.
    let mut slow = TcpStream::connect(&*address).unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhe";
    slow.write_all(head.as_bytes()).unwrap();
    assert!(leads(address));
    first.signal("TERM");
    let took = until("another leads", || leading(others).is_some());
    // Far sooner than its period of 3 s.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(first.told("resigned").is_some() && first.ended().is_none());
    slow.write_all(b"llo").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
    until("it ends", || first.ended() == Some(true));

    // One that cannot resign is missed for a period, at most.
    let killed = leading(others).unwrap();
    others[killed].0.signal("KILL");
    let rest = &others[1 - killed..][..1];
    let took = until("the last one leads", || leading(rest).is_some());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn one_leader_is_followed_by_another_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("leases.db").display());
    let first = Example::start("one_leader", &[&url]);
    until("it leads", || first.told(" leads, fence ").is_some());
    let second = Example::start("one_leader", &[&url]);
    first.signal("KILL");
    let fence = |told: Option<String>| told.unwrap().parse::<u64>().unwrap();
    let took = until("the other leads", || {
        second.told(" leads, fence ").is_some()
    });
    assert!(took < Duration::from_secs(7), "{took:?}");
    assert!(fence(second.told(" leads, fence ")) > fence(first.told(" leads, fence ")));
}

/// What a stalled holder may still do, at worst, when the next one has begun.
#[test]
fn the_database_of_the_examples_refuses_what_comes_too_late() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("count.db");
    let (mut first, mut next) = (
        database::open(&path).unwrap(),
        database::open(&path).unwrap(),
    );
    assert_eq!(database::read(&mut first, 7).unwrap(), 0);
    database::write(&mut first, 7, 1).unwrap();
    assert_eq!(database::read(&mut next, 8).unwrap(), 1);
    let error = database::write(&mut first, 7, 2).unwrap_err();
    assert!(error.to_string().contains("fence 8"), "{error}");
    let error = database::read(&mut first, 7).unwrap_err();
    assert!(error.to_string().contains("fence 8"), "{error}");
    database::write(&mut next, 8, 2).unwrap();
    assert_eq!(database::read(&mut next, 8).unwrap(), 2);
}

/// SQLite waits for whoever was stopped in the middle of a transaction, and so would the other one.
fn stop_outside_transactions(example: &Example, files: [&Path; 2]) {
    let stat = format!("/proc/{}/stat", example.child.id());
    let is_free = |file: &Path| {
        let connection = rusqlite::Connection::open(file).unwrap();
        let free = connection.busy_timeout(Duration::ZERO);
        free.unwrap();
        connection
            .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
            .is_ok()
    };
    until("it is stopped outside of transactions", || {
        example.signal("STOP");
        until("it is stopped", || {
            std::fs::read_to_string(&stat).unwrap().contains(") T ")
        });
        if files.into_iter().all(is_free) {
            return true;
        }
        example.signal("CONT");
        false
    });
}

/// Two count. One of them is hit by a signal in the middle. Whatever was told as written was written once, in order.
fn nothing_is_counted_twice(names: [&str; 2], signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("leases.db").display());
    let path = folder.path().join("count.db");
    let args = [&*url, path.to_str().unwrap(), "400"];
    let mut first = Example::start(names[0], &args);
    until("it counts", || first.lines().len() > 20);
    let mut second = Example::start(names[1], &args);
    match signal {
        "STOP" => stop_outside_transactions(&first, [&folder.path().join("leases.db"), &path]),
        _ => first.signal(signal),
    }
    until("the other has counted", || second.ended() == Some(true));
    match signal {
        // It wakes up long after its term.
        "STOP" => {
            first.signal("CONT");
            until("it finds out", || first.ended() == Some(false));
        }
        "KILL" => assert_eq!(until_ended(&mut first), Some(false)),
        _ => assert_eq!(until_ended(&mut first), Some(true)),
    }
    let told = [first.all_lines(), second.all_lines()].concat();
    let number = |line: &String| line.split_once(" with fence ").unwrap().0.parse();
    let numbers: BTreeSet<usize> = told.iter().map(|line| number(line).unwrap()).collect();
    assert_eq!(numbers.len(), told.len(), "something was counted twice");

    let connection = rusqlite::Connection::open(&path).unwrap();
    let count = "SELECT value FROM count";
    let count: isize = connection.query_row(count, [], |row| row.get(0)).unwrap();
    let count = count.cast_unsigned();
    // Who is hit between a write and its line has not told.
    let silent = usize::from(signal != "CONT");
    assert!(told.len() <= count && count <= told.len() + silent);
    assert!(numbers.last() <= Some(&count) && count > 400);
}

fn until_ended(example: &mut Example) -> Option<bool> {
    until("it ends", || example.ended().is_some());
    example.ended()
}

#[test]
fn critical_sections_are_taken_over_from_the_dead() {
    nothing_is_counted_twice(["critical_section", "critical_section"], "KILL");
    nothing_is_counted_twice(["blocking", "critical_section"], "KILL");
}

#[test]
fn late_writes_of_a_paused_critical_section_are_refused() {
    nothing_is_counted_twice(["critical_section", "blocking"], "STOP");
    nothing_is_counted_twice(["blocking", "blocking"], "STOP");
}

#[test]
fn critical_sections_follow_each_other() {
    // A signal that changes nothing.
    nothing_is_counted_twice(["blocking", "critical_section"], "CONT");
}
