//! Whether a watch hears of what others change, and how soon.

use std::time::Duration;

use leasehold::{
    Attempt, BootInstant, Delivery, Error, ErrorKind, Manager, Request, Result, Watch,
};

use super::report::Finding;
use crate::duration::human;

/// How many changes are told; the slowest counts.
const ROUNDS: usize = 3;
const PERIOD: Duration = Duration::from_secs(30);
/// A notification that takes longer is none: somebody looked.
const PUSHED: Duration = Duration::from_millis(500);

/// The longest time from the moment before a change to that when the watch of another client told of it.
pub(super) async fn measure(watcher: &Manager, other: &Manager, name: &str) -> Result<Duration> {
    let periods = other.capabilities().periods();
    let period = PERIOD.clamp(*periods.start(), *periods.end());
    let mut watch = watcher.watch(name)?;
    watch.next().await?;
    let door = watcher.door();
    let mut slowest = Duration::ZERO;
    for _ in 0..ROUNDS {
        let before = door.now();
        let Attempt::Acquired(lease) = other.try_acquire(Request::new(name, period)).await? else {
            let error = Error::new(ErrorKind::Changed, "somebody else uses the scratch name");
            return Err(error);
        };
        let held = until(&mut watch, watcher, true).await?;
        let between = door.now();
        lease.release().await?;
        let released = until(&mut watch, watcher, false).await?;
        slowest = slowest.max(held.since(before)).max(released.since(between));
    }
    Ok(slowest)
}

/// When the watch told that the name is held, or is not.
async fn until(watch: &mut Watch, watcher: &Manager, held: bool) -> Result<BootInstant> {
    loop {
        let event = watch.next().await?;
        if event.status.is_some_and(|status| status.is_held()) == held {
            return Ok(watcher.door().now());
        }
    }
}

pub(super) fn finding(delivery: Delivery, slowest: Duration) -> Finding {
    let told = format!(
        "a change of another client is heard of within {}",
        human(slowest)
    );
    let finding = match delivery {
        Delivery::Push if slowest <= PUSHED => Finding::ok("push", told),
        Delivery::Push => Finding::warning("push", format!("{told}: too late for a notification"))
            .fix("waiters take over late: see -v for what stops notifications"),
        other => Finding::warning(
            "push",
            format!("{told}: this store does not push ({other})"),
        )
        .fix("waiters take over later by so much"),
    };
    let ms = u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX);
    finding.figure("slowest_ms", ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_or_by_polling_is_a_warning() {
        let warned = |delivery, ms| {
            format!("{:?}", finding(delivery, Duration::from_millis(ms))).contains("Warning")
        };
        assert!(!warned(Delivery::Push, 500));
        assert!(warned(Delivery::Push, 501));
        assert!(warned(Delivery::Poll(Duration::from_secs(1)), 10));
    }
}
