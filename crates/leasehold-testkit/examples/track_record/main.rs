//! Shows that the tests catch every mutant that is built in, and keeps the record: `scripts/mutants` builds and calls
//! this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

#[cfg(leasehold_mutants)]
mod record;

fn main() -> std::process::ExitCode {
    #[cfg(leasehold_mutants)]
    return record::run();
    #[cfg(not(leasehold_mutants))]
    {
        eprintln!("there are no mutants in this build: scripts/mutants makes one that has them");
        std::process::ExitCode::FAILURE
    }
}
