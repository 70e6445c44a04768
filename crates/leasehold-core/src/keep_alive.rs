//! Keeping a lease alive in the background.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Mutex, watch};

use crate::belief::{Standing, Term};
use crate::door::{Door, DoorExt, Driven};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::manager::{Core, Manager};
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::time::BootInstant;

/// How a lease is kept alive.
#[derive(Clone, Debug, Default)]
pub struct KeepAlive {
    period: Option<Duration>,
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
}

/// A lease that is kept alive in the background.
///
/// The loss of the lease is signalled by [`Held::lost`], at its deadline at the latest, at once when the registry says
/// so. Losing the registry alone loses nothing before the deadline: renewals are tried again.
///
/// Dropping the guard stops the renewals and releases the lease in the background, unless other views of the term
/// ([`Held::term`]) are still alive: whoever holds one may still be at work, so the lease then runs out by itself.
#[must_use = "dropping the guard gives the lease back"]
pub struct Held {
    term: Term,
    door: Arc<dyn Door>,
    lease: Arc<Mutex<Option<Lease>>>,
    control: watch::Sender<Control>,
    loss: watch::Receiver<Option<Arc<Error>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Control {
    Renew,
    /// The lease is wanted back by its guard.
    Stop,
    /// The guard is gone.
    Dropped,
}

impl Held {
    pub(crate) fn new(lease: Lease, options: KeepAlive) -> Self {
        let term = lease.term.clone();
        let door = lease.core.door.clone();
        let period = options.period.unwrap_or_else(|| lease.period());
        let lease = Arc::new(Mutex::new(Some(lease)));
        let (control, controlled) = watch::channel(Control::Renew);
        let (lost, loss) = watch::channel(None);
        let keeper = Keeper {
            term: term.clone(),
            door: door.clone(),
            period,
            control: controlled,
        };
        door.spawn(Box::pin(keeper.run(lease.clone(), lost)));
        Self {
            term,
            door,
            lease,
            control,
            loss,
        }
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

    /// Whether the lease is ours now, without I/O: see [`Term::is_current`].
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.term.is_current()
    }

    /// An error if the lease is not ours now, without I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`], [`ErrorKind::Expired`] or [`ErrorKind::Gone`]: how it was lost;
    /// [`ErrorKind::Unavailable`] where a thief's term has not begun yet.
    pub fn check(&self) -> Result<()> {
        if self.term.is_current() {
            return Ok(());
        }
        Err(match &*self.loss.borrow() {
            Some(error) => error.duplicate(),
            None if self.term.is_over() => expired(&self.term),
            None => Error::new(
                ErrorKind::Unavailable,
                "the term has not begun yet: the replaced one is being waited out",
            ),
        })
    }

    /// Ends when the lease is lost, with the reason: at its deadline at the latest, also where the renewing task was
    /// killed with its runtime. Cancel-safe.
    pub async fn lost(&self) -> Error {
        let mut loss = self.loss.clone();
        loop {
            if let Some(error) = &*loss.borrow_and_update() {
                return error.duplicate();
            }
            if self.term.is_over() {
                return expired(&self.term);
            }
            let deadline = self.term.deadline().unwrap_or(BootInstant::NEVER);
            let timer = self.door.sleep_until(deadline);
            let changed = std::pin::pin!(loss.changed());
            // The renewing task is gone without a word: only the deadline is left.
            if let Either::Left((Err(_), timer)) = select(changed, timer).await {
                timer.await;
            }
        }
    }

    /// Stops the renewals and releases the lease: see [`Lease::release`].
    ///
    /// Cancel-safe: a dropped call goes on in the background.
    ///
    /// # Errors
    /// As [`Lease::release`], and how the lease was lost if it was.
    pub async fn release(self) -> Result<()> {
        _ = self.control.send(Control::Stop);
        let (lease, loss, term) = (self.lease.clone(), self.loss.clone(), self.term.clone());
        Driven::new(&self.door, move |_| async move {
            // The renewing task gives the lease up at once: its calls are cancel-safe.
            let lease = lease.lock().await.take();
            match lease {
                Some(lease) => lease.release().await,
                None => Err(match &*loss.borrow() {
                    Some(error) => error.duplicate(),
                    None => expired(&term),
                }),
            }
        })
        .await
    }

    /// Stops the renewals and gives the lease back as it is.
    ///
    /// Cancel-safe: a dropped call releases the lease in the background, as dropping the guard does.
    ///
    /// # Errors
    /// How the lease was lost, if it was.
    pub async fn into_lease(self) -> Result<Lease> {
        _ = self.control.send(Control::Stop);
        let (lease, loss, term) = (self.lease.clone(), self.loss.clone(), self.term.clone());
        Driven::new(&self.door, move |abandoned| async move {
            let lease = lease.lock().await.take();
            if abandoned.is_set() {
                dropped(lease).await;
                return Err(expired(&term));
            }
            lease.ok_or_else(|| match &*loss.borrow() {
                Some(error) => error.duplicate(),
                None => expired(&term),
            })
        })
        .await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.control.send_if_modified(|control| {
            let renewing = *control == Control::Renew;
            if renewing {
                *control = Control::Dropped;
            }
            renewing
        });
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}

fn expired(term: &Term) -> Error {
    Error::new(
        ErrorKind::Expired,
        "its deadline has passed without a successful renewal",
    )
    .during("keep alive", Some(term.name()))
}

struct Keeper {
    term: Term,
    door: Arc<dyn Door>,
    period: Duration,
    control: watch::Receiver<Control>,
}

impl Keeper {
    async fn run(
        mut self,
        lease: Arc<Mutex<Option<Lease>>>,
        lost: watch::Sender<Option<Arc<Error>>>,
    ) {
        let mut held = lease.lock().await;
        let Some(lease) = held.as_mut() else { return };
        let core = lease.core.clone();
        let mut failures = 0;
        let mut last_error: Option<Error> = None;
        let mut renewed = self.asked(lease);
        let mut earliest = BootInstant::ZERO;
        let loss = loop {
            let deadline = self.term.deadline().unwrap_or(BootInstant::NEVER);
            // Until the last moment that counts: what is left is halved rather than given up. So is what a large margin
            // leaves of the period.
            let half = deadline.since(renewed) / 2;
            let pause = self.pause(failures).min(half.max(Duration::from_millis(1)));
            let wake = renewed.plus(pause).max(earliest);
            if self
                .stopped_before(self.door.clone().sleep_until(wake.min(deadline)))
                .await
                .is_none()
            {
                break None;
            }
            if self.term.is_over() {
                break Some(match last_error.take() {
                    Some(error) => Error::new(
                        ErrorKind::Expired,
                        format!("it could not be renewed before its deadline: {error}"),
                    )
                    .with_source(error)
                    .during("keep alive", Some(self.term.name())),
                    None => expired(&self.term),
                });
            }
            let period = self.period;
            let Some(result) = self.stopped_before(lease.renew(period)).await else {
                break None;
            };
            renewed = self.door.now();
            match result {
                Ok(()) => {
                    failures = 0;
                    // Soon where it was known late, but never without a pause.
                    let half = self.term.left() / 2;
                    let pause = (self.period / 40).min(half);
                    earliest = renewed.plus(pause.max(Duration::from_millis(1)));
                    renewed = self.asked(lease);
                }
                Err(error) if is_final(&error) => break Some(error),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(name = %self.term.name(), %error, failures, "renewal failed, trying again");
                    last_error = Some(error);
                }
            }
        };
        match loss {
            Some(error) => {
                self.term.end();
                tracing::warn!(name = %self.term.name(), %error, "lease lost");
                *held = None;
                if !mutant(Mutant::LossSignalIsAStub) {
                    _ = lost.send(Some(Arc::new(error)));
                }
                return;
            }
            None if *self.control.borrow() == Control::Dropped => dropped(held.take()).await,
            // The guard takes the lease out of its place.
            None => {}
        }
        if mutant(Mutant::KeepAliveAfterRelease) {
            drop(held);
            outlive(core, &self.term, self.period).await;
        }
    }

    /// When the present grant was asked for, which may be long before it was known. A claim has none: it is current
    /// only after its own renewal.
    fn asked(&self, lease: &Lease) -> BootInstant {
        let Some(deadline) = self.term.deadline() else {
            return match self.term.state().standing {
                Standing::Claim => BootInstant::ZERO,
                Standing::Handle | Standing::Proxy => self.door.now(),
            };
        };
        let period = lease.period();
        let margin = lease.core.capabilities.margin(period);
        let asked = deadline.plus(margin).minus(period);
        asked.min(self.door.now())
    }

    /// A third of the period with a tenth of jitter; after failures sooner, backing off to that.
    fn pause(&self, failures: u32) -> Duration {
        // The grant that is running out may be shorter than the one to be asked for.
        let period = self.period.min(self.term.state().period);
        let third = period / 3;
        let pause = match failures {
            0 => third,
            n => (period / 40)
                .max(Duration::from_millis(1))
                .saturating_mul(1 << n.min(6))
                .min(third),
        };
        pause.mul_f64(0.9 + 0.1 * self.door.chance())
    }

    /// The future's output, or none if the guard wants the lease back or is gone.
    async fn stopped_before<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let stop = std::pin::pin!(self.control.wait_for(|control| *control != Control::Renew));
        match select(stop, std::pin::pin!(future)).await {
            Either::Left(_) => None,
            Either::Right((output, _)) => Some(output),
        }
    }
}

/// Whether no further renewal can succeed.
fn is_final(error: &Error) -> bool {
    if mutant(Mutant::FirstFailureEndsKeepAlive) {
        return true;
    }
    error.is_lost() || error.kind() == ErrorKind::Foreign
}

/// The mutant's last renewal: after the release, and a renewal that creates what it does not find.
async fn outlive(core: Arc<Core>, term: &Term, period: Duration) {
    core.door.sleep(period / 3).await;
    let manager = Manager { core };
    let renewal = manager.acquire_lease(term.name(), term.machine_id(), 0, period);
    drop(renewal.await);
}

/// The guard is gone: its lease is given back, unless it is still in use.
async fn dropped(lease: Option<Lease>) {
    let Some(lease) = lease else { return };
    // Somebody may still be at work under this term.
    if lease.term.is_viewed() {
        tracing::warn!(name = %lease.name(), "guard dropped while its term is in use: the lease runs out by itself");
        return;
    }
    let name = lease.name().clone();
    if let Err(error) = lease.release().await {
        tracing::warn!(%name, %error, "release after drop failed");
    }
}
