//! Each rule has at least one least history that breaks it and is refused for that very reason, and a neighbour that
//! keeps it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod order;
mod story;
mod time;
mod unknown;
