//! The contract, held against the store on native leases.

leasehold_testkit::conformance!(
    native,
    leasehold_testkit::world::native::NativeSim::default()
);
