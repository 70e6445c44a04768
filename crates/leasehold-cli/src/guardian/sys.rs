//! What neither the standard library nor rustix offers: the one module of the command with unsafe code.
#![allow(
    unsafe_code,
    reason = "system calls without a safe wrapper; each says why it is sound"
)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// Which side of a fork this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Parent(Pid),
    Child,
}

/// libc's own is too narrow for its value.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which signals were blocked.
#[derive(Clone, Copy)]
pub(super) struct Mask(libc::sigset_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

/// Blocks every signal that can be blocked; answers which were before.
pub(super) fn block_signals() -> io::Result<Mask> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the set that it is given, `sigprocmask` reads that one and initialises the other.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        checked(libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()).into())?;
        Ok(Mask(before.assume_init()))
    }
}

/// Blocks what was blocked before, and nothing else.
pub(super) fn restore_signals(mask: &Mask) -> io::Result<()> {
    // SAFETY: the set is initialised, and only read.
    let failed =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, ptr::null_mut()) };
    checked(failed.into()).map(drop)
}

/// Some parents leave it ignored how a child ends: the kernel would then tell nobody.
pub(super) fn hear_of_children() -> io::Result<()> {
    // SAFETY: no handler is installed, only the default restored.
    match unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Readable whenever a child has ended, was stopped or continued. Signals must be blocked.
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set, the other two use it afterwards; -1 asks for a new descriptor.
    let descriptor = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    checked(descriptor.into())?;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Forks a process of one thread; the child begins in the cgroup, if one is given.
///
/// `clone3` does not take the lock that moving a process into a cgroup takes, which is milliseconds.
pub(super) fn fork(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    debug_assert!(is_single_threaded());
    // SAFETY: `clone_args` is plain data, and zero is each field's default.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without a stack and without CLONE_VM this is fork(2): both sides go on from here, each with its own memory.
    // The process has one thread, so no lock is held by another one that the child lacks.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            ptr::from_mut(&mut args),
            size_of::<libc::clone_args>(),
        )
    };
    match checked(result) {
        Ok(0) => Ok(Side::Child),
        Ok(child) => parent(child),
        // A container's filter may not know it.
        Err(error) if cgroup.is_none() && error.raw_os_error() == Some(libc::ENOSYS) => {
            // SAFETY: as above.
            match checked(unsafe { libc::fork() }.into())? {
                0 => Ok(Side::Child),
                child => parent(child),
            }
        }
        Err(error) => Err(error),
    }
}

fn parent(child: i64) -> io::Result<Side> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    pid.map(Side::Parent)
        .ok_or_else(|| io::Error::other("a child without a process id"))
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

/// Takes over a descriptor that this process was given by number, and keeps it from the programs that it executes.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD fails for what is no open descriptor, and changes nothing.
    checked(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    // SAFETY: it is open, and whoever started this process has left it to it: nothing else here owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// Closes every descriptor from 3 on but these.
pub(super) fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in open {
        if number > 2 && !kept.contains(&number) {
            // SAFETY: no value of this process owns it: what does is in `kept`, by the caller's word. The folder's own
            // descriptor is closed already, and closing it again fails.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

fn checked(result: i64) -> io::Result<i64> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        other => Ok(other),
    }
}
