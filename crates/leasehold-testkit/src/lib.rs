#![doc = include_str!("lib.md")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test kit panics to say that a test failed"
)]

pub mod conformance;
pub mod history;
pub mod procs;
pub mod servers;
pub mod sim;
pub mod world;

mod audit;
mod chance;
mod faulty;
mod fixtures;
mod harness;
mod load;
mod recorded;

pub use audit::{Audit, Audited, Carrier};
pub use chance::Chance;
pub use faulty::{Fault, Faulty, Sent};
pub use fixtures::{Memory, ObservedMemory};
pub use harness::{Case, Client, Fixture, Harness, TestTime, run, run_with, seeds};
pub use load::{Client as LoadClient, Load};
pub use recorded::Recorded;
