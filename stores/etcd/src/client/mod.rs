//! A client of etcd's v3 API: the few calls that the store needs, each bounded, none repeated silently.

mod config;
mod convert;
mod identity;
mod keeper;
mod members;
mod open;
mod reason;
mod status;
mod tls;
mod tokens;
mod url;
mod watcher;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use leasehold_core::{BootInstant, Door, Result};

pub use config::{Config, Secret, Tls, User};

use crate::api::{Api, Failed, Granted, Kept, LeaseId, Notice, Range, Ranged, Replied, Txn};
use crate::keys::PREFIX;
use convert::{number, wired};
use identity::Proof;
use keeper::Keeper;
use members::Members;

/// A client of a cluster. It connects when it is first asked for something, and again whenever it has to.
#[derive(Debug)]
pub struct EtcdClient {
    members: Arc<Members>,
    keeper: Keeper,
}

impl EtcdClient {
    /// A client by its configuration. Must be made and used inside a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for addresses that are none and certificates
    /// that cannot be used, [`ErrorKind::Unsupported`](leasehold_core::ErrorKind::Unsupported) for TLS where the feature
    /// `tls` is not compiled in.
    pub fn new(config: Config, door: Arc<dyn Door>) -> Result<Self> {
        let members = Arc::new(Members::new(config, door)?);
        let keeper = Keeper::new(members.clone());
        Ok(Self { members, keeper })
    }

    async fn read_ranges(&self, ranges: &[Range], until: BootInstant) -> Result<Ranged, Failed> {
        let call = ("/etcdserverpb.KV/Txn", Proof::Read);
        match self
            .members
            .call(call, convert::ranges(ranges), until)
            .await
        {
            // A member of 3.5 that is short of space takes no transaction, not even one that only reads.
            Err(Failed::NoSpace(_)) => self.read_each(ranges, until).await,
            answer => Ok(convert::ranged(answer?)),
        }
    }

    /// One after the other, all as of the revision at which the first was served.
    async fn read_each(&self, ranges: &[Range], until: BootInstant) -> Result<Ranged, Failed> {
        let mut ranged = Ranged {
            entries: Vec::with_capacity(ranges.len()),
            revision: 0,
        };
        for range in ranges {
            let request = convert::range(range, ranged.revision);
            let call = ("/etcdserverpb.KV/Range", Proof::Read);
            let answer: wire::RangeResponse = self.members.call(call, request, until).await?;
            if ranged.revision == 0 {
                ranged.revision = number(wire::Headed::header(&answer).revision);
            }
            ranged.entries.push(convert::entries(answer));
        }
        Ok(ranged)
    }
}

impl Api for EtcdClient {
    fn grant(&self, seconds: u64, until: BootInstant) -> BoxFuture<'_, Result<Granted, Failed>> {
        async move {
            let request = wire::LeaseGrantRequest {
                ttl: wired(seconds),
            };
            let call = ("/etcdserverpb.Lease/LeaseGrant", Proof::Log);
            let answer: wire::LeaseGrantResponse = self.members.call(call, request, until).await?;
            Ok(Granted {
                id: number(answer.id),
                ttl: Duration::from_secs(number(answer.ttl)),
            })
        }
        .boxed()
    }

    fn keep_alive(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<Kept, Failed>> {
        self.keeper.keep_alive(id, until).boxed()
    }

    fn revoke(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<(), Failed>> {
        async move {
            let request = wire::LeaseRevokeRequest { id: wired(id) };
            let call = ("/etcdserverpb.Lease/LeaseRevoke", Proof::Log);
            let answer = self.members.call(call, request, until).await;
            let _: wire::LeaseRevokeResponse = match answer {
                // Gone already.
                Err(Failed::NoSuchLease) => return Ok(()),
                answer => answer?,
            };
            Ok(())
        }
        .boxed()
    }

    fn txn(&self, txn: Txn, until: BootInstant) -> BoxFuture<'_, Result<Replied, Failed>> {
        async move {
            let proof = if txn.writes() {
                Proof::Log
            } else {
                Proof::Read
            };
            let call = ("/etcdserverpb.KV/Txn", proof);
            let answer = self.members.call(call, convert::txn(&txn), until).await?;
            Ok(convert::replied(answer))
        }
        .boxed()
    }

    fn range(
        &self,
        ranges: Vec<Range>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<Ranged, Failed>> {
        async move { self.read_ranges(&ranges, until).await }.boxed()
    }

    fn watch(
        &self,
        prefix: Bytes,
        after: Option<u64>,
        until: BootInstant,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Notice>, Failed>> {
        watcher::watch(&self.members, prefix, after, until).boxed()
    }
}
