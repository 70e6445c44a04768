//! Who leads.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};

use crate::belief::Term;
use crate::door::DoorExt;
use crate::error::Result;
use crate::keep_alive::{Held, KeepAlive};
use crate::lock::Lock;
use crate::manager::Manager;
use crate::mutants::{Mutant, mutant};
use crate::sync::Mutex;
use crate::take_over::TakeOver;
use crate::tenure::TermState;
use crate::watch::Watch;

/// An election: of many candidates one leads, for as long as it holds the lease of a name. Made by
/// [`Manager::election`].
///
/// [`Election::lead_until`] is all that a service needs: it campaigns, leads, loses, and campaigns again.
/// [`Election::campaign`], [`Held::release`] (to resign) and [`Election::observe`] are its parts.
#[derive(Clone)]
#[must_use]
pub struct Election {
    lock: Lock,
    wind_down: Duration,
    /// The term of the last campaign that this election, or a clone of it, has won.
    won: Arc<Mutex<Option<Term>>>,
}

/// How long the work may take to end after it was told to.
const WIND_DOWN: Duration = Duration::from_secs(10);
/// The least pause between two terms of one candidate.
const PAUSE: Duration = Duration::from_millis(100);

impl Election {
    pub(crate) fn new(manager: Manager, name: &str) -> Self {
        Self {
            lock: Lock::new(manager, name),
            wind_down: WIND_DOWN,
            won: Arc::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(Lock) -> Lock) -> Self {
        self.lock = change(self.lock);
        self
    }

    /// The period of the leader's lease; 15 s by default. A crashed leader is missed for that long, at most.
    pub fn period(self, period: Duration) -> Self {
        self.with(|lock| lock.period(period))
    }

    /// The candidate's machine id; the manager's own without this.
    pub fn machine_id(self, id: impl Into<String>) -> Self {
        self.with(|lock| lock.machine_id(id))
    }

    /// The candidate's version of itself: see [`Election::take_over`].
    pub fn version(self, version: i64) -> Self {
        self.with(|lock| lock.version(version))
    }

    /// A sentence for people who look at the lease, at most 1 KiB.
    pub fn note(self, note: impl Into<String>) -> Self {
        self.with(|lock| lock.note(note))
    }

    /// What everybody may know of the leader, its address, say; at most 64 KiB.
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.with(|lock| lock.data(data))
    }

    /// Whether the lease is taken from a leader of another version; never by default.
    pub fn take_over(self, policy: TakeOver) -> Self {
        self.with(|lock| lock.take_over(policy))
    }

    /// How much longer than its period the lease keeps the name taken, after a term whose end was not clean:
    /// [`Request::delay`](crate::Request::delay).
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|lock| lock.delay(delay))
    }

    /// How the lease is kept alive while it is led.
    pub fn keep_alive(self, options: KeepAlive) -> Self {
        self.with(|lock| lock.keep_alive(options))
    }

    /// How long [`Election::lead_until`] gives the work to end when it is told to stop, before it is dropped; 10 s by
    /// default. The lease is kept alive meanwhile.
    pub fn wind_down(mut self, limit: Duration) -> Self {
        self.wind_down = limit;
        self
    }

    /// Campaigns until elected. Resign by [`Held::release`].
    ///
    /// Where the lease was taken from a leader of another version, its term begins later: warm up meanwhile, and act from
    /// [`Term::begun`] on; [`Held::run`] waits for it.
    ///
    /// Cancel-safe: a dropped call leaves nothing behind.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn campaign(&self) -> Result<Held> {
        let held = self.lock.acquire().await?;
        *self.won() = Some(held.own_term().clone());
        Ok(held)
    }

    /// Campaigns, and does the work while leading; and again whenever the term was lost or the work has ended, after a
    /// pause that is the longer the shorter the terms are; until told to stop.
    ///
    /// The work is run as by [`Held::run`]: from the term's begin on, told a grace before its deadline
    /// ([`Term::ending`]), dropped at the deadline. When `shutdown` ends it is told the same way, and dropped if it takes
    /// longer than [`Election::wind_down`]; then the lease is released, and another candidate leads at once. So it is when
    /// the manager is shut down ([`Manager::shutdown`]).
    ///
    /// Dropping the call drops the work, and releases the lease in the background.
    ///
    /// # Errors
    /// As [`Lock::acquire`]: what no further campaign can mend. A lost term is none.
    pub async fn lead_until<F>(
        &self,
        shutdown: impl Future<Output = ()>,
        mut work: impl FnMut(Term) -> F,
    ) -> Result<()>
    where
        F: Future<Output = ()>,
    {
        let door = self.lock.manager().door().clone();
        let mut shutdown = pin!(shutdown);
        let mut pause = PAUSE;
        loop {
            let held = match select(shutdown.as_mut(), pin!(self.campaign())).await {
                Either::Left(_) => return Ok(()),
                Either::Right((Err(_), _)) if self.lock.manager().core.phase.is_closing() => {
                    return Ok(());
                }
                Either::Right((held, _)) => held?,
            };
            let (term, period) = (held.own_term().clone(), held.own_term().period());
            let elected = door.now();
            let stop = async {
                select(shutdown.as_mut(), pin!(term.winding_down())).await;
                term.wind_down();
                // Nobody is at work yet.
                if term.state() == TermState::Waiting {
                    return;
                }
                door.sleep(self.wind_down).await;
            };
            let led = held.run_until(stop, &mut work).await;
            if mutant(Mutant::LeadershipIsAFlag) {
                self.won().take();
            }
            if term.winds_down() {
                return Ok(());
            }
            if let Err(error) = led {
                tracing::info!(name = %term.name(), %error, "leads no more, campaigns again");
                if mutant(Mutant::ElectorIsOneShot) {
                    return Ok(());
                }
            }
            if door.now().since(elected) > period {
                pause = PAUSE;
            }
            let rest = door.sleep(pause.mul_f64(0.5 + door.chance()));
            pause = (pause * 2).min(period.max(PAUSE));
            if let Either::Left(_) = select(shutdown.as_mut(), rest).await {
                return Ok(());
            }
        }
    }

    /// Whether this candidate leads now, by its clock at the call: [`Term::is_current`] of the last term that it won.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        if mutant(Mutant::NotLeadingAtSecondTick) {
            return self.won().take().is_some_and(|term| term.is_current());
        }
        if mutant(Mutant::LeadershipIsAFlag) {
            return self.won().is_some();
        }
        self.won().as_ref().is_some_and(Term::is_current)
    }

    /// The last term that this candidate won, if it has won any; it may be over.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.won().as_ref().map(Term::view)
    }

    /// Who leads, whoever that is, with its data; and every change of that.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a bad name.
    pub fn observe(&self) -> Result<Watch> {
        self.lock.manager().watch(self.lock.name())
    }

    fn won(&self) -> crate::sync::MutexGuard<'_, Option<Term>> {
        self.won.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("name", &self.lock.name())
            .field("is_leader", &self.is_leader())
            .finish_non_exhaustive()
    }
}
