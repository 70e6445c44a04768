//! How a term was lost.

use std::fmt;

use crate::record::{Ended, EndedHow};
use crate::status::shown;
use crate::store::Seen;
use crate::time::BootInstant;

/// How a handle lost its term: [`Error::lost`](crate::Error::lost).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Lost {
    /// It was ended, or ran out, as the registry tells: stolen, broken, released by whoever claimed it, expired.
    Ended(Ended),
    /// It stands, and somebody else has renewed it: through a fetched lease, or by a claim on it.
    Renewed,
    /// The registry has no record of the name any more: somebody has deleted it, or it ran out where nothing is kept of
    /// that.
    Deleted,
    /// Something stands there that cannot be judged by this version.
    Foreign,
    /// It ran out without a renewal, and no renewal was answered since then.
    Unreachable {
        /// When the first renewal was sent that was not answered, or failed.
        since: BootInstant,
    },
    /// It was held for as long as it may be: [`KeepAlive::max_hold`](crate::KeepAlive::max_hold).
    HeldTooLong,
    /// It ran out because its work made no progress:
    /// [`KeepAlive::progress_within`](crate::KeepAlive::progress_within).
    Stalled {
        /// When it last did.
        since: BootInstant,
    },
}

impl Lost {
    /// A word for metrics and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ended(ended) => ended.how.as_str(),
            Self::Renewed => "renewed elsewhere",
            Self::Deleted => "deleted",
            Self::Foreign => "foreign",
            Self::Unreachable { .. } => "unreachable",
            Self::HeldTooLong => "held too long",
            Self::Stalled { .. } => "stalled",
        }
    }

    /// Whether it was given up on this side: it may still stand in the registry.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self, Self::HeldTooLong | Self::Stalled { .. })
    }

    pub(crate) fn expired() -> Self {
        Self::ended(EndedHow::Expired, None)
    }

    fn ended(how: EndedHow, fence: Option<u64>) -> Self {
        Self::Ended(Ended {
            how,
            by: None,
            reason: None,
            fence,
        })
    }

    /// What stands where the grant of a term was renewed in vain.
    pub(crate) fn told(fence: u64, found: Option<&Seen>) -> Self {
        let Some(seen) = found else {
            return Self::Deleted;
        };
        if seen.record.judged().is_err() {
            return Self::Foreign;
        }
        let same = seen.fence() == fence;
        if same && seen.is_held() {
            return Self::Renewed;
        }
        if same && seen.record.is_held() {
            return Self::ended(EndedHow::Expired, Some(fence));
        }
        // A tombstone of the term, or its successor's record. Where other terms have followed nobody knows any more.
        let ended = seen.record.body.ended.clone();
        ended
            .filter(|ended| ended.fence == Some(fence))
            .map_or_else(
                || Self::ended(EndedHow::Unknown, Some(fence)),
                |ended| Self::Ended(*ended),
            )
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ended(ended) = self else {
            return f.write_str(self.as_str());
        };
        f.write_str(ended.how.as_str())?;
        if let Some(by) = &ended.by {
            write!(f, " by {}", shown(by))?;
        }
        match &ended.reason {
            Some(reason) => write!(f, " ({})", shown(reason)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_stands_the_record_was_deleted() {
        assert_eq!(Lost::told(7, None), Lost::Deleted);
        assert!(!Lost::Deleted.is_given_up() && Lost::HeldTooLong.is_given_up());
        assert_eq!(Lost::expired().to_string(), "expired");
    }
}
