//! What is asked of a manager beyond the origin's four arguments, and what comes back.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::lease::Lease;
use crate::name::LeaseName;
use crate::slot::Skipped;
use crate::status::{Status, human, shown};
use crate::take_over::TakeOver;

/// A lease that is asked for: everything [`Manager::try_acquire`](crate::Manager::try_acquire) and
/// [`Manager::steal`](crate::Manager::steal) take.
///
/// ```
/// use std::time::Duration;
/// use leasehold_core::Request;
///
/// let request = Request::new("jobs/nightly", Duration::from_secs(15)).note("nightly report").data("10.0.0.7:8080");
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) name: String,
    pub(crate) period: Duration,
    pub(crate) machine_id: Option<String>,
    pub(crate) version: i64,
    pub(crate) note: Option<String>,
    pub(crate) data: Option<Bytes>,
    pub(crate) take_over: TakeOver,
    pub(crate) delay: Duration,
    pub(crate) once_per: Option<Duration>,
}

impl Request {
    /// Asks for the lease of a name, for a period that each renewal grants anew.
    #[must_use]
    pub fn new(name: impl AsRef<str>, period: Duration) -> Self {
        let name = name.as_ref().to_owned();
        Self {
            name,
            period,
            machine_id: None,
            version: 0,
            note: None,
            data: None,
            take_over: TakeOver::Never,
            delay: Duration::ZERO,
            once_per: None,
        }
    }

    /// The lessee's machine id; the manager's own without this.
    #[must_use]
    pub fn machine_id(mut self, id: impl Into<String>) -> Self {
        self.machine_id = Some(id.into());
        self
    }

    /// The lessee's version of itself: the caller says what it means.
    #[must_use]
    pub fn version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// A sentence for people who look at the lease, at most 1 KiB.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The lessee's own bytes (its address, say), at most 64 KiB.
    #[must_use]
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// The policy of taking over that the record keeps: [`TakeOver`]. It is [`Lock`](crate::Lock) and
    /// [`Election`](crate::Election) that go by it.
    #[must_use]
    pub fn take_over(mut self, policy: TakeOver) -> Self {
        self.take_over = policy;
        self
    }

    /// How much longer than its period the lease keeps the name taken: time for what a lost lessee may have left under way.
    /// After a term that ends by expiry, a break, a steal or a release through a fetched lease the name is vacant, or a
    /// steal begins, only when this is over, too. A release by the lease's own handle makes it vacant at once. Period and
    /// delay together are bounded as a period is. None without this.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Only once in a while, whoever asks: see [`Lock::once_per`](crate::Lock::once_per). 1 ms to 3,660 days.
    #[must_use]
    pub fn once_per(mut self, period: Duration) -> Self {
        self.once_per = Some(period);
        self
    }
}

/// What a renewal changes besides the deadline.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub(crate) note: Option<Option<String>>,
    pub(crate) data: Option<Option<Bytes>>,
}

impl Changes {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A new note; none removes it.
    #[must_use]
    pub fn note(mut self, note: Option<String>) -> Self {
        self.note = Some(note);
        self
    }

    /// New data; none removes it.
    #[must_use]
    pub fn data(mut self, data: Option<Bytes>) -> Self {
        self.data = Some(data);
        self
    }

    pub(crate) fn is_none(&self) -> bool {
        self.note.is_none() && self.data.is_none()
    }
}

/// Which grant a steal or a break displaces, and how.
#[derive(Clone, Debug)]
pub struct Displace {
    pub(crate) index: u64,
    pub(crate) reason: Option<String>,
    pub(crate) assume_dead: bool,
}

impl Displace {
    /// Displaces the grant of this index and waits until it can no longer be believed.
    #[must_use]
    pub fn index(index: u64) -> Self {
        Self {
            index,
            reason: None,
            assume_dead: false,
        }
    }

    /// Why, for the record.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Asserts that the lessee is dead, so that its grant need not be waited out. If it is not, there are two lessees
    /// until the replaced grant has run out, and only the fence protects. Waits that the record inherited from earlier
    /// steals stay. The reason is kept in the record.
    #[must_use]
    pub fn assume_dead(mut self, reason: impl Into<String>) -> Self {
        self.assume_dead = true;
        self.reason(reason)
    }
}

/// What came of asking for a lease.
#[derive(Debug)]
#[must_use]
pub enum Attempt {
    /// It is ours.
    Acquired(Lease),
    /// Somebody holds it.
    Busy(Busy),
    /// Nobody holds it, but it has had its run in this slot: only for a request with [`Request::once_per`].
    Skipped(Skipped),
}

/// Somebody else holds the lease: by whom, since when, until when, with which note, from the very step that refused.
///
/// Its `Display` is the sentence a log wants.
#[derive(Clone, Debug)]
pub struct Busy {
    pub(crate) status: Status,
}

impl Busy {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        self.status.name()
    }

    /// The holder's machine id; none where the name is held by nobody until a wait is over.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.status.machine_id()
    }

    /// Since when, by the holder's wall clock.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        self.status.since()
    }

    /// What was left of the term, at most, when it was seen; none where nobody knows (a foreign record).
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.status.left()
    }

    /// The holder's note.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.status.note()
    }

    /// The index, for [`Manager::steal_lease`](crate::Manager::steal_lease).
    #[must_use]
    pub fn index(&self) -> u64 {
        self.status.index()
    }

    /// Everything that was seen.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        match status.machine_id() {
            Some(id) => write!(f, "{} is held by {}", status.name(), shown(id))?,
            None => write!(
                f,
                "{} is held by nobody, but is not vacant yet",
                status.name()
            )?,
        }
        if let Some(since) = status
            .since()
            .and_then(|t| jiff::Timestamp::try_from(t).ok())
        {
            write!(f, " since {since:.0}")?;
        }
        match status.left() {
            Some(left) => write!(f, ", {} left", human(left))?,
            None => f.write_str(", with no known end")?,
        }
        if let Some(note) = status.note() {
            write!(f, " ({})", shown(note))?;
        }
        if status.machine_id().is_none()
            && let Some(ended) = status.ended()
        {
            write!(f, ": the last term was {ended}")?;
        }
        Ok(())
    }
}
