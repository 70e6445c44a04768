//! The command itself.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use leasehold::Manager;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::group;
use crate::args::Run;
use crate::exit::{CANNOT_EXECUTE, Failure, NOT_FOUND, OWN_FAILURE, USAGE};

#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    pid: Option<Pid>,
    /// Whether it leads a process group of its own.
    leads: bool,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts the command. With a terminal it stays in this process's group, which the terminal's keys reach; without
    /// one it gets a group of its own, so that all of it can be signalled.
    pub(super) fn spawn(args: &Run, manager: &Manager, fence: u64) -> Result<Self, Failure> {
        let Some((program, arguments)) = args.command.split_first() else {
            return Err(Failure::new(USAGE, "there is no command after `--`"));
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .env("LEASEHOLD_NAME", args.name.as_str())
            .env("LEASEHOLD_MACHINE_ID", manager.machine_id())
            .env("LEASEHOLD_FENCE", fence.to_string());
        let leads = !has_terminal();
        if leads {
            command.process_group(0);
        }
        let process = command.spawn().map_err(|error| {
            let code = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => OWN_FAILURE,
                _ => CANNOT_EXECUTE,
            };
            let program = program.to_string_lossy();
            Failure::new(code, format!("cannot run `{program}`: {error}"))
        })?;
        let pid = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self {
            process,
            pid,
            leads,
            status: None,
        })
    }

    /// Ends when the command has ended.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait().await?;
        self.status = Some(status);
        Ok(status)
    }

    /// How the command ended, if it has.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Whether anything of it is still at work, as far as can be known.
    pub(super) fn is_at_work(&self) -> bool {
        match (self.status, self.pid) {
            (None, _) => true,
            (Some(_), Some(pid)) if self.leads => group::is_alive(pid),
            (Some(_), _) => false,
        }
    }

    /// Whether signals of the terminal reach it without our doing.
    pub(super) fn hears_the_terminal(&self) -> bool {
        !self.leads
    }

    /// Signals the command's group where it has one, else the command. What has ended hears nothing.
    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        _ = match (self.leads, self.status) {
            (true, _) => kill_process_group(pid, signal),
            (false, None) => kill_process(pid, signal),
            (false, Some(_)) => Ok(()),
        };
    }
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// The exit status that tells of a command's end: its own, or 128 and the signal's number.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(OWN_FAILURE),
    };
    u8::try_from(code).unwrap_or(OWN_FAILURE)
}

/// The same in words.
pub(super) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => {
            format!("was ended by signal {signal}")
        }
        (None, None) => "ended".into(),
    }
}
