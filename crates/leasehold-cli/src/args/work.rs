//! What `run` and `lead` do around a command.

use std::ffi::OsString;
use std::time::Duration;

use leasehold::{LeaseName, TakeOver};

use super::{Lessee, name};
use crate::duration::{Wait, duration, wait};
use crate::variables;

pub(super) const RUN_HELP: &str = "\
Acquires the lease, runs the command, renews meanwhile, releases when nothing of the command is left, exits with its status.

The command sees the environment as it is, and LEASEHOLD_NAME, LEASEHOLD_MACHINE_ID and LEASEHOLD_FENCE: give the \
fence along with every write. leasehold itself never reads these three, so that a `leasehold run` inside another works.

Loss. A guardian, a small process of its own, watches over the command and everything that it has started. If the lease \
is not renewed in time, all of that gets TERM a grace before the lease's deadline and KILL 200 ms before it, also while \
leasehold itself is stopped, swapped out or killed. When the registry tells of a theft or break, TERM at once, KILL a grace \
later or before the old deadline, whichever is earlier. The exit status is then 76, whatever the command returned. After \
`kill -9` of leasehold the guardian ends the command, and then releases the lease.

Signals. HUP, INT, QUIT, TERM, USR1, USR2 and WINCH are passed on to the command, and leasehold waits for its end. Without a \
terminal the command has a process group of its own, and signals go to all of that group. With a terminal it stays in the \
terminal's group: Ctrl-C reaches both. Ctrl-Z stops the command alone, whose lease goes on being renewed; Ctrl-Z again \
continues it. The lease is released when nothing of the command is left, processes in the background included.

Not covered: what the command starts by way of others (at, systemd-run, docker); processes in uninterruptible sleep; without \
a cgroup (-v tells, --strict insists) those that have become another user; and what the command has left in the background \
if both leasehold and its guardian are killed by KILL.";

pub(super) const LEAD_HELP: &str = "\
Campaigns for the lease, runs the command while it leads, and campaigns again when the lease was lost or the command has ended, \
as --restart says; until TERM or INT, which the command gets too, and whose end releases the lease at once.

What `leasehold run --help` says of loss, signals and the environment holds here too. With NOTIFY_SOCKET set (systemd's \
Type=notify) READY=1 is told when this candidate stands, STATUS tells who leads, and what the command tells is passed on.";

/// What is done around a command.
#[derive(clap::Args, Debug)]
pub(crate) struct Work {
    /// How long a grant lasts; it is renewed at a third of it. A crash blocks the name for so long
    #[arg(
        long,
        value_name = "TIME",
        env = variables::PERIOD,
        hide_env_values = true,
        default_value = "15s",
        value_parser = duration
    )]
    pub(crate) period: Duration,
    /// How long the command may take to end after TERM, before KILL [default: a tenth of the period and 1s at least before a
    /// deadline, 10s where nothing presses]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) grace: Option<Duration>,
    /// Give the lease up after so long: its command is ended before
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_hold: Option<Duration>,
    /// Renew only while the command reports WATCHDOG=1 (sd_notify) at least so often. One that does not is ended before the lease runs
    /// out: up to a period later
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) watchdog: Option<Duration>,
    /// Take the lease over from a holder of another version of the same policy
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Policy::Never)]
    pub(crate) take_over: Policy,
    /// Refuse to run where the command's processes cannot be held in a cgroup
    #[arg(long)]
    pub(crate) strict: bool,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
    #[command(flatten)]
    pub(crate) lessee: Lessee,
}

/// From whom a lease is taken over: by the versions of the lessees (`--lessee-version`).
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    /// From nobody
    Never,
    /// From a lower version
    HigherVersion,
    /// From a higher version
    LowerVersion,
}

impl From<Policy> for TakeOver {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Never => Self::Never,
            Policy::HigherVersion => Self::HigherVersion,
            Policy::LowerVersion => Self::LowerVersion,
        }
    }
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = crate::exit::HELP)]
pub(crate) struct Run {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    /// Wait for the lease, at most so long, or `forever` [default: do not wait]
    #[arg(
        long,
        value_name = "TIME|forever",
        env = variables::WAIT,
        hide_env_values = true,
        value_parser = wait
    )]
    pub(crate) wait: Option<Wait>,
    /// Run once per slot, `1d` say: if it ran already nothing is done, and the exit status is 0
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) once_per: Option<Duration>,
    /// Exit status if somebody else holds the lease
    #[arg(short = 'E', long, value_name = "N", default_value_t = crate::exit::BUSY)]
    pub(crate) conflict_exit: u8,
    /// End the command after so long: TERM, KILL a grace later; the exit status is 124
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) time_limit: Option<Duration>,
    /// Write what happened to this file descriptor in the end, as a line of JSON
    #[arg(long, value_name = "FD")]
    pub(crate) report: Option<i32>,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// When a command that has ended is run again.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Restart {
    /// Never: leads no more, and exits with the command's status
    Never,
    /// Unless it exited with 0
    OnFailure,
    /// Whatever it exited with
    Always,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = crate::exit::HELP)]
pub(crate) struct Lead {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    /// When a command that has ended by itself is run again, after campaigning anew
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Restart::OnFailure)]
    pub(crate) restart: Restart,
    #[command(flatten)]
    pub(crate) work: Work,
}
