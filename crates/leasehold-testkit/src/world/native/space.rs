//! A registry whose space is used up, until somebody makes more.

use leasehold_core::{Error, ErrorKind};
use leasehold_etcd::api::{Failed, Op, Txn};

/// Nothing that takes space is served any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    /// Until when, on the server's clock.
    pub(super) until: u64,
    /// Whether it refuses transactions that only read or delete, too, as 3.5.1 does.
    pub(super) old: bool,
    /// So many more requests find the quota exceeded when they are applied, and are applied all the same.
    pub(super) applied: u64,
}

pub(super) fn no_space() -> Failed {
    let message = "database space exceeded";
    Failed::NoSpace(Error::new(ErrorKind::Unavailable, message))
}

/// Whether a transaction could put something: what it would do as things stand does not matter.
pub(super) fn takes_space(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.otherwise).any(|op| match op {
        Op::Put { .. } => true,
        Op::Txn(txn) => takes_space(txn),
        Op::Get(_) | Op::Delete(_) => false,
    })
}
