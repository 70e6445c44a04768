//! The guardian: a small process between the wrapper, which has the lease, and the command, which must not outlive it.
//!
//! The wrapper may be killed, stopped or swapped out at any time; this process has no registry, no threads and no files, only the
//! lease's deadline, a timer of the boot clock, and the command's processes. It ends all of them in time whatever becomes of the
//! wrapper. When that is gone it releases the lease, by its term's fence, once nothing of the command is left.

mod cgroup;
mod descent;
mod message;
mod plan;
mod shim;
mod sys;
mod tree;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use leasehold::BootInstant;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Signal, getpid, set_child_subreaper, setsid};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

pub(crate) use cgroup::Cgroup;
pub(crate) use descent::{descendants, is_proc_ours, kill as kill_below};
pub(crate) use message::{Arrived, Cause, Order, Report, Start, pair, receive, send};
use plan::{Act, Plan};
pub(crate) use plan::{KILL_MARGIN, notice};
use shim::Shim;
pub(crate) use sys::inherited;
use sys::{Mask, Side};
use tree::{Learnt, Tree};

/// The first word of a guardian's command line; no verb for people.
pub(crate) const WORD: &str = "guardian";

/// How soon to kill again what was not killed.
const AGAIN: Duration = Duration::from_millis(10);

/// How a guardian is started.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) name: String,
    /// As `--store` names it.
    pub(crate) store: Option<OsString>,
    /// Whether the command gets a process group of its own.
    pub(crate) leads: bool,
    pub(crate) command: Vec<OsString>,
}

impl Guarded {
    /// The words of a guardian's command line; its socket has this number.
    pub(crate) fn words(&self, socket: i32) -> Vec<OsString> {
        let leads = if self.leads { "group" } else { "terminal" };
        let mut words: Vec<OsString> = vec![
            WORD.into(),
            self.name.clone().into(),
            socket.to_string().into(),
            leads.into(),
            self.store.clone().unwrap_or_default(),
        ];
        words.extend(self.command.iter().cloned());
        words
    }

    fn parse(words: Vec<OsString>) -> Option<(Self, i32)> {
        let mut words = words.into_iter();
        let name = words.next()?.into_string().ok()?;
        let socket = words.next()?.to_str()?.parse().ok()?;
        let told = Self {
            name,
            leads: words.next()? == "group",
            store: words.next().filter(|store| !store.is_empty()),
            command: words.collect(),
        };
        Some((told, socket))
    }
}

/// Forks a guardian off a process that has one thread: it starts in a quarter of the time. Its wrapper's socket.
pub(crate) fn fork(told: &Guarded) -> io::Result<OwnedFd> {
    let (own, theirs) = pair()?;
    match sys::fork(None)? {
        Side::Parent(_) => Ok(own),
        Side::Child => {
            // Else the wrapper's end would not be seen.
            drop(own);
            std::process::exit(i32::from(live(told, theirs).is_err()))
        }
    }
}

/// The whole life of a guardian that was executed: by a process of more threads. The words after [`WORD`].
pub(crate) fn guard(words: Vec<OsString>) -> u8 {
    let told = Guarded::parse(words).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
    let lived = told.and_then(|(told, socket)| live(&told, sys::inherited(socket)?));
    match lived {
        Ok(()) => 0,
        Err(error) => {
            use io::Write as _;
            let word = "`leasehold run` starts this; it is nothing to be called";
            _ = writeln!(io::stderr(), "leasehold: {WORD}: {error}: {word}");
            crate::exit::OWN_FAILURE
        }
    }
}

fn live(told: &Guarded, wrapper: OwnedFd) -> io::Result<()> {
    let mask = sys::block_signals()?;
    if let Some(fence) = Guardian::new(told, wrapper, &mask)?.watch() {
        sys::restore_signals(&mask)?;
        tree::release(&told.name, fence, told.store.as_deref());
    }
    Ok(())
}

#[derive(Debug)]
struct Guardian {
    /// It has let go of all that it does not need.
    settled: bool,
    wrapper: OwnedFd,
    /// The wrapper is gone.
    alone: bool,
    children: OwnedFd,
    timer: OwnedFd,
    tree: Tree,
    shim: Option<Shim>,
    failed: Option<PipeReader>,
    /// The fence of the lease, since it was granted.
    fence: Option<u64>,
    /// The command was let begin.
    begun: bool,
    /// What could not be said yet.
    unsaid: VecDeque<Report>,
    /// Since the command was to begin.
    plan: Option<Plan>,
    told: Told,
}

/// What was said already, and is said once.
#[derive(Debug, Default)]
struct Told {
    empty: bool,
    stuck: bool,
    done: bool,
}

impl Guardian {
    fn new(told: &Guarded, wrapper: OwnedFd, mask: &Mask) -> io::Result<Self> {
        sys::hear_of_children()?;
        set_child_subreaper(Some(getpid()))?;
        _ = rustix::thread::set_name(c"leasehold-guard");
        let (cgroup, why) = match Cgroup::create() {
            Ok(cgroup) => (Some(cgroup), None),
            Err(why) => (None, Some(why)),
        };
        let (shim, cgroup, why) = match Shim::fork(&told.command, told.leads, cgroup.as_ref(), mask)
        {
            Ok(shim) => (shim, cgroup, why),
            Err(error) => {
                let Some(cgroup) = cgroup else {
                    return Err(error);
                };
                cgroup.remove();
                let shim = Shim::fork(&told.command, told.leads, None, mask)?;
                (
                    shim,
                    None,
                    Some(format!(
                        "no process can begin in {}: {error}",
                        cgroup.path().display()
                    )),
                )
            }
        };
        // Only now, so that the command has the terminal and its guardian has not.
        setsid()?;
        let children = sys::child_signals()?;
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let ready = match (&cgroup, why) {
            (Some(cgroup), _) => Ok(cgroup.path().display().to_string()),
            (None, why) => Err(why.unwrap_or_default()),
        };
        let mut guardian = Self {
            settled: false,
            wrapper,
            alone: false,
            children,
            timer,
            tree: Tree::new(shim.pid, told.leads, cgroup),
            shim: Some(shim),
            failed: None,
            fence: None,
            begun: false,
            unsaid: VecDeque::new(),
            plan: None,
            told: Told::default(),
        };
        guardian.say(Report::Ready(ready));
        Ok(guardian)
    }

    /// Keeps nothing that others wait for the end of, and its memory where it is. Done when there is nothing else to do: the command is
    /// not kept waiting for it.
    fn settle(&mut self) {
        self.settled = true;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        // A root without it has nobody who would wait for the end of these.
        if let Ok(null) = &null {
            _ = rustix::stdio::dup2_stdin(null);
            _ = rustix::stdio::dup2_stdout(null);
            _ = rustix::stdio::dup2_stderr(null);
        }
        let mut kept = vec![
            self.wrapper.as_raw_fd(),
            self.children.as_raw_fd(),
            self.timer.as_raw_fd(),
        ];
        kept.extend(null.iter().map(AsRawFd::as_raw_fd));
        kept.extend(self.shim.iter().flat_map(Shim::descriptors));
        kept.extend(self.failed.iter().map(AsRawFd::as_raw_fd));
        kept.extend(self.tree.descriptor());
        _ = sys::close_all_but(&kept);
        // Where the limit allows; what is used is locked, the rest of the program is not brought in for it.
        _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    }

    /// Says it, at once if the wrapper listens. Of stops and continuations only the last counts.
    fn say(&mut self, report: Report) {
        let passing = |report: &Report| matches!(report, Report::Stopped | Report::Continued);
        if passing(&report) && self.unsaid.back().is_some_and(passing) {
            self.unsaid.pop_back();
        }
        self.unsaid.push_back(report);
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(report) = self.unsaid.front() {
            if !self.alone && !send(&self.wrapper, &report.to_bytes()) {
                return;
            }
            self.unsaid.pop_front();
        }
    }

    /// Until nothing is left to watch over. Answers the fence of a lease that nobody else can release.
    fn watch(&mut self) -> Option<u64> {
        loop {
            for learnt in self.tree.reap() {
                if matches!(learnt, Learnt::Ended(_)) {
                    // That it never began is said first.
                    self.begun();
                }
                match learnt {
                    Learnt::Stopped => self.say(Report::Stopped),
                    Learnt::Continued => self.say(Report::Continued),
                    // What never began has no status.
                    Learnt::Ended(status) if self.begun => self.say(Report::Ended(status)),
                    Learnt::Ended(_) => {}
                }
            }
            if self.tree.is_empty() && !self.told.empty {
                self.told.empty = true;
                self.say(Report::Empty);
                self.tree.remove();
            }
            if self.told.empty && (self.told.done || self.alone) {
                return self.fence.filter(|_| !self.told.done);
            }
            self.act();
            if self.wait().is_err() {
                // Without its timer it can promise nothing.
                self.tree.kill();
            }
        }
    }

    /// Does what the moment asks for.
    fn act(&mut self) {
        let now = now();
        if self.told.empty {
            return;
        }
        if self.is_over() {
            return self.tree.kill();
        }
        let Some(plan) = &mut self.plan else {
            return;
        };
        let act = plan.step(now);
        let (killed, deadline) = (plan.is_killed(), plan.deadline());
        match act {
            Act::Nothing => {}
            Act::Terminate(cause) => {
                self.say(Report::Acted { kill: false, cause });
                self.tree.terminate();
            }
            Act::Kill(cause) => {
                self.tree.kill();
                self.say(Report::Acted { kill: true, cause });
            }
        }
        if killed && act == Act::Nothing {
            self.tree.kill();
            if now >= deadline && !self.told.stuck {
                self.told.stuck = true;
                let left = self.tree.left();
                self.say(Report::Stuck(left));
            }
        }
    }

    /// Nobody wants the command any more: it has not begun, or was given up.
    fn is_over(&self) -> bool {
        self.told.done || self.alone && self.plan.is_none()
    }

    /// Until something happens, or it is time to act.
    fn wait(&mut self) -> io::Result<()> {
        let wake = match &self.plan {
            _ if self.told.empty => BootInstant::NEVER,
            _ if self.is_over() => now().plus(AGAIN),
            Some(plan) if plan.is_killed() => now().plus(AGAIN),
            Some(plan) => plan.wake(),
            None => BootInstant::NEVER,
        };
        set(&self.timer, wake)?;
        let mut waited = vec![
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.children, PollFlags::IN),
        ];
        if !self.alone {
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, !self.unsaid.is_empty());
            waited.push(PollFd::new(&self.wrapper, wanted));
        }
        if let Some(failed) = &self.failed {
            waited.push(PollFd::from_borrowed_fd(failed.as_fd(), PollFlags::IN));
        }
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut waited, (!self.settled).then_some(&at_once)) {
            Ok(0) => {
                self.settle();
                return Ok(());
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let came = |place: usize| {
            waited
                .get(place)
                .is_some_and(|one| !one.revents().is_empty())
        };
        let begun = came(3 - usize::from(self.alone)) && self.failed.is_some();
        if came(1) {
            // Each look at the children is for all of them: how many signals came does not matter.
            while rustix::io::read(&self.children, &mut [0u8; 128][..]).is_ok() {}
        }
        if begun {
            self.begun();
        }
        self.flush();
        self.listen();
        Ok(())
    }

    /// Says if the command could not begin, once that is known.
    fn begun(&mut self) {
        if let Some(number) = self.failed.take().and_then(shim::failure) {
            self.say(Report::NotStarted(number));
        }
    }

    fn listen(&mut self) {
        while !self.alone {
            match receive(&self.wrapper) {
                Arrived::Packet(packet) => {
                    if let Some(order) = Order::parse(&packet) {
                        self.obey(order);
                    }
                }
                Arrived::Nothing => return,
                Arrived::End => {
                    self.alone = true;
                    self.shim = None;
                    if let Some(plan) = &mut self.plan {
                        plan.told();
                    }
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match (order, &mut self.plan) {
            (Order::Granted(fence), _) => self.fence = Some(fence),
            (Order::Start(start), None) => self.start(start),
            (Order::Deadline(deadline), Some(plan)) => plan.renewed(deadline),
            (Order::Lost, Some(plan)) => plan.told(),
            (Order::Signal(number), Some(_)) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    self.tree.forward(signal);
                }
            }
            (Order::Bye, _) => {
                self.told.done = true;
                self.shim = None;
            }
            _ => {}
        }
    }

    /// Sets the clock, and lets the command begin; not if there is no time left for it.
    fn start(&mut self, start: Start) {
        let plan = Plan::new(start.deadline, start.period, start.grace, start.limit);
        let late = set(&self.timer, plan.wake()).is_err() || plan.is_late(now());
        self.plan = Some(plan);
        let Some(shim) = self.shim.take().filter(|_| !late) else {
            return;
        };
        self.begun = true;
        match shim.begin(&start.environment) {
            Ok(failed) => self.failed = Some(failed),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(libc::EPIPE);
                self.say(Report::NotStarted(number));
            }
        }
    }
}

fn now() -> BootInstant {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    BootInstant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Sets a timer to an instant; zero would stop it.
fn set(timer: &OwnedFd, at: BootInstant) -> io::Result<()> {
    let nanos = at.as_nanos().clamp(1, i64::MAX as u64);
    let at = Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (nanos % 1_000_000_000) as _,
    };
    let once = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: at,
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &once)?;
    Ok(())
}
