//! Whether the default period suits the registry.

use std::time::Duration;

use leasehold::{Capabilities, Timing, TimingSettings};

use super::report::Finding;
use crate::duration::{human, millis};
use crate::verbs::plan::{least, most};

/// The period that `leasehold run` has by default.
pub(super) const PERIOD: Duration = Duration::from_secs(15);

pub(super) fn check(capabilities: &Capabilities, round_trip: Duration) -> Finding {
    let timing = Timing::new(
        PERIOD,
        capabilities,
        TimingSettings::new().round_trip(round_trip),
    );
    match timing {
        Ok(timing) => Finding::ok(
            "timing",
            format!(
                "the default period of {} survives an outage of {}; a take-over after a crash lasts {} at most",
                human(PERIOD),
                least(timing.tolerated_outage()),
                most(timing.takeover_after_crash()),
            ),
        )
        .figure("tolerated_outage_ms", ms(timing.tolerated_outage()))
        .figure(
            "takeover_after_crash_ms",
            millis(timing.takeover_after_crash()),
        ),
        Err(error) => Finding::warning(
            "timing",
            format!("the default period of {} does not suit it: {error}", human(PERIOD)),
        )
        .fix("a longer --period: `leasehold plan --period 1m --round-trip TIME` shows what it comes to"),
    }
}

fn ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_registry_needs_a_longer_period() {
        let warned = |secs| {
            let finding = check(&Capabilities::local(), Duration::from_secs(secs));
            format!("{finding:?}").contains("Warning")
        };
        assert!(!warned(0));
        assert!(!warned(1));
        assert!(warned(8));
    }
}
