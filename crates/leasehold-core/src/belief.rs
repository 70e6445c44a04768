//! Belief: when a handle may take itself for the lessee.
//!
//! The rules of the contract about belief live here and nowhere else: it is computed from the clock at the call, the
//! deadline moves only on known success, it is the smaller of old and new while a renew is unresolved, and once over
//! it never resumes.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::door::Door;
use crate::error::{Error, ErrorKind};
use crate::keep_alive::KeepAlive;
use crate::lost::Lost;
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::record::Body;
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::tenure::TermState;
use crate::time::BootInstant;
use crate::timing;

/// A shared view of one term: cheap to clone, and to ask from any task while the handle is being renewed.
///
/// What it answers is computed from the clock at the call, without I/O. A check of [`Term::is_current`] does not cover
/// the act after it: give [`Term::fence`] along with every write, and let the protected side refuse smaller ones.
pub struct Term {
    shared: Arc<Shared>,
    /// Of views that were handed out, not of core's own: counted, as somebody may still be at work under the term.
    is_view: bool,
}

impl Clone for Term {
    fn clone(&self) -> Self {
        match self.is_view {
            true => self.view(),
            false => Self {
                shared: self.shared.clone(),
                is_view: false,
            },
        }
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        if self.is_view && self.shared.views.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.changed.notify_waiters();
        }
    }
}

struct Shared {
    door: Arc<dyn Door>,
    name: LeaseName,
    fence: u64,
    /// How many views there are.
    views: AtomicUsize,
    state: Mutex<State>,
    /// Wakes whoever waits for another deadline or the term's end.
    changed: Notify,
}

/// On what grounds a lease value stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// A handle: its own call made the current grant.
    Handle,
    /// A claim on a term by its fence: it becomes a handle by its own renew.
    Claim,
    /// A proxy: only fetched. It never believes.
    Proxy,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) standing: Standing,
    pub(crate) index: u64,
    pub(crate) period: Duration,
    pub(crate) body: Arc<Body>,
    /// What was left of the grant when it was fetched, at most; none: nobody knows.
    left: Option<Duration>,
    releasing: bool,
    /// None: no belief.
    begin: Option<BootInstant>,
    deadline: BootInstant,
    /// The same without a maximum hold.
    granted_until: BootInstant,
    /// From when on the renewal that was to move the deadline is overdue.
    at_risk: BootInstant,
    over: bool,
    /// How it was lost, where that is known.
    lost: Option<Error>,
    /// Since when renewals are sent in vain, and what the last one failed with.
    vain: Option<(BootInstant, Option<Error>)>,
    /// How long before the deadline those at work are told to stop, where that was set.
    grace: Option<Duration>,
    /// The period that it is kept to; none where it is not kept alive.
    kept_to: Duration,
    /// No deadline is later than this.
    last: BootInstant,
    /// How often the work has to make progress, if it has to, and when it last did.
    progress: Option<(Duration, BootInstant)>,
    /// Those at work are to end, whatever is left.
    winds_down: bool,
}

/// What became of a renewal's belief.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Renewed {
    /// The handle believes until the new deadline.
    Extended,
    /// A proxy's renewal: the registry knows, nobody believes.
    NoBelief,
    /// The term was over before the success was known: what was granted is to be released.
    TooLate,
    /// Likewise, and a release is under way already: it ends what was granted.
    Releasing,
}

impl Term {
    pub(crate) fn new(
        door: Arc<dyn Door>,
        name: LeaseName,
        fence: u64,
        (standing, index, period, body): (Standing, u64, Duration, Arc<Body>),
    ) -> Self {
        let state = State {
            standing,
            index,
            period,
            body,
            left: None,
            releasing: false,
            begin: None,
            deadline: BootInstant::ZERO,
            granted_until: BootInstant::ZERO,
            at_risk: BootInstant::ZERO,
            over: false,
            lost: None,
            vain: None,
            grace: None,
            kept_to: Duration::ZERO,
            last: BootInstant::NEVER,
            progress: None,
            winds_down: false,
        };
        Self {
            shared: Arc::new(Shared {
                door,
                name,
                fence,
                views: AtomicUsize::new(0),
                state: Mutex::new(state),
                changed: Notify::new(),
            }),
            is_view: false,
        }
    }

    /// The term was only fetched, with this much left of its grant.
    pub(crate) fn fetched(&self, left: Option<Duration>) {
        self.locked().left = left;
    }

    /// A grant was made by the handle's own call, which is known now.
    pub(crate) fn granted(&self, begin: BootInstant, deadline: BootInstant) {
        let mut state = self.locked();
        state.begin = Some(begin);
        state.deadlined(self.shared.door.now(), deadline);
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        &self.shared.name
    }

    /// The fencing token: constant during the term, larger than everything an earlier term of the name ever showed.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.shared.fence
    }

    /// The lessee.
    #[must_use]
    pub fn machine_id(&self) -> String {
        self.locked().body.machine_id.clone().unwrap_or_default()
    }

    /// The index of the latest grant known here.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.locked().index
    }

    /// From when the handle believes; none where it does not (a proxy, a claim not yet renewed).
    #[must_use]
    pub fn begin(&self) -> Option<BootInstant> {
        self.locked().begin
    }

    /// Until when the handle believes; none where it does not.
    #[must_use]
    pub fn deadline(&self) -> Option<BootInstant> {
        self.locked().deadline()
    }

    /// How long the handle may still believe, by the own clock; zero where it does not.
    #[must_use]
    pub fn left(&self) -> Duration {
        match self.deadline() {
            Some(deadline) => deadline.since(self.shared.door.now()),
            None => Duration::ZERO,
        }
    }

    /// Whether the handle is the lessee now: `begin <= now < deadline` by the own boot clock, computed at the call.
    /// False says so for good once the deadline has passed; true says nothing about the next instant.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let state = self.locked();
        let now = self.shared.door.now();
        matches!(state.at(now).0, TermState::Held | TermState::AtRisk)
    }

    /// Whether the term is over for its handle: ended, lost, or past its deadline. It never begins again.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.locked();
        state.over || (state.begin.is_some() && self.shared.door.now() >= state.deadline)
    }

    /// A renewal that would end belief at `deadline` is about to be sent: until it is resolved the smaller one counts,
    /// and that is never undone.
    pub(crate) fn renewing(&self, deadline: BootInstant) {
        let mut state = self.locked();
        let now = self.shared.door.now();
        state.vain.get_or_insert((now, None));
        if deadline >= state.deadline || mutant(Mutant::ShorterRenewKeepsLongDeadline) {
            return;
        }
        state.deadline = deadline;
        drop(state);
        if mutant(Mutant::EarlierDeadlineIsNotTold) {
            return;
        }
        // Whoever waits for the end waits for the earlier one now.
        self.shared.changed.notify_waiters();
    }

    /// A renewal failed, or nobody knows what became of it.
    pub(crate) fn failed(&self, error: &Error) {
        if let Some((_, last)) = &mut self.locked().vain {
            *last = Some(error.duplicate());
        }
    }

    /// A renewal is known to have been applied.
    pub(crate) fn renewed(
        &self,
        index: u64,
        period: Duration,
        body: Arc<Body>,
        begin: BootInstant,
        deadline: Option<BootInstant>,
    ) -> Renewed {
        let mut state = self.locked();
        let now = self.shared.door.now();
        state.index = index;
        state.period = period;
        state.body = body;
        let too_late = match state.standing {
            Standing::Proxy => return Renewed::NoBelief,
            Standing::Handle => {
                // The new deadline may be over as well: what carries the grant may be gone already.
                let last = deadline.map_or(state.deadline, |new| new.min(state.deadline));
                let passed = now >= last && !mutant(Mutant::BeliefRevivedByLateReply);
                state.over || passed
            }
            Standing::Claim => state.over || deadline.is_some_and(|deadline| now >= deadline),
        };
        if too_late {
            state.over = true;
            let releasing = state.releasing;
            drop(state);
            self.shared.changed.notify_waiters();
            return if releasing {
                Renewed::Releasing
            } else {
                Renewed::TooLate
            };
        }
        state.standing = Standing::Handle;
        state.begin = state.begin.or(Some(begin));
        if let Some(deadline) = deadline {
            state.deadlined(now, deadline);
            state.vain = None;
        }
        drop(state);
        self.shared.changed.notify_waiters();
        Renewed::Extended
    }

    /// The term is over for its handle, now at the latest, and why.
    pub(crate) fn end(&self, why: Error) {
        let mut state = self.locked();
        state.end(self.shared.door.now());
        if !mutant(Mutant::LossSignalIsAStub) {
            state.lost.get_or_insert(why);
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// The same, for a release that is about to be sent. Both in one step: a renewal that is learnt in between would
    /// give back the grant, and the release would find it gone.
    pub(crate) fn releasing(&self) {
        let mut state = self.locked();
        state.end(self.shared.door.now());
        state.releasing = true;
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// What is left after a renewal just now, at most.
    pub(crate) fn remaining(&self) -> Duration {
        let state = self.locked();
        let wait = state
            .begin
            .map_or(Duration::ZERO, |begin| begin.since(self.shared.door.now()));
        state.hold(state.period).unwrap_or(Duration::MAX).max(wait)
    }

    pub(crate) fn locked(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn door(&self) -> &Arc<dyn Door> {
        &self.shared.door
    }

    pub(crate) fn changes(&self) -> &Notify {
        &self.shared.changed
    }

    /// A view for others.
    pub(crate) fn view(&self) -> Self {
        self.shared.views.fetch_add(1, Ordering::SeqCst);
        Self {
            shared: self.shared.clone(),
            is_view: true,
        }
    }

    /// It is kept alive from now on, renewed to this period.
    pub(crate) fn kept(&self, options: &KeepAlive, period: Duration) {
        let now = self.shared.door.now();
        let mut state = self.locked();
        (state.grace, state.kept_to) = (options.grace, period);
        state.progress = options.progress_within.map(|limit| (limit, now));
        let limit = match mutant(Mutant::HoldHasNoEnd) {
            true => None,
            false => options.max_hold,
        };
        state.last = limit.map_or(BootInstant::NEVER, |limit| now.plus(limit));
        state.deadline = state.deadline.min(state.last);
        drop(state);
        // Whoever waits already has to be told by what was set just now.
        self.shared.changed.notify_waiters();
    }

    /// It is kept alive with another period from now on.
    pub(crate) fn kept_to(&self, period: Duration) {
        self.locked().kept_to = period;
        self.shared.changed.notify_waiters();
    }

    /// Those at work are to end now.
    pub(crate) fn wind_down(&self) {
        self.locked().winds_down = true;
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn winds_down(&self) -> bool {
        self.locked().winds_down
    }

    /// The granted period.
    pub(crate) fn period(&self) -> Duration {
        self.locked().period
    }

    /// The work makes progress: [`KeepAlive::progress_within`].
    pub fn progress(&self) {
        let now = self.shared.door.now();
        if let Some((_, last)) = &mut self.locked().progress {
            *last = now;
        }
        self.shared.changed.notify_waiters();
    }

    /// Whether views that were handed out are still alive. Core's own are none.
    pub(crate) fn is_viewed(&self) -> bool {
        if mutant(Mutant::ReleasedWhileInUse) {
            return false;
        }
        self.shared.views.load(Ordering::SeqCst) > 0
    }
}

impl State {
    /// What the term is worth at an instant, and when that ends by itself.
    pub(crate) fn at(&self, now: BootInstant) -> (TermState, BootInstant) {
        let deadline = if mutant(Mutant::HungCallLeavesCurrent) {
            BootInstant::NEVER
        } else {
            self.deadline
        };
        let begun = |begin| begin <= now || mutant(Mutant::BeginIgnored);
        match self.begin {
            _ if self.over => (TermState::Lost, BootInstant::NEVER),
            None => (TermState::Waiting, BootInstant::NEVER),
            Some(_) if now >= deadline => (TermState::Lost, BootInstant::NEVER),
            Some(begin) if !begun(begin) => (TermState::Waiting, begin.min(deadline)),
            Some(_) if mutant(Mutant::AtRiskIsNeverTold) => (TermState::Held, deadline),
            Some(_) if now < self.at_risk => (TermState::Held, self.at_risk.min(deadline)),
            Some(_) => (TermState::AtRisk, deadline),
        }
    }

    /// Until when the handle believes, if it does.
    pub(crate) fn deadline(&self) -> Option<BootInstant> {
        self.begin.map(|_| self.deadline)
    }

    /// Why the term is over.
    pub(crate) fn why(&self) -> Error {
        match &self.lost {
            Some(why) => why.duplicate(),
            None if self.releasing => Error::new(ErrorKind::Gone, "it was released"),
            None => self.run_out(),
        }
    }

    fn run_out(&self) -> Error {
        let (message, lost) = match &self.vain {
            _ if self.deadline >= self.last => (
                "it was held for as long as it may be".to_owned(),
                Lost::HeldTooLong,
            ),
            None if let Some(since) = self.stalled(self.deadline) => (
                "its work made no progress".to_owned(),
                Lost::Stalled { since },
            ),
            None => (
                "its deadline has passed without a renewal".to_owned(),
                Lost::expired(),
            ),
            Some((since, error)) => {
                let why = error.as_ref().map(ToString::to_string);
                let why = why.unwrap_or_else(|| "the registry did not answer".to_owned());
                (
                    format!("it could not be renewed before its deadline: {why}"),
                    Lost::Unreachable { since: *since },
                )
            }
        };
        Error::new(ErrorKind::Expired, message).with_lost(lost)
    }

    /// Since when renewals are sent in vain, and what the last one failed with.
    pub(crate) fn failing(&self) -> Option<(BootInstant, Option<String>)> {
        let (since, error) = self.vain.as_ref()?;
        Some((*since, error.as_ref().map(ToString::to_string)))
    }

    /// Since when its work has made no progress, where that is too long at an instant.
    pub(crate) fn stalled(&self, now: BootInstant) -> Option<BootInstant> {
        if mutant(Mutant::StuckWorkIsRenewed) {
            return None;
        }
        let (limit, last) = self.progress?;
        (now.since(last) > limit).then_some(last)
    }

    /// Until when the present grant would last without a maximum hold; and whether it lasts for as long as it may.
    pub(crate) fn granted(&self) -> (BootInstant, bool) {
        (self.granted_until, self.granted_until >= self.last)
    }

    pub(crate) fn winds_down(&self) -> bool {
        self.winds_down
    }

    pub(crate) fn grace(&self) -> Duration {
        if mutant(Mutant::EndingComesAtTheEnd) {
            return Duration::ZERO;
        }
        self.grace.unwrap_or_else(|| timing::grace(self.kept_to))
    }

    fn deadlined(&mut self, now: BootInstant, deadline: BootInstant) {
        self.granted_until = deadline;
        self.deadline = deadline.min(self.last);
        self.at_risk = now.plus(timing::half(deadline.since(now)));
    }

    fn end(&mut self, now: BootInstant) {
        self.deadline = self.deadline.min(now);
        self.over = true;
    }

    /// How long a renewal keeps the name taken; none where it must not be renewed. *Not early*: a proxy's renewal
    /// never ends the term sooner than the granting handle, which knows nothing of it, may believe.
    pub(crate) fn hold(&self, period: Duration) -> Option<Duration> {
        let delayed = if mutant(Mutant::RenewalDropsDelay) {
            period
        } else {
            period.saturating_add(self.body.delay)
        };
        match self.standing {
            Standing::Proxy => {
                if mutant(Mutant::ProxyRenewCutsShort) {
                    return Some(delayed);
                }
                Some(self.left?.max(delayed))
            }
            Standing::Handle | Standing::Claim => Some(delayed),
        }
    }

    /// Whether it is a proxy of a term whose end nobody knows.
    pub(crate) fn is_endless_proxy(&self) -> bool {
        self.standing == Standing::Proxy && self.left.is_none()
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.locked();
        f.debug_struct("Term")
            .field("name", &self.shared.name)
            .field("fence", &self.shared.fence)
            .field("index", &state.index)
            .field("standing", &state.standing)
            .field("begin", &state.begin)
            .field("deadline", &state.deadline)
            .field("over", &state.over)
            .finish_non_exhaustive()
    }
}
