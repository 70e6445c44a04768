//! Registries that only offer compare-and-swap on opaque revisions.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::name::{LeaseName, Prefix};
use crate::sync::{Mutex, MutexGuard};
use crate::time::BootInstant;

/// A revision of a value: equal or not, nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Revision(pub Bytes);

/// A registry of values with compare-and-swap on opaque revisions: an object store, Kubernetes.
/// [`Observed`](crate::Observed) makes a [`Store`](crate::Store) of it.
///
/// # What an implementor owes
///
/// As for [`Store`](crate::Store): reads are linearizable; a write is atomic, and what came of it is said exactly
/// ([`Written::Unknown`] in every case of doubt, no silent retries by the driver); everything returns by `until`.
pub trait Register: Debug + Send + Sync + 'static {
    /// What this registry can do. Its clock does not matter: expiry is observed.
    fn declared(&self) -> Capabilities;

    /// Where the registry is, for messages; never with credentials.
    fn location(&self) -> String;

    /// The value of a name and its revision.
    fn read<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<(Bytes, Revision)>>>;

    /// Writes a value if the name's revision is still the expected one (none: there is no value).
    fn write<'a>(
        &'a self,
        name: &'a LeaseName,
        value: Bytes,
        expect: Option<&'a Revision>,
        until: BootInstant,
    ) -> BoxFuture<'a, Written>;

    /// The names that the prefix covers, in the order of their bytes, those after `after`, at most `max`.
    fn names<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Vec<LeaseName>>>;

    /// Frees what the registry holds, by `until`.
    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>>;
}

/// What became of a write.
#[derive(Debug)]
pub enum Written {
    /// It was written.
    Done(Revision),
    /// It was not: the revision was another.
    Refused,
    /// It was not and never will be.
    NotWritten(Error),
    /// Nobody knows.
    Unknown(Error),
}

/// A register in this process's memory. Clones are clients of the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryRegister(Arc<Mutex<Values>>);

#[derive(Debug, Default)]
struct Values {
    writes: u64,
    values: BTreeMap<LeaseName, (Bytes, Revision)>,
}

impl MemoryRegister {
    /// An empty register.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts bytes under a name, as a foreign writer would: for tests.
    pub fn plant(&self, name: &LeaseName, bytes: &[u8]) {
        let mut values = self.lock();
        let revision = values.next();
        values
            .values
            .insert(name.clone(), (Bytes::copy_from_slice(bytes), revision));
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Values {
    /// A revision that tells nothing but that it is another.
    fn next(&mut self) -> Revision {
        self.writes += 1;
        Revision(Bytes::copy_from_slice(
            &self
                .writes
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_be_bytes(),
        ))
    }
}

impl Register for MemoryRegister {
    fn declared(&self) -> Capabilities {
        Capabilities::local()
    }

    fn location(&self) -> String {
        "memory register".into()
    }

    fn read<'a>(
        &'a self,
        name: &'a LeaseName,
        _: BootInstant,
    ) -> BoxFuture<'a, Result<Option<(Bytes, Revision)>>> {
        ready(Ok(self.lock().values.get(name).cloned())).boxed()
    }

    fn write<'a>(
        &'a self,
        name: &'a LeaseName,
        value: Bytes,
        expect: Option<&'a Revision>,
        _: BootInstant,
    ) -> BoxFuture<'a, Written> {
        let mut values = self.lock();
        let written = if values.values.get(name).map(|(_, revision)| revision) == expect {
            let revision = values.next();
            values
                .values
                .insert(name.clone(), (value, revision.clone()));
            Written::Done(revision)
        } else {
            Written::Refused
        };
        ready(written).boxed()
    }

    fn names<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        _: BootInstant,
    ) -> BoxFuture<'a, Result<Vec<LeaseName>>> {
        let values = self.lock();
        let names = values
            .values
            .keys()
            .filter(|name| prefix.covers(name) && after.is_none_or(|after| *name > after));
        ready(Ok(names.take(max).cloned().collect())).boxed()
    }

    fn close(&self, _: BootInstant) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }
}
