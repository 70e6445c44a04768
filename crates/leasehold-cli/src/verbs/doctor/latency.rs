//! How long renewals and reads take.

use std::time::Duration;

use leasehold::{Attempt, Error, ErrorKind, Manager, Request, Result};
use serde_json::{Value, json};

use super::report::Finding;

/// How many of each.
const SAMPLES: usize = 50;
/// With fewer than this many the figures say little.
const FEW: usize = 10;
/// How long they may take together; the name is held for longer.
const TIME: Duration = Duration::from_secs(10);
const PERIOD: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Debug)]
pub(super) struct Latency {
    renewals: Percentiles,
    reads: Percentiles,
}

impl Latency {
    /// Measures in a name that is vacant, and is again afterwards.
    pub(super) async fn measure(manager: &Manager, name: &str) -> Result<Self> {
        let periods = manager.capabilities().periods();
        let period = PERIOD.clamp(*periods.start(), *periods.end());
        let Attempt::Acquired(mut lease) = manager.try_acquire(Request::new(name, period)).await?
        else {
            let error = Error::new(ErrorKind::Changed, "somebody else uses the scratch name");
            return Err(error);
        };
        let door = manager.door();
        let (mut renewals, mut reads) = (Vec::new(), Vec::new());
        let end = door.now().plus(TIME);
        while renewals.len() < SAMPLES && door.now() < end {
            let start = door.now();
            lease.renew(period).await?;
            let renewed = door.now();
            manager.status(name).await?;
            renewals.push(renewed.since(start));
            reads.push(door.now().since(renewed));
        }
        lease.release().await?;
        Ok(Self {
            renewals: Percentiles::of(renewals),
            reads: Percentiles::of(reads),
        })
    }

    /// What a renewal takes if it takes long.
    pub(super) fn slow_renewal(&self) -> Duration {
        self.renewals.p99
    }

    pub(super) fn finding(&self) -> Finding {
        let told = format!(
            "renewals {}; reads {}",
            self.renewals.told(),
            self.reads.told()
        );
        let finding = match self.renewals.count {
            ..FEW => {
                Finding::warning("latency", told).fix("a registry nearer by, or a longer --period")
            }
            _ => Finding::ok("latency", told),
        };
        finding
            .figure("renewals", self.renewals.object())
            .figure("reads", self.reads.object())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Percentiles {
    count: usize,
    p50: Duration,
    p90: Duration,
    p99: Duration,
}

impl Percentiles {
    /// By the nearest rank: each is a time that was measured.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let count = times.len();
        let at = |percent: usize| {
            let rank = (count * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            count,
            p50: at(50),
            p90: at(90),
            p99: at(99),
        }
    }

    fn told(&self) -> String {
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        format!(
            "p50 {}, p90 {}, p99 {} ms (n = {})",
            ms(self.p50),
            ms(self.p90),
            ms(self.p99),
            self.count
        )
    }

    fn object(&self) -> Value {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        json!({"n": self.count, "p50_us": us(self.p50), "p90_us": us(self.p90), "p99_us": us(self.p99)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let ms = Duration::from_millis;
        let of = |times: &[u64]| Percentiles::of(times.iter().copied().map(ms).collect());
        let fifty: Vec<u64> = (1..=50).rev().collect();
        let found = of(&fifty);
        assert_eq!((found.p50, found.p90, found.p99), (ms(25), ms(45), ms(50)));
        let one = of(&[7]);
        assert_eq!((one.p50, one.p99, one.count), (ms(7), ms(7), 1));
        assert_eq!(of(&[]).p99, Duration::ZERO);
    }
}
