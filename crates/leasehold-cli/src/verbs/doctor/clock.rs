//! The clocks of this machine.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leasehold::{BootInstant, Capabilities, Door};
use rustix::time::{ClockId, clock_gettime};

use super::report::{Finding, Report};
use crate::duration::{human, millis};
use crate::exit::{Failure, OWN_FAILURE};
use crate::show;

/// For how long the clocks are compared.
const LOOK: Duration = Duration::from_millis(50);
/// How far they may be apart then: a busy machine reads them with a pause in between.
const APART: Duration = Duration::from_millis(25);
/// No clock that is right is earlier: 2025-01-01.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);
/// Nor later: 2100-01-01.
const LATEST: Duration = Duration::from_secs(4_102_444_800);

pub(super) async fn check(door: &Arc<dyn Door>, report: &mut Report) -> Result<(), Failure> {
    report.add(wall(door.wall()))?;
    report.add(boot(door).await)
}

fn wall(now: SystemTime) -> Finding {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let shown = show::time(now).unwrap_or_else(|| "a time that is none".into());
    if (EARLIEST..LATEST).contains(&since) {
        return Finding::ok("wall clock", shown);
    }
    Finding::warning(
        "wall clock",
        format!(
            "{shown} cannot be: what is shown of leases is wrong, and slots of --once-per are too"
        ),
    )
    .fix("set the clock (timedatectl set-ntp true)")
}

/// The boot clock goes as the monotonic one while the machine does not sleep. Whoever is held up between two readings
/// looks again.
async fn boot(door: &Arc<dyn Door>) -> Finding {
    let monotonic = || Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    let mut finding = None;
    for _ in 0..3 {
        let (boot, other) = (door.now(), monotonic());
        door.sleep_until(boot.plus(LOOK)).await;
        let went = door.now().since(boot);
        let slept = boot.since(BootInstant::ZERO).saturating_sub(other);
        let found = judge(went, monotonic().saturating_sub(other), slept);
        let again = found.is_failure();
        finding = Some(found);
        if !again {
            break;
        }
    }
    finding.unwrap_or_else(|| judge(LOOK, LOOK, Duration::ZERO))
}

fn judge(boot: Duration, monotonic: Duration, slept: Duration) -> Finding {
    if boot < LOOK || boot.abs_diff(monotonic) > APART {
        return Finding::fail(
            OWN_FAILURE,
            "boot clock",
            format!("went by {boot:?} while the monotonic clock went by {monotonic:?}"),
        )
        .fix("leases cannot be kept on this machine until its clock is right: see its hypervisor");
    }
    let slept_ms = u64::try_from(slept.as_millis()).unwrap_or(u64::MAX);
    let told = match slept_ms {
        0..1000 => {
            "goes as the monotonic clock does; the machine never slept since it started".into()
        }
        _ => format!(
            "goes as the monotonic clock does; the machine slept for {} since it started, which counts",
            human(slept)
        ),
    };
    Finding::ok("boot clock", told).figure("slept_ms", slept_ms)
}

/// What the store assumes of clocks.
pub(super) fn assumed(capabilities: &Capabilities, period: Duration) -> Finding {
    let margin = capabilities.margin(period);
    let stops = match margin.is_zero() {
        true => "at their end".into(),
        false => format!("{} before {} are over", human(margin), human(period)),
    };
    let told = format!(
        "leases end by the {}; drift that is covered: {}; a lessee stops {stops}",
        capabilities.expiry, capabilities.drift
    );
    Finding::ok("clocks", told).figure("margin_ms", millis(margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_was_never_set_is_told() {
        let at = |secs| wall(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        let warned = |finding: &Finding| format!("{finding:?}").contains("Warning");
        assert!(warned(&at(0)));
        assert!(warned(&at(1_600_000_000)));
        assert!(!warned(&at(1_800_000_000)));
        assert!(warned(&at(5_000_000_000)));
    }

    #[test]
    fn a_boot_clock_that_stands_or_runs_is_a_failure() {
        let ms = Duration::from_millis;
        assert!(!judge(ms(51), ms(50), ms(0)).is_failure());
        assert!(!judge(ms(300), ms(301), ms(5_000)).is_failure());
        assert!(judge(ms(49), ms(50), ms(0)).is_failure());
        assert!(judge(ms(100), ms(50), ms(0)).is_failure());
    }
}
