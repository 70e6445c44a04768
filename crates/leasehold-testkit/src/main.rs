//! The test kit's command: simulations of the whole library, and the checks that go with them.

#![allow(
    clippy::expect_used,
    reason = "a test kit panics to say that a test failed"
)]

mod command;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(
    name = "leasehold-testkit",
    about = "Runs leasehold in simulated worlds and holds it to its contract"
)]
enum Command {
    /// Simulates worlds: processes, a registry, and everything that can go wrong between them, a seed each.
    Simulate(command::simulate::Options),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Simulate(options) => command::simulate::run(&options),
    }
}
