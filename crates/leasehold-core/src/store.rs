//! What a registry is to core: six methods, no policy.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::mutants::{Mutant, mutant};
use crate::name::{LeaseName, Prefix};
use crate::record::{AttemptId, Record};
use crate::server::Server;
use crate::time::BootInstant;

/// A registry of leases.
///
/// # What an implementor owes
///
/// - [`get`](Store::get) is linearizable: it sees every change whose outcome was returned before it was called.
/// - [`apply`](Store::apply) applies each change atomically by itself, by the rules of
///   [`contract::decide`](crate::contract::decide); the batch is not atomic, and one change's failure touches no
///   other. No two changes of a batch have the same name. The answer has one outcome a change, in order.
/// - Every applied change, grants and vacations alike, gets a new index that is larger than every earlier one of that
///   name, assigned inside the atomic step.
/// - An outcome says what is known, no more: [`Outcome::NotApplied`] only where the change can no longer be applied
///   later, [`Outcome::Unknown`] in every case of doubt. The driver's own silent retries of writes are switched off.
/// - What is left of an instant is an upper bound at the moment the caller receives it.
/// - Everything returns by `until`. A future dropped half-way leaves an unknown outcome, nothing worse.
/// - What is not leasehold's is never overwritten by an acquire and never damaged.
///
/// `leasehold-testkit` has the conformance suite that holds a store to this.
pub trait Store: Debug + Send + Sync + 'static {
    /// What this kind of store can do and assumes.
    fn declared(&self) -> Capabilities;

    /// The same for this store as it is connected (a server's version or settings may narrow it).
    fn connected(&self) -> Capabilities {
        self.declared()
    }

    /// Where the registry is, for messages; never with credentials.
    fn location(&self) -> String;

    /// The program that keeps the registry, where it is one that has versions.
    fn server(&self) -> Option<Server> {
        None
    }

    /// The record of a name, tombstones and expired records included.
    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>>;

    /// Applies changes, each atomically by itself.
    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>>;

    /// A page of the records that the prefix covers, in the order of their names' bytes, those after `after`.
    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>>;

    /// Signals that something may have changed. Core reads again at each: a signal too many costs a read, one that
    /// is lost costs the time until core's slow re-read. The stream never ends while the store is open. A signal
    /// comes for every change except renewals that leave the record's body alone, for which it is optional.
    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal>;

    /// Ends background work and frees what the store holds, by `until`.
    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>>;
}

/// What a watch covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One name.
    Name(LeaseName),
    /// All names that a prefix covers.
    Prefix(Prefix),
}

impl Scope {
    /// Whether the scope covers a name.
    #[must_use]
    pub fn covers(&self, name: &LeaseName) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Prefix(prefix) => prefix.covers(name),
        }
    }
}

/// Something may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// This name.
    Name(LeaseName),
    /// Any name of the scope.
    Any,
}

/// A record as a store found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The record's index.
    pub index: u64,
    /// The record.
    pub record: Record,
    /// What is left of the steal's wait, at most.
    pub wait: Duration,
    /// What is left until the name is vacant, at most; zero: it is vacant. None: nobody knows (a foreign record).
    pub left: Option<Duration>,
}

impl Seen {
    /// Whether the name was vacant when it was seen.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        match self.left {
            Some(left) => left.is_zero(),
            None => mutant(Mutant::ForeignRecordIsVacant),
        }
    }

    /// Whether the name had a lessee whose term had not run out, or counts as held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.record.is_held() && !self.is_vacant()
    }

    /// The fence of the record's term.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.record.fence_at(self.index)
    }
}

/// One change of one name.
#[derive(Clone, Debug)]
pub enum Change {
    /// A grant: acquire, steal, renew.
    Take(Take),
    /// The end of a grant: release, break. Leaves a tombstone.
    Vacate(Vacate),
}

impl Change {
    /// The name that is changed.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        match self {
            Self::Take(take) => &take.name,
            Self::Vacate(vacate) => &vacate.name,
        }
    }

    /// The attempt that the change carries.
    #[must_use]
    pub fn attempt(&self) -> AttemptId {
        match self {
            Self::Take(take) => take.attempt,
            Self::Vacate(vacate) => vacate.attempt,
        }
    }

    /// What the change replaces.
    #[must_use]
    pub fn expect(&self) -> Expect {
        match self {
            Self::Take(take) => take.expect,
            Self::Vacate(vacate) => Expect::Index(vacate.index),
        }
    }

    /// The record that the change leaves: complete but for the index, and for the lengths where the store keeps
    /// instants.
    #[must_use]
    pub fn record(&self) -> &Record {
        match self {
            Self::Take(take) => &take.record,
            Self::Vacate(vacate) => &vacate.record,
        }
    }
}

/// A grant to be made.
#[derive(Clone, Debug)]
pub struct Take {
    /// The name.
    pub name: LeaseName,
    /// The attempt's id, also in the record.
    pub attempt: AttemptId,
    /// What the grant replaces.
    pub expect: Expect,
    /// The record to leave. Its period is the grant's; its fence is none where the grant's own index is the fence.
    pub record: Record,
    /// Whether the body is that of the record being replaced, to the byte: a store may leave it alone.
    pub same_body: bool,
    /// From when the grant may be believed.
    pub believe: Believe,
    /// How long after its application the name stays taken: the period, or longer. What is longer is no part of what is
    /// granted.
    pub hold: Duration,
    /// Whether the grant has to survive a loss of power before it is told: a store that otherwise may lose what it has
    /// acknowledged syncs this one. Set by grants that close a slot ([`Lock::once_per`](crate::Lock::once_per)).
    pub durable: bool,
}

/// The end of a grant.
#[derive(Clone, Debug)]
pub struct Vacate {
    /// The name.
    pub name: LeaseName,
    /// The attempt's id, also in the tombstone.
    pub attempt: AttemptId,
    /// The index of the grant that ends.
    pub index: u64,
    /// The tombstone to leave.
    pub record: Record,
    /// From when the name is vacant.
    pub reopen: Reopen,
}

/// What a change replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The vacancy that was seen: the index of a tombstone or expired record, or no record at all.
    Vacant(Option<u64>),
    /// The held, unexpired record of this index.
    Index(u64),
}

/// From when a grant may be believed. An inherited wait is always kept on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Believe {
    /// From its application.
    Now,
    /// When the replaced grant has run out.
    AfterReplaced,
    /// A while after its application.
    After(Duration),
}

/// From when a vacated name is vacant. An inherited wait is always kept on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reopen {
    /// From the application.
    Now,
    /// When the replaced grant has run out.
    AfterReplaced,
    /// A while after the application.
    After(Duration),
}

/// What became of a change.
#[derive(Debug)]
pub enum Outcome {
    /// It was applied.
    Applied(Applied),
    /// It was not, because something else stood there in that very step.
    Refused {
        /// What stood there.
        found: Option<Seen>,
    },
    /// It was not applied and never will be.
    NotApplied(Error),
    /// Nobody knows.
    Unknown(Error),
}

/// An applied change.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The index of the new record.
    pub index: u64,
    /// The period that was granted: the one asked for, or what the registry made of it. Zero for a vacation.
    pub granted: Duration,
    /// Where another object carries the expiry, when its last counted renewal was sent: the deadline counts from
    /// there, and from when this change was first sent if that was earlier. None: from when it was first sent.
    ///
    /// Such a store must answer so too where an earlier send of the attempt was applied and this one is refused: only
    /// it knows what carries the grant. A refusal that shows the attempt would count from the send.
    pub counted_from: Option<BootInstant>,
    /// Whether the grant's expiry moved. False: the new index counts, the old deadline stands.
    pub extended: bool,
    /// What is left until the grant may be believed, at most.
    pub wait: Duration,
}

/// Part of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// The records, in the order of their names' bytes.
    pub entries: Vec<(LeaseName, Seen)>,
    /// Whether there may be more after the last.
    pub more: bool,
}
