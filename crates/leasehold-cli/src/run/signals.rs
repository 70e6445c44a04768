//! The signals that are passed on to the command.

use std::io;

use futures_util::StreamExt;
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use signal_hook_tokio::SignalsInfo;

/// TTIN because a command in the background that wants to read stops the whole group: this process must go on renewing.
const FORWARDED: [i32; 9] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGTTIN,
];

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) number: i32,
    /// The kernel sent it, because of a key on the terminal or because it hung up: to the whole group.
    pub(super) from_terminal: bool,
}

pub(super) struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    /// Listens to those that were not ignored when this process began: what is ignored (`nohup`, a shell's background
    /// job) stays ignored, here and in the command.
    pub(super) fn listen() -> io::Result<Self> {
        let mask = ignored();
        let is_ignored = |signal: &i32| mask & (1 << (signal - 1)) != 0;
        let wanted = FORWARDED.into_iter().filter(|signal| !is_ignored(signal));
        // The guardian's end; and those of orphans, for the first process of a container.
        let wanted = wanted.chain([SIGCHLD]);
        Ok(Self(SignalsInfo::with_exfiltrator(
            wanted,
            WithOrigin::default(),
        )?))
    }

    /// The next one that means an end, for who only waits: Ctrl-Z stops this process as it would any other.
    pub(super) async fn ended(&mut self) -> Came {
        loop {
            let came = self.next().await;
            match came.number {
                SIGCHLD => _ = super::guard::reap(),
                SIGTSTP => _ = signal_hook::low_level::emulate_default_handler(SIGTSTP),
                SIGWINCH | SIGTTIN => {}
                _ => return came,
            }
        }
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Came {
        match self.0.next().await {
            Some(origin) => came(&origin),
            None => std::future::pending().await,
        }
    }
}

fn came(origin: &Origin) -> Came {
    Came {
        number: origin.signal,
        from_terminal: matches!(origin.cause, Cause::Kernel),
    }
}

/// The mask of the signals that this process ignores.
#[cfg(target_os = "linux")]
fn ignored() -> u64 {
    use std::io::Read;
    // In one go: the kernel makes the text anew for each reader, and it is short.
    let mut text = [0; 4096];
    let read = std::fs::File::open("/proc/self/status").and_then(|mut file| file.read(&mut text));
    let text = read.ok().and_then(|length| text.get(..length));
    mask(&String::from_utf8_lossy(text.unwrap_or_default()))
}

#[cfg(not(target_os = "linux"))]
fn ignored() -> u64 {
    0
}

#[cfg(target_os = "linux")]
fn mask(status: &str) -> u64 {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).unwrap_or_default()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals() {
        assert_eq!(
            mask("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0"),
            0x1001
        );
        assert_eq!(mask(""), 0);
    }
}
