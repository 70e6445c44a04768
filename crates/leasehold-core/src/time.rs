//! Instants on the clock that counts suspend.

use std::fmt;
use std::time::Duration;

/// An instant on the machine's boot clock, which goes on counting while the machine sleeps.
///
/// Deadlines are of this type and never `std::time::Instant`, which on Linux is `CLOCK_MONOTONIC` and stands still
/// during suspend (rust-lang/rust#87906): a lease would seem to live on after it had run out. Instants of one boot and
/// one time namespace can be compared, across processes too; nothing else can.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(u64);

impl BootInstant {
    /// The clock's zero.
    pub const ZERO: Self = Self(0);
    /// An instant that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant at a number of nanoseconds of the boot clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of the boot clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This instant and a duration later; [`BootInstant::NEVER`] where that is too far to count.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// This instant and a duration earlier; the clock's zero where that is before it.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// How long it is from `earlier` to this instant; zero where `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for BootInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot+{:?}", Duration::from_nanos(self.0))
    }
}

/// Nanoseconds of a duration, the most that fit where there are more (584 years).
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The least period of a lease anywhere; a store may ask for more.
pub const MIN_PERIOD: Duration = Duration::from_millis(10);
/// The greatest period of a lease anywhere, ten years; a store may allow less.
pub const MAX_PERIOD: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
