//! How long what lasts: what follows from a period and what a store declares, before anything is held.

use std::time::Duration;

use crate::capabilities::{Capabilities, Delivery, Drift};
use crate::error::{Error, ErrorKind, Result};
use crate::status::human;

/// What is set beside the period, and what is known of the way to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TimingSettings {
    grace: Option<Duration>,
    delay: Duration,
    round_trip: Duration,
    timeout: Duration,
}

impl Default for TimingSettings {
    fn default() -> Self {
        Self {
            grace: None,
            delay: Duration::ZERO,
            round_trip: Duration::ZERO,
            timeout: TIMEOUT,
        }
    }
}

impl TimingSettings {
    /// What core does by itself, on a registry that answers in no time.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long before the deadline the work is told to stop: see [`KeepAlive::grace`](crate::KeepAlive::grace).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// How long a successor waits on purpose after a term that did not end clean.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How long a request takes that is answered.
    pub fn round_trip(mut self, length: Duration) -> Self {
        self.round_trip = length;
        self
    }

    /// The manager's time-out: see [`Builder::timeout`](crate::Builder::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// What a period comes to on a store: what it tolerates, how long a take-over lasts, what it costs.
///
/// Its figures come from the code that keeps leases, and are bounds: tolerated is at least so much, a take-over lasts at
/// most so long, while the store's declared assumptions hold. Paused processes are beside the point: they lose their
/// leases by their own clocks.
///
/// ```
/// use std::time::Duration;
/// use leasehold_core::{Capabilities, Timing, TimingSettings};
///
/// let timing = Timing::new(Duration::from_secs(15), &Capabilities::local(), TimingSettings::new())?;
/// assert_eq!(timing.renewal(), Duration::from_secs(5));
/// assert_eq!(timing.tolerated_outage(), Duration::from_millis(9_998));
/// assert_eq!(timing.takeover_after_crash(), Duration::from_secs(15));
/// # Ok::<(), leasehold_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    period: Duration,
    margin: Duration,
    grace: Duration,
    settings: TimingSettings,
    drift: Drift,
    granularity: Duration,
    delivery: Delivery,
    batch: usize,
}

impl Timing {
    /// The timing of leases that are granted for this period and kept alive. A store may grant more than was asked for, whole
    /// seconds for instance: [`Lease::period`](crate::Lease::period) is what was granted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what is not safe, with the reason: a period that the store does not grant, or that
    /// the margin uses up; a registry that is too slow for it, so that not even the shortest outage is tolerated; a grace so
    /// long that the work would be told to stop before a renewal is due.
    pub fn new(
        period: Duration,
        capabilities: &Capabilities,
        settings: TimingSettings,
    ) -> Result<Self> {
        let refused = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
        let periods = capabilities.periods();
        if !periods.contains(&period) {
            return refused(format!(
                "this store grants periods from {} to {}, not {}",
                human(*periods.start()),
                human(*periods.end()),
                human(period)
            ));
        }
        let waits = request_limit(settings.timeout);
        if settings.round_trip >= waits {
            return refused(format!(
                "requests that take {} get no answer within a time-out of {}: each waits for half of it",
                human(settings.round_trip),
                human(settings.timeout)
            ));
        }
        let timing = Self {
            period,
            margin: capabilities.margin(period),
            grace: settings.grace.unwrap_or_else(|| grace(period)),
            settings,
            drift: capabilities.drift,
            granularity: capabilities.granularity,
            delivery: capabilities.delivery,
            batch: capabilities.batch.max(1),
        };
        let (left, need) = (timing.left(), timing.spent());
        if left <= need {
            return refused(format!(
                "a period of {} is too short: {} of it are kept back for clocks that drift, and {} are left after a \
                 renewal is due, of which requests take up to {}; take a longer one",
                human(period),
                human(timing.margin),
                human(left),
                human(need)
            ));
        }
        if timing.grace >= timing.tolerated_outage() {
            return refused(format!(
                "a grace of {} is too long for a period of {}: of that {} are left when a renewal is due, so the work \
                 would be told to stop by the first one that is a little late",
                human(timing.grace),
                human(period),
                human(left)
            ));
        }
        Ok(timing)
    }

    /// How long a grant lasts in the registry.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How much earlier the lessee stops: see [`Capabilities::margin`].
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.margin
    }

    /// How long belief lasts after the last renewal that succeeded was asked for.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.period - self.margin
    }

    /// When the next renewal is asked for at the latest, after the last one was.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        interval(self.period).min(half(self.deadline()))
    }

    /// When it is asked for at the earliest.
    #[must_use]
    pub fn earliest_renewal(&self) -> Duration {
        jittered(interval(self.period), 0.0).min(half(self.deadline()))
    }

    /// When those at work are told that the lease is [at risk](crate::TermState::AtRisk).
    #[must_use]
    pub fn at_risk(&self) -> Duration {
        half(self.deadline())
    }

    /// When those at work are [told to stop](crate::Term::ending).
    #[must_use]
    pub fn ending(&self) -> Duration {
        self.deadline() - self.grace
    }

    /// How long before the deadline that is.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// For how long the registry may refuse every request, whenever that begins, and no lease is lost.
    #[must_use]
    pub fn tolerated_outage(&self) -> Duration {
        self.left().saturating_sub(self.spent())
    }

    /// For how long the registry may answer no request, whenever that begins, and no lease is lost: less than
    /// [`tolerated_outage`](Self::tolerated_outage) by how long the last request waits for its answer. Zero: one request
    /// without an answer may lose the lease.
    #[must_use]
    pub fn tolerated_silence(&self) -> Duration {
        // Whose successor has to be answered in a part of what is left, too.
        let last = LITTLE.max(self.settings.round_trip);
        let last = last.min(request_limit(self.settings.timeout));
        self.tolerated_outage().saturating_sub(last)
    }

    /// For how long the registry may refuse every request, and the work is not told to stop.
    #[must_use]
    pub fn undisturbed_outage(&self) -> Duration {
        self.tolerated_outage().saturating_sub(self.grace)
    }

    /// How far each clock may run from true time, in parts per million; none: lessee and registry have one clock, which may
    /// run as it likes.
    #[must_use]
    pub fn tolerated_drift_ppm(&self) -> Option<u32> {
        if self.drift == Drift::OneClock {
            return None;
        }
        // From margin = period x 2r/(1+r).
        let (margin, period) = (self.margin.as_nanos(), self.period.as_nanos());
        let ppm = (margin * 1_000_000)
            .checked_div(2 * period - margin)
            .unwrap_or_default();
        Some(u32::try_from(ppm).unwrap_or(u32::MAX))
    }

    /// How long it takes, at most, from a crash until another one holds the lease who waits for it already. Who begins to
    /// wait later, on a registry that expires by observation, counts from then.
    #[must_use]
    pub fn takeover_after_crash(&self) -> Duration {
        // By a clock that is as slow as is tolerated.
        let slow = self.tolerated_drift_ppm().map_or(0, u128::from);
        let rest = 1_000_000_u128.saturating_sub(slow).max(1);
        let nanos = (self.period.as_nanos() * 1_000_000).div_ceil(rest);
        let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        length
            .saturating_add(self.granularity)
            .saturating_add(self.settings.delay)
            .saturating_add(self.takeover_after_release())
    }

    /// How long it takes, at most, from when a release is applied until another one holds the lease who waits for it already.
    /// Whoever misses the notification looks again by itself within half a minute.
    #[must_use]
    pub fn takeover_after_release(&self) -> Duration {
        let told = match self.delivery {
            Delivery::Push => Duration::ZERO,
            Delivery::Poll(every) => every,
        };
        // It is told, and asks.
        told.saturating_add(self.settings.round_trip.saturating_mul(2))
    }

    /// How many requests per second keep so many leases, at most.
    #[must_use]
    pub fn requests(&self, leases: u64) -> Requests {
        let every = self.earliest_renewal().as_secs_f64();
        let batch = u64::try_from(self.batch).unwrap_or(u64::MAX);
        // Leases of one manager in the fewest requests.
        let fewest = leases.div_ceil(batch);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let per_second = |count: u64| count as f64 / every;
        Requests {
            alone: per_second(leases),
            batched: per_second(fewest),
        }
    }

    /// How many changes one request carries, at most.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What is left until the deadline when a renewal is asked for as late as that may be.
    fn left(&self) -> Duration {
        self.deadline() - self.renewal()
    }

    /// What requests take of it: the one that is under way when an outage begins, and as retries halve what is left, twice
    /// the last one that can help, and twice the shortest pause.
    fn spent(&self) -> Duration {
        let requests = self.settings.round_trip.saturating_mul(3);
        requests.saturating_add(SHORTEST_PAUSE * 2)
    }
}

/// Requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Requests {
    /// Each renewal by itself: managers of their own, or renewals that never come together.
    pub alone: f64,
    /// All leases held by one manager and renewed together, in the fewest requests there can be. What is sent is between
    /// the two: what becomes due while a request is under way goes with the next one.
    pub batched: f64,
}

impl Requests {
    /// What they cost over a time, where each has its price.
    #[must_use]
    pub fn cost(self, price: f64, over: Duration) -> Self {
        let factor = price * over.as_secs_f64();
        Self {
            alone: self.alone * factor,
            batched: self.batched * factor,
        }
    }
}

/// How long an operation takes at most, unless the manager was built otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a renewal that has failed is tried again, at the soonest.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// How much sooner than they are due renewals may be asked for, as a part of their interval.
const JITTER: f64 = 0.1;

/// How long after one renewal the next is due, where the margin leaves enough.
pub(crate) fn interval(period: Duration) -> Duration {
    period / 3
}

/// How much of what is left may pass before something is done: before the next renewal or try at the latest, and before those
/// at work are told that it has not come.
pub(crate) fn half(left: Duration) -> Duration {
    left / 2
}

/// A pause, sooner by chance (from 0 up to 1), so that not all renew at once.
pub(crate) fn jittered(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(1.0 - JITTER + JITTER * chance)
}

/// How long before the deadline the work is told to stop, unless that was said.
pub(crate) fn grace(period: Duration) -> Duration {
    period / 10
}

/// How long one request of an operation waits for its answer.
pub(crate) fn request_limit(timeout: Duration) -> Duration {
    timeout / 2
}

/// How long a request waits that is not the only one in the time that is left: half of it is for the next one. Little is not
/// halved, as the answers of a slow registry would never be waited for.
pub(crate) fn request_part(left: Duration) -> Duration {
    half(left).max(LITTLE).min(left)
}

/// So much is left whole: who is in a hurry on a registry that is busy makes it busier.
const LITTLE: Duration = Duration::from_secs(1);
