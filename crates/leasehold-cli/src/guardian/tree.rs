//! The command and everything that it has started.

use std::os::fd::{AsRawFd, RawFd};
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, wait};

use super::cgroup::Cgroup;
use super::descent::{self, descendants};

#[derive(Debug)]
pub(super) struct Tree {
    cgroup: Option<Cgroup>,
    command: Pid,
    /// Whether the command leads a process group of its own.
    leads: bool,
    /// The command itself has ended.
    ended: bool,
    empty: bool,
}

/// What was learnt of the command itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Learnt {
    Stopped,
    Continued,
    Ended(i32),
}

impl Tree {
    pub(super) fn new(command: Pid, leads: bool, cgroup: Option<Cgroup>) -> Self {
        Self {
            cgroup,
            command,
            leads,
            ended: false,
            empty: false,
        }
    }

    /// What has to be kept open for it.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        self.cgroup
            .as_ref()
            .map(|cgroup| cgroup.descriptor().as_raw_fd())
    }

    /// Waits for whatever has ended: orphans come to the guardian, which is their subreaper, so that once it has no child
    /// there is nothing left.
    pub(super) fn reap(&mut self) -> Vec<Learnt> {
        let mut learnt = Vec::new();
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        loop {
            match wait(options) {
                Ok(Some((pid, status))) if pid == self.command => {
                    learnt.push(if status.stopped() {
                        Learnt::Stopped
                    } else if status.continued() {
                        Learnt::Continued
                    } else {
                        self.ended = true;
                        Learnt::Ended(status.as_raw())
                    });
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return learnt,
                Err(_) => {
                    self.empty = true;
                    return learnt;
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    /// Passes a signal on: to the command's group where it has one, else to the command; to all that is left once the command
    /// itself has ended. One that asks for the end continues what is stopped, which would not hear it.
    pub(super) fn forward(&self, signal: Signal) {
        let pass_on = |signal| match self.ended {
            true => self.signal_all(signal),
            false => self.signal(signal),
        };
        pass_on(signal);
        if [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP].contains(&signal) {
            pass_on(Signal::CONT);
        }
    }

    /// Signals the command's group, or the command itself, which must not have ended.
    fn signal(&self, signal: Signal) {
        // It was not waited for yet: neither its id nor its group can be another's.
        _ = match self.leads {
            true => kill_process_group(self.command, signal),
            false => kill_process(self.command, signal),
        };
    }

    /// Tells all of it to end.
    pub(super) fn terminate(&self) {
        self.signal_all(Signal::TERM);
        // What is stopped or frozen hears nothing until it is continued.
        self.signal_all(Signal::CONT);
        if let Some(cgroup) = &self.cgroup {
            cgroup.thaw();
        }
    }

    fn signal_all(&self, signal: Signal) {
        let all = descendants(getpid());
        for process in &all {
            _ = process.signal(signal);
        }
        // Those that /proc does not show.
        for child in descent::children() {
            if all
                .iter()
                .all(|seen| seen.pid != child.as_raw_nonzero().get())
            {
                _ = kill_process(child, signal);
            }
        }
    }

    /// Kills all of it. What forks meanwhile is met by the next call.
    pub(super) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            _ = cgroup.kill();
        }
        descent::kill(getpid());
        for child in descent::children() {
            _ = kill_process(child, Signal::KILL);
        }
        if !self.ended {
            self.signal(Signal::KILL);
        }
    }

    /// Who is left, in words.
    pub(super) fn left(&self) -> String {
        let left: Vec<String> = descendants(getpid())
            .iter()
            .map(|process| format!("{} ({})", process.pid, process.name))
            .collect();
        left.join(", ")
    }

    /// Nothing of it is left: neither is its cgroup.
    pub(super) fn remove(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove();
        }
    }
}

/// Becomes the process that gives the lease back by its term's fence.
pub(super) fn release(name: &str, fence: u64, store: Option<&std::ffi::OsStr>) {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("leasehold")
        .arg("--quiet")
        .arg("release")
        .arg(name);
    command.arg("--fence").arg(fence.to_string());
    if let Some(store) = store {
        command.arg("--store").arg(store);
    }
    drop(command.exec());
}
