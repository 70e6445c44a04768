//! What the contract assumes, broken on purpose: to see which law needs it, and that the fence needs none of it.

use std::fmt;
use std::str::FromStr;

use crate::world::kinds::Kind;

/// An assumption of the contract ("Not promised" in docs/design.md) that a world can be made to break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assumption {
    /// The server's wall clock is never set forward.
    NoStepForward,
    /// A failover loses no acknowledged write.
    NoLostWrites,
    /// Whoever claims that a process is dead is right.
    TrueClaims,
    /// Clocks run no further apart than is declared.
    BoundedDrift,
    /// Nobody deletes records.
    NoDeletions,
    /// No leader that was stopped has native leases revoked that its successor has renewed: etcd 3.7.3 does that still.
    NoLateRevokes,
}

impl Assumption {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoStepForward,
        Self::NoLostWrites,
        Self::TrueClaims,
        Self::BoundedDrift,
        Self::NoDeletions,
        Self::NoLateRevokes,
    ];

    /// Whether a world of this kind has anything to break here.
    #[must_use]
    pub fn concerns(self, kind: Kind) -> bool {
        match self {
            Self::NoStepForward | Self::NoLostWrites => kind == Kind::Wall,
            Self::BoundedDrift => kind != Kind::Boot,
            Self::NoLateRevokes => kind == Kind::Native,
            Self::TrueClaims | Self::NoDeletions => true,
        }
    }

    /// Whether the fence refuses every stale holder although the assumption does not hold.
    ///
    /// Not where the registry itself forgets: a steal's fence is one more than the index that it replaces, so a failover
    /// that loses a steal lets the next one have the same fence; and where the index is kept in the record alone, only
    /// the wall clocks of its writers keep it growing after a deletion.
    #[must_use]
    pub fn fence_holds(self, kind: Kind) -> bool {
        match self {
            Self::NoLostWrites => false,
            Self::NoDeletions => kind != Kind::Observed,
            Self::NoStepForward | Self::TrueClaims | Self::BoundedDrift | Self::NoLateRevokes => {
                true
            }
        }
    }
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoStepForward => "no-step-forward",
            Self::NoLostWrites => "no-lost-writes",
            Self::TrueClaims => "true-claims",
            Self::BoundedDrift => "bounded-drift",
            Self::NoDeletions => "no-deletions",
            Self::NoLateRevokes => "no-late-revokes",
        })
    }
}

impl FromStr for Assumption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.to_string() == text).ok_or_else(|| {
            let names = Self::ALL.map(|one| one.to_string());
            format!(
                "no such assumption: {text:?}; there are {}",
                names.join(", ")
            )
        })
    }
}
