//! Belief: when a handle may take itself for the lessee.
//!
//! The rules of the contract about belief live here and nowhere else: it is computed from the clock at the call, the
//! deadline moves only on known success, it is the smaller of old and new while a renew is unresolved, and once over
//! it never resumes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::door::Door;
use crate::name::LeaseName;
use crate::record::Body;
use crate::time::BootInstant;

/// A shared view of one term: cheap to clone, and to ask from any task while the handle is being renewed.
///
/// What it answers is computed from the clock at the call, without I/O. A check of [`Term::is_current`] does not cover
/// the act after it: give [`Term::fence`] along with every write, and let the protected side refuse smaller ones.
#[derive(Clone)]
pub struct Term(Arc<Shared>);

struct Shared {
    door: Arc<dyn Door>,
    name: LeaseName,
    fence: u64,
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
            begin: None,
            deadline: BootInstant::ZERO,
            over: false,
        };
        Self(Arc::new(Shared {
            door,
            name,
            fence,
            state: Mutex::new(state),
        }))
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
        &self.0.name
    }

    /// The fencing token: constant during the term, larger than everything an earlier term of the name ever showed.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.0.fence
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
            Some(deadline) => deadline.since(self.0.door.now()),
            None => Duration::ZERO,
        }
    }

    /// Whether the handle is the lessee now: `begin <= now < deadline` by the own boot clock, computed at the call.
    /// False says so for good once the deadline has passed; true says nothing about the next instant.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let state = self.state();
        let now = self.0.door.now();
        !state.over
            && state
                .begin
                .is_some_and(|begin| begin <= now && now < state.deadline)
    }

    /// Whether the term is over for its handle: ended, lost, or past its deadline. It never begins again.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.over || (state.begin.is_some() && self.0.door.now() >= state.deadline)
    }

    /// A renewal that would end belief at `deadline` is about to be sent: until it is resolved the smaller one counts,
    /// and that is never undone.
    pub(crate) fn renewing(&self, deadline: BootInstant) {
        let mut state = self.state();
        state.deadline = state.deadline.min(deadline);
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
        let now = self.0.door.now();
        state.index = index;
        state.period = period;
        state.body = body;
        let too_late = match state.standing {
            Standing::Proxy => return Renewed::NoBelief,
            Standing::Handle => state.over || now >= state.deadline,
            Standing::Claim => state.over || deadline.is_some_and(|deadline| now >= deadline),
        };
        if too_late {
            state.over = true;
            return Renewed::TooLate;
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
        let mut state = self.state();
        state.deadline = state.deadline.min(self.0.door.now());
        state.over = true;
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many views of the term there are, the handle's own included.
    pub(crate) fn views(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Term")
            .field("name", &self.0.name)
            .field("fence", &self.0.fence)
            .field("index", &state.index)
            .field("standing", &state.standing)
            .field("begin", &state.begin)
            .field("deadline", &state.deadline)
            .field("over", &state.over)
            .finish_non_exhaustive()
    }
}
