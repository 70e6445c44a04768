//! A registry of one's own, and the command.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) struct Registry {
    pub(crate) folder: tempfile::TempDir,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("leases.db")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with this registry, which is named as a path in the environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command
            .args(words)
            .env("LEASEHOLD_STORE", self.file())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a line of words.
    pub(crate) fn line(&self, line: &str) -> Done {
        done(self.command(line.split_whitespace()))
    }

    /// Runs a command line whose last part is one word: a shell script.
    pub(crate) fn shell(&self, line: &str, script: &str) -> Done {
        done(self.script(line, script))
    }

    pub(crate) fn script(&self, line: &str, script: &str) -> Command {
        let mut command = self.command(line.split_whitespace());
        command.args(["--", "sh", "-c", script]);
        command
    }

    /// Starts it in the background, its output kept.
    pub(crate) fn start(&self, line: &str, script: &str) -> Running {
        Running::start(self.script(line, script))
    }

    /// The status of a name.
    pub(crate) fn status(&self, name: &str) -> Value {
        let done = done(self.command(["get", name, "--json"]));
        json(&done.out)
    }

    /// Puts fields into a record that no lessee could have put there by leasehold itself.
    pub(crate) fn forge(&self, name: &str, fields: &Value) {
        let script = "\
import json, sqlite3, sys
path, name, fields = sys.argv[1:]
db = sqlite3.connect(path, timeout=10)
body = json.loads(db.execute('select body from lease where name = ?', (name,)).fetchone()[0])
body.update(json.loads(fields))
db.execute('update lease set body = ? where name = ?', (json.dumps(body).encode(), name))
db.commit()";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(self.file());
        python.args([name, &fields.to_string()]);
        done(python).exits(0);
    }

    pub(crate) fn is_held(&self, name: &str) -> bool {
        self.status(name)["held"] == true
    }

    pub(crate) fn wait_until_held(&self, name: &str) {
        eventually("held", || self.is_held(name));
    }
}

pub(crate) fn done(mut command: Command) -> Done {
    let started = Instant::now();
    let output = command.output().unwrap();
    Done::new(output, started.elapsed())
}

pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "never {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Milliseconds of the wall clock, as `date +%s%3N` tells them.
pub(crate) fn now_ms() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

impl Done {
    fn new(output: Output, took: Duration) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output
            .status
            .code()
            .or_else(|| output.status.signal().map(|signal| -signal));
        Self {
            code: code.unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            took,
        }
    }

    /// Checks the exit status, showing everything if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing: {self:?}");
        }
        self
    }

    pub(crate) fn fence(&self) -> u64 {
        self.out.trim().parse().unwrap()
    }
}

/// A command in the background. Its end with the test is certain.
pub(crate) struct Running {
    child: Option<Child>,
    started: Instant,
    pub(crate) pid: Pid,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        Self::start_with(command)
    }

    /// Its standard output goes where the caller has said.
    pub(crate) fn start_with(mut command: Command) -> Self {
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        Self {
            child: Some(child),
            started: Instant::now(),
            pid,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    pub(crate) fn done(mut self) -> Done {
        let child = self.child.take().unwrap();
        let output = child.wait_with_output().unwrap();
        Done::new(output, self.started.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// A process id that a script wrote into a file.
pub(crate) fn pid_in(path: &std::path::Path) -> Pid {
    let mut found = None;
    eventually("a process id", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        found = text
            .ends_with('\n')
            .then(|| Pid::from_raw(text.trim().parse().unwrap()).unwrap());
        found.is_some()
    });
    found.unwrap()
}

/// Whether a process is at work: neither gone nor a zombie.
pub(crate) fn is_at_work(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| {
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let threads = fields.split(' ').nth(17);
        let threads = threads.and_then(|threads| threads.parse::<u32>().ok());
        !fields.starts_with('Z') || threads > Some(1)
    })
}

/// The parent of a process.
pub(crate) fn parent(pid: Pid) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    Pid::from_raw(fields.split(' ').nth(1).unwrap().parse().unwrap()).unwrap()
}
