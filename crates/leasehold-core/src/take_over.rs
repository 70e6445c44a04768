//! Taking a lease from a lessee of another version.

use crate::mutants::{Mutant, mutant};
use crate::status::Status;

/// Whether a candidate takes the lease from a lessee of another version, as fleet's engines did. The old lessee's term is
/// waited out.
///
/// The policy is kept in the record. A candidate goes by its own only where the lessee's is the same, and only for a
/// version that is strictly higher, or lower: so that candidates of different settings never take it from each other in
/// a circle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum TakeOver {
    /// Never: whoever leads leads on.
    #[default]
    Never,
    /// From a lessee of a lower version.
    HigherVersion,
    /// From a lessee of a higher version.
    LowerVersion,
}

impl TakeOver {
    /// The word in the record and in the command's options.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::HigherVersion => "higher-version",
            Self::LowerVersion => "lower-version",
        }
    }

    /// As it stands in a record.
    pub(crate) fn policy(self) -> Option<String> {
        match self {
            Self::Never => None,
            policy => Some(policy.as_str().to_owned()),
        }
    }

    /// Whether a candidate of this policy and version takes the lease from whoever holds it.
    pub(crate) fn takes(self, version: i64, holder: &Status) -> bool {
        let is_held = holder.is_held() && !holder.is_foreign();
        is_held && self.beats(version, holder.policy(), holder.version())
    }

    fn beats(self, version: i64, policy: Option<&str>, holder: i64) -> bool {
        let same = if mutant(Mutant::TakeOverIgnoresPolicy) {
            policy.is_some()
        } else {
            policy == Some(self.as_str())
        };
        match self {
            Self::Never => false,
            Self::HigherVersion => same && version > holder,
            Self::LowerVersion => same && version < holder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of three candidates of any settings, no chain of take-overs comes back to whom it began with.
    #[test]
    fn candidates_of_all_settings_never_take_over_in_a_circle() {
        let all = [
            TakeOver::Never,
            TakeOver::HigherVersion,
            TakeOver::LowerVersion,
        ];
        let settings: Vec<(TakeOver, i64)> = all
            .into_iter()
            .flat_map(|policy| [i64::MIN, -1, 0, 1, i64::MAX].map(|version| (policy, version)))
            .collect();
        let beats = |of: &(TakeOver, i64), holder: &(TakeOver, i64)| {
            of.0.beats(of.1, holder.0.policy().as_deref(), holder.1)
        };
        let mut take_overs = 0;
        for a in &settings {
            assert!(!beats(a, a));
            for b in &settings {
                take_overs += usize::from(beats(a, b));
                assert!(!(beats(a, b) && beats(b, a)), "{a:?} {b:?}");
                for c in &settings {
                    let circle = beats(b, a) && beats(c, b) && beats(a, c);
                    assert!(!circle, "{a:?} {b:?} {c:?}");
                }
            }
        }
        assert_eq!(
            take_overs, 20,
            "ten pairs of versions for each of two policies"
        );
    }
}
