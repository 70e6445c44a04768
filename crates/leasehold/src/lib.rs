#![doc = include_str!("lib.md")]

mod open;
mod url;

pub use leasehold_core::*;
pub use open::{connect, open};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
