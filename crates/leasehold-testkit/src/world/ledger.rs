//! What was really written, in the registry's own order: the laws of index and fence, and *not early*.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::{EndedHow, LeaseName, Record};

use crate::world::log::Log;
use crate::world::runs::Runs;

/// What was really written in the registry, whatever anybody was told of it. Clones write into the same ledger.
///
/// It knows nothing of stores: it looks at each record as it becomes visible, and at the clock by which the registry
/// judges expiry.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    log: Log,
    books: Arc<Mutex<Books>>,
}

#[derive(Debug, Default)]
struct Books {
    names: BTreeMap<LeaseName, Book>,
    /// Grants that somebody asserted to be dead, truly, and the reason that was given for it.
    dead: BTreeSet<(LeaseName, u64, String)>,
    /// The terms in the order in which they began, by fence and lessee.
    terms: BTreeMap<(LeaseName, u64, String), u64>,
    turns: Vec<Turn>,
    broken: Vec<Broken>,
    writes: u64,
    /// How far from true time the clocks run of those who wait, and the registry's, in parts per million.
    ppm: u32,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Book {
    /// The largest index so far, and the index of what stands there.
    index: u64,
    /// The largest index or fence of all terms before the present one.
    earlier: u64,
    /// The present or last term.
    fence: u64,
    held: bool,
    /// By the registry's clock: nothing makes the name vacant before it.
    wait: u64,
    /// By the registry's clock: nobody may acquire the name before it.
    reserved: u64,
    /// By the registry's clock: the present grant may be believed until then, whatever carries it, and whoever breaks it
    /// waits at least until then.
    believed: u64,
    /// By the registry's clock: when the present grant was written, and how long it keeps the name taken.
    grant: (u64, u64),
    /// Every index there was.
    written: BTreeSet<u64>,
    /// Once per slot.
    runs: Runs,
}

/// A law that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which: its name in the contract.
    pub law: &'static str,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.seen)
    }
}

/// A term has ended in the registry: from here on nobody believes in it.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) name: LeaseName,
    /// The fences of the terms that are over.
    pub(crate) over: RangeInclusive<u64>,
    pub(crate) why: &'static str,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self {
            log,
            books: Arc::default(),
        }
    }

    /// A broken term is waited out by the clocks of those who wait, not by the registry's: either may run this much, in
    /// parts per million, from true time. A lessee's margin is for both.
    pub fn waited_by_others(&self, ppm: u32) {
        self.books().ppm = ppm;
    }

    /// A record was written, in the very step that made it visible: its index, and the reading of the clock by which
    /// the registry judges expiry, in nanoseconds.
    pub fn wrote(&self, name: &LeaseName, index: u64, record: &Record, clock: u64) {
        let mut books = self.books();
        let books = &mut *books;
        books.writes += 1;
        let book = books.names.entry(name.clone()).or_default();
        let ended = record.body.ended.as_ref();
        let reason = ended.and_then(|ended| ended.reason.clone());
        let dead =
            reason.is_some_and(|reason| books.dead.contains(&(name.clone(), book.index, reason)));
        let (fence, was_held) = (book.fence, book.held);
        if index <= book.index {
            let seen = format!("{name} got index {index} after {}", book.index);
            books.broken.push(Broken {
                law: "the index only grows",
                seen,
            });
        }
        let changed = if record.is_held() {
            book.grant(index, record, clock, dead, books.ppm.into())
        } else {
            Ok(book.end(record, clock, dead))
        };
        let began = record.is_held() && !(was_held && book.fence == fence);
        book.index = book.index.max(index);
        book.written.insert(index);
        if let Err(seen) = book.runs.follow(record, began) {
            books.broken.push(Broken {
                law: "once per slot",
                seen: format!("{name}: {seen}"),
            });
        }
        if began {
            let lessee = record.body.machine_id.clone().unwrap_or_default();
            let number = books.terms.len() as u64 + 1;
            let key = (name.clone(), book.fence, lessee);
            books.terms.insert(key, number);
        }
        match changed {
            Ok(Some(why)) => books.turns.push(Turn {
                name: name.clone(),
                // Terms that a thief has replaced may be believed until he has waited them out, released or not.
                over: if record.is_held() { 0 } else { fence }..=fence,
                why,
            }),
            Ok(None) => {}
            Err((law, seen)) => books.broken.push(Broken {
                law,
                seen: format!("{name}: {seen}"),
            }),
        }
        self.log.say(|| {
            let who = record.body.machine_id.as_deref();
            let ended = record.body.ended.as_ref().map(|ended| ended.how.as_str());
            match who {
                Some(who) => format!(
                    "= {name} index {index} fence {}: {who} for {:?}{}",
                    record.fence_at(index),
                    record.period.unwrap_or_default(),
                    ended.map_or(String::new(), |how| format!(" (before: {how})"))
                ),
                None => format!("= {name} index {index}: nobody ({})", ended.unwrap_or("?")),
            }
        });
    }

    /// The present grant is carried by an object of its own, which was last renewed at `renewed` on the registry's
    /// clock: the grant counts from there, if that is sooner than when it was written.
    pub fn carried(&self, name: &LeaseName, renewed: u64) {
        if let Some(book) = self.books().names.get_mut(name).filter(|book| book.held) {
            let (written, period) = book.grant;
            let end = renewed.min(written).saturating_add(period);
            book.reserved = end.max(book.wait);
        }
    }

    /// A record was erased without a change of its own: its native lease ran out, or was `revoked` by whoever got the
    /// grant, which is a release by the grant's own handle. Neither ends what has to be waited out.
    pub fn erased(&self, name: &LeaseName, clock: u64, revoked: bool) {
        let mut books = self.books();
        let books = &mut *books;
        let Some(book) = books.names.get_mut(name) else {
            return;
        };
        let (law, least) = match clock < book.wait {
            true => ("a broken term is waited out", book.wait),
            false if revoked => ("not early", 0),
            false => ("not early", book.reserved),
        };
        if clock < least {
            let early = Duration::from_nanos(least - clock);
            let seen = format!(
                "{name} index {} was erased {early:?} before its time",
                book.index
            );
            books.broken.push(Broken { law, seen });
        }
        book.runs.erased();
        if revoked {
            book.reserved = clock.max(book.wait);
            book.believed = book.reserved;
        }
        if book.held {
            books.turns.push(Turn {
                name: name.clone(),
                over: 0..=book.fence,
                why: "its record was erased",
            });
        }
        book.held = false;
        self.log.say(|| {
            let why = if revoked { "was revoked" } else { "ran out" };
            format!("= {name}: erased, its native lease {why}")
        });
    }

    /// Whoever the present grants belong to has died with the registry's machine: nobody waits for them.
    pub fn all_died(&self) {
        let mut books = self.books();
        for book in books.names.values_mut() {
            (book.reserved, book.believed, book.wait) = (0, 0, 0);
        }
    }

    /// Somebody asserts that the lessee of this grant is dead. In a world it must be true. The answer is the reason to
    /// give: only the change that gives it, of this very grant, need not wait.
    #[must_use]
    pub fn assume_dead(&self, name: &LeaseName, index: u64) -> String {
        let mut books = self.books();
        let reason = format!("its life is over ({})", books.dead.len() + 1);
        books.dead.insert((name.clone(), index, reason.clone()));
        reason
    }

    /// The number of a term, in the order in which they began; zero: there is no such term.
    pub(crate) fn term(&self, name: &LeaseName, fence: u64, lessee: &str) -> u64 {
        let key = (name.clone(), fence, lessee.to_owned());
        self.books().terms.get(&key).copied().unwrap_or_default()
    }

    /// The index that stood when somebody saw the name vacant and gave that the number `seen`: the last one up to it.
    pub(crate) fn stood(&self, name: &LeaseName, seen: u64) -> u64 {
        let books = self.books();
        let book = books.names.get(name);
        let last = book.and_then(|book| book.written.range(..=seen).next_back());
        last.copied().unwrap_or(seen)
    }

    /// A record was deleted behind everybody's back.
    pub(crate) fn deleted(&self, name: &LeaseName) {
        if let Some(book) = self.books().names.get_mut(name) {
            book.held = false;
            book.runs = Runs::default();
        }
        self.log
            .say(|| format!("= {name}: deleted by somebody else"));
    }

    /// A number for what stands in the registry.
    pub(crate) fn situation(&self) -> u64 {
        let mut sum = 0u64;
        for (place, book) in self.books().names.values().enumerate() {
            let waits = book.wait > 0;
            let own = book.fence == book.index;
            let bits = u64::from(book.held) | u64::from(waits) << 1 | u64::from(own) << 2;
            sum = sum * 31 + bits + place as u64 * 8 + 1;
        }
        sum.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// How many records were written.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.books().writes
    }

    /// A law was broken, seen by somebody else.
    pub(crate) fn breach(&self, broken: Broken) {
        self.books().broken.push(broken);
    }

    /// Whether there is news for [`Ledger::news`].
    pub(crate) fn news(&self) -> Option<(Vec<Turn>, Vec<Broken>)> {
        let mut books = self.books();
        if books.turns.is_empty() && books.broken.is_empty() {
            return None;
        }
        Some((
            std::mem::take(&mut books.turns),
            std::mem::take(&mut books.broken),
        ))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Verdict = Result<Option<&'static str>, (&'static str, String)>;

impl Book {
    fn grant(&mut self, index: u64, record: &Record, clock: u64, dead: bool, ppm: u128) -> Verdict {
        let fence = record.fence_at(index);
        let period =
            u64::try_from(record.period.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        let end = clock.saturating_add(period);
        // Nobody believes in the delay, nor acquires the name.
        let delay = u64::try_from(record.body.delay.as_nanos()).unwrap_or(u64::MAX);
        let kept = period.saturating_add(delay);
        let vacant = clock.saturating_add(kept);
        // By the registry's clock: less where a fast clock waits it out.
        let short = u128::from(period) * 2 * ppm / (1_000_000 + ppm);
        let short = u64::try_from(short).unwrap_or(u64::MAX);
        let believed = std::mem::replace(&mut self.believed, end.saturating_sub(short));
        self.grant = (clock, kept);
        if self.held && fence == self.fence {
            self.reserved = vacant.max(self.wait);
            return Ok(None);
        }
        let stolen = record.body.ended.as_ref().is_some_and(|ended| {
            ended.how == EndedHow::Stolen && self.held && ended.fence == Some(self.fence)
        });
        let earlier = self.earlier.max(self.fence).max(self.index);
        let old_fence = self.fence;
        let old = (self.reserved, self.held);
        (self.earlier, self.fence, self.held) = (earlier, fence, true);
        if stolen {
            if !dead {
                self.wait = self.wait.max(believed);
            }
            self.reserved = vacant.max(self.wait);
            if fence != self.index + 1 {
                let seen = format!(
                    "a steal of index {} has fence {fence}, not one more",
                    self.index
                );
                return Err(("the fence", seen));
            }
        } else {
            // Waits that are over are over, even if the clock is set back.
            self.wait = 0;
            self.reserved = vacant;
            if clock < old.0 {
                let early = Duration::from_nanos(old.0 - clock);
                let seen = format!(
                    "acquired with index {index} {early:?} before the term of fence {old_fence} had run out"
                );
                return Err(("not early", seen));
            }
            if fence != index {
                let seen = format!("an acquire of index {index} has fence {fence}");
                return Err(("the fence", seen));
            }
        }
        if fence <= earlier {
            let seen = format!("fence {fence}, but earlier terms showed {earlier}");
            return Err(("the fence", seen));
        }
        // A stolen term may be believed until its end: that is waited out.
        Ok((!stolen).then_some("somebody else has acquired it"))
    }

    /// A tombstone. A clean end ends belief before it is sent.
    fn end(&mut self, record: &Record, clock: u64, dead: bool) -> Option<&'static str> {
        let clean = record.body.ended.as_ref().is_some_and(|ended| {
            ended.how == EndedHow::Released && ended.fence == Some(self.fence)
        });
        self.held = false;
        if clean || dead {
            self.reserved = clock.max(self.wait);
        } else {
            self.wait = self.wait.max(self.believed);
            self.reserved = self.wait;
        }
        self.believed = self.reserved;
        clean.then_some("it was released")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use leasehold_core::{AttemptId, Body, Ended};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn name() -> LeaseName {
        LeaseName::new("x").unwrap()
    }

    fn record(lessee: Option<&str>, ended: Option<(EndedHow, u64)>) -> Record {
        let body = Body {
            machine_id: lessee.map(Into::into),
            ended: ended.map(|(how, fence)| {
                Box::new(Ended {
                    how,
                    by: None,
                    reason: None,
                    fence: Some(fence),
                })
            }),
            ..Body::default()
        };
        Record {
            period: lessee.map(|_| Duration::from_secs(4)),
            ..Record::new(Arc::new(body), AttemptId([0; 16]))
        }
    }

    /// A ledger in which a grant of 4 s was written at 10 s, carried by something that was renewed at 8 s.
    fn granted() -> Ledger {
        let ledger = Ledger::default();
        ledger.wrote(&name(), 1, &record(Some("a"), None), 10 * SECOND);
        ledger.carried(&name(), 8 * SECOND);
        ledger
    }

    fn broken(ledger: &Ledger) -> Vec<&'static str> {
        let news = ledger.news();
        let broken = news.map(|(_, broken)| broken).unwrap_or_default();
        broken.into_iter().map(|broken| broken.law).collect()
    }

    #[test]
    fn a_carried_grant_counts_from_the_last_renewal_of_what_carries_it() {
        let ledger = granted();
        ledger.erased(&name(), 12 * SECOND - 1, false);
        assert_eq!(broken(&ledger), ["not early"]);
        let ledger = granted();
        ledger.erased(&name(), 12 * SECOND, false);
        assert_eq!(broken(&ledger), [""; 0]);
        // A renewal of the carrier alone counts up to the grant, never beyond.
        let ledger = granted();
        ledger.carried(&name(), 11 * SECOND);
        ledger.erased(&name(), 14 * SECOND - 1, false);
        assert_eq!(broken(&ledger), ["not early"]);
        let ledger = granted();
        ledger.carried(&name(), 11 * SECOND);
        ledger.erased(&name(), 14 * SECOND, false);
        assert_eq!(broken(&ledger), [""; 0]);
    }

    #[test]
    fn a_revoked_carrier_is_a_release_but_ends_no_wait() {
        let ledger = granted();
        ledger.erased(&name(), 11 * SECOND, true);
        assert_eq!(broken(&ledger), [""; 0]);
        let stolen = || {
            let ledger = granted();
            let record = Record {
                fence: Some(2),
                ..record(Some("b"), Some((EndedHow::Stolen, 1)))
            };
            ledger.wrote(&name(), 2, &record, 11 * SECOND);
            ledger.carried(&name(), 11 * SECOND);
            ledger
        };
        // The first lessee may have counted a renewal of its carrier that came just after its grant.
        let ledger = stolen();
        ledger.erased(&name(), 14 * SECOND - 1, true);
        assert_eq!(broken(&ledger), ["a broken term is waited out"]);
        let ledger = stolen();
        ledger.erased(&name(), 14 * SECOND, true);
        assert_eq!(broken(&ledger), [""; 0]);
    }

    #[test]
    fn a_tombstone_lasts_until_a_fast_clock_has_waited() {
        let ledger = granted();
        ledger.waited_by_others(1000);
        let next = Record {
            fence: Some(1),
            ..record(Some("a"), None)
        };
        ledger.wrote(&name(), 2, &next, 10 * SECOND);
        ledger.wrote(
            &name(),
            3,
            &record(None, Some((EndedHow::Broken, 1))),
            11 * SECOND,
        );
        let margin = 4 * SECOND * 2000 / 1_001_000;
        ledger.erased(&name(), 14 * SECOND - margin, false);
        assert_eq!(broken(&ledger), [""; 0]);
        ledger.erased(&name(), 14 * SECOND - margin - 1, false);
        assert_eq!(broken(&ledger), ["a broken term is waited out"]);
    }

    /// The laws that are broken when a grant of index 1, asserted to be dead, is renewed (or not) and ended a second
    /// later with this reason (none: the one that the assertion gave), and the name is acquired at once.
    fn ended_as_dead(
        renewed: bool,
        how: (EndedHow, u64),
        reason: Option<&str>,
    ) -> Vec<&'static str> {
        let ledger = granted();
        let asserted = ledger.assume_dead(&name(), 1);
        if renewed {
            let renewal = Record {
                fence: Some(1),
                ..record(Some("a"), None)
            };
            ledger.wrote(&name(), 2, &renewal, 10 * SECOND);
        }
        let mut end = record(None, Some(how));
        if let Some(ended) = &mut Arc::make_mut(&mut end.body).ended {
            ended.reason = Some(reason.unwrap_or(&asserted).to_owned());
        }
        ledger.wrote(&name(), 3, &end, 11 * SECOND);
        ledger.wrote(&name(), 4, &record(Some("b"), None), 11 * SECOND);
        broken(&ledger)
    }

    #[test]
    fn an_assertion_excuses_the_change_that_gives_it_of_this_very_grant() {
        let ended = (EndedHow::Broken, 1);
        assert_eq!(ended_as_dead(false, ended, None), [""; 0]);
        // Another change of the same grant must wait, and whoever gives that reason for a later grant.
        assert_eq!(ended_as_dead(false, ended, Some("why not")), ["not early"]);
        assert_eq!(ended_as_dead(true, ended, None), ["not early"]);
    }

    #[test]
    fn a_release_ends_the_term_that_it_names() {
        let released = |fence| ended_as_dead(false, (EndedHow::Released, fence), Some(""));
        assert_eq!(released(1), [""; 0]);
        assert_eq!(released(2), ["not early"]);
    }

    #[test]
    fn a_vacancy_is_known_by_the_grant_that_left_it() {
        let ledger = granted();
        ledger.wrote(
            &name(),
            7,
            &record(None, Some((EndedHow::Released, 1))),
            11 * SECOND,
        );
        let stood = [0, 1, 6, 7, 9].map(|seen| ledger.stood(&name(), seen));
        assert_eq!(stood, [0, 1, 1, 7, 7]);
    }
}
