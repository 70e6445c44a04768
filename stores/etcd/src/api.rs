//! What the native store needs of an etcd v3 client: six requests, nothing else.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::{BootInstant, Error, ErrorKind};

/// The number of a native lease.
pub type LeaseId = u64;

/// An etcd v3 client as far as the store needs one. Every request ends by `until`; none is sent twice by the client.
pub trait Api: Debug + Send + Sync + 'static {
    /// Grants a native lease of this many seconds, or of the server's least.
    fn grant(&self, seconds: u64, until: BootInstant) -> BoxFuture<'_, Result<Granted, Failed>>;

    /// Renews a native lease.
    fn keep_alive(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<Kept, Failed>>;

    /// Revokes a native lease and deletes the keys attached to it.
    fn revoke(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<(), Failed>>;

    /// Applies a transaction, whole or not at all.
    fn txn(&self, txn: Txn, until: BootInstant) -> BoxFuture<'_, Result<Replied, Failed>>;

    /// The keys of some ranges, as they stand at one revision; linearizable.
    fn range(
        &self,
        ranges: Vec<Range>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<Ranged, Failed>>;

    /// The changes of the keys with a prefix after a revision; none: from now on.
    fn watch(
        &self,
        prefix: Bytes,
        after: Option<u64>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Notice>, Failed>>;
}

/// A granted native lease.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// Its number.
    pub id: LeaseId,
    /// How long it was granted for.
    pub ttl: Duration,
}

/// The answer to a keep-alive.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// What it was renewed to; zero: there is no such lease.
    pub ttl: Duration,
    /// The raft term of whoever answered; zero where it did not say.
    pub term: u64,
}

/// A transaction: some changes if every comparison holds, others if not.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// What must hold.
    pub when: Vec<Compare>,
    /// What is done then.
    pub then: Vec<Op>,
    /// What is done otherwise.
    pub otherwise: Vec<Op>,
}

impl Txn {
    /// How many bytes of keys and values it carries.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |op: &Op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Get(key) | Op::Delete(key) => key.len(),
            Op::Txn(nested) => nested.size(),
        };
        let compared = self.when.iter().map(|compare| compare.key.len());
        compared.sum::<usize>()
            + self
                .then
                .iter()
                .chain(&self.otherwise)
                .map(size)
                .sum::<usize>()
    }

    /// Whether it can write: etcd serves one that cannot as it serves any read, without its log.
    #[must_use]
    pub fn writes(&self) -> bool {
        let writes = |op: &Op| match op {
            Op::Put { .. } | Op::Delete(_) => true,
            Op::Get(_) => false,
            Op::Txn(nested) => nested.writes(),
        };
        self.then.iter().chain(&self.otherwise).any(writes)
    }
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What must hold of it.
    pub is: Is,
}

/// What may hold of a key. A key that is not there has revision and version zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// It is not there: its version is zero.
    Absent,
    /// It is there: its version is more than zero.
    Present,
    /// It was last changed at this revision.
    At(u64),
    /// It was last changed at this revision or earlier.
    UpTo(u64),
}

/// A change or read within a transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
        /// The native lease it is attached to.
        lease: Attach,
    },
    /// Deletes a key.
    Delete(Bytes),
    /// Reads a key.
    Get(Bytes),
    /// A transaction within.
    Txn(Txn),
}

/// What a written key is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// To nothing: it stays until it is deleted.
    Nothing,
    /// To what it was attached to before (`ignore_lease`).
    Same,
    /// To this native lease.
    To(LeaseId),
}

/// The answer to a transaction.
#[derive(Clone, Debug)]
pub struct Replied {
    /// What was done.
    pub done: Done,
    /// The registry's revision after it: that of everything it wrote.
    pub revision: u64,
    /// The raft term of whoever answered.
    pub term: u64,
}

/// What a transaction did.
#[derive(Clone, Debug)]
pub struct Done {
    /// Whether the comparisons held.
    pub held: bool,
    /// What each operation gave, in order.
    pub gave: Vec<Gave>,
}

/// What an operation gave.
#[derive(Clone, Debug)]
pub enum Gave {
    /// It wrote.
    Nothing,
    /// It read.
    Key(Option<Entry>),
    /// It was a transaction.
    Done(Done),
}

/// A key as it stands.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// When it was last changed.
    pub revision: u64,
    /// The native lease it is attached to; zero: none.
    pub lease: LeaseId,
}

/// Keys from one on to before another.
#[derive(Clone, Debug)]
pub struct Range {
    /// The first key.
    pub from: Bytes,
    /// The key behind the last; none: only `from`.
    pub to: Option<Bytes>,
    /// How many at most.
    pub most: usize,
}

/// The answer to a range.
#[derive(Clone, Debug)]
pub struct Ranged {
    /// The entries of each range, in the order of their keys.
    pub entries: Vec<Vec<Entry>>,
    /// The revision as of which they stand so.
    pub revision: u64,
}

/// What a watch tells. The stream ends where the connection does.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A key was changed at a revision.
    Changed(Bytes, u64),
    /// What was to be told is no longer kept.
    Compacted,
}

/// Why a request failed.
#[derive(Debug)]
pub enum Failed {
    /// It was never sent, or was refused as a whole: nothing of it was done, nor ever will be.
    NotDone(Error),
    /// Nobody knows whether it was served.
    NoAnswer(Error),
    /// It was refused for want of space. The request that finds the quota exceeded when it is applied is applied all the
    /// same, so it may have been done; it will not be done later.
    NoSpace(Error),
    /// It names a native lease that is not there, and nothing of it was done.
    NoSuchLease,
    /// It has more operations than the server takes in one transaction, and nothing of it was done.
    TooMany,
}

impl Failed {
    /// No member could be reached.
    #[must_use]
    pub fn unreached() -> Self {
        let message = "the registry could not be reached";
        Self::NotDone(Error::new(ErrorKind::Unavailable, message))
    }

    /// The time was over before there was an answer.
    #[must_use]
    pub fn no_answer() -> Self {
        let message = "the registry did not answer in time";
        Self::NoAnswer(Error::new(ErrorKind::Unavailable, message))
    }

    /// The error for whoever asked.
    #[must_use]
    pub fn error(&self) -> Error {
        match self {
            Self::NotDone(error) | Self::NoAnswer(error) | Self::NoSpace(error) => {
                error.duplicate()
            }
            Self::NoSuchLease => Error::new(ErrorKind::Unavailable, "the native lease is gone"),
            Self::TooMany => Error::new(
                ErrorKind::Unsupported,
                "etcd takes too few operations in one transaction: start it with --max-txn-ops of at least 4",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_transaction_can_write() {
        let key = Bytes::from_static(b"key");
        let of = |op: Op| Txn {
            otherwise: vec![op],
            ..Txn::default()
        };
        let read = of(Op::Get(key.clone()));
        let delete = of(Op::Delete(key));
        assert!(!read.writes() && delete.writes());
        let nested = |inner: &Txn| Txn {
            then: vec![Op::Txn(inner.clone())],
            ..Txn::default()
        };
        assert!(!nested(&read).writes() && nested(&delete).writes());
    }
}
