//! Belief: when a handle may take itself for the lessee.
//!
//! The rules of the contract about belief live here and nowhere else: it is computed from the clock at the call, the
//! deadline moves only on known success, it is the smaller of old and new while a renew is unresolved, and once over
//! it never resumes.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::door::Door;
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::record::Body;
use crate::sync::{Mutex, MutexGuard};
use crate::time::BootInstant;

/// A shared view of one term: cheap to clone, and to ask from any task while the handle is being renewed.
///
/// What it answers is computed from the clock at the call, without I/O. A check of [`Term::is_current`] does not cover
/// the act after it: give [`Term::fence`] along with every write, and let the protected side refuse smaller ones.
#[derive(Clone)]
pub struct Term {
    shared: Arc<Shared>,
    /// In views that were handed out, not in core's own: counted, as somebody may still be at work under the term.
    _view: Option<Arc<()>>,
}

struct Shared {
    door: Arc<dyn Door>,
    name: LeaseName,
    fence: u64,
    view: Arc<()>,
    state: Mutex<State>,
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
    over: bool,
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
            over: false,
        };
        Self {
            shared: Arc::new(Shared {
                door,
                name,
                fence,
                view: Arc::default(),
                state: Mutex::new(state),
            }),
            _view: None,
        }
    }

    /// The term was only fetched, with this much left of its grant.
    pub(crate) fn fetched(&self, left: Option<Duration>) {
        self.state().left = left;
    }

    /// A grant was made by the handle's own call, which is known now.
    pub(crate) fn granted(&self, begin: BootInstant, deadline: BootInstant) {
        let mut state = self.state();
        state.begin = Some(begin);
        state.deadline = deadline;
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
        self.state().body.machine_id.clone().unwrap_or_default()
    }

    /// The index of the latest grant known here.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.state().index
    }

    /// From when the handle believes; none where it does not (a proxy, a claim not yet renewed).
    #[must_use]
    pub fn begin(&self) -> Option<BootInstant> {
        self.state().begin
    }

    /// Until when the handle believes; none where it does not.
    #[must_use]
    pub fn deadline(&self) -> Option<BootInstant> {
        let state = self.state();
        state.begin.map(|_| state.deadline)
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
        let state = self.state();
        let now = self.shared.door.now();
        let deadline = if mutant(Mutant::HungCallLeavesCurrent) {
            BootInstant::NEVER
        } else {
            state.deadline
        };
        let begun = |begin| begin <= now || mutant(Mutant::BeginIgnored);
        !state.over
            && state
                .begin
                .is_some_and(|begin| begun(begin) && now < deadline)
    }

    /// Whether the term is over for its handle: ended, lost, or past its deadline. It never begins again.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.over || (state.begin.is_some() && self.shared.door.now() >= state.deadline)
    }

    /// A renewal that would end belief at `deadline` is about to be sent: until it is resolved the smaller one counts,
    /// and that is never undone.
    pub(crate) fn renewing(&self, deadline: BootInstant) {
        let mut state = self.state();
        if !mutant(Mutant::ShorterRenewKeepsLongDeadline) {
            state.deadline = state.deadline.min(deadline);
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
        let mut state = self.state();
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
            return if state.releasing {
                Renewed::Releasing
            } else {
                Renewed::TooLate
            };
        }
        state.standing = Standing::Handle;
        state.begin = state.begin.or(Some(begin));
        if let Some(deadline) = deadline {
            state.deadline = deadline;
        }
        Renewed::Extended
    }

    /// The term is over for its handle, now at the latest.
    pub(crate) fn end(&self) {
        self.state().end(self.shared.door.now());
    }

    /// The same, for a release that is about to be sent. Both in one step: a renewal that is learnt in between would
    /// give back the grant, and the release would find it gone.
    pub(crate) fn releasing(&self) {
        let mut state = self.state();
        state.end(self.shared.door.now());
        state.releasing = true;
    }

    /// What is left after a renewal just now, at most.
    pub(crate) fn remaining(&self) -> Duration {
        let state = self.state();
        let wait = state
            .begin
            .map_or(Duration::ZERO, |begin| begin.since(self.shared.door.now()));
        state.hold(state.period).unwrap_or(Duration::MAX).max(wait)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A view for others.
    pub(crate) fn view(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            _view: Some(self.shared.view.clone()),
        }
    }

    /// Whether views that were handed out are still alive. Asked of core's own, which is none.
    pub(crate) fn is_viewed(&self) -> bool {
        Arc::strong_count(&self.shared.view) > 1
    }
}

impl State {
    fn end(&mut self, now: BootInstant) {
        self.deadline = self.deadline.min(now);
        self.over = true;
    }

    /// How long a renewal keeps the name taken; none where it must not be renewed. *Not early*: a proxy's renewal
    /// never ends the term sooner than the granting handle, which knows nothing of it, may believe.
    pub(crate) fn hold(&self, period: Duration) -> Option<Duration> {
        match self.standing {
            Standing::Proxy => {
                if mutant(Mutant::ProxyRenewCutsShort) {
                    return Some(period);
                }
                Some(self.left?.max(period))
            }
            Standing::Handle | Standing::Claim => Some(period),
        }
    }

    /// Whether it is a proxy of a term whose end nobody knows.
    pub(crate) fn is_endless_proxy(&self) -> bool {
        self.standing == Standing::Proxy && self.left.is_none()
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
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
