#![doc = include_str!("lib.md")]

#[cfg(feature = "blocking")]
pub mod blocking;
mod open;
mod url;

pub use leasehold_core::*;
pub use open::{connect, open};

/// The store in etcd, with what fences need there: [`etcd::fence`].
#[cfg(feature = "etcd")]
#[doc(no_inline)]
pub use leasehold_etcd as etcd;
/// The store in an SQLite file, with what fences need in a database of one's own: [`sqlite::fence`].
#[cfg(feature = "sqlite")]
#[doc(no_inline)]
pub use leasehold_sqlite as sqlite;

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
