//! Expiry by observation: a record that stays unchanged for its period, on the observer's own clock, has run out.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::capabilities::{Capabilities, Delivery, Drift, ExpiryClock};
use crate::contract::{Found, Instants, decide};
use crate::door::{Door, DoorExt};
use crate::error::{Error, ErrorKind, Result};
use crate::mutants::{Mutant, mutant};
use crate::name::{LeaseName, Prefix};
use crate::record::{MAX_INDEX, Origin, Record};
use crate::register::{Register, Revision, Written};
use crate::store::{Applied, Change, Outcome, Page, Scope, Seen, Signal, Store};
use crate::sync::{Mutex, MutexGuard};
use crate::time::BootInstant;

/// A [`Store`] made of a [`Register`].
///
/// No remote timestamp is ever compared with a local clock. A reader times how long a record has stayed unchanged since
/// *it* first saw it, from when that reply was received; the record says for how long its grant holds (`hold`) and for
/// how long a steal must be waited out (`wait`), from when it was written at the latest. The index is in the record:
/// one more than the last, or the wall clock in microseconds if that is more.
#[derive(Debug, Clone)]
pub struct Observed<R> {
    register: Arc<R>,
    door: Arc<dyn Door>,
    poll: Duration,
    sightings: Arc<Mutex<Sightings>>,
}

/// When a revision was first seen.
#[derive(Debug, Clone)]
struct Sighting {
    revision: Revision,
    first: BootInstant,
}

/// How many sightings are remembered, at least, before one is forgotten; never more than twice as many.
const SIGHTINGS: usize = 1 << 17;

/// The latest sighting of each name. Bounded: the names that were not read for the longest are forgotten, which
/// prolongs a wait for them and never shortens one.
#[derive(Debug)]
struct Sightings {
    limit: usize,
    recent: BTreeMap<LeaseName, Sighting>,
    /// Those that were read before the recent ones.
    earlier: BTreeMap<LeaseName, Sighting>,
}

impl Sightings {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            recent: BTreeMap::new(),
            earlier: BTreeMap::new(),
        }
    }

    /// When this revision was first seen: at `now` unless it was seen before.
    fn first(&mut self, name: &LeaseName, revision: &Revision, now: BootInstant) -> BootInstant {
        if let Some(known) = self.recent.get(name)
            && known.revision == *revision
        {
            return known.first;
        }
        let first = match self.earlier.remove(name) {
            Some(known) if known.revision == *revision => known.first,
            _ => now,
        };
        let revision = revision.clone();
        self.insert(name.clone(), Sighting { revision, first });
        first
    }

    fn insert(&mut self, name: LeaseName, sighting: Sighting) {
        self.earlier.remove(&name);
        self.recent.insert(name, sighting);
        if self.recent.len() >= self.limit {
            self.earlier = std::mem::take(&mut self.recent);
        }
    }

    fn forget(&mut self, name: &LeaseName) {
        self.recent.remove(name);
        self.earlier.remove(name);
    }
}

/// A record as it was read, with its instants on this observer's clock.
struct Sight {
    record: Record,
    revision: Revision,
    index: u64,
    instants: Option<Instants>,
}

impl<R: Register> Observed<R> {
    /// Observes a register, which is asked for changes every half second.
    #[must_use]
    pub fn new(register: R, door: Arc<dyn Door>) -> Self {
        Self {
            register: Arc::new(register),
            door,
            poll: Duration::from_millis(500),
            sightings: Arc::new(Mutex::new(Sightings::new(SIGHTINGS))),
        }
    }

    /// Another interval for asking.
    #[must_use]
    pub fn poll_every(mut self, interval: Duration) -> Self {
        self.poll = interval.max(Duration::from_millis(1));
        self
    }

    async fn sight(&self, name: &LeaseName, until: BootInstant) -> Result<Option<Sight>> {
        let asked = mutant(Mutant::WaitFromSend).then(|| self.door.now());
        let read = self.register.read(name, until).await?;
        let received = asked.unwrap_or_else(|| self.door.now());
        if read.is_none() {
            self.sightings().forget(name);
        }
        Ok(read.map(|(bytes, revision)| self.saw(name, &bytes, revision, received)))
    }

    /// Places a record that was received just now.
    fn saw(&self, name: &LeaseName, bytes: &[u8], revision: Revision, now: BootInstant) -> Sight {
        let record = Record::decode(bytes);
        let first = if !record.wait.is_zero() || !record.hold.is_zero() {
            self.sightings().first(name, &revision, now)
        } else {
            // Nothing of it depends on when it was first seen; nothing of others does either.
            self.sightings().forget(name);
            now
        };
        // Every grant says how long it holds; one that does not is damaged or another's, and nobody knows when it ends.
        let placed =
            record.origin == Origin::Leasehold && !(record.is_held() && record.hold.is_zero());
        let instants = placed.then(|| {
            let believe_from = first.plus(record.wait).as_nanos();
            Instants {
                believe_from,
                vacant_from: first.plus(record.hold).as_nanos().max(believe_from),
            }
        });
        let index = record.index.unwrap_or_else(|| foreign_index(&revision));
        Sight {
            record,
            revision,
            index,
            instants,
        }
    }

    async fn change(&self, change: Change, until: BootInstant) -> Outcome {
        let name = change.name();
        let drawn = mutant(Mutant::IndexFromBeforeTheStep).then(|| self.next_index(0));
        let sight = match self.sight(name, until).await {
            Ok(sight) => sight,
            Err(error) => return Outcome::NotApplied(error),
        };
        let now = self.door.now().as_nanos();
        let seen = sight.as_ref().map(|sight| sight.seen(now));
        let found = sight.as_ref().map(|s| Found {
            index: s.index,
            held: s.record.is_held(),
            instants: s.instants,
        });
        let Some(instants) = decide(found.as_ref(), now, &change) else {
            return Outcome::Refused { found: seen };
        };
        let index = drawn.unwrap_or_else(|| self.next_index(found.map_or(0, |found| found.index)));
        if index > MAX_INDEX {
            return Outcome::NotApplied(Error::new(
                ErrorKind::Foreign,
                "the record's index is the greatest there is, so nothing can follow it: somebody else wrote it; remove \
                 the record if nobody holds the lease any more",
            ));
        }
        let mut record = change.record().clone();
        record.index = Some(index);
        record.wait = instants.wait_at(now);
        record.hold = instants.left_at(now);
        let revision = sight.map(|sight| sight.revision);
        let value = Bytes::from(record.encode());
        match self
            .register
            .write(name, value, revision.as_ref(), until)
            .await
        {
            Written::Done(revision) => {
                let first = self.door.now();
                self.sightings()
                    .insert(name.clone(), Sighting { revision, first });
                Outcome::Applied(Applied {
                    index,
                    granted: record.period.unwrap_or_default(),
                    counted_from: None,
                    extended: true,
                    // From when the replaced record was read, not from now: but an upper bound all the same.
                    wait: record.wait,
                })
            }
            Written::Refused => match self.sight(name, until).await {
                Ok(sight) => Outcome::Refused {
                    found: sight.map(|sight| sight.seen(self.door.now().as_nanos())),
                },
                // The refusal is certain; only what stands there is not.
                Err(error) => Outcome::NotApplied(error),
            },
            Written::NotWritten(error) => Outcome::NotApplied(error),
            Written::Unknown(error) => Outcome::Unknown(error),
        }
    }

    fn next_index(&self, last: u64) -> u64 {
        let wall = self
            .door
            .wall()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        let least = if mutant(Mutant::IndexMayStandStill) {
            last
        } else {
            last + 1
        };
        // A wall clock that is centuries ahead must not use up the numbers.
        least.max(if wall < MAX_INDEX / 2 { wall } else { 0 })
    }

    fn sightings(&self) -> MutexGuard<'_, Sightings> {
        self.sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sight {
    fn seen(&self, now: u64) -> Seen {
        Seen {
            index: self.index,
            record: self.record.clone(),
            wait: self
                .instants
                .map_or(Duration::ZERO, |instants| instants.wait_at(now)),
            left: self.instants.map(|instants| instants.left_at(now)),
        }
    }
}

/// The index of a record that has none: another for every revision, so that a steal which names it fails once the
/// record was written again, and smaller than every wall clock in microseconds.
fn foreign_index(revision: &Revision) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in revision.0.iter() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    1 + (hash >> 24)
}

impl<R: Register> Store for Observed<R> {
    fn declared(&self) -> Capabilities {
        Capabilities {
            expiry: ExpiryClock::Observed,
            drift: Drift::Unknown,
            delivery: Delivery::Poll(self.poll),
            ends_known: true,
            ..self.register.declared()
        }
    }

    fn location(&self) -> String {
        self.register.location()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        async move {
            let sight = self.sight(name, until).await?;
            Ok(sight.map(|sight| sight.seen(self.door.now().as_nanos())))
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        let changes = changes.into_iter().map(|change| self.change(change, until));
        futures_util::future::join_all(changes).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        async move {
            let names = self.register.names(prefix, after, max, until).await?;
            let more = names.len() == max;
            let mut entries = Vec::with_capacity(names.len());
            for name in names {
                if let Some(sight) = self.sight(&name, until).await? {
                    entries.push((name, sight.seen(self.door.now().as_nanos())));
                }
            }
            Ok(Page { entries, more })
        }
        .boxed()
    }

    fn watch(&self, _scope: Scope) -> BoxStream<'static, Signal> {
        let (door, poll) = (self.door.clone(), self.poll);
        stream::unfold(door, move |door| async move {
            door.sleep(poll).await;
            Some((Signal::Any, door))
        })
        .boxed()
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        self.register.close(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::tests::Still;
    use crate::register::MemoryRegister;

    fn name(i: u32) -> LeaseName {
        LeaseName::new(format!("x/{i}")).unwrap()
    }

    fn at(i: u32) -> BootInstant {
        BootInstant::from_nanos(i.into())
    }

    #[test]
    fn sightings_are_bounded_and_never_too_early() {
        let revision = |text: &'static str| Revision(Bytes::from_static(text.as_bytes()));
        let mut sightings = Sightings::new(10);
        let kept = name(0);
        assert_eq!(sightings.first(&kept, &revision("a"), at(1)), at(1));
        for i in 1..1000 {
            assert_eq!(sightings.first(&name(i), &revision("a"), at(i)), at(i));
            assert!(sightings.recent.len() + sightings.earlier.len() <= 20);
            // What is read again and again is never forgotten.
            assert_eq!(sightings.first(&kept, &revision("a"), at(i)), at(1));
        }
        assert_eq!(sightings.first(&kept, &revision("b"), at(1001)), at(1001));
        assert_eq!(sightings.first(&kept, &revision("a"), at(1002)), at(1002));
        sightings.forget(&kept);
        assert_eq!(sightings.first(&kept, &revision("a"), at(1003)), at(1003));
    }

    /// A name that was not read for long and was written meanwhile is timed anew: *not early*.
    #[test]
    fn an_earlier_sighting_of_another_revision_counts_for_nothing() {
        let revision = |text: &'static str| Revision(Bytes::from_static(text.as_bytes()));
        let mut sightings = Sightings::new(2);
        for i in 0..2 {
            assert_eq!(sightings.first(&name(i), &revision("a"), at(1)), at(1));
        }
        assert!(sightings.recent.is_empty());
        assert_eq!(sightings.first(&name(0), &revision("b"), at(9)), at(9));
        assert_eq!(sightings.first(&name(1), &revision("a"), at(9)), at(1));
    }

    /// As many names as declared can be waited for by one observer.
    #[test]
    fn as_many_names_are_waited_for_at_once() {
        let observed = observed(Duration::ZERO);
        let revision = Revision(Bytes::from_static(b"a"));
        for i in 0..100_000 {
            observed.sightings().first(&name(i), &revision, at(i));
        }
        for i in 0..100_000 {
            let first = observed
                .sightings()
                .first(&name(i), &revision, at(1_000_000));
            assert_eq!(first, at(i));
        }
    }

    fn observed(wall: Duration) -> Observed<MemoryRegister> {
        let wall = std::time::UNIX_EPOCH + wall;
        Observed::new(MemoryRegister::new(), Arc::new(Still { wall, byte: 1 }))
    }

    /// One more than the last, or the wall clock in microseconds if that is more and makes sense.
    #[test]
    fn the_index_only_grows_and_follows_the_wall_clock() {
        let at = |micros: u64| observed(Duration::from_micros(micros));
        assert_eq!(at(0).next_index(0), 1);
        assert_eq!(at(0).next_index(7), 8);
        assert_eq!(at(1000).next_index(7), 1000);
        assert_eq!(at(1000).next_index(999), 1000);
        assert_eq!(at(1000).next_index(1000), 1001);
        let (now, half) = (1_800_000_000_000_000, MAX_INDEX / 2);
        assert_eq!(at(now).next_index(7), now);
        assert_eq!(at(half - 1).next_index(7), half - 1);
        // A clock that is centuries ahead leaves the numbers to those whose clocks are not.
        for ahead in [half, half + 1, MAX_INDEX, MAX_INDEX * 2] {
            assert_eq!(at(ahead).next_index(7), 8);
        }
        assert_eq!(at(now).next_index(MAX_INDEX - 1), MAX_INDEX);
    }

    /// Every process and every version finds the same index for the same revision (64-bit FNV-1a), which is smaller than
    /// what any wall clock of today gives.
    #[test]
    fn a_foreign_index_follows_from_the_revision_alone() {
        let index = |text: String| foreign_index(&Revision(Bytes::from(text)));
        assert_eq!(index("a".into()), 0x00af_63dc_4c86 + 1);
        assert_eq!(index("foobar".into()), 0x0085_9441_71f7 + 1);
        let all: std::collections::BTreeSet<u64> =
            (0..10_000).map(|i| index(i.to_string())).collect();
        assert!(all.len() > 9_990, "{}", all.len());
        assert!(*all.last().unwrap() < 1_800_000_000_000_000);
    }

    #[test]
    fn what_is_observed_is_declared_so() {
        let observed = observed(Duration::ZERO).poll_every(Duration::from_secs(3));
        let (own, register) = (observed.declared(), observed.register.declared());
        assert_eq!(own.expiry, ExpiryClock::Observed);
        assert_eq!(own.drift, Drift::Unknown);
        assert_eq!(own.delivery, Delivery::Poll(Duration::from_secs(3)));
        assert!(own.ends_known);
        assert_eq!(own.loss, register.loss);
        assert_eq!(observed.location(), observed.register.location());
    }

    /// A page is followed by another where it is full, and is not where it is not.
    #[test]
    fn a_full_page_may_not_be_the_last() {
        let observed = observed(Duration::ZERO);
        for i in 0..3 {
            observed.register.plant(&name(i), b"{}");
        }
        let list = |max: usize| {
            let prefix = Prefix::new("x").unwrap();
            let page = observed.list(&prefix, None, max, BootInstant::NEVER);
            let page = page.now_or_never().unwrap().unwrap();
            (page.entries.len(), page.more)
        };
        assert_eq!(list(2), (2, true));
        assert_eq!(list(3), (3, true));
        assert_eq!(list(4), (3, false));
    }
}
