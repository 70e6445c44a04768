//! The laws of index, fence and belief over random histories that shrink (proptest).

use leasehold_testkit::conformance::{Step, run_history};
use leasehold_testkit::{Memory, ObservedMemory, run_with};
use proptest::prelude::*;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        (0..13_u64, 0..100_u64).prop_map(|(kind, n)| Step::of(kind, n)),
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hold_in_memory(steps in steps(), seed in 0..1000_u64) {
        run_with(|| Box::new(Memory::default()), seed, async |h| run_history(&h, "x", &steps).await);
    }

    #[test]
    fn hold_observed(steps in steps(), seed in 0..1000_u64) {
        run_with(|| Box::new(ObservedMemory::default()), seed, async |h| run_history(&h, "x", &steps).await);
    }
}
