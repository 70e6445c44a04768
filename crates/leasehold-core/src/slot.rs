//! Once per slot: whether a name has had its run, by wall time. Policy of whoever asks, never belief.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::record::{Ended, Ran, rfc3339};
use crate::status::{human, shown};

/// The shortest slot.
const LEAST: Duration = Duration::from_millis(1);
/// The longest slot: ten years.
const GREATEST: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// How often a name may have a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(Duration);

impl Slot {
    pub(crate) fn new(period: Duration) -> Result<Self> {
        if !(LEAST..=GREATEST).contains(&period) {
            let message = format!(
                "a slot of {} cannot be kept: it has to be 1 ms to 3,660 days long",
                human(period)
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(Self(period))
    }

    /// Until when a run that begins now closes it: nearly the whole period, as schedulers fire with jitter.
    pub(crate) fn closes(self, wall: SystemTime) -> Result<SystemTime> {
        let until = wall.checked_add(self.0 / 10 * 9);
        until
            .filter(|until| rfc3339(*until).is_some())
            .ok_or_else(|| {
                let message =
                    "the wall clock shows a time after which no slot can be closed: set it";
                Error::new(ErrorKind::InvalidInput, message)
            })
    }

    /// Whether what a record says closes it to whoever asks now.
    ///
    /// What is further away than two of the asker's own periods was written by a clock far ahead, or for a longer period,
    /// and would keep the job from running for no reason of the asker's. Twice, so that a clock which is ahead by a good
    /// part of a period makes a run late, and not double.
    pub(crate) fn is_closed(self, name: &LeaseName, until: SystemTime, wall: SystemTime) -> bool {
        let Ok(left) = until.duration_since(wall) else {
            return false;
        };
        if left > self.0 * 2 {
            tracing::warn!(%name, left = %human(left), slot = %human(self.0),
                "the name is closed for longer than two slots, which does not count: a wall clock was far ahead, or its \
                 slots were longer");
            return mutant(Mutant::ClosedForEver);
        }
        !left.is_zero()
    }
}

/// A name that was refused because it has had its run in this slot ([`Lock::once_per`](crate::Lock::once_per)). Not a
/// failure: its `Display` is the sentence a log wants.
#[derive(Clone, Debug)]
pub struct Skipped {
    pub(crate) name: LeaseName,
    pub(crate) until: SystemTime,
    pub(crate) wall: SystemTime,
    pub(crate) ran: Option<Ran>,
    pub(crate) ended: Option<Ended>,
}

impl Skipped {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        &self.name
    }

    /// The machine id of whoever ran last, where the record tells.
    #[must_use]
    pub fn ran_by(&self) -> Option<&str> {
        self.ran.as_ref().map(|ran| ran.by.as_str())
    }

    /// When that run began, and so closed the slot, by the runner's wall clock.
    #[must_use]
    pub fn ran_at(&self) -> Option<SystemTime> {
        self.ran.as_ref().map(|ran| ran.at)
    }

    /// Until when the slot is closed, by wall time.
    #[must_use]
    pub fn until(&self) -> SystemTime {
        self.until
    }

    /// How long it was still closed when it was asked for, by the asker's wall clock.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.until.duration_since(self.wall).unwrap_or_default()
    }

    /// How the name's last term ended, where that is known: not necessarily that of the run.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has run in this slot", self.name)?;
        if let Some(ran) = &self.ran {
            write!(f, ", by {}", shown(&ran.by))?;
            if let Ok(at) = jiff::Timestamp::try_from(ran.at) {
                write!(f, " at {at:.0}")?;
            }
        }
        f.write_str(": closed")?;
        if let Ok(until) = jiff::Timestamp::try_from(self.until) {
            write!(f, " until {until:.0}")?;
        }
        write!(f, ", {} left", human(self.left()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn name() -> LeaseName {
        LeaseName::new("jobs/nightly").unwrap()
    }

    #[test]
    fn a_slot_is_closed_for_nine_tenths_and_never_for_more_than_two() {
        let slot = Slot::new(HOUR).unwrap();
        let start = SystemTime::UNIX_EPOCH + HOUR * 100;
        let until = slot.closes(start).unwrap();
        assert_eq!(until, start + HOUR * 9 / 10);
        let second = Duration::from_secs(1);
        for (wall, closed) in [
            (start, true),
            (until - second, true),
            (until, false),
            (until + second, false),
            // A clock that was set back.
            (until - HOUR * 2, true),
            (until - HOUR * 2 - second, false),
            (SystemTime::UNIX_EPOCH - HOUR, false),
            (SystemTime::UNIX_EPOCH + HOUR * 10_000_000, false),
        ] {
            assert_eq!(slot.is_closed(&name(), until, wall), closed, "{wall:?}");
        }
        // Written by a clock that was far ahead, or for much longer slots.
        assert!(!slot.is_closed(&name(), start + HOUR * 10_000, start));
    }

    #[test]
    fn no_clock_and_no_length_is_a_panic() {
        for bad in [Duration::ZERO, GREATEST + LEAST, Duration::MAX] {
            assert_eq!(Slot::new(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        // The year 9999 is the last that a record can hold.
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_000_000);
        for slot in [LEAST, HOUR, GREATEST] {
            let slot = Slot::new(slot).unwrap();
            assert_eq!(slot.closes(far).is_ok(), slot.0 < GREATEST);
            _ = slot.is_closed(&name(), far, SystemTime::UNIX_EPOCH);
        }
        let never = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50);
        let kind = Slot(HOUR).closes(never).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn a_skip_reads_as_a_sentence() {
        let wall = SystemTime::UNIX_EPOCH + HOUR * 24 * 365;
        let mut skipped = Skipped {
            name: name(),
            until: wall + HOUR * 21 + HOUR / 2,
            wall,
            ran: Some(Ran {
                by: "host\n-a".into(),
                at: wall - Duration::from_millis(30_500),
            }),
            ended: None,
        };
        assert_eq!(
            skipped.to_string(),
            "jobs/nightly has run in this slot, by host\\n-a at 1970-12-31T23:59:29Z: closed until \
             1971-01-01T21:30:00Z, 21h 30m left"
        );
        skipped.ran = None;
        assert_eq!(
            skipped.to_string(),
            "jobs/nightly has run in this slot: closed until 1971-01-01T21:30:00Z, 21h 30m left"
        );
        // The clock was set forward meanwhile.
        skipped.wall = skipped.until + HOUR;
        assert_eq!(skipped.left(), Duration::ZERO);
    }
}
