//! What a registry knows of a name.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::manager::Core;
use crate::name::{LeaseName, Prefix, is_unprintable};
use crate::record::{Ended, Origin, Ran};
use crate::store::Seen;

/// What the registry knew of a name when it was asked: held leases, tombstones, expired and foreign records alike.
#[derive(Clone, Debug)]
pub struct Status {
    name: LeaseName,
    seen: Seen,
}

impl Status {
    pub(crate) fn new(name: LeaseName, seen: Seen) -> Self {
        Self { name, seen }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        &self.name
    }

    /// Whether the name had a lessee whose term had not run out, or counts as held (a foreign record).
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.seen.is_held()
    }

    /// Whether the name could be acquired.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.seen.is_vacant()
    }

    /// Whether the record is not leasehold's own, or needs a newer one.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.seen.record.origin != Origin::Leasehold
    }

    /// The machine id in the record, of a lessee whose term may have run out; none in a tombstone.
    #[must_use]
    pub fn machine_id(&self) -> Option<&str> {
        self.seen.record.body.machine_id.as_deref()
    }

    /// The lessee's version of itself.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.seen.record.body.version
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.seen.index
    }

    /// The fence of the term.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.seen.fence()
    }

    /// The granted period; none in tombstones and foreign records.
    #[must_use]
    pub fn period(&self) -> Option<Duration> {
        self.seen.record.period
    }

    /// When the term began by the lessee's wall clock: to be shown, never compared.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        self.seen.record.body.since
    }

    /// The lessee's note.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.seen.record.body.note.as_deref()
    }

    /// The lessee's own bytes.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.seen.record.body.data.as_deref()
    }

    /// By which policy the lessee takes the lease over, and lets it be taken over: [`TakeOver`](crate::TakeOver).
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        self.seen.record.body.policy.as_deref()
    }

    /// What was left until the name is vacant, at most; zero: it is vacant; none: nobody knows (a foreign record).
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.seen.left
    }

    /// What was left until the lessee may believe, at most: a thief's wait.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.seen.wait
    }

    /// How the previous term ended, where that is known.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.seen.record.body.ended.as_deref()
    }

    /// Until when, by wall time, the name is closed to those who ask once per slot
    /// ([`Lock::once_per`](crate::Lock::once_per)), or was.
    #[must_use]
    pub fn closed(&self) -> Option<SystemTime> {
        self.seen.record.body.closed
    }

    /// Who closed it, and when.
    #[must_use]
    pub fn ran(&self) -> Option<&Ran> {
        self.seen.record.body.ran.as_deref()
    }

    /// How much longer than its period the grant keeps the name taken.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.seen.record.body.delay
    }

    /// What the registry holds, if it cannot be judged by this version: in words.
    #[must_use]
    pub fn foreign_because(&self) -> Option<String> {
        self.seen
            .record
            .judged()
            .err()
            .map(|error| error.to_string())
    }
}

/// The leases that a prefix covers, read page by page: bounded memory however many there are.
///
/// Not a snapshot: a name that changes while it runs is seen before or after.
#[derive(Debug)]
pub struct Listing {
    core: Arc<Core>,
    prefix: Prefix,
    all: bool,
    page: std::vec::IntoIter<(LeaseName, Seen)>,
    last: Option<LeaseName>,
    more: bool,
}

impl Listing {
    pub(crate) fn new(core: Arc<Core>, prefix: Prefix) -> Self {
        Self {
            core,
            prefix,
            all: false,
            page: Vec::new().into_iter(),
            last: None,
            more: true,
        }
    }

    /// Includes what is not held: tombstones and expired records.
    #[must_use]
    pub fn all(mut self) -> Self {
        self.all = true;
        self
    }

    /// The next one, in the order of the names' bytes; none at the end.
    ///
    /// Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// As any read: the registry cannot be reached, or denies access.
    pub async fn next(&mut self) -> Result<Option<Status>> {
        loop {
            for (name, seen) in self.page.by_ref() {
                if self.all || seen.is_held() {
                    return Ok(Some(Status::new(name, seen)));
                }
            }
            if !self.more {
                return Ok(None);
            }
            let page = self.core.page(&self.prefix, self.last.as_ref()).await?;
            self.more = page.more && !page.entries.is_empty();
            if let Some((name, _)) = page.entries.last() {
                self.last = Some(name.clone());
            }
            self.page = page.entries.into_iter();
        }
    }

    /// All that is left, in one vector.
    ///
    /// # Errors
    /// As [`Listing::next`].
    pub async fn collect(mut self) -> Result<Vec<Status>> {
        let mut all = Vec::new();
        while let Some(status) = self.next().await? {
            all.push(status);
        }
        Ok(all)
    }
}

/// A duration for people: `1m 30s`, `250ms`.
pub(crate) fn human(length: Duration) -> Human {
    Human(length)
}

pub(crate) struct Human(Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.0 >= Duration::from_secs(10) {
            Duration::from_secs(1)
        } else {
            Duration::from_millis(1)
        };
        let whole = self.0.as_nanos().div_ceil(unit.as_nanos()) * unit.as_nanos();
        let whole = i128::try_from(whole).unwrap_or(i128::MAX);
        // What is more than it counts in would make it panic.
        match i64::try_from(whole / 1_000_000_000) {
            Ok(_) => write!(f, "{:#}", jiff::SignedDuration::from_nanos_i128(whole)),
            Err(_) => f.write_str("for ever"),
        }
    }
}

/// Somebody else's words as they are, but for what would move a terminal's cursor or reorder its text.
pub(crate) fn shown(words: &str) -> Shown<'_> {
    Shown(words)
}

pub(crate) struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if is_unprintable(c) {
                write!(f, "{}", c.escape_debug())
            } else {
                write!(f, "{c}")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shown_as_they_are_but_for_controls() {
        assert_eq!(shown("it's \"ä\"").to_string(), "it's \"ä\"");
        assert_eq!(
            shown("a\u{1b}[2Jb\u{202E}").to_string(),
            "a\\u{1b}[2Jb\\u{202e}"
        );
    }

    #[test]
    fn every_length_can_be_shown() {
        for (length, text) in [
            (Duration::from_micros(1), "1ms"),
            (Duration::from_millis(10_001), "11s"),
            (Duration::from_millis(90_500), "1m 31s"),
            (crate::time::MAX_PERIOD, "87840h"),
            (Duration::from_secs(i64::MAX.unsigned_abs() + 1), "for ever"),
            (Duration::MAX, "for ever"),
        ] {
            assert_eq!(human(length).to_string(), text);
        }
    }
}
