//! Seeded chance.

/// A small generator of numbers that look random and follow from their seed (splitmix64): the same on every machine
/// and in every version, so that a seed in a bug report still means something.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x6c65_6173_6568_6f6c)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero for a bound of zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        u64::try_from((u128::from(self.number()) * u128::from(bound)) >> 64).unwrap_or_default()
    }

    /// Whether something of this many chances in a thousand comes to pass.
    pub fn per_mille(&mut self, chances: u64) -> bool {
        self.below(1000) < chances
    }

    /// A duration below `bound`.
    pub fn duration(&mut self, bound: std::time::Duration) -> std::time::Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        std::time::Duration::from_nanos(self.below(nanos))
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }
}
