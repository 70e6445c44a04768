//! What a term says of itself to those at work under it.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::select;

use crate::belief::{State, Term};
use crate::door::until;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Ended;
use crate::time::BootInstant;

/// Whether those at work under a term may rely on it: [`Term::state`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TermState {
    /// It has not begun: the term that it replaced is being waited out, or what was claimed has not been renewed yet. That
    /// of a lease which was only fetched never begins.
    Waiting,
    /// It is held.
    Held,
    /// It is held, but the renewal that was due has not succeeded so far: half of what was left after the last one has
    /// passed. Take on nothing new.
    AtRisk,
    /// It is over: lost, run out or released. It never comes back.
    Lost,
}

impl TermState {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::AtRisk => "at risk",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for TermState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Term {
    /// How the term before this one ended, where the registry's record tells: [`EndedHow::Released`](crate::EndedHow) is a
    /// clean end; after any other whatever the name protects may have been left half done. None: nobody knows, because
    /// there was no term before or the registry has kept nothing of it; [`EndedHow::Unknown`](crate::EndedHow) likewise,
    /// where a record tells it in a word that this version does not know.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.locked().body.ended.as_deref().cloned()
    }

    /// Whether the term may be relied on now, computed from the clock at the call, without I/O.
    #[must_use]
    pub fn state(&self) -> TermState {
        self.locked().at(self.door().now()).0
    }

    /// An error if the lease is not its handle's now, without I/O.
    ///
    /// # Errors
    /// How it was lost: [`Error::lost`] tells it apart, the kind is [`ErrorKind::Changed`], [`ErrorKind::Expired`],
    /// [`ErrorKind::Gone`] or [`ErrorKind::Foreign`]; [`ErrorKind::Unavailable`] where the term has not begun yet.
    pub fn check(&self) -> Result<()> {
        match self.state() {
            TermState::Held | TermState::AtRisk => Ok(()),
            TermState::Waiting => {
                let message = match self.begin() {
                    Some(_) => "the term has not begun yet: the replaced one is being waited out",
                    None => {
                        "the term has not begun: only whoever acquired it, or claims it, and renews it holds it"
                    }
                };
                Err(Error::new(ErrorKind::Unavailable, message).during("check", Some(self.name())))
            }
            TermState::Lost => Err(self.why()),
        }
    }

    /// Ends when the term has begun: at once but for that of a lease that was stolen, whose replaced term is waited out, or
    /// claimed. That of a lease which was only fetched never begins. Cancel-safe.
    ///
    /// # Errors
    /// How it was lost before.
    pub async fn begun(&self) -> Result<()> {
        match self.changed(TermState::Waiting).await {
            TermState::Lost => Err(self.why()),
            _ => Ok(()),
        }
    }

    /// Ends when the term is lost, with the reason: at its deadline at the latest, also where whatever renews it is dead
    /// or hangs. Cancel-safe.
    pub async fn lost(&self) -> Error {
        self.once(|state, now| match state.at(now) {
            (TermState::Lost, _) => Ok(()),
            _ => Err(state.deadline().unwrap_or(BootInstant::NEVER)),
        })
        .await;
        self.why()
    }

    /// Ends when the state is another than this one, with that. Cancel-safe.
    pub async fn changed(&self, from: TermState) -> TermState {
        self.once(|state, now| match state.at(now) {
            (same, until) if same == from => Err(until),
            (other, _) => Ok(other),
        })
        .await
    }

    /// Ends when the deadline is another than this one, because of a renewal or the term's end, with that. For whoever keeps a
    /// clock of their own. Cancel-safe.
    pub async fn deadline_changed(&self, from: Option<BootInstant>) -> Option<BootInstant> {
        self.once(|state, _| match state.deadline() {
            same if same == from => Err(BootInstant::NEVER),
            other => Ok(other),
        })
        .await
    }

    /// Ends a grace before the deadline ([`KeepAlive::grace`](crate::KeepAlive::grace)), when the term is lost, or when its
    /// owner wants the work to end ([`Election::lead_until`](crate::Election::lead_until), [`Manager::shutdown`](crate::Manager::shutdown)): time to stop. A renewal that succeeds meanwhile puts it off. Cancel-safe.
    pub async fn ending(&self) {
        self.once(|state, now| match (state.at(now).0, state.deadline()) {
            (TermState::Lost, _) => Ok(()),
            _ if state.winds_down() => Ok(()),
            (_, Some(deadline)) if deadline.since(now) <= state.grace() => Ok(()),
            (_, deadline) => Err(deadline.map_or(BootInstant::NEVER, |at| at.minus(state.grace()))),
        })
        .await;
    }

    /// [`Term::ending`], or so long at most: whether it is time to stop. For work that has to be done now and then.
    /// Cancel-safe.
    pub async fn ending_within(&self, limit: Duration) -> bool {
        let at = self.door().now().plus(limit);
        until(self.door(), at, self.ending()).await.is_some()
    }

    /// Ends when those at work are to end, whatever is left.
    pub(crate) async fn winding_down(&self) {
        self.once(|state, _| match state.winds_down() {
            true => Ok(()),
            false => Err(BootInstant::NEVER),
        })
        .await;
    }

    /// Ends when the work is not stalled, or the term is over.
    pub(crate) async fn progressed(&self) {
        self.once(|state, now| match state.stalled(now) {
            Some(_) if state.at(now).0 != TermState::Lost => {
                Err(state.deadline().unwrap_or(BootInstant::NEVER))
            }
            _ => Ok(()),
        })
        .await;
    }

    /// Ends when nobody has a view of it any more.
    pub(crate) async fn unused(&self) {
        self.once(|_, _| match self.is_viewed() {
            false => Ok(()),
            true => Err(BootInstant::NEVER),
        })
        .await;
    }

    /// What the look gives, which is taken anew whenever the term changes, and at the instant that it gives instead.
    async fn once<T>(&self, look: impl Fn(&State, BootInstant) -> Result<T, BootInstant>) -> T {
        loop {
            let mut changed = pin!(self.changes().notified());
            // From before the look, so that no change falls between.
            changed.as_mut().enable();
            let looked = look(&self.locked(), self.door().now());
            let at = match looked {
                Ok(ready) => return ready,
                Err(at) => at,
            };
            select(changed, self.door().sleep_until(at)).await;
        }
    }

    /// Why the term is over.
    pub(crate) fn why(&self) -> Error {
        let error = self.locked().why();
        error.during("keep alive", Some(self.name()))
    }
}
