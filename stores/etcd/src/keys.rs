//! Where a name is kept: its lease, and beside it what remains when the lease is gone.

use bytes::Bytes;
use leasehold_core::{LeaseName, Record};

/// What all keys begin with, where nothing else is said.
pub const PREFIX: &str = "/leasehold";

/// The keys of one registry's names.
///
/// `PREFIX/lease/NAME` is a name's lease, attached to a native lease, so that it disappears by itself. While it is there
/// the name is taken; when it is gone the name is vacant. Nothing else decides that. `PREFIX/mark/NAME` is its mark,
/// attached to nothing, written in the same transaction as each beginning and end of a term. It tells a clean end from
/// an expiry, and gives a vacancy a number that an acquire can name.
#[derive(Clone, Debug)]
pub struct Keyspace {
    lease: String,
    mark: String,
}

impl Default for Keyspace {
    fn default() -> Self {
        Self::new(PREFIX)
    }
}

/// The keys of one name.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Its lease's key.
    pub lease: Bytes,
    /// Its mark's key.
    pub mark: Bytes,
}

impl Keyspace {
    /// The keys that begin with this prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            lease: [prefix, "/lease/"].concat(),
            mark: [prefix, "/mark/"].concat(),
        }
    }

    /// The keys of this name.
    #[must_use]
    pub fn of(&self, name: &LeaseName) -> Keys {
        Keys {
            lease: self.lease_key(name.as_str()),
            mark: self.mark_key(name.as_str()),
        }
    }

    /// What all keys of leases begin with.
    #[must_use]
    pub fn leases(&self) -> Bytes {
        self.lease_key("")
    }

    /// What the keys of each kind begin with: of leases, of marks.
    pub(crate) fn kinds(&self) -> [Bytes; 2] {
        [self.lease_key(""), self.mark_key("")]
    }

    /// The key of a name's lease.
    #[must_use]
    pub fn lease_key(&self, name: &str) -> Bytes {
        Bytes::from([&self.lease, name].concat())
    }

    /// The key of a name's mark.
    #[must_use]
    pub fn mark_key(&self, name: &str) -> Bytes {
        Bytes::from([&self.mark, name].concat())
    }

    /// The name of a lease's key; none for any other key.
    #[must_use]
    pub fn leased(&self, key: &[u8]) -> Option<LeaseName> {
        named(key, &self.lease)
    }

    /// The name of a mark's key; none for any other key.
    #[must_use]
    pub fn marked(&self, key: &[u8]) -> Option<LeaseName> {
        named(key, &self.mark)
    }
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
