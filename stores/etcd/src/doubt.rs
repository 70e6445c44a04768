//! Native leases whose attempt has no outcome: who may use them again, and when they are given up.

use std::sync::Arc;

use leasehold_core::mutants::{Mutant, mutant};
use leasehold_core::{AttemptId, BootInstant};

use crate::api::LeaseId;
use crate::lease::Native;
use crate::plan::Plan;
use crate::store::Client;
use crate::table::Pending;

/// Attempts that are being made: those without an outcome when this is dropped are looked after.
pub(crate) struct Loose<'a>(&'a Arc<Client>, Vec<AttemptId>);

impl<'a> Loose<'a> {
    /// One that was sent before and has no outcome may be under way still, whatever becomes of it now.
    pub(crate) fn new(client: &'a Arc<Client>, attempts: Vec<AttemptId>) -> Self {
        let mut table = client.table();
        for attempt in &attempts {
            *table.under_way.entry(*attempt).or_default() += 1;
            if let Some(pending) = table.pending.get_mut(attempt) {
                pending.unknown = true;
            }
        }
        drop(table);
        Self(client, attempts)
    }
}

impl Drop for Loose<'_> {
    fn drop(&mut self) {
        for attempt in &self.1 {
            self.0.table().has_come_back(*attempt);
            self.0.loose(*attempt);
        }
    }
}

impl Client {
    /// The native lease of an attempt that was refused.
    ///
    /// Rule *reused-native-lease*: one whose attempt may have been applied, or may still be, is never used again. An
    /// acquire's that was answered once cannot be: the vacancy that it names is gone for good.
    pub(crate) fn unused(
        self: &Arc<Self>,
        native: Native,
        unknown: bool,
        acquires: bool,
        bare: &impl Fn(LeaseId) -> bool,
    ) {
        if unknown {
            self.unresolved(&native, acquires);
        } else if bare(native.id) {
            self.give_back(native);
        }
    }

    /// A request that never left: what it was to use is as it was.
    pub(crate) fn not_sent(self: &Arc<Self>, plan: &Plan) {
        let mut table = self.table();
        let again = |pending: &mut Pending| pending.unknown;
        if table.pending.get_mut(&plan.attempt()).is_none_or(again) {
            return;
        }
        let pending = table.pending.remove(&plan.attempt());
        drop(table);
        if let Some(native) = pending.and_then(|pending| pending.native) {
            self.give_back(native);
        }
    }

    /// Nobody will learn what became of an attempt. Its native lease is never used again.
    ///
    /// Rule *revoke-after-unresolved-steal*: only an acquire's is revoked. That of a steal, a break or a renewal is left
    /// to run out: the name would be free while somebody may still believe.
    pub(crate) fn unresolved(self: &Arc<Self>, native: &Native, acquires: bool) {
        if mutant(Mutant::ReusedNativeLease) {
            self.give_back(native.clone());
        } else if acquires || mutant(Mutant::RevokeAfterUnresolvedSteal) {
            self.revoke(native.id);
        }
    }

    /// An attempt has no outcome yet. It may be sent again; when that can help nobody any more it is forgotten.
    pub(crate) fn loose(self: &Arc<Self>, attempt: AttemptId) {
        {
            let mut table = self.table();
            let Some(pending) = table.pending.get_mut(&attempt) else {
                return;
            };
            pending.unknown = true;
            if std::mem::replace(&mut pending.watched, true) {
                return;
            }
        }
        let client = self.clone();
        self.door.spawn(Box::pin(async move {
            while let Some(at) = client.forget(attempt) {
                client.door.sleep_until(at).await;
            }
        }));
    }

    /// Forgets an attempt that can help nobody any more; or when to look again. One that is under way is looked after
    /// once it has come back.
    fn forget(self: &Arc<Self>, attempt: AttemptId) -> Option<BootInstant> {
        let mut table = self.table();
        let under_way = table.under_way.contains_key(&attempt);
        let pending = table.pending.get_mut(&attempt)?;
        let at = match &pending.native {
            _ if !pending.acquires && mutant(Mutant::RevokeAfterUnresolvedSteal) => {
                BootInstant::ZERO
            }
            Some(native) => native.hoped(),
            None => pending.sent.plus(pending.hold),
        };
        if self.door.now() < at {
            return Some(at);
        }
        if under_way {
            pending.watched = false;
            return None;
        }
        let native = table.pending.remove(&attempt);
        drop(table);
        if let Some(pending) = native
            && let Some(native) = pending.native
        {
            self.unresolved(&native, pending.acquires);
        }
        None
    }
}
