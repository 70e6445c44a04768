//! Which cluster this is, and how far it has come: a restored backup and another cluster are noticed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use leasehold_core::{Error, ErrorKind, Result};

use super::convert::number;
use super::wire::ResponseHeader;
use crate::api::Failed;

/// What stands behind an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// The registry's log: it was written there.
    Log,
    /// A linearizable read.
    Read,
    /// The word of one member, which may be behind.
    Member,
}

/// What the cluster has said of itself. Once it contradicts that nothing is asked of it any more: whoever runs it has to
/// say so, by opening the store anew.
#[derive(Debug, Default)]
pub(super) struct Identity(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    cluster: u64,
    revision: u64,
    broken: Option<String>,
}

impl Identity {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing speaks against asking.
    pub(super) fn stands(&self) -> Result<()> {
        match &self.known().broken {
            Some(message) => Err(Error::new(ErrorKind::Unavailable, message.clone())),
            None => Ok(()),
        }
    }

    /// Whether the cluster has ever answered.
    pub(super) fn is_known(&self) -> bool {
        self.known().cluster != 0
    }

    /// The greatest revision that had been told when something is asked: the answer cannot be of an earlier one.
    pub(super) fn asked(&self) -> u64 {
        self.known().revision
    }

    /// What was asked then was answered so. Where that contradicts what is known nobody knows what was done, and where.
    pub(super) fn answered(
        &self,
        asked: u64,
        proof: Proof,
        header: ResponseHeader,
    ) -> Result<(), Failed> {
        let mut known = self.known();
        let revision = number(header.revision);
        let message = if known.cluster != 0 && header.cluster_id != known.cluster {
            format!(
                "this is another cluster than before ({:x}, it was {:x}): if that is meant to be, open the registry anew \
                 once no lessee of the old one can believe any more",
                header.cluster_id, known.cluster
            )
        } else if revision < asked && proof == Proof::Read {
            // Old servers do that for a moment after a pause: no reason to give up for good.
            let message =
                format!("etcd answered as of revision {revision}, {asked} had been told before");
            return Err(Failed::NoAnswer(Error::new(
                ErrorKind::Unavailable,
                message,
            )));
        } else if revision < asked && proof == Proof::Log {
            format!(
                "etcd has gone back from revision {asked} to {revision}, as a restored backup does: if that is meant to \
                 be, open the registry anew once no lessee of before can believe any more"
            )
        } else {
            known.cluster = header.cluster_id;
            known.revision = known.revision.max(revision);
            return Ok(());
        };
        tracing::error!("{message}");
        known.broken = Some(message.clone());
        Err(Failed::NoAnswer(Error::new(
            ErrorKind::Unavailable,
            message,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(cluster_id: u64, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id,
            revision,
            raft_term: 1,
        }
    }

    #[test]
    fn another_cluster_and_a_restored_backup_are_noticed_for_good() {
        for (second, says) in [
            (header(8, 11), "another cluster"),
            (header(7, 9), "gone back"),
        ] {
            let identity = Identity::default();
            let answered = |asked, proof, header| identity.answered(asked, proof, header);
            answered(0, Proof::Log, header(7, 10)).unwrap();
            // Asked before that answer was known: an earlier one may come later.
            answered(0, Proof::Log, header(7, 9)).unwrap();
            answered(10, Proof::Member, header(7, 9)).unwrap();
            answered(10, Proof::Read, header(7, 9)).unwrap_err();
            identity.stands().unwrap();
            assert_eq!(identity.asked(), 10);
            let failed = answered(10, Proof::Log, second).unwrap_err();
            assert!(failed.error().to_string().contains(says));
            let error = identity.stands().unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
