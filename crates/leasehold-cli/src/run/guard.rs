//! The guardian, seen from its wrapper.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::FdFlags;
use rustix::process::{Signal, WaitOptions, getpid, set_child_subreaper, wait};
use rustix::termios::tcgetpgrp;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::args::Work;
use crate::exit::{Failure, OWN_FAILURE};
use crate::guardian::{
    self, Arrived, Cgroup, Guarded, Order, Report, kill_below, pair, receive, send,
};

/// A guardian, before its command has begun and while it watches over it.
#[derive(Debug)]
pub(super) struct Guard {
    /// It sends packets; to wait for one is the same as for a stream.
    socket: UnixStream,
    /// Whether the command has a process group of its own.
    leads: bool,
    cgroup: Option<Cgroup>,
}

impl Guard {
    /// Executes a guardian which forks and, held at its very beginning, the command: in the terminal's group if there is a terminal, in one
    /// of its own otherwise.
    pub(super) fn new(name: &str, work: &Work, store: Option<&OsStr>) -> Result<Self, Failure> {
        Self::start(name, work, store).map_err(|error| {
            Failure::new(OWN_FAILURE, format!("cannot start the guardian: {error}"))
        })
    }

    /// The same where nothing has begun yet in this process, which has one thread. For [`Guard::forked`].
    pub(crate) fn fork(name: &str, work: &Work, store: Option<&OsStr>) -> io::Result<OwnedFd> {
        set_child_subreaper(Some(getpid()))?;
        guardian::fork(&guarded(name, work, store))
    }

    /// A guardian that was forked.
    pub(super) fn forked(socket: io::Result<OwnedFd>) -> Result<Self, Failure> {
        socket.and_then(Self::with).map_err(|error| {
            Failure::new(OWN_FAILURE, format!("cannot start the guardian: {error}"))
        })
    }

    fn with(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: UnixStream::from_std(socket.into())?,
            leads: !has_terminal(),
            cgroup: None,
        })
    }

    fn start(name: &str, work: &Work, store: Option<&OsStr>) -> io::Result<Self> {
        // Whatever a guardian leaves behind that was killed comes to this process.
        set_child_subreaper(Some(getpid()))?;
        let (own, theirs) = pair()?;
        rustix::io::fcntl_setfd(&theirs, FdFlags::empty())?;
        Command::new("/proc/self/exe")
            .arg0("leasehold")
            .args(guarded(name, work, store).words(theirs.as_raw_fd()))
            .spawn()?;
        Self::with(own)
    }

    pub(super) fn tell(&self, order: &Order) {
        // A guardian that has fallen so far behind is stopped, and the second line is there for it.
        _ = send(&self.socket, &order.to_bytes());
    }

    /// What it tells next; none if it is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Report> {
        loop {
            self.socket.readable().await.ok()?;
            let arrived = self
                .socket
                .try_io(Interest::READABLE, || match receive(&self.socket) {
                    Arrived::Nothing => Err(io::ErrorKind::WouldBlock.into()),
                    other => Ok(other),
                });
            match arrived {
                Ok(Arrived::Packet(packet)) => return self.parse(&packet),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return None,
            }
        }
    }

    /// What it has told already, though nobody may have noticed yet.
    pub(super) fn told(&mut self) -> Option<Report> {
        match receive(&self.socket) {
            Arrived::Packet(packet) => self.parse(&packet),
            Arrived::Nothing | Arrived::End => None,
        }
    }

    fn parse(&mut self, packet: &str) -> Option<Report> {
        let report = Report::parse(packet)?;
        if let Report::Ready(Ok(path)) = &report {
            self.cgroup = Cgroup::at(path.as_ref()).ok();
        }
        Some(report)
    }

    /// Whether signals of the terminal reach the command without our doing.
    pub(super) fn hears_the_terminal(&self) -> bool {
        !self.leads
    }

    /// Kills the command and its guardian, which has not done its work: it was killed, or stopped.
    pub(super) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            _ = cgroup.kill();
        }
        kill_below(getpid());
        _ = reap();
    }

    /// Whether nothing is left below this process, the guardian included.
    pub(super) fn nothing_is_left(&self) -> bool {
        let nothing = !reap();
        if nothing && let Some(cgroup) = &self.cgroup {
            cgroup.remove();
        }
        nothing
    }

    /// Whether this process's group has the terminal.
    pub(super) fn is_in_front(&self) -> bool {
        let terminal = std::fs::File::open("/dev/tty");
        terminal.is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(rustix::process::getpgrp()))
    }

    /// Continues whatever of the terminal's group is stopped.
    pub(super) fn continue_group(&self) {
        _ = rustix::process::kill_current_process_group(Signal::CONT);
    }
}

impl Drop for Guard {
    /// Nobody needs it any more: what is left of its command is killed, and the lease is not its business.
    fn drop(&mut self) {
        self.tell(&Order::Bye);
    }
}

fn guarded(name: &str, work: &Work, store: Option<&OsStr>) -> Guarded {
    Guarded {
        name: name.to_owned(),
        store: store.map(OsStr::to_owned),
        leads: !has_terminal(),
        command: work.command.clone(),
    }
}

/// Waits for the children that have ended: the guardian, and what comes to the first process of a container. Whether there are any
/// left.
pub(super) fn reap() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
