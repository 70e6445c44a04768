#![doc = include_str!("lib.md")]

mod open;

pub use leasehold_core::*;
pub use open::{connect, open};
