//! Where a name is kept: its lease, and beside it what remains when the lease is gone.

use bytes::Bytes;
use leasehold_core::{LeaseName, Record};

/// Before the keys of leases: one a name, attached to a native lease, so that it disappears by itself. While it is
/// there the name is taken; when it is gone the name is vacant. Nothing else decides that.
const LEASE: &str = "leasehold/lease/";
/// Before the keys of marks: one a name, attached to nothing, written in the same transaction as each beginning and end
/// of a term. It tells a clean end from an expiry, and gives a vacancy a number that an acquire can name.
const MARK: &str = "leasehold/mark/";

/// The keys of one name.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Its lease's key.
    pub lease: Bytes,
    /// Its mark's key.
    pub mark: Bytes,
}

impl Keys {
    /// Those of this name.
    #[must_use]
    pub fn of(name: &LeaseName) -> Self {
        Self {
            lease: lease_key(name.as_str()),
            mark: mark_key(name.as_str()),
        }
    }
}

/// What all keys of leases begin with.
#[must_use]
pub fn leases() -> Bytes {
    Bytes::from_static(LEASE.as_bytes())
}

/// The key of a name's lease.
#[must_use]
pub fn lease_key(name: &str) -> Bytes {
    Bytes::from([LEASE, name].concat())
}

/// The key of a name's mark.
#[must_use]
pub fn mark_key(name: &str) -> Bytes {
    Bytes::from([MARK, name].concat())
}

/// The name of a lease's key; none for any other key.
#[must_use]
pub fn leased(key: &[u8]) -> Option<LeaseName> {
    named(key, LEASE)
}

/// The name of a mark's key; none for any other key.
#[must_use]
pub fn marked(key: &[u8]) -> Option<LeaseName> {
    named(key, MARK)
}

fn named(key: &[u8], prefix: &str) -> Option<LeaseName> {
    let rest = key.strip_prefix(prefix.as_bytes())?;
    LeaseName::reserved(std::str::from_utf8(rest).ok()?).ok()
}

/// The mark of a grant: who holds it, for those who find the lease gone. Not its attempt: it must never be taken for
/// the grant itself.
#[must_use]
pub fn mark_of(record: &Record) -> Record {
    let mut body = leasehold_core::Body::clone(&record.body);
    body.note = None;
    body.data = None;
    Record {
        attempt: None,
        body: std::sync::Arc::new(body),
        ..record.clone()
    }
}
