//! Fences for what is kept in the same etcd cluster as the leases: the check and the act in one transaction.
//!
//! `is_current()` does not cover the act after it: whoever is paused between the two acts late. etcd can compare the
//! lease's own key in the very transaction that writes, so the check and the act are one. What it has to compare is
//! [`Standing`]: two numbers that no renewal changes, and one of which every new term changes.
//!
//! ```
//! use leasehold_core::LeaseName;
//! use leasehold_etcd::fence::{Found, Standing};
//! use leasehold_etcd::keys::Keyspace;
//!
//! # fn main() -> leasehold_core::Result<()> {
//! let key = Keyspace::new("/app").of(&LeaseName::new("job")?).lease;
//! # let (value, fence) = (br#"{"MachineID":"m","Version":0,"needs":1,"fence":7}"#, 7);
//! // With any client: let answer = client.get(key).await?; let kv = answer.kvs().first();
//! let found = Some(Found {
//!     value, // kv.value()
//!     lease: 4711, // kv.lease()
//!     create_revision: 10, // kv.create_revision()
//!     mod_revision: 12, // kv.mod_revision()
//! });
//! let standing = Standing::of("job", found, fence)?; // fence: held.fence()
//! // Each transaction of the term, with that client:
//! //   when  Compare::lease(key, Equal, standing.lease)
//! //         Compare::create_revision(key, Equal, standing.create_revision)
//! //   then  the writes
//! // Did not succeed: read the key again. Either an error says that the term is over, or its native lease is another
//! // one now, and the transaction may be tried again.
//! # assert_eq!((standing.lease, standing.create_revision), (4711, 10));
//! # Ok(())
//! # }
//! ```
//!
//! **Why these two.** The key is attached to a native lease, and every renewal leaves it there, so unlike `mod_revision`
//! the native lease stays put; a steal writes the key anew on another one. A release deletes the key and may leave the
//! native lease ready for the next term of the same client, so the native lease alone could be met again; but then the
//! key was created anew. `create_revision` alone survives a steal. Together they change with every term.
//!
//! A renewal that asks for another period moves the key to another native lease within the term, and so does one by a
//! fetched lease. A transaction that was to succeed is then refused, never the other way round.
//!
//! A new lessee need not mark anything before it reads: its grant is the mark. From the moment that the registry has applied
//! it, and from the moment that the old grant has run out there, the old term's transactions are refused.
//!
//! Not covered: what is kept elsewhere, another cluster included (it needs a mark of its own: `docs/fencing.md` in the
//! repository), and writes without the comparison.

use leasehold_core::{Record, Result, fence};

/// The lease's key as it was read, by a linearizable read of any client.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its value.
    pub value: &'a [u8],
    /// The native lease that it is attached to.
    pub lease: i64,
    /// When it was created.
    pub create_revision: i64,
    /// When it was last written.
    pub mod_revision: i64,
}

/// What a transaction has to compare the lease's key with, so that it is applied in this term only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The native lease that the key must be attached to.
    pub lease: i64,
    /// When the key must have been created.
    pub create_revision: i64,
}

impl Standing {
    /// What the term of this fence is told by, if the key that was found is its own.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`](leasehold_core::ErrorKind::Changed): the term is over; nothing was found, or another term.
    pub fn of(name: &str, found: Option<Found<'_>>, fence: u64) -> Result<Self> {
        let over = |later| Err(fence::over(Some(name), fence, later));
        let Some(found) = found else {
            return over(None);
        };
        let record = Record::decode(found.value);
        let written = record.fence_at(u64::try_from(found.mod_revision).unwrap_or_default());
        // A tombstone carries the fence of the term that it ended.
        if !record.is_held() || written != fence || found.lease == 0 {
            return over((written > fence).then_some(written));
        }
        Ok(Self {
            lease: found.lease,
            create_revision: found.create_revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::ErrorKind;

    use super::*;

    #[test]
    fn a_term_is_told_by_its_fence() {
        let found = |value: &'static str, lease| Found {
            value: value.as_bytes(),
            lease,
            create_revision: 10,
            mod_revision: 12,
        };
        let written = r#"{"MachineID":"m","Version":0,"needs":1,"fence":7}"#;
        let acquired = r#"{"MachineID":"m","Version":0,"needs":1}"#;
        let tombstone = r#"{"needs":1,"fence":7}"#;
        let of = |found, fence| Standing::of("x", found, fence);
        let own = Ok(Standing {
            lease: 3,
            create_revision: 10,
        });
        assert_eq!(of(Some(found(written, 3)), 7).map_err(drop), own);
        // The first grant of a term has its index as fence.
        assert_eq!(of(Some(found(acquired, 3)), 12).map_err(drop), own);
        for (found, fence, later) in [
            (None, 7, None),
            (Some(found(written, 3)), 6, Some(7)),
            (Some(found(written, 3)), 8, None),
            (Some(found(acquired, 3)), 7, Some(12)),
            (Some(found(tombstone, 3)), 7, None),
            (Some(found(written, 0)), 7, None),
        ] {
            let error = of(found, fence).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Changed);
            let told = error.to_string();
            let named = later.map(|later: u64| told.contains(&format!("fence {later}, has")));
            assert!(named.unwrap_or(!told.contains(", with")), "{told}");
        }
    }
}
