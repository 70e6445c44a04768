//! Keeping a lease alive in the background.

use std::fmt;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tracing::Instrument;

use crate::belief::Term;
use crate::door::Driven;
use crate::error::{Error, ErrorKind, Result};
use crate::keeper::Keeper;
use crate::lease::Lease;
use crate::lost::Lost;
use crate::manager::Core;
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::record::Ended;
use crate::request::Changes;
use crate::tenure::TermState;
use crate::time::BootInstant;

/// How a lease is kept alive.
#[derive(Clone, Debug, Default)]
pub struct KeepAlive {
    pub(crate) period: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) progress_within: Option<Duration>,
}

impl KeepAlive {
    /// Renews at a third of the lease's own period, with jitter, or at half of what the margin leaves of it where that is
    /// sooner; retries until the deadline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Renews to another period than the lease was granted with.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = Some(period);
        self
    }

    /// How long before the deadline [`Term::ending`] tells those at work to stop; a tenth of the period without this.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Gives the lease up after so long, whatever its work is at: belief ends then, as at any deadline.
    #[must_use]
    pub fn max_hold(mut self, limit: Duration) -> Self {
        self.max_hold = Some(limit);
        self
    }

    /// Renews only while the work reports progress ([`Term::progress`]) at least this often: a lease whose work is stuck
    /// runs out. Taking it up is progress, too.
    #[must_use]
    pub fn progress_within(mut self, limit: Duration) -> Self {
        self.progress_within = Some(limit);
        self
    }
}

/// A lease that is kept alive in the background.
///
/// The loss of the lease is signalled by [`Held::lost`], at its deadline at the latest, at once when the registry says
/// so. Losing the registry alone loses nothing before the deadline: renewals are tried again.
///
/// Dropping the guard stops the renewals and releases the lease in the background, unless other views of the term
/// ([`Held::term`]) are still alive: whoever holds one may still be at work, so the lease then runs out by itself. That of a
/// lease which was only fetched breaks its lessee's term, as its release does.
#[must_use = "dropping the guard gives the lease back"]
pub struct Held {
    term: Term,
    core: Arc<Core>,
    /// Among those that are kept, until it is given back.
    number: Option<NonZeroU64>,
}

impl Held {
    pub(crate) fn new(lease: Lease, options: &KeepAlive) -> Self {
        let Lease { core, term, .. } = lease;
        let number = Some(Keeper::keep(&core, &term, options));
        Self { term, core, number }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        self.term.name()
    }

    /// The fencing token: see [`Term::fence`].
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.term.fence()
    }

    /// Until when the lease is ours unless renewed: see [`Term::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Option<BootInstant> {
        self.term.deadline()
    }

    /// A view of the term for other tasks. While one lives, dropping the guard does not release the lease.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term.view()
    }

    /// How the previous term ended: see [`Term::ended`].
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.term.ended()
    }

    /// Whether the lease is ours now, without I/O: see [`Term::is_current`].
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.term.is_current()
    }

    /// Whether those at work under the lease may rely on it: see [`Term::state`].
    #[must_use]
    pub fn state(&self) -> TermState {
        self.term.state()
    }

    /// An error if the lease is not ours now, without I/O: see [`Term::check`].
    ///
    /// # Errors
    /// As [`Term::check`].
    pub fn check(&self) -> Result<()> {
        self.term.check()
    }

    /// Ends when the lease is lost, with the reason: see [`Term::lost`].
    pub async fn lost(&self) -> Error {
        self.term.lost().await
    }

    /// Renews now, and from now on, to this period: see [`Lease::renew`].
    ///
    /// Cancel-safe: a dropped call goes on in the background.
    ///
    /// # Errors
    /// As [`Lease::renew`]; the period of before is kept then.
    pub async fn renew(&self, period: Duration) -> Result<()> {
        self.renew_with(period, Changes::none()).await
    }

    /// [`Held::renew`] with a new note or data.
    ///
    /// # Errors
    /// As [`Held::renew`].
    pub async fn renew_with(&self, period: Duration, changes: Changes) -> Result<()> {
        let (core, term, number) = (self.core.clone(), self.term.clone(), self.number);
        Driven::new(&self.core.door, move |_| async move {
            core.clone().renew(&term, period, changes).await?;
            if let Some(number) = number {
                Keeper::renewed(&core, &term, number, period);
            }
            Ok(())
        })
        .await
    }

    /// The term, in a view that does not count as one.
    pub(crate) fn own_term(&self) -> &Term {
        &self.term
    }

    /// Does some work under the lease, from its begin on, and releases it when the work has ended: when its future has, and
    /// whoever was given a clone of its term is done with that.
    ///
    /// The work is told a grace before the deadline that it has to stop ([`Term::ending`]), and is dropped when the lease is
    /// lost, at its deadline at the latest, wherever it awaits something. What it has spawned is not dropped: that has to
    /// watch its own clone of the term. Work that blocks its thread is not interrupted: it has to ask
    /// [`Term::check`], and hand on the fence.
    ///
    /// What the work logs by `tracing` is in a span `term`, with the lease's name and fence.
    ///
    /// Dropping the call drops the work, and the guard after it.
    ///
    /// # Errors
    /// How the lease was lost; then the work was dropped. Where only the release failed, the work's own result counts, and
    /// the lease runs out.
    pub async fn run<T, F: Future<Output = T>>(self, work: impl FnOnce(Term) -> F) -> Result<T> {
        let done = self.run_until(std::future::pending(), work).await?;
        // Nothing stops it.
        done.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the work was stopped"))
    }

    /// The same, where the work is dropped too when `stop` ends: then there is no result.
    pub(crate) async fn run_until<T, F: Future<Output = T>>(
        self,
        stop: impl Future<Output = ()>,
        work: impl FnOnce(Term) -> F,
    ) -> Result<Option<T>> {
        let term = self.term.clone();
        let mut ended = pin!(async {
            let lost = async {
                if mutant(Mutant::WorkOutlivesItsLease) {
                    std::future::pending::<()>().await;
                }
                term.lost().await
            };
            match select(pin!(lost), pin!(stop)).await {
                Either::Left((lost, _)) => Some(lost),
                Either::Right(_) => None,
            }
        });
        let done = {
            let work = async {
                // Where it fails the term is lost, which is seen to above.
                if !mutant(Mutant::ActsBeforeItsBegin) && term.begun().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let span = tracing::info_span!("term", name = %term.name(), fence = term.fence());
                let work = span.in_scope(|| work(term.view()));
                work.instrument(span).await
            };
            match select(ended.as_mut(), pin!(work)).await {
                Either::Left((Some(lost), _)) => Err(lost),
                Either::Left((None, _)) => Ok(None),
                Either::Right((done, _)) => Ok(Some(done)),
            }
        };
        if let Ok(Some(_)) = done {
            // Those that the work has handed its term to.
            select(pin!(term.unused()), ended).await;
        }
        let lost = done.as_ref().err().and_then(Error::lost);
        let is_ours = lost.is_none_or(Lost::is_given_up);
        if is_ours && !self.term.is_viewed() {
            let name = self.name().clone();
            if let Err(error) = self.release().await {
                tracing::warn!(%name, %error, "release after the work failed: the lease runs out by itself");
            }
        }
        done
    }

    /// Stops the renewals and releases the lease: see [`Lease::release`].
    ///
    /// Cancel-safe: a dropped call goes on in the background.
    ///
    /// # Errors
    /// As [`Lease::release`], and how the lease was lost if it was.
    pub async fn release(mut self) -> Result<()> {
        // In this order: a shutdown waits for one or the other.
        let begun = self.core.begin();
        self.stopped()?;
        let begun = begun.map_err(|error| error.during("release", Some(self.name())))?;
        self.core.clone().release(&self.term, begun).await
    }

    /// Stops the renewals and gives the lease back as it is.
    ///
    /// # Errors
    /// How the lease was lost, if it was.
    pub fn into_lease(mut self) -> Result<Lease> {
        self.stopped()?;
        Ok(Lease::kept(self.core.clone(), self.term.clone()))
    }

    /// It is kept alive no more. An error if it is not ours any more in the registry either.
    fn stopped(&mut self) -> Result<()> {
        // Another thread of the parent may have locked what is asked next, for ever.
        self.core.own_process()?;
        let Some(number) = self.number.take() else {
            return Err(self.term.why());
        };
        Keeper::stop(&self.core, &self.term, number);
        if self.term.is_over() {
            let why = self.term.why();
            if !why.lost().is_some_and(Lost::is_given_up) {
                return Err(why);
            }
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let begun = self.core.begin();
        if self.stopped().is_err() {
            return;
        }
        let name = self.term.name();
        // Somebody may still be at work under this term.
        if self.term.is_viewed() {
            tracing::warn!(%name, "guard dropped while its term is in use: the lease runs out by itself");
            return;
        }
        if mutant(Mutant::DroppedGuardIsForgottenByShutdown) {
            drop(begun);
            let (core, term) = (self.core.clone(), self.term.clone());
            self.core.door.spawn(Box::pin(async move {
                if let Ok(begun) = core.begin() {
                    core.depart(term, begun);
                }
            }));
            return;
        }
        match begun {
            Ok(begun) => self.core.depart(self.term.clone(), begun),
            Err(error) => {
                tracing::warn!(%name, %error, "guard dropped: the lease runs out by itself");
            }
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(leasehold_shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::time::SystemTime;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::door::Door;
    use crate::manager::Manager;
    use crate::memory::MemoryStore;
    use crate::real::RealDoor;

    /// The real door, of a process that can become another one.
    #[derive(Debug)]
    struct Forks(Arc<RealDoor>, AtomicU32);

    impl Door for Forks {
        fn now(&self) -> BootInstant {
            self.0.now()
        }

        fn wall(&self) -> SystemTime {
            self.0.wall()
        }

        fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()> {
            self.0.sleep_until(at)
        }

        fn spawn(&self, task: BoxFuture<'static, ()>) {
            self.0.spawn(task);
        }

        fn random(&self, buffer: &mut [u8]) {
            self.0.random(buffer);
        }

        fn process(&self) -> u32 {
            self.1.load(Ordering::SeqCst)
        }
    }

    /// What another thread of the parent had locked stays locked in a forked child for ever: a guard that is dropped or
    /// released there waits for nothing.
    #[test]
    fn a_guard_in_a_forked_child_waits_for_no_lock() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let forks = Forks(RealDoor::on(runtime.handle().clone()), AtomicU32::new(1));
        let forks = Arc::new(forks);
        let store = Arc::new(MemoryStore::new(forks.clone()));
        let manager = Manager::builder(store, forks.clone()).build().unwrap();
        let take = |name| {
            let taken = manager.acquire_lease(name, "m", 0, Duration::from_secs(60));
            let lease = runtime.block_on(taken).unwrap().unwrap();
            lease.keep_alive(KeepAlive::new())
        };
        let (dropped, released, taken) = (take("a"), take("b"), take("c"));
        forks.1.store(2, Ordering::SeqCst);
        let (done, told) = mpsc::channel();
        let locked = manager.core.keeper.locked();
        let child = std::thread::spawn(move || {
            drop(dropped);
            let released = futures_util::FutureExt::now_or_never(released.release());
            _ = done.send((released, taken.into_lease().map(drop)));
        });
        let (released, taken) = told.recv_timeout(Duration::from_secs(20)).unwrap();
        drop(locked);
        child.join().unwrap();
        let released = released.unwrap();
        assert_eq!(released.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(manager.core.keeper.count(), 3, "nothing has happened");
    }
}
