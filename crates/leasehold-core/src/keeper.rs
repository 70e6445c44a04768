//! The task that renews a lease which is kept alive.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::belief::{Standing, Term};
use crate::door::{Door, DoorExt};
use crate::error::{Error, ErrorKind, Result};
use crate::keep_alive::KeepAlive;
use crate::lease::Lease;
use crate::manager::{Core, Manager};
use crate::mutants::{Mutant, mutant};
use crate::request::Changes;
use crate::time::BootInstant;

/// What the guard wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Control {
    Renew,
    /// The lease is wanted back by its guard.
    Stop,
    /// The guard is gone.
    Dropped,
}

/// A renewal that was asked for.
pub(crate) struct Order {
    pub(crate) period: Duration,
    pub(crate) changes: Changes,
    pub(crate) answer: oneshot::Sender<Result<()>>,
}

pub(crate) struct Keeper {
    term: Term,
    door: Arc<dyn Door>,
    period: Duration,
    control: watch::Receiver<Control>,
    orders: mpsc::Receiver<Order>,
}

impl Keeper {
    pub(crate) fn new(
        lease: &Lease,
        options: &KeepAlive,
        control: watch::Receiver<Control>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let (term, door) = (lease.term.clone(), lease.core.door.clone());
        let period = options.period.unwrap_or_else(|| lease.period());
        term.kept(options, period);
        Self {
            term,
            door,
            period,
            control,
            orders,
        }
    }

    pub(crate) async fn run(mut self, lease: Arc<Mutex<Option<Lease>>>) {
        let mut held = lease.lock().await;
        let Some(lease) = held.as_mut() else { return };
        let core = lease.core.clone();
        let lost = self.keep(lease).await;
        self.orders.close();
        if let Some(error) = lost {
            tracing::warn!(name = %self.term.name(), %error, "lease lost");
            let given_up = error.lost().is_some_and(|lost| lost.is_given_up());
            self.term.end(error);
            if !given_up {
                *held = None;
                return;
            }
            // It is still ours in the registry: it goes when its guard does.
            let stopped = self.control.wait_for(|control| *control != Control::Renew);
            drop(stopped.await);
        }
        // Else the guard takes the lease out of its place.
        if *self.control.borrow() == Control::Dropped {
            dropped(held.take()).await;
        }
        if mutant(Mutant::KeepAliveAfterRelease) {
            drop(held);
            outlive(core, &self.term, self.period).await;
        }
    }

    /// Renews until the lease is lost, with the reason; none: the guard wants it back or is gone.
    async fn keep(&mut self, lease: &mut Lease) -> Option<Error> {
        let mut failures = 0;
        let mut renewed = self.asked(lease);
        let mut earliest = BootInstant::ZERO;
        let mut control = self.control.clone();
        loop {
            let deadline = self.term.deadline().unwrap_or(BootInstant::NEVER);
            // Until the last moment that counts: what is left is halved rather than given up. So is what a large margin
            // leaves of the period.
            let half = deadline.since(renewed) / 2;
            let pause = self.pause(failures).min(half.max(Duration::from_millis(1)));
            let wake = match self.term.locked().granted() {
                (_, true) => deadline,
                _ => renewed.plus(pause).max(earliest).min(deadline),
            };
            let order = stopped_before(&mut control, self.woken(wake)).await?;
            if self.term.is_over() {
                return Some(self.term.why());
            }
            let (period, changes, answer) = match order {
                Some(order) => (order.period, order.changes, Some(order.answer)),
                None => (self.period, Changes::none(), None),
            };
            let result =
                stopped_before(&mut control, lease.renew_with(period, changes.clone())).await?;
            renewed = self.door.now();
            if result.is_ok() {
                self.period = period;
                failures = 0;
                // Soon where it was known late, but never without a pause.
                let half = self.term.left() / 2;
                let pause = (self.period / 40).min(half);
                earliest = renewed.plus(pause.max(Duration::from_millis(1)));
                renewed = self.asked(lease);
            }
            let told = result.as_ref().copied().map_err(Error::duplicate);
            if let Some(answer) = answer {
                _ = answer.send(told);
            }
            match result {
                Ok(()) => {}
                Err(error) if is_final(&error) => return Some(error),
                // It was refused for what was asked for.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                Err(error) => {
                    failures += 1;
                    tracing::warn!(name = %self.term.name(), %error, failures, "renewal failed, trying again");
                }
            }
        }
    }

    /// The next renewal is due, at this instant at the latest if the work makes progress; or is asked for.
    async fn woken(&mut self, at: BootInstant) -> Option<Order> {
        let due = async {
            self.door.sleep_until(at).await;
            self.term.progressed().await;
        };
        match select(pin!(self.orders.recv()), pin!(due)).await {
            Either::Left((Some(order), _)) => Some(order),
            Either::Left((None, due)) => {
                due.await;
                None
            }
            Either::Right(_) => None,
        }
    }

    /// When the present grant was asked for, which may be long before it was known. A claim has none: it is current
    /// only after its own renewal.
    fn asked(&self, lease: &Lease) -> BootInstant {
        if self.term.deadline().is_none() {
            return match self.term.locked().standing {
                Standing::Claim => BootInstant::ZERO,
                Standing::Handle | Standing::Proxy => self.door.now(),
            };
        }
        let (until, _) = self.term.locked().granted();
        let period = lease.period();
        let margin = lease.core.capabilities.margin(period);
        let asked = until.plus(margin).minus(period);
        asked.min(self.door.now())
    }

    /// A third of the period with a tenth of jitter; after failures sooner, backing off to that.
    fn pause(&self, failures: u32) -> Duration {
        // The grant that is running out may be shorter than the one to be asked for.
        let period = self.period.min(self.term.locked().period);
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
}

/// The future's output, or none if the guard wants the lease back or is gone.
async fn stopped_before<T>(
    control: &mut watch::Receiver<Control>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let stop = pin!(control.wait_for(|control| *control != Control::Renew));
    match select(stop, pin!(future)).await {
        Either::Left(_) => None,
        Either::Right((output, _)) => Some(output),
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
pub(crate) async fn dropped(lease: Option<Lease>) {
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
