//! The registry's state machine: keys, native leases, one revision counter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use leasehold_core::{LeaseName, Record};

use futures_util::future::Either;
use tokio::sync::oneshot;

use super::rules;
use crate::chance::Chance;
use crate::world::{Ledger, Log};
use leasehold_etcd::api::{
    Attach, Compare, Done, Entry, Failed, Gave, Granted, Is, LeaseId, Op, Range, Txn,
};
use leasehold_etcd::keys::Keyspace;

/// How often the server looks for what has run out.
const LOOK: u64 = 500_000_000;
/// How many changes are kept for watches, at most.
const HISTORY: usize = 10_000;

/// Keys and native leases, as the log of the cluster has made them. Instants are nanoseconds on the clock of the server
/// that leads.
#[derive(Debug)]
pub(crate) struct State {
    least: u64,
    pub(crate) revision: u64,
    keys: BTreeMap<Bytes, Key>,
    leases: BTreeMap<LeaseId, Lease>,
    next_lease: LeaseId,
    /// The changes since the last compaction, and as of when that was: what changed before it is forgotten.
    pub(crate) history: VecDeque<Changed>,
    pub(crate) compacted: u64,
    /// How long a revoke that the server itself decided on takes to be applied.
    pub(crate) slow_revokes: u64,
    /// Before this nothing runs out.
    due: u64,
    ledger: Ledger,
    log: Log,
    keyspace: Keyspace,
}

/// A key was written or deleted at a revision.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) revision: u64,
    pub(crate) key: Bytes,
    deleted: bool,
}

/// Which branch a transaction takes, and those within that.
struct Path {
    held: bool,
    within: Vec<Path>,
}

#[derive(Debug)]
struct Key {
    value: Bytes,
    revision: u64,
    lease: LeaseId,
}

#[derive(Debug)]
struct Lease {
    ttl: u64,
    granted: u64,
    renewed: u64,
    expires: u64,
    /// When a revoke that is under way will be applied: nothing saves the lease any more.
    revoked: Option<u64>,
    keys: BTreeSet<Bytes>,
    /// Keep-alives that came too late wait for the revoke. Dropped: it is over, or a new leader has extended the lease.
    late: Vec<oneshot::Sender<()>>,
}

/// What a transaction changed of a key.
type Touched = Vec<(Bytes, Option<Bytes>)>;

impl State {
    pub(crate) fn new(least: u64, ledger: Ledger, log: Log) -> Self {
        Self {
            least,
            revision: 1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            next_lease: 1,
            history: VecDeque::new(),
            compacted: 1,
            slow_revokes: 0,
            due: u64::MAX,
            ledger,
            log,
            keyspace: Keyspace::default(),
        }
    }

    pub(crate) fn grant(&mut self, seconds: u64, now: u64) -> Result<Granted, Failed> {
        if seconds > rules::LONGEST {
            return Err(rules::refused("too large lease TTL"));
        }
        let seconds = seconds.max(self.least);
        let id = self.next_lease;
        self.next_lease += 1;
        let ttl = seconds.saturating_mul(1_000_000_000);
        let lease = Lease {
            ttl,
            granted: now,
            renewed: now,
            expires: now.saturating_add(ttl),
            revoked: None,
            keys: BTreeSet::new(),
            late: Vec::new(),
        };
        self.due = self.due.min(Self::looked(lease.expires));
        self.leases.insert(id, lease);
        let ttl = Duration::from_secs(seconds);
        Ok(Granted { id, ttl })
    }

    /// What it was renewed to; zero where there is no such lease. One that has run out is not saved any more: the answer
    /// comes when it is gone, and whoever waits asks again then.
    pub(crate) fn keep_alive(
        &mut self,
        id: LeaseId,
        now: u64,
    ) -> Either<Duration, oneshot::Receiver<()>> {
        let Some(lease) = self.leases.get_mut(&id) else {
            return Either::Left(Duration::ZERO);
        };
        // Some answer as if it lived while the revoke is under way (etcd-io/etcd#20590).
        if lease.revoked.is_some() {
            self.log.fault("keep-alive answered during a revoke");
        } else if lease.expires <= now {
            self.log.fault("keep-alive of what has run out waited");
            let (late, gone) = oneshot::channel();
            lease.late.push(late);
            return Either::Right(gone);
        } else {
            lease.renewed = now;
            lease.expires = now.saturating_add(lease.ttl);
            for name in lease
                .keys
                .iter()
                .filter_map(|key| self.keyspace.leased(key))
            {
                self.ledger.carried(&name, now);
            }
        }
        Either::Left(Duration::from_nanos(lease.ttl))
    }

    /// Revokes a native lease, as its owner asks.
    pub(crate) fn revoke(&mut self, id: LeaseId, now: u64) {
        self.end(id, now, true);
    }

    /// Revokes a native lease that has a key, whoever's it is; whether there was one.
    pub(crate) fn revoke_some(&mut self, now: u64, chance: &mut Chance) -> bool {
        let used = self
            .leases
            .iter()
            .filter(|(_, lease)| !lease.keys.is_empty());
        let used: Vec<LeaseId> = used.map(|(id, _)| *id).collect();
        let place = usize::try_from(chance.below(used.len() as u64)).unwrap_or_default();
        let Some(id) = used.get(place) else {
            return false;
        };
        self.end(*id, now, true);
        true
    }

    fn end(&mut self, id: LeaseId, now: u64, revoked: bool) {
        let Some(lease) = self.leases.remove(&id) else {
            return;
        };
        if lease.keys.is_empty() {
            return;
        }
        self.revision += 1;
        for key in lease.keys {
            self.keys.remove(&key);
            self.changed(key.clone(), true);
            if let Some(name) = self.keyspace.leased(&key) {
                self.ledger.erased(&name, now, revoked);
            }
        }
    }

    /// Every native lease lasts its whole length from now: a new leader does not know when each was renewed.
    pub(crate) fn extend_all(&mut self, now: u64) {
        for lease in self.leases.values_mut() {
            lease.expires = now.saturating_add(lease.ttl);
            lease.late.clear();
            if !lease.keys.is_empty() {
                self.log.fault("lease extended by a new leader");
            }
        }
    }

    /// When a lease is looked at that runs out at an instant.
    fn looked(expires: u64) -> u64 {
        expires.div_ceil(LOOK).saturating_mul(LOOK)
    }

    /// Before when nothing runs out.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        (self.due < u64::MAX).then_some(self.due)
    }

    /// Revokes what has run out by `now`.
    pub(crate) fn expire(&mut self, now: u64) {
        if now < self.due {
            return;
        }
        let mut gone = Vec::new();
        for (id, lease) in &mut self.leases {
            let look = Self::looked(lease.expires);
            if lease.revoked.is_none() && look <= now {
                lease.revoked = Some(look.saturating_add(self.slow_revokes));
            }
            if lease.revoked.is_some_and(|at| at <= now) {
                gone.push(*id);
            }
        }
        for id in gone {
            self.end(id, now, false);
        }
        let due = |lease: &Lease| lease.revoked.unwrap_or_else(|| Self::looked(lease.expires));
        self.due = self.leases.values().map(due).min().unwrap_or(u64::MAX);
    }

    /// How much later than their last renewal says native leases run out.
    pub(crate) fn lag(&self) -> Duration {
        let late = |lease: &Lease| lease.expires.saturating_sub(lease.renewed + lease.ttl);
        Duration::from_nanos(self.leases.values().map(late).max().unwrap_or_default())
    }

    /// The native leases there are, with their lengths.
    pub(crate) fn leases(&self) -> BTreeMap<LeaseId, Duration> {
        let ttl = |(id, lease): (&LeaseId, &Lease)| (*id, Duration::from_nanos(lease.ttl));
        self.leases.iter().map(ttl).collect()
    }

    /// The names that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.keys
            .keys()
            .filter(|key| self.keyspace.leased(key).is_some())
            .count()
    }

    /// Applies a transaction, whole or not at all.
    pub(crate) fn txn(&mut self, txn: &Txn, now: u64) -> Result<Done, Failed> {
        let path = self.path(txn);
        if let Err(failed) = self.check(txn, &path) {
            self.log.fault("transaction sunk by a dead lease");
            return Err(failed);
        }
        let mut touched = Touched::new();
        // All that one request writes has one revision.
        let revision = self.revision + 1;
        let done = self.run(txn, &path, revision, &mut touched);
        if !touched.is_empty() {
            self.revision = revision;
            self.tell(touched, revision, now);
        }
        Ok(done)
    }

    /// Every comparison is made before anything is written.
    fn path(&self, txn: &Txn) -> Path {
        let held = txn.when.iter().all(|compare| self.compare(compare));
        let within = taken(txn, held).iter().filter_map(|op| match op {
            Op::Txn(txn) => Some(self.path(txn)),
            _ => None,
        });
        let within = within.collect();
        Path { held, within }
    }

    /// One put that names a lease which is not there sinks the whole request, and one that shall keep the lease of a key
    /// which is not there.
    fn check(&self, txn: &Txn, path: &Path) -> Result<(), Failed> {
        let mut within = path.within.iter();
        for op in taken(txn, path.held) {
            match op {
                Op::Put {
                    lease: Attach::To(id),
                    ..
                } if !self.leases.contains_key(id) => return Err(Failed::NoSuchLease),
                Op::Put {
                    lease: Attach::Same,
                    key,
                    ..
                } if !self.keys.contains_key(key) => {
                    return Err(rules::refused("key not found"));
                }
                Op::Txn(txn) => {
                    within.next().map_or(Ok(()), |path| self.check(txn, path))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn compare(&self, compare: &Compare) -> bool {
        let revision = self.keys.get(&compare.key).map_or(0, |key| key.revision);
        match compare.is {
            Is::Absent => revision == 0,
            Is::Present => revision > 0,
            Is::At(at) => revision == at,
            Is::UpTo(at) => revision <= at,
        }
    }

    fn run(&mut self, txn: &Txn, path: &Path, revision: u64, touched: &mut Touched) -> Done {
        let held = path.held;
        let ops = taken(txn, held);
        let mut within = path.within.iter();
        let mut gave = Vec::with_capacity(ops.len());
        for op in ops {
            gave.push(match op {
                Op::Put { key, value, lease } => {
                    self.put(key, value, *lease, revision);
                    touched.push((key.clone(), Some(value.clone())));
                    Gave::Nothing
                }
                Op::Delete(key) => {
                    if self.delete(key) {
                        touched.push((key.clone(), None));
                    }
                    Gave::Nothing
                }
                Op::Get(key) => Gave::Key(self.get(key)),
                Op::Txn(txn) => within.next().map_or(Gave::Nothing, |path| {
                    Gave::Done(self.run(txn, path, revision, touched))
                }),
            });
        }
        Done { held, gave }
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, lease: Attach, revision: u64) {
        let before = self.keys.get(key).map_or(0, |key| key.lease);
        let lease = match lease {
            Attach::Nothing => 0,
            Attach::Same => before,
            Attach::To(id) => id,
        };
        if lease != before {
            if let Some(old) = self.leases.get_mut(&before) {
                old.keys.remove(key);
            }
            if let Some(new) = self.leases.get_mut(&lease) {
                if new.renewed > new.granted && new.keys.is_empty() {
                    self.log.fault("warm native lease used");
                }
                new.keys.insert(key.clone());
            }
        }
        let value = value.clone();
        let entry = Key {
            value,
            revision,
            lease,
        };
        self.keys.insert(key.clone(), entry);
    }

    fn delete(&mut self, key: &Bytes) -> bool {
        let Some(old) = self.keys.remove(key) else {
            return false;
        };
        if let Some(lease) = self.leases.get_mut(&old.lease) {
            lease.keys.remove(key);
        }
        true
    }

    /// Deletes the key of some lease, behind everybody's back.
    pub(crate) fn delete_some(&mut self, chance: &mut Chance) -> bool {
        let taken = self
            .keys
            .keys()
            .filter_map(|key| Some((key, self.keyspace.leased(key)?)));
        let taken: Vec<_> = taken.map(|(key, name)| (key.clone(), name)).collect();
        let place = usize::try_from(chance.below(taken.len() as u64)).unwrap_or_default();
        let Some((key, name)) = taken.get(place) else {
            return false;
        };
        self.delete(key);
        self.revision += 1;
        self.changed(key.clone(), true);
        self.ledger.deleted(name);
        true
    }

    fn get(&self, key: &Bytes) -> Option<Entry> {
        let found = self.keys.get(key)?;
        Some(Self::entry(key, found))
    }

    fn entry(key: &Bytes, found: &Key) -> Entry {
        Entry {
            key: key.clone(),
            value: found.value.clone(),
            revision: found.revision,
            lease: found.lease,
        }
    }

    /// The keys of a range. Its end may be empty, which is none, or one zero byte: behind all keys. No limit is told as zero.
    pub(crate) fn range(&self, range: &Range) -> Vec<Entry> {
        let from = Bound::Included(&range.from);
        let to = match &range.to {
            None => return self.get(&range.from).into_iter().collect(),
            Some(to) if to.is_empty() => return self.get(&range.from).into_iter().collect(),
            Some(to) if **to == [0] => Bound::Unbounded,
            Some(to) if *to <= range.from => return Vec::new(),
            Some(to) => Bound::Excluded(to),
        };
        let most = if range.most == 0 {
            usize::MAX
        } else {
            range.most
        };
        self.keys
            .range::<Bytes, _>((from, to))
            .take(most)
            .map(|(key, found)| Self::entry(key, found))
            .collect()
    }

    /// Watches and the ledger hear of what a transaction changed.
    fn tell(&mut self, touched: Touched, revision: u64, now: u64) {
        for (key, value) in &touched {
            self.changed(key.clone(), value.is_none());
            let Some(name) = self.keyspace.leased(key) else {
                continue;
            };
            // A lease that was deleted leaves its end in the mark, if it was ended by its own rules.
            let end = |name: &LeaseName| {
                touched
                    .iter()
                    .find(|(key, _)| self.keyspace.marked(key).as_ref() == Some(name))
                    .and_then(|(_, value)| value.clone())
            };
            match value.clone().or_else(|| end(&name)) {
                Some(value) => self
                    .ledger
                    .wrote(&name, revision, &Record::decode(&value), now),
                // Deleted by a stranger.
                None => self.ledger.erased(&name, now, false),
            }
            let carrier = self
                .keys
                .get(key)
                .and_then(|key| self.leases.get(&key.lease));
            if let Some(lease) = carrier {
                self.ledger.carried(&name, lease.renewed);
            }
        }
    }

    fn changed(&mut self, key: Bytes, deleted: bool) {
        self.history.push_back(Changed {
            revision: self.revision,
            key,
            deleted,
        });
        if self.history.len() > HISTORY
            && let Some(forgotten) = self.history.pop_front()
        {
            self.compacted = forgotten.revision + 1;
        }
    }

    /// Forgets what changed before a revision. What was deleted at it old servers forget, too, and say nothing.
    pub(crate) fn compact(&mut self, revision: u64, forget_deletes: bool) {
        self.history.retain(|change| {
            let forgotten = change.deleted && forget_deletes;
            change.revision > revision || change.revision == revision && !forgotten
        });
        self.compacted = self.compacted.max(revision);
    }
}

fn taken(txn: &Txn, held: bool) -> &[Op] {
    if held { &txn.then } else { &txn.otherwise }
}
