//! Who leads, for threads.

use std::fmt;
use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select;
use tokio::sync::oneshot;

use super::held::Held;
use super::lock::unless;
use super::looks::Watch;
use super::manager::Shared;
use super::stop::Stop;
use super::term::Term;
use crate::{KeepAlive, Result, TakeOver};

/// An election: [`leasehold::Election`](crate::Election).
#[derive(Clone)]
#[must_use]
pub struct Election {
    election: crate::Election,
    shared: Shared,
}

/// The pause before the next campaign of a candidate whose work has outlived its term.
const PAUSE: Duration = Duration::from_millis(100);

impl Election {
    pub(crate) fn new(election: crate::Election, shared: Shared) -> Self {
        Self { election, shared }
    }

    fn with(self, change: impl FnOnce(crate::Election) -> crate::Election) -> Self {
        let election = change(self.election);
        Self { election, ..self }
    }

    /// See [`period`](crate::Election::period).
    pub fn period(self, period: Duration) -> Self {
        self.with(|election| election.period(period))
    }

    /// See [`machine_id`](crate::Election::machine_id).
    pub fn machine_id(self, id: impl Into<String>) -> Self {
        self.with(|election| election.machine_id(id))
    }

    /// See [`version`](crate::Election::version).
    pub fn version(self, version: i64) -> Self {
        self.with(|election| election.version(version))
    }

    /// See [`note`](crate::Election::note).
    pub fn note(self, note: impl Into<String>) -> Self {
        self.with(|election| election.note(note))
    }

    /// See [`data`](crate::Election::data).
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.with(|election| election.data(data))
    }

    /// See [`take_over`](crate::Election::take_over).
    pub fn take_over(self, policy: TakeOver) -> Self {
        self.with(|election| election.take_over(policy))
    }

    /// See [`delay`](crate::Election::delay).
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|election| election.delay(delay))
    }

    /// See [`keep_alive`](crate::Election::keep_alive).
    pub fn keep_alive(self, options: KeepAlive) -> Self {
        self.with(|election| election.keep_alive(options))
    }

    /// How long [`Election::lead_until`] keeps the lease of work that was told to stop; 10 s by default. Work that takes
    /// longer is not interrupted: its lease runs out.
    pub fn wind_down(self, limit: Duration) -> Self {
        self.with(|election| election.wind_down(limit))
    }

    /// See [`campaign`](crate::Election::campaign). [`Manager::shutdown`](super::Manager::shutdown) ends it, with an error;
    /// [`Election::campaign_until`] campaigns until it is told not to.
    ///
    /// # Errors
    /// As [`campaign`](crate::Election::campaign).
    pub fn campaign(&self) -> Result<Held> {
        let election = self.election.clone();
        let campaign = async move { election.campaign().await };
        let held = self.shared.thread.call(campaign)?;
        Ok(Held::new(held, self.shared.clone()))
    }

    /// Campaigns until elected, or told to stop, which leaves nothing behind; then there is none.
    ///
    /// # Errors
    /// As [`campaign`](crate::Election::campaign).
    pub fn campaign_until(&self, stop: &Stop) -> Result<Option<Held>> {
        let election = self.election.clone();
        let campaign = async move { election.campaign().await };
        let held = self.shared.thread.call(unless(stop.clone(), campaign))?;
        Ok(held.map(|held| Held::new(held, self.shared.clone())))
    }

    /// Campaigns, and does the work on this thread while leading; and again whenever the term was lost or the work has
    /// returned, until told to stop: [`lead_until`](crate::Election::lead_until).
    ///
    /// Unlike async work it is not dropped when the term is lost, or when it takes longer than [`Election::wind_down`] to
    /// stop: as with [`Held::run`] it goes on until it returns. Then its lease runs out, and the next campaign begins only
    /// after it has returned. The work has to ask [`Term::is_ending`], or wait by [`Term::ending_within`].
    ///
    /// If the work panics, so does this, and the lease is released as by [`Held::run`].
    ///
    /// # Errors
    /// As [`lead_until`](crate::Election::lead_until). A lost term is none.
    pub fn lead_until(&self, stop: &Stop, mut work: impl FnMut(Term)) -> Result<()> {
        let Shared { thread, clock } = &self.shared;
        let mut pause = PAUSE;
        loop {
            // Told when a term ends without its work: no campaign before that has returned.
            let outlived = Stop::new();
            let (begin, begun) = mpsc::channel();
            let round = {
                let (election, stop) = (self.election.clone(), stop.clone());
                let outlived = outlived.clone();
                async move {
                    let stopped = async {
                        select(pin!(stop.stopped()), pin!(outlived.stopped())).await;
                    };
                    let lead = |term| {
                        let (done, ended) = oneshot::channel::<()>();
                        _ = begin.send((term, done));
                        let watched = Watched::new(outlived.clone());
                        async move {
                            _ = ended.await;
                            watched.returned();
                        }
                    };
                    election.lead_until(stopped, lead).await
                }
            };
            let running = thread.begin(round)?;
            let (mut elected, mut period) = (clock.now(), Duration::ZERO);
            for (term, done) in begun {
                let term: crate::Term = term;
                (elected, period) = (clock.now(), term.left());
                // What was lost meanwhile is seen to by the other side.
                if term.is_current() {
                    work(Term::new(term, clock.clone()));
                }
                // Nobody waits for it where the term was lost.
                _ = done.send(());
            }
            running.wait()?;
            if !outlived.is_stopped() || stop.is_stopped() {
                return Ok(());
            }
            // The longer the shorter the terms are, as between terms that their work has not outlived.
            if clock.now().since(elected) > period {
                pause = PAUSE;
            }
            let rest = clock.after(pause);
            let rest = async move {
                rest.await;
                Ok(())
            };
            thread.call(unless(stop.clone(), rest))?;
            pause = (pause * 2).min(period.max(PAUSE));
        }
    }

    /// Whether this candidate leads now: see [`is_leader`](crate::Election::is_leader).
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.election.is_leader()
    }

    /// The last term that this candidate won: see [`term`](crate::Election::term).
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        let term = self.election.term()?;
        Some(Term::new(term, self.shared.clock.clone()))
    }

    /// Who leads, and every change of that: see [`observe`](crate::Election::observe).
    ///
    /// # Errors
    /// As [`observe`](crate::Election::observe).
    pub fn observe(&self) -> Result<Watch> {
        Ok(Watch::new(self.election.observe()?, self.shared.clone()))
    }
}

/// Tells if it is dropped before the work has returned.
struct Watched {
    outlived: Stop,
    has_returned: bool,
}

impl Watched {
    fn new(outlived: Stop) -> Self {
        Self {
            outlived,
            has_returned: false,
        }
    }

    fn returned(mut self) {
        self.has_returned = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.has_returned {
            self.outlived.stop();
        }
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.election, f)
    }
}
