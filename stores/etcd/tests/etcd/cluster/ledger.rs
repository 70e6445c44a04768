//! Which records stood: whatever the registry shows to a client is noted.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::BootInstant;
use leasehold_etcd::EtcdClient;
use leasehold_etcd::api::{
    Api, Done, Entry, Failed, Gave, Granted, Kept, LeaseId, Notice, Range, Ranged, Replied, Txn,
};
use leasehold_etcd::keys::Keyspace;
use leasehold_testkit::Audit;

/// A client whose audit learns the revisions of all keys that it is shown. A record that has run out is gone, and what
/// is left of it, its mark, shows when it was written.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) client: EtcdClient,
    pub(super) audit: Audit,
    pub(super) keys: Keyspace,
}

impl Noted {
    fn shown<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) {
        for entry in entries {
            let name = self.keys.leased(&entry.key);
            if let Some(name) = name.or_else(|| self.keys.marked(&entry.key)) {
                self.audit.shown(&name, entry.revision);
            }
        }
    }

    fn done(&self, done: &Done) {
        for gave in &done.gave {
            match gave {
                Gave::Key(entry) => self.shown(entry),
                Gave::Done(nested) => self.done(nested),
                Gave::Nothing => {}
            }
        }
    }
}

impl Api for Noted {
    fn grant(&self, seconds: u64, until: BootInstant) -> BoxFuture<'_, Result<Granted, Failed>> {
        self.client.grant(seconds, until)
    }

    fn keep_alive(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<Kept, Failed>> {
        self.client.keep_alive(id, until)
    }

    fn revoke(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<(), Failed>> {
        self.client.revoke(id, until)
    }

    fn txn(&self, txn: Txn, until: BootInstant) -> BoxFuture<'_, Result<Replied, Failed>> {
        async move {
            let replied = self.client.txn(txn, until).await?;
            self.done(&replied.done);
            Ok(replied)
        }
        .boxed()
    }

    fn range(
        &self,
        ranges: Vec<Range>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<Ranged, Failed>> {
        async move {
            let ranged = self.client.range(ranges, until).await?;
            self.shown(ranged.entries.iter().flatten());
            Ok(ranged)
        }
        .boxed()
    }

    fn watch(
        &self,
        prefix: Bytes,
        after: Option<u64>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Notice>, Failed>> {
        self.client.watch(prefix, after, until)
    }
}
