//! From the store's requests to etcd's messages, and back.

use bytes::Bytes;

use super::wire;
use crate::api::{
    Attach, Compare, Done, Entry, Gave, Is, LeaseId, Op, Range, Ranged, Replied, Txn,
};

/// Revisions and native leases are positive numbers of 63 bits.
pub(super) fn number(wire: i64) -> u64 {
    u64::try_from(wire).unwrap_or_default()
}

pub(super) fn wired(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn txn(txn: &Txn) -> wire::TxnRequest {
    wire::TxnRequest {
        compare: txn.when.iter().map(compare).collect(),
        success: txn.then.iter().map(op).collect(),
        failure: txn.otherwise.iter().map(op).collect(),
    }
}

fn compare(compare: &Compare) -> wire::Compare {
    use wire::{CompareResult as Result, CompareTarget as Target, CompareWith as With};
    let (result, target, with) = match compare.is {
        Is::Absent => (Result::Equal, Target::Version, With::Version(0)),
        Is::Present => (Result::Greater, Target::Version, With::Version(0)),
        Is::At(revision) => (
            Result::Equal,
            Target::Mod,
            With::ModRevision(wired(revision)),
        ),
        Is::UpTo(revision) => {
            let next = wired(revision).saturating_add(1);
            (Result::Less, Target::Mod, With::ModRevision(next))
        }
    };
    wire::Compare {
        result: result.into(),
        target: target.into(),
        key: compare.key.clone(),
        with: Some(with),
    }
}

fn op(op: &Op) -> wire::RequestOp {
    let request = match op {
        Op::Put { key, value, lease } => {
            let (lease, ignore_lease) = match lease {
                Attach::Nothing => (0, false),
                Attach::Same => (0, true),
                Attach::To(id) => (wired(*id), false),
            };
            wire::Request::Put(wire::PutRequest {
                key: key.clone(),
                value: value.clone(),
                lease,
                ignore_lease,
            })
        }
        Op::Delete(key) => {
            wire::Request::DeleteRange(wire::DeleteRangeRequest { key: key.clone() })
        }
        Op::Get(key) => wire::Request::Range(get(key.clone())),
        Op::Txn(nested) => wire::Request::Txn(txn(nested)),
    };
    wire::RequestOp {
        request: Some(request),
    }
}

fn get(key: Bytes) -> wire::RangeRequest {
    wire::RangeRequest {
        key,
        range_end: Bytes::new(),
        limit: 0,
        revision: 0,
    }
}

/// Ranges, read as one transaction: as they stand at one revision.
pub(super) fn ranges(ranges: &[Range]) -> wire::TxnRequest {
    let read = |of: &Range| wire::RequestOp {
        request: Some(wire::Request::Range(range(of, 0))),
    };
    wire::TxnRequest {
        success: ranges.iter().map(read).collect(),
        ..wire::TxnRequest::default()
    }
}

/// One range, as of a revision; zero: the latest.
pub(super) fn range(range: &Range, revision: u64) -> wire::RangeRequest {
    wire::RangeRequest {
        key: range.from.clone(),
        range_end: range.to.clone().unwrap_or_default(),
        limit: i64::try_from(range.most).unwrap_or_default(),
        revision: wired(revision),
    }
}

pub(super) fn ranged(answer: wire::TxnResponse) -> Ranged {
    let revision = number(wire::Headed::header(&answer).revision);
    let read = |op: wire::ResponseOp| match op.response {
        Some(wire::Response::Range(range)) => entries(range),
        _ => Vec::new(),
    };
    Ranged {
        entries: answer.responses.into_iter().map(read).collect(),
        revision,
    }
}

pub(super) fn entries(range: wire::RangeResponse) -> Vec<Entry> {
    range.kvs.into_iter().map(entry).collect()
}

pub(super) fn replied(answer: wire::TxnResponse) -> Replied {
    let header = wire::Headed::header(&answer);
    Replied {
        done: done(answer),
        revision: number(header.revision),
        term: header.raft_term,
    }
}

fn done(answer: wire::TxnResponse) -> Done {
    let gave = |op: wire::ResponseOp| match op.response {
        Some(wire::Response::Range(range)) => Gave::Key(range.kvs.into_iter().next().map(entry)),
        Some(wire::Response::Txn(nested)) => Gave::Done(done(nested)),
        _ => Gave::Nothing,
    };
    Done {
        held: answer.succeeded,
        gave: answer.responses.into_iter().map(gave).collect(),
    }
}

fn entry(found: wire::KeyValue) -> Entry {
    Entry {
        key: found.key,
        value: found.value,
        revision: number(found.mod_revision),
        lease: number(found.lease),
    }
}

/// What a keep-alive was answered.
pub(super) fn kept(answer: &wire::LeaseKeepAliveResponse) -> crate::api::Kept {
    crate::api::Kept {
        ttl: std::time::Duration::from_secs(number(answer.ttl)),
        term: answer.header.unwrap_or_default().raft_term,
    }
}

/// The number of the native lease that a keep-alive was about.
pub(super) fn about(answer: &wire::LeaseKeepAliveResponse) -> LeaseId {
    number(answer.id)
}
