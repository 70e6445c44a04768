//! The descendants of a process, and how to kill all of them though they go on forking.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// A process, told apart from a later one of the same id by when it began.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    began: u64,
    parent: i32,
    state: char,
    threads: u32,
    pub(crate) name: String,
}

/// Those below a process that have not ended, as far as they can be seen.
pub(crate) fn descendants(of: Pid) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(read) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![of.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            if child.is_at_work() {
                found.push(child);
            }
        }
    }
    found
}

fn read(pid: i32) -> Option<Process> {
    // In one go: the kernel makes the text anew for each reader, and it is short.
    let mut text = [0; 1024];
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut text).ok()?;
    parse(&String::from_utf8_lossy(text.get(..length)?))
}

fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    // The name, in parentheses, may contain anything.
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Process {
        pid: pid.parse().ok()?,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        began: fields.get(19)?.parse().ok()?,
        name: name.to_owned(),
    })
}

impl Process {
    pub(crate) fn is(&self, pid: Pid) -> bool {
        self.pid == pid.as_raw_nonzero().get()
    }

    /// Not one that only waits to be waited for. If only its first thread has ended, the others are at work.
    fn is_at_work(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }

    /// Signals this process, and no later one of the same id.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let pid = Pid::from_raw(self.pid).ok_or(Errno::SRCH)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty());
        if read(self.pid).is_none_or(|now| now.began != self.began) {
            return Err(Errno::SRCH);
        }
        match descriptor {
            Ok(descriptor) => match pidfd_send_signal(&descriptor, signal) {
                // It cannot be waited for before its last thread has ended, so its id is still its own.
                Err(Errno::SRCH) if self.threads > 1 => kill_process(pid, signal),
                sent => sent,
            },
            // Before Linux 5.3, and where a sandbox knows it not.
            Err(Errno::NOSYS) => kill_process(pid, signal),
            Err(error) => Err(error),
        }
    }
}

/// The children of this process, which has one thread and waits for them itself: none of their ids can be another's. Those too that
/// /proc does not show to everybody.
pub(super) fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero();
    let text = fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
    let pids = text
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// Whether /proc is that of this process's own namespace: in any other nobody could be told from anybody.
pub(crate) fn is_proc_ours() -> bool {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == own.as_str())
}

/// Stops all of them, until a look finds no new one, and kills them. Those that may not be signalled are left.
pub(crate) fn kill(of: Pid) {
    let mut stopped: Vec<Process> = Vec::new();
    // Whatever forks once more after so many looks is met by the next call.
    for _ in 0..100 {
        let all = descendants(of);
        let known = |new: &Process| {
            stopped
                .iter()
                .any(|old| old.pid == new.pid && old.began == new.began)
        };
        let new: Vec<Process> = all.into_iter().filter(|process| !known(process)).collect();
        if new.is_empty() {
            break;
        }
        for process in &new {
            _ = process.signal(Signal::STOP);
        }
        stopped.extend(new);
    }
    for process in stopped {
        _ = process.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "80 (a) b) S 77 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 1";
        let process = parse(stat).unwrap();
        assert_eq!((process.pid, process.parent, process.began), (80, 77, 4242));
        assert_eq!((process.state, process.name.as_str()), ('S', "a) b"));
        assert_eq!(parse(""), None);
        assert_eq!(parse("80 (x) S 1"), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "real processes take real time")]
    fn what_left_its_session_is_found_and_killed() {
        let sleep = || std::thread::sleep(std::time::Duration::from_millis(10));
        let script = "setsid sh -c 'sleep 60 & sleep 60' & while :; do sleep 0.01; done";
        let mut shell = Command::new("sh");
        let mut shell = shell
            .args(["-c", script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&shell);
        let looked = (0..500).map(|_| {
            sleep();
            let all = descendants(pid).into_iter();
            all.filter(|process| process.name == "sleep")
                .collect::<Vec<_>>()
        });
        let long = looked.into_iter().find(|long| long.len() >= 2);
        kill(pid);
        let gone = |process: &Process| {
            read(process.pid).is_none_or(|now| now.began != process.began || !now.is_at_work())
        };
        let dead = long.iter().flatten().all(|process| {
            (0..500).any(|_| {
                sleep();
                gone(process)
            })
        });
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(long.is_some() && dead, "{long:?}");
    }
}
