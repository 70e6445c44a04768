//! What becomes the command: forked early, while the guardian is still in the wrapper's session, so that the terminal stays
//! its own; executed late, when the guardian's clock is set.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal, setpgid};

use super::cgroup::Cgroup;
use super::sys::{self, Mask, Side};

/// The command before it begins, seen from the guardian.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) pid: Pid,
    /// Its environment goes in here, and lets it begin.
    go: PipeWriter,
    /// Why it could not begin comes out of here; nothing if it has.
    failed: PipeReader,
}

impl Shim {
    /// Forks it, into the cgroup if there is one. In the child this does not return.
    pub(super) fn fork(
        command: &[OsString],
        leads: bool,
        cgroup: Option<&Cgroup>,
        mask: &Mask,
    ) -> io::Result<Self> {
        let (waits, go) = io::pipe()?;
        let (failed, tells) = io::pipe()?;
        let guardian = getpid();
        match sys::fork(cgroup.map(Cgroup::descriptor))? {
            Side::Parent(pid) => {
                if leads {
                    // As the child does: whoever comes first, so that its group is there when it is signalled.
                    _ = setpgid(Some(pid), Some(pid));
                }
                Ok(Self { pid, go, failed })
            }
            Side::Child => {
                drop((go, failed));
                let error = become_command(command, leads, guardian, waits, mask);
                _ = (&tells).write_all(&error.raw_os_error().unwrap_or_default().to_ne_bytes());
                // Nothing is to be tidied up: all of it is the guardian's.
                std::process::exit(1)
            }
        }
    }

    /// What the guardian has to keep open for it.
    pub(super) fn descriptors(&self) -> [RawFd; 2] {
        [self.go.as_raw_fd(), self.failed.as_raw_fd()]
    }

    /// Lets it begin. The answer comes through the pipe: [`failure`].
    pub(super) fn begin(self, environment: &[(String, String)]) -> io::Result<PipeReader> {
        let mut text = Vec::new();
        for (key, value) in environment {
            for word in [key, value] {
                text.extend_from_slice(word.as_bytes());
                text.push(0);
            }
        }
        text.push(b'.');
        (&self.go).write_all(&text)?;
        Ok(self.failed)
    }
}

/// The number of the error for which a command could not begin; none if it has.
pub(super) fn failure(mut failed: PipeReader) -> Option<i32> {
    let mut number = [0; 4];
    failed.read_exact(&mut number).ok()?;
    Some(i32::from_ne_bytes(number))
}

/// Waits until it may begin, and executes the command. What it answers is why not.
fn become_command(
    command: &[OsString],
    leads: bool,
    guardian: Pid,
    waits: PipeReader,
    mask: &Mask,
) -> io::Error {
    if leads {
        // A group of its own, so that all of it can be signalled.
        _ = setpgid(None, None);
    }
    // The command dies with its guardian.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if getppid() != Some(guardian) {
        return io::Error::from_raw_os_error(libc::ESRCH);
    }
    let mut text = String::new();
    let mut waits = waits;
    match waits.read_to_string(&mut text) {
        Ok(_) if text.ends_with('.') => {}
        Ok(_) => return io::Error::from_raw_os_error(libc::ECANCELED),
        Err(error) => return error,
    }
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::from_raw_os_error(libc::ENOENT);
    };
    let mut words = text.trim_end_matches('.').split_terminator('\0');
    let mut command = Command::new(program);
    command.args(arguments);
    // It means the wrapper, where it is set: the command's watchdog would take itself for another's.
    command.env_remove("WATCHDOG_PID");
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        command.env(key, value);
    }
    // From here on signals mean the command.
    if let Err(error) = sys::restore_signals(mask) {
        return error;
    }
    command.exec()
}
