//! What a server refuses as it reads it, before anything is done: as etcd 3.7 does with its usual options.

use std::collections::BTreeSet;

use bytes::Bytes;
use leasehold_core::{Error, ErrorKind};
use leasehold_etcd::api::{Failed, Op, Range, Txn};

/// The longest native lease, in seconds.
pub(super) const LONGEST: u64 = 9_000_000_000;
/// How many operations one transaction takes (`--max-txn-ops`).
const MOST_OPS: usize = 128;
/// How many bytes one request has at most (`--max-request-bytes`).
const MOST_BYTES: usize = 3 << 19;
/// What is longer than this is not even read: the connection's own answer says so, in words that tell nothing.
const UNREAD: usize = MOST_BYTES + (1 << 19);

pub(super) fn refused(message: &'static str) -> Failed {
    Failed::NotDone(Error::new(ErrorKind::InvalidInput, message))
}

/// Why a transaction is refused, whatever the keys are; none: it is not.
pub(super) fn check(txn: &Txn) -> Result<(), Failed> {
    if txn.size() > UNREAD {
        return Err(Failed::no_answer());
    }
    form(txn, MOST_OPS)?;
    overlap(&txn.then)?;
    overlap(&txn.otherwise)?;
    match txn.size() > MOST_BYTES {
        true => Err(refused("request is too large")),
        false => Ok(()),
    }
}

/// The same of ranges, which are read as one transaction.
pub(super) fn check_ranges(ranges: &[Range]) -> Result<(), Failed> {
    if ranges.len() > MOST_OPS {
        return Err(Failed::TooMany);
    }
    ranges.iter().try_for_each(|range| key(&range.from))
}

fn key(key: &Bytes) -> Result<(), Failed> {
    match key.is_empty() {
        true => Err(refused("key is not provided")),
        false => Ok(()),
    }
}

/// The operations of the levels above count, too: as many as the longest list of each.
fn form(txn: &Txn, most: usize) -> Result<(), Failed> {
    let lists = [txn.when.len(), txn.then.len(), txn.otherwise.len()];
    let longest = lists.into_iter().max().unwrap_or_default();
    let Some(left) = most.checked_sub(longest) else {
        return Err(Failed::TooMany);
    };
    txn.when.iter().try_for_each(|compare| key(&compare.key))?;
    let mut ops = txn.then.iter().chain(&txn.otherwise);
    ops.try_for_each(|op| match op {
        Op::Put { key: of, .. } | Op::Delete(of) | Op::Get(of) => key(of),
        Op::Txn(txn) => form(txn, left),
    })
}

#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a Bytes>,
    deletes: BTreeSet<&'a Bytes>,
}

/// Refuses two puts of one key, and a put beside its delete. A delete in a transaction behind the one that puts passes.
fn overlap(ops: &[Op]) -> Result<Written<'_>, Failed> {
    let mut all = Written::default();
    for op in ops {
        if let Op::Delete(key) = op {
            all.deletes.insert(key);
        }
    }
    for op in ops {
        let Op::Txn(txn) = op else { continue };
        let (then, otherwise) = (overlap(&txn.then)?, overlap(&txn.otherwise)?);
        // Only one of the two is done.
        let puts: BTreeSet<&Bytes> = then.puts.union(&otherwise.puts).copied().collect();
        for key in puts {
            put(&mut all, key)?;
        }
        all.deletes.extend(then.deletes);
        all.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        if let Op::Put { key, .. } = op {
            put(&mut all, key)?;
        }
    }
    Ok(all)
}

fn put<'a>(all: &mut Written<'a>, key: &'a Bytes) -> Result<(), Failed> {
    match all.deletes.contains(key) || !all.puts.insert(key) {
        true => Err(refused("duplicate key given in txn request")),
        false => Ok(()),
    }
}
