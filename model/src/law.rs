//! The laws: what no sequence of events may break.

/// A law of the contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Law {
    /// *One lessee*: two handles believe at the same time.
    OneLessee,
    /// *Belief never resumes*: a handle whose term was over believes again.
    NeverResumes,
    /// *The index only grows*: a change gets an index that is not larger than every earlier one.
    IndexGrows,
    /// *The fence*: a term's fence is not larger than all that was shown before, or changes during the term.
    Fence,
    /// *Not early*: an acquire is applied before the granted period is over, or before an inherited wait is.
    NotEarly,
    /// *Unknown is not failure*: what was reported as not applied stands, or is applied afterwards.
    Reports,
    /// *An attempt applies at most once*.
    Once,
}

impl Law {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OneLessee,
        Self::NeverResumes,
        Self::IndexGrows,
        Self::Fence,
        Self::NotEarly,
        Self::Reports,
        Self::Once,
    ];

    /// Its name, as the contract has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneLessee => "one lessee",
            Self::NeverResumes => "belief never resumes",
            Self::IndexGrows => "the index only grows",
            Self::Fence => "the fence",
            Self::NotEarly => "not early",
            Self::Reports => "unknown is not failure",
            Self::Once => "applied at most once",
        }
    }
}

/// A set of laws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Laws(u8);

impl Laws {
    /// Every law.
    pub const ALL: Self = Self(0x7f);

    /// One law.
    #[must_use]
    pub const fn only(law: Law) -> Self {
        Self(1 << law as u8)
    }

    /// Whether the law is in the set.
    #[must_use]
    pub const fn has(self, law: Law) -> bool {
        self.0 & (1 << law as u8) != 0
    }
}
