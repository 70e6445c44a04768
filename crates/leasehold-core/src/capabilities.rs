//! What a store can do and what it assumes, said by its code.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::mutants::{Mutant, mutant};
use crate::time::{MAX_PERIOD, MIN_PERIOD};

/// What a store can do and what it assumes. The documentation's table of stores is made from these values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Which clock decides that a lease has run out.
    pub expiry: ExpiryClock,
    /// When acknowledged writes may be lost.
    pub loss: Loss,
    /// How far the clocks of lessee and registry may run apart.
    pub drift: Drift,
    /// The least period it grants.
    pub least_period: Duration,
    /// The greatest period it grants.
    pub greatest_period: Duration,
    /// How late an expiry may become visible.
    pub granularity: Duration,
    /// How changes are learnt.
    pub delivery: Delivery,
    /// Whether the ends of terms are known (an expired record is still there to be seen).
    pub ends_known: bool,
    /// How far the registry reaches.
    pub scope: Reach,
    /// How many changes one request may carry.
    pub batch: usize,
}

impl Capabilities {
    /// The capabilities of a registry in this process's memory; a store starts from these and changes what differs.
    #[must_use]
    pub const fn local() -> Self {
        Self {
            expiry: ExpiryClock::Boot,
            loss: Loss::PowerLoss,
            drift: Drift::OneClock,
            least_period: MIN_PERIOD,
            greatest_period: MAX_PERIOD,
            granularity: Duration::ZERO,
            delivery: Delivery::Push,
            ends_known: true,
            scope: Reach::Process,
            batch: 1000,
        }
    }

    /// The periods that it grants: its own bounds, and those of leases anywhere.
    #[must_use]
    pub fn periods(&self) -> RangeInclusive<Duration> {
        self.least_period.max(MIN_PERIOD)..=self.greatest_period.min(MAX_PERIOD)
    }

    /// How much earlier than the granted period the lessee stops, so that it stops first however the clocks drift.
    #[must_use]
    pub fn margin(&self, period: Duration) -> Duration {
        if mutant(Mutant::NoMargin) {
            return Duration::ZERO;
        }
        let nanos = period.as_nanos();
        // Rounded up: the lessee stops first.
        let margin = match self.drift {
            Drift::OneClock => 0,
            Drift::Bounded { ppm } => {
                let r = u128::from(ppm.min(999_999));
                (nanos * 2 * r).div_ceil(1_000_000 + r)
            }
            Drift::Unknown => nanos.div_ceil(6),
        };
        Duration::from_nanos(u64::try_from(margin).unwrap_or(u64::MAX)).min(period)
    }
}

/// Which clock decides that a lease has run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ExpiryClock {
    /// The kernel's boot clock, the same for registry and lessee.
    Boot,
    /// A monotonic clock of the server's.
    ServerMonotonic,
    /// The server's wall clock: a step forward ends leases early.
    ServerWall,
    /// Each observer's own clock: a record that stays unchanged for its period has run out.
    Observed,
}

/// When acknowledged writes may be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// Never.
    Never,
    /// When the registry's machine loses power, and the lessees with it.
    PowerLoss,
    /// When the registry fails over.
    Failover,
}

/// How far the clocks of lessee and registry may run apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Drift {
    /// Both are one clock.
    OneClock,
    /// Each runs within this many parts per million of true time.
    Bounded {
        /// Parts per million.
        ppm: u32,
    },
    /// Nobody said: a sixth of the period is kept back, which covers NTP daemons that slew by up to 8.33 % on both.
    Unknown,
}

/// How changes are learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Delivery {
    /// The registry tells.
    Push,
    /// It is asked at this interval.
    Poll(Duration),
}

/// How far a registry reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reach {
    /// This process.
    Process,
    /// All processes of this machine (of this container, unless the file is shared).
    Machine,
    /// All machines that reach the registry.
    Network,
}

impl fmt::Display for ExpiryClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot clock",
            Self::ServerMonotonic => "server's monotonic clock",
            Self::ServerWall => "server's wall clock",
            Self::Observed => "each observer's own clock",
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::PowerLoss => "at power loss, with the lessees",
            Self::Failover => "at failover",
        })
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneClock => f.write_str("none (one clock)"),
            Self::Bounded { ppm } => write!(f, "{ppm} ppm"),
            Self::Unknown => f.write_str("up to 8.33 % (default)"),
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push => f.write_str("push"),
            Self::Poll(every) => write!(f, "poll every {every:?}"),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Machine => "machine",
            Self::Network => "network",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lessee_stops_first_whatever_the_drift() {
        let mut capabilities = Capabilities::local();
        let period = Duration::from_secs(60);
        assert_eq!(capabilities.margin(period), Duration::ZERO);
        capabilities.drift = Drift::Unknown;
        assert_eq!(capabilities.margin(period), Duration::from_secs(10));
        for ppm in [1, 100, 83_333, 500_000] {
            capabilities.drift = Drift::Bounded { ppm };
            let believed = period - capabilities.margin(period);
            // The slowest lessee against the fastest registry, in true time.
            let r = f64::from(ppm) / 1e6;
            assert!(
                believed.as_secs_f64() / (1.0 - r) <= period.as_secs_f64() / (1.0 + r) + 1e-9,
                "{ppm}"
            );
        }
    }

    /// Period x 2r/(1+r), to the nanosecond: more would cost lessees their time.
    #[test]
    fn the_margin_is_no_larger_than_the_drift_asks_for() {
        let mut capabilities = Capabilities::local();
        for (ppm, period, margin) in [
            (100_000, 11, 2),
            (250_000, 5, 2),
            (500_000, 3, 2),
            (500_000, 300, 200),
        ] {
            capabilities.drift = Drift::Bounded { ppm };
            let margin = Duration::from_secs(margin);
            assert_eq!(capabilities.margin(Duration::from_secs(period)), margin);
        }
        let period = Duration::from_secs(60);
        for ppm in [999_999, 1_000_000, u32::MAX] {
            capabilities.drift = Drift::Bounded { ppm };
            let margin = capabilities.margin(period);
            assert!(margin <= period && margin > period - Duration::from_millis(1));
        }
    }
}
