//! What one client knows: its own grants, its attempts without an outcome, and what it saw of others.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_core::store::Seen;
use leasehold_core::{AttemptId, BootInstant, LeaseName, Origin, Record};

use crate::api::{Entry, LeaseId};
use crate::keys::Keyspace;
use crate::lease::Native;

/// While a lease is there the name is not vacant, whatever its record says: it will be after the server's next look.
const LOOK: Duration = Duration::from_millis(500);
/// How many names' sightings are remembered, at least; never more than twice as many.
const SIGHTS: usize = 1 << 16;

/// A client's knowledge.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) keys: Keyspace,
    pub(crate) held: BTreeMap<LeaseName, Held>,
    pub(crate) pending: BTreeMap<AttemptId, Pending>,
    /// How often each attempt is under way.
    pub(crate) under_way: BTreeMap<AttemptId, u32>,
    swept: usize,
    sights: BTreeMap<LeaseName, Sight>,
    earlier: BTreeMap<LeaseName, Sight>,
}

/// A grant of this client's.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) index: u64,
    pub(crate) attempt: AttemptId,
    /// When that attempt was first asked for.
    pub(crate) sent: BootInstant,
    pub(crate) native: Native,
    /// Whether its expiry has moved by that attempt.
    pub(crate) moved: bool,
    /// Until when somebody else may believe.
    pub(crate) wait_until: BootInstant,
}

/// An attempt that was sent and whose outcome is not known yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The native lease it moves the key to; none where the key stays on its own.
    pub(crate) native: Option<Native>,
    /// When it was first asked for.
    pub(crate) sent: BootInstant,
    /// An acquire's native lease is revoked when nobody can use it any more, every other one is left to run out: a
    /// revoke would free the name under somebody who may still believe.
    pub(crate) acquires: bool,
    /// An earlier send has no outcome.
    pub(crate) unknown: bool,
    /// Whether somebody will forget it in time.
    pub(crate) watched: bool,
    /// For how long it asked.
    pub(crate) hold: Duration,
    /// Until when somebody else may believe, as it was last sent.
    pub(crate) wait_until: BootInstant,
}

/// What was seen of a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight {
    Taken(Taken),
    /// Nobody had it, its last grant having run out: the mark's revision, and the number the vacancy was given.
    Vacant {
        mark: u64,
        shown: u64,
    },
}

/// A lease that was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) index: u64,
    /// When it was first seen.
    pub(crate) first: BootInstant,
    /// From when it was written at the latest: until when its grant may not be believed, and until when it may.
    pub(crate) wait: Duration,
    pub(crate) hold: Duration,
    /// Whether it names a lessee.
    pub(crate) held: bool,
}

impl Taken {
    /// Until when somebody may believe because of a wait it carries.
    pub(crate) fn wait_until(&self) -> BootInstant {
        match self.wait.is_zero() {
            true => BootInstant::ZERO,
            false => self.first.plus(self.wait),
        }
    }

    /// Until when somebody may believe because of it.
    pub(crate) fn end(&self) -> BootInstant {
        self.first.plus(self.hold.max(self.wait))
    }
}

impl Table {
    pub(crate) fn new(keys: Keyspace) -> Self {
        Self {
            keys,
            ..Self::default()
        }
    }

    /// Reads what the registry has of a name: its lease's key, and its mark's.
    pub(crate) fn seen(
        &mut self,
        name: &LeaseName,
        (lease, mark): (Option<&Entry>, Option<&Entry>),
        revision: u64,
        now: BootInstant,
    ) -> Option<Seen> {
        if let Some(entry) = lease {
            return Some(self.taken(name, entry, now));
        }
        let mark = mark?;
        let mut record = Record::decode(&mark.value);
        let index = if record.is_held() {
            record.fence = Some(record.fence_at(mark.revision));
            self.vacancy(name, mark.revision, revision)
        } else {
            mark.revision
        };
        Some(Seen {
            index,
            record,
            wait: Duration::ZERO,
            left: Some(Duration::ZERO),
        })
    }

    fn taken(&mut self, name: &LeaseName, entry: &Entry, now: BootInstant) -> Seen {
        let record = Record::decode(&entry.value);
        let ours = record.origin == Origin::Leasehold;
        let taken = self.see(
            name,
            Taken {
                index: entry.revision,
                first: now,
                wait: if ours { record.wait } else { Duration::ZERO },
                hold: if ours { record.hold } else { Duration::ZERO },
                held: record.is_held(),
            },
        );
        // A key without a native lease stays for good: nobody knows when its term ends.
        let runs_out = ours && entry.lease != 0 && !record.hold.is_zero();
        Seen {
            index: entry.revision,
            record,
            wait: taken.wait_until().since(now),
            left: runs_out.then(|| taken.end().since(now).max(LOOK)),
        }
    }

    /// A vacancy without a tombstone has no number of its own: it is given the registry's revision of when it was first
    /// seen, which is larger than every index before it. Nothing has happened to the name since as long as its mark is
    /// no younger.
    fn vacancy(&mut self, name: &LeaseName, mark: u64, revision: u64) -> u64 {
        match self.sight(name) {
            Some(Sight::Vacant { mark: same, shown }) if same == mark => shown,
            _ => {
                let shown = revision;
                self.remember(name, Sight::Vacant { mark, shown });
                shown
            }
        }
    }

    /// Notes a lease; what is known is when it was first seen.
    pub(crate) fn see(&mut self, name: &LeaseName, taken: Taken) -> Taken {
        match self.sight(name) {
            Some(Sight::Taken(known)) if known.index == taken.index => known,
            _ => {
                self.remember(name, Sight::Taken(taken));
                taken
            }
        }
    }

    /// The lease of this index, if it was seen.
    pub(crate) fn saw(&mut self, name: &LeaseName, index: u64) -> Option<Taken> {
        match self.sight(name) {
            Some(Sight::Taken(taken)) if taken.index == index => Some(taken),
            _ => None,
        }
    }

    fn sight(&mut self, name: &LeaseName) -> Option<Sight> {
        if let Some(sight) = self.sights.get(name) {
            return Some(*sight);
        }
        let sight = self.earlier.remove(name)?;
        self.remember(name, sight);
        Some(sight)
    }

    fn remember(&mut self, name: &LeaseName, sight: Sight) {
        self.earlier.remove(name);
        self.sights.insert(name.clone(), sight);
        if self.sights.len() >= SIGHTS {
            self.earlier = std::mem::take(&mut self.sights);
        }
    }

    /// An attempt is under way once less.
    pub(crate) fn has_come_back(&mut self, attempt: AttemptId) {
        if let Some(count) = self.under_way.get_mut(&attempt) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&attempt);
            }
        }
    }

    /// The native lease of this number, whoever of this client's has it.
    pub(crate) fn native(
        &mut self,
        name: &LeaseName,
        attempt: AttemptId,
        id: LeaseId,
    ) -> Option<&mut Native> {
        let pending = self.pending.get_mut(&attempt);
        let held = self.held.get_mut(name);
        pending
            .and_then(|pending| pending.native.as_mut())
            .filter(|native| native.id == id)
            .or_else(|| {
                held.map(|held| &mut held.native)
                    .filter(|native| native.id == id)
            })
    }

    /// Notes a grant. Of this and an earlier one of this client's the later stays; the other is given back, its key is
    /// gone from it.
    pub(crate) fn hold(&mut self, name: &LeaseName, held: Held, now: BootInstant) -> Option<Held> {
        if self.held.len() > 2 * self.swept + 64 {
            // Whoever dropped a lease told nobody: its native lease runs out by itself.
            let gone = |held: &Held| held.native.deadline().plus(held.native.ttl) < now;
            self.held.retain(|_, held| !gone(held));
            self.swept = self.held.len();
        }
        match self.held.get(name) {
            Some(later) if later.index > held.index => Some(held),
            _ => self.held.insert(name.clone(), held),
        }
    }

    /// The grant of this index, if it is this client's.
    pub(crate) fn own(&self, name: &LeaseName, index: u64) -> Option<&Held> {
        self.held.get(name).filter(|held| held.index == index)
    }
}
