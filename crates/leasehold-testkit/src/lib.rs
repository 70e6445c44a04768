#![doc = include_str!("lib.md")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test kit panics to say that a test failed"
)]

pub mod sim;

mod chance;

pub use chance::Chance;
