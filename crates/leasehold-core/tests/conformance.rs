//! The contract, held against the stores in core.

leasehold_testkit::conformance!(memory, leasehold_testkit::Memory::default());
leasehold_testkit::conformance!(observed, leasehold_testkit::ObservedMemory::default());
