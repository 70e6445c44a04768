//! Attending to the lease and to the guardian at once, while the command is at work.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::BootInstant;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGWINCH};

use super::guard::{Guard, reap};
use super::notify::Notify;
use super::signals::{Came, Signals};
use super::{Job, status};
use crate::duration::human;
use crate::exit::{Failure, OWN_FAILURE, sentence};
use crate::guardian::{Cause, KILL_MARGIN, Order, Report, Start};

/// How long the command has ended before it is said that something of it is left.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often to look whether the terminal is ours again.
const LOOK: Duration = Duration::from_millis(200);
/// How soon to look again whether what was killed is dead.
const AGAIN: Duration = Duration::from_millis(10);
/// How long after the deadline what cannot be killed is waited for.
const STUCK: Duration = Duration::from_secs(2);

/// How it all ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// The command's exit status.
    pub(super) code: u8,
    /// The same in words.
    pub(super) how: String,
    /// Why the lease was lost, if it was.
    pub(super) lost: Option<String>,
    pub(super) timed_out: bool,
    /// It was told to end, by TERM or INT.
    pub(super) asked: bool,
    /// The command was killed because its guardian was.
    pub(super) unguarded: bool,
    /// It could not be killed: these processes are left.
    pub(super) left: Option<String>,
}

/// What an attendance is about.
pub(super) struct Attend<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) notify: Option<&'a Notify>,
}

/// What is known so far.
#[derive(Debug)]
struct Known {
    status: Option<i32>,
    /// When the command itself had ended, until it was said that something is left.
    ended_at: Option<BootInstant>,
    why: Option<String>,
    lost: bool,
    timed_out: bool,
    stopped: bool,
    /// It wanted to read in the background.
    wants_terminal: bool,
    /// Ctrl-Z was pressed since it last went on.
    told_to_stop: bool,
    asked: bool,
    unguarded: bool,
    /// The guardian has killed the command.
    killed: bool,
    left: Option<String>,
    /// When the command's watchdog was fed last.
    fed: BootInstant,
    /// The latest deadline that there was.
    deadline: BootInstant,
}

impl Known {
    fn new(deadline: BootInstant, now: BootInstant) -> Self {
        Self {
            status: None,
            ended_at: None,
            why: None,
            lost: false,
            timed_out: false,
            stopped: false,
            wants_terminal: false,
            told_to_stop: false,
            asked: false,
            unguarded: false,
            killed: false,
            left: None,
            fed: now,
            deadline,
        }
    }

    /// When the wrapper does itself what the guardian has not done.
    fn second_line(&self) -> BootInstant {
        match self.killed {
            false => self.deadline.minus(KILL_MARGIN / 2),
            // It says at the deadline what it could not kill.
            true => self.deadline.plus(KILL_MARGIN / 2),
        }
    }

    /// When what could not be killed is waited for no longer.
    fn stuck(&self) -> BootInstant {
        self.deadline.plus(STUCK)
    }

    /// When to look again whether there is something to do.
    fn wake(&self, now: BootInstant) -> BootInstant {
        let next = match self.left {
            _ if self.unguarded => now.plus(AGAIN),
            Some(_) => self.stuck(),
            None => self.second_line(),
        };
        let next = match self.wants_terminal {
            true => next.min(now.plus(LOOK)),
            false => next,
        };
        match self.ended_at {
            Some(ended) => next.min(ended.plus(PATIENCE)),
            None => next,
        }
    }
}

impl Attend<'_> {
    /// Lets the command begin, and returns when nothing of it is left.
    pub(super) async fn attend(
        &self,
        guard: &mut Guard,
        signals: &mut Signals,
    ) -> Result<Ending, Failure> {
        let term = self.job.held.term();
        let mut told = term.deadline();
        let mut known = Known::new(told.unwrap_or(BootInstant::ZERO), self.job.began);
        guard.tell(&Order::Start(self.start(known.deadline)));
        loop {
            let now = self.job.manager.door().now();
            self.left_behind(&mut known, now);
            let wake = known.wake(now);
            tokio::select! {
                biased;
                report = guard.next(), if !known.unguarded => match report {
                    Some(Report::Empty) => break,
                    Some(report) => self.hear(guard, report, &mut known)?,
                    None => {
                        known.unguarded = true;
                        self.say("its guardian was killed: killing the command");
                        guard.kill();
                    }
                },
                came = signals.next() => {
                    known.asked |= matches!(came.number, SIGTERM | SIGINT);
                    self.pass_on(guard, &mut known, came);
                }
                error = self.job.held.lost(), if known.why.is_none() => {
                    known.why = Some(sentence(&error));
                    guard.tell(&Order::Lost);
                }
                deadline = term.deadline_changed(told) => {
                    told = deadline;
                    if let Some(deadline) = deadline {
                        known.deadline = known.deadline.max(deadline);
                        guard.tell(&Order::Deadline(deadline));
                    }
                }
                fed = Notify::heard(self.notify, &term) => {
                    if fed {
                        known.fed = self.job.manager.door().now();
                    }
                }
                () = self.job.manager.door().sleep_until(wake) => {
                    // Whatever the guardian has said by now is heard first: this process may have stood still.
                    let mut empty = false;
                    while let Some(report) = guard.told() {
                        empty |= report == Report::Empty;
                        self.hear(guard, report, &mut known)?;
                    }
                    // A shell continues no job that, as far as it knows, never stopped.
                    if known.wants_terminal && guard.is_in_front() {
                        known.wants_terminal = false;
                        guard.continue_group();
                    }
                    if empty || self.second_line(guard, &mut known) {
                        break;
                    }
                }
            }
        }
        Ok(self.ending(known))
    }

    fn start(&self, deadline: BootInstant) -> Start {
        let mut environment = BTreeMap::from([
            ("LEASEHOLD_NAME", self.job.held.name().to_string()),
            ("LEASEHOLD_MACHINE_ID", self.job.held.term().machine_id()),
            ("LEASEHOLD_FENCE", self.job.held.fence().to_string()),
        ]);
        if let Some(notify) = self.notify {
            environment.extend(notify.environment(self.job.work.watchdog));
        }
        Start {
            deadline,
            period: self.job.work.period,
            grace: self.job.work.grace,
            limit: self
                .job
                .limit
                .map(|limit| self.job.manager.door().now().plus(limit)),
            environment: environment
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        }
    }

    fn say(&self, message: &str) {
        self.job
            .context
            .output
            .message(&format!("{}: {message}", self.job.held.name()));
    }

    fn hear(&self, guard: &Guard, report: Report, known: &mut Known) -> Result<(), Failure> {
        match report {
            Report::Ready(_) => self.job.level(Some(&report))?,
            Report::Empty => {}
            Report::NotStarted(number) => {
                return Err(status::not_started(&self.job.work.command, number));
            }
            Report::Stopped => {
                known.stopped = true;
                if guard.hears_the_terminal() {
                    self.job.context.output.notice(&format!(
                        "{}: the command is stopped, its lease is kept; Ctrl-Z again continues it, Ctrl-C ends it",
                        self.job.held.name()
                    ));
                }
            }
            Report::Continued => {
                known.stopped = false;
                known.wants_terminal = false;
                known.told_to_stop = false;
            }
            Report::Ended(status) => {
                known.status = Some(status);
                known.ended_at = Some(self.job.manager.door().now());
            }
            Report::Acted { kill, cause } => {
                known.lost |= cause != Cause::Limit;
                known.timed_out |= cause == Cause::Limit;
                if cause == Cause::Deadline {
                    known.why.get_or_insert_with(|| self.not_renewed(known.fed));
                }
                known.killed |= kill;
                if kill {
                    self.say("killing the command");
                } else {
                    let why = match (&known.why, cause) {
                        (Some(why), Cause::Deadline | Cause::Told) => why,
                        _ => "it ran into its time limit",
                    };
                    self.say(&format!("ending the command: {why}"));
                }
            }
            Report::Stuck(left) => {
                self.job.context.output.warning(&format!(
                    "{}: the lease is over, and these processes of the command could not be killed: {left}",
                    self.job.held.name()
                ));
                known.left = Some(left);
            }
        }
        Ok(())
    }

    /// What the guardian has not done in time, because it was killed or stopped, is done here. Whether it is over.
    fn second_line(&self, guard: &Guard, known: &mut Known) -> bool {
        let now = self.job.manager.door().now();
        if known.left.is_some() && now >= known.stuck() {
            return true;
        }
        if !known.unguarded {
            // Whoever says that something could not be killed is at it.
            if known.left.is_some() || now < known.second_line() {
                return false;
            }
            known.unguarded = true;
            known.lost = true;
            known
                .why
                .get_or_insert_with(|| "it could not be renewed in time".into());
            self.say("its guardian does not answer: killing the command");
        }
        guard.kill();
        let over = guard.nothing_is_left();
        if !over && now >= known.deadline {
            known.left.get_or_insert_with(|| "some".into());
        }
        over
    }

    /// Why there was no renewal in time.
    fn not_renewed(&self, fed: BootInstant) -> String {
        let (work, now) = (self.job.work, self.job.manager.door().now());
        let held = now.since(self.job.began).saturating_add(work.notice());
        if let Some(limit) = work
            .max_hold
            .filter(|limit| held + Duration::from_secs(1) >= *limit)
        {
            return format!(
                "it is not to be held for longer than {} (--max-hold)",
                human(limit)
            );
        }
        if let Some(limit) = work.watchdog.filter(|limit| now.since(fed) > *limit) {
            return format!(
                "the command has not reported for longer than {} (--watchdog)",
                human(limit)
            );
        }
        "it could not be renewed in time".into()
    }

    /// Says once that the command itself has ended and something of it has not.
    fn left_behind(&self, known: &mut Known, now: BootInstant) {
        if known
            .ended_at
            .take_if(|at| now >= at.plus(PATIENCE))
            .is_some()
        {
            self.job.context.output.notice(&format!(
                "the command has ended, but processes that it started have not: {} is kept until they have",
                self.job.held.name()
            ));
        }
    }

    fn pass_on(&self, guard: &Guard, known: &mut Known, came: Came) {
        match came.number {
            SIGCHLD => _ = reap(),
            // A key on the terminal has reached the command already.
            SIGTSTP if guard.hears_the_terminal() => {
                // The first one stops it, however late that is learnt; the next one continues it.
                if std::mem::replace(&mut known.told_to_stop, true) && known.stopped {
                    known.told_to_stop = false;
                    guard.continue_group();
                }
            }
            SIGTTIN => known.wants_terminal = true,
            SIGWINCH if came.from_terminal && guard.hears_the_terminal() => {}
            // A key that ends it ends also what is stopped.
            SIGINT | SIGQUIT if came.from_terminal && guard.hears_the_terminal() => {
                guard.continue_group();
            }
            number => guard.tell(&Order::Signal(number)),
        }
    }

    fn ending(&self, known: Known) -> Ending {
        let (code, how) = match known.status {
            Some(raw) => (status::code(raw), status::how(raw)),
            None if known.unguarded => (OWN_FAILURE, "was killed".into()),
            None => (
                OWN_FAILURE,
                "was not started: there was no time left for it".into(),
            ),
        };
        let lost = (known.lost || known.status.is_none() && !known.unguarded).then(|| {
            known
                .why
                .unwrap_or_else(|| "its deadline has passed without a successful renewal".into())
        });
        Ending {
            code,
            how,
            lost,
            timed_out: known.timed_out,
            asked: known.asked,
            unguarded: known.unguarded,
            left: known.left,
        }
    }
}
