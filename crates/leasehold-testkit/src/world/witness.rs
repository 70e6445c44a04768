//! Who believes what, by what the handles answer and true time: the laws of belief.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{BootInstant, Election, LeaseName, Term};

use crate::history::Standing;
use crate::sim::{Sim, SimDoor};
use crate::world::ledger::{Broken, Turn};
use crate::world::log::{Log, Stamp};
use crate::world::senders::Unwatched;

/// Watches every handle of a world. It asks what users ask (`is_current`) and nothing else: where it looks ahead, it
/// asks the handle at that time.
#[derive(Debug)]
pub(crate) struct Witness {
    log: Log,
    handles: BTreeMap<u64, Handle>,
    of_process: BTreeMap<u64, Vec<u64>>,
    next: u64,
    pub(crate) unwatched: Unwatched,
    candidates: Vec<Candidate>,
    /// When two handles of a name would believe at once, if nothing happens until then.
    conflict: Option<(Duration, u64, u64)>,
    pub(crate) broken: Vec<Broken>,
    /// Every belief that there was: name, fence, from and until when, in true time.
    beliefs: Vec<Belief>,
}

/// A while during which a handle believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Belief {
    /// The name.
    pub(crate) name: LeaseName,
    /// The handle, numbered in the order in which grants were asked for.
    pub(crate) handle: u64,
    /// Its process, numbered in the order of their starts.
    pub(crate) process: u64,
    /// The fence of its term.
    pub(crate) fence: u64,
    /// From when, in true time since the world began.
    pub(crate) from: Duration,
    /// Until when.
    pub(crate) until: Duration,
}

struct Handle {
    who: String,
    process: u64,
    door: Arc<SimDoor>,
    term: Term,
    standing: Standing,
    shown: Shown,
    /// From when until when it believes, in true time, as long as nothing else happens.
    belief: Option<(Duration, Duration)>,
    /// Belief was there and is over.
    over: bool,
}

/// Who stands for election, or has stood and may lead still.
#[derive(Debug)]
struct Candidate {
    who: String,
    process: u64,
    name: String,
    election: Election,
    stands: bool,
}

/// What a handle answers; where it stays the same, belief does too.
type Shown = (Option<BootInstant>, Option<BootInstant>, bool);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("who", &self.who)
            .field("term", &self.term)
            .field("belief", &self.belief)
            .finish_non_exhaustive()
    }
}

impl Witness {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            handles: BTreeMap::new(),
            of_process: BTreeMap::new(),
            next: 1,
            unwatched: Unwatched::default(),
            candidates: Vec::new(),
            conflict: None,
            broken: Vec::new(),
            beliefs: Vec::new(),
        }
    }

    /// The next handle's number.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// A new handle, claim or proxy.
    pub(crate) fn grant(
        &mut self,
        door: &Arc<SimDoor>,
        who: &str,
        term: Term,
        standing: Standing,
    ) -> u64 {
        let made = self.unwatched.made(door.id(), term.name(), term.fence());
        let made =
            made.filter(|made| standing == Standing::Handle && !self.handles.contains_key(made));
        let key = made.unwrap_or_else(|| self.number());
        self.of_process.entry(door.id()).or_default().push(key);
        self.handles.insert(
            key,
            Handle {
                who: who.to_owned(),
                process: door.id(),
                door: door.clone(),
                term,
                standing,
                shown: (None, None, false),
                belief: None,
                over: false,
            },
        );
        key
    }

    /// A process's handles, claims and proxies.
    pub(crate) fn watched(&self, process: u64) -> impl Iterator<Item = (u64, Standing, &Term)> {
        let keys = self.of_process.get(&process).into_iter().flatten();
        keys.filter_map(|key| {
            let handle = self.handles.get(key)?;
            Some((*key, handle.standing, &handle.term))
        })
    }

    /// The terms of a process's handles that are not over.
    pub(crate) fn terms(&self, process: u64) -> Vec<Term> {
        let keys = self.of_process.get(&process).into_iter().flatten();
        let handles = keys.filter_map(|key| self.handles.get(key));
        let handles = handles.filter(|handle| !handle.over);
        handles.map(|handle| handle.term.clone()).collect()
    }

    /// A handle that is watched no longer: its guard is about to be dropped.
    pub(crate) fn forget(&mut self, now: Duration, key: u64) {
        if let Some(handle) = self.handles.remove(&key) {
            if let Some(keys) = self.of_process.get_mut(&handle.process) {
                keys.retain(|other| *other != key);
            }
            if handle.standing != Standing::Handle {
                let (name, fence) = (handle.term.name(), handle.term.fence());
                self.unwatched.forget(handle.process, name, fence);
            }
            self.close(now, key, &handle);
            self.look_ahead(now);
        }
    }

    /// A process stands for election, from now on held to the law of one leader.
    pub(crate) fn stands(&mut self, process: u64, who: &str, name: &str, election: &Election) {
        self.candidates.push(Candidate {
            who: who.to_owned(),
            process,
            name: name.to_owned(),
            election: election.clone(),
            stands: true,
        });
    }

    /// It stands no more. Whoever dropped the call may lead a little longer: his lease is still to be given back.
    pub(crate) fn stands_no_more(&mut self, process: u64, name: &str) {
        let mut own = self.candidates.iter_mut();
        if let Some(one) = own.find(|one| one.stands && one.process == process && one.name == name)
        {
            one.stands = false;
        }
        self.candidates
            .retain(|one| one.stands || one.election.is_leader());
    }

    /// Never two leaders by their own `is_leader()`, whatever the handles say.
    fn look_at_leaders(&mut self, now: Duration) {
        if self.candidates.len() < 2 {
            return;
        }
        let leaders = self
            .candidates
            .iter()
            .filter(|one| one.election.is_leader());
        let leaders: Vec<_> = leaders.collect();
        for (place, one) in leaders.iter().enumerate() {
            let rest = &leaders[place + 1..];
            let Some(other) = rest.iter().find(|other| other.name == one.name) else {
                continue;
            };
            self.broken.push(Broken {
                law: "one leader",
                seen: format!(
                    "{}: {} and {} both lead at {}, by their own is_leader()",
                    one.name,
                    one.who,
                    other.who,
                    Stamp(now)
                ),
            });
            return;
        }
    }

    /// A process is dead: nothing in it believes any more.
    pub(crate) fn died(&mut self, now: Duration, process: u64) {
        self.candidates.retain(|one| one.process != process);
        for key in self.of_process.remove(&process).unwrap_or_default() {
            if let Some(handle) = self.handles.remove(&key) {
                self.close(now, key, &handle);
            }
        }
        self.look_ahead(now);
    }

    /// A number for who believes what.
    pub(crate) fn situation(&self, now: Duration) -> u64 {
        let mut sum = 7u64;
        for handle in self.handles.values() {
            let belief = match handle.belief {
                Some((from, until)) if from <= now && now < until => 3,
                Some((from, _)) if now < from => 2,
                Some(_) => 1,
                None => 0,
            };
            if belief > 0 {
                let name = handle.term.name().as_str().len() as u64;
                sum = sum.wrapping_mul(31) + belief * 64 + name * 8 + handle.process % 8;
            }
        }
        sum.wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    /// A step was taken: by a process, or time went on. Says whether anybody's belief changed.
    pub(crate) fn look(&mut self, sim: &Sim, now: Duration, process: Option<u64>) -> bool {
        if let Some((at, one, other)) = self.conflict
            && at < now
        {
            self.conflict = None;
            let (one, other) = (&self.handles[&one], &self.handles[&other]);
            let seen = format!(
                "{}: {} (fence {}) and {} (fence {}) both believed at {}",
                one.term.name(),
                one.who,
                one.term.fence(),
                other.who,
                other.term.fence(),
                Stamp(at)
            );
            self.broken.push(Broken {
                law: "one lessee",
                seen,
            });
        }
        self.look_at_leaders(now);
        let Some(keys) = process.and_then(|process| self.of_process.get(&process)) else {
            return false;
        };
        let mut changed = false;
        for key in keys.clone() {
            changed |= self.ask(sim, now, key);
        }
        if changed {
            self.look_ahead(now);
        }
        changed
    }

    /// Asks a handle; says whether its belief has changed.
    fn ask(&mut self, sim: &Sim, now: Duration, key: u64) -> bool {
        let Some(handle) = self.handles.get_mut(&key) else {
            return false;
        };
        let term = &handle.term;
        let shown = (term.begin(), term.deadline(), term.is_current());
        let passed = handle.belief.is_some_and(|(_, until)| until <= now);
        if shown == handle.shown && (handle.over || !passed) {
            return false;
        }
        handle.shown = shown;
        let was = handle.belief;
        let (begin, deadline, current) = shown;
        let belief = match (begin, deadline) {
            (Some(begin), Some(deadline)) => {
                let from = handle.door.truth_of(begin);
                let until = handle.door.truth_of(deadline);
                // What is claimed is not taken on trust: the handle is asked at both ends.
                let from = if current { from.min(now) } else { from };
                if from < until && sim.at(from.max(now), || term.is_current()) {
                    let beyond = sim.at(until.max(now), || term.is_current());
                    Some((from, if beyond { Duration::MAX } else { until }))
                } else {
                    None
                }
            }
            _ => current.then_some((now, Duration::MAX)),
        };
        let resumed =
            matches!((was, belief), (Some((_, old)), Some((_, new))) if passed && old < new);
        if resumed || handle.over && belief.is_some() {
            self.broken.push(Broken {
                law: "belief never resumes",
                seen: format!(
                    "{}: {} (fence {}) believes again",
                    term.name(),
                    handle.who,
                    term.fence()
                ),
            });
        }
        match (was, belief) {
            (None, Some((from, until))) => self.log.say(|| {
                format!(
                    "> {} believes in {} (fence {}) from {} until {}",
                    handle.who,
                    term.name(),
                    term.fence(),
                    Stamp(from),
                    Stamp(until)
                )
            }),
            (Some((_, old)), Some((_, until))) if old != until => self.log.say(|| {
                format!(
                    "> {} believes in {} until {}",
                    handle.who,
                    term.name(),
                    Stamp(until)
                )
            }),
            (Some((from, until)), None) => {
                let until = until.min(now);
                // A thief whose wait is not over yet has not begun: its belief may still come.
                handle.over = from < until;
                self.log.say(|| {
                    format!(
                        "> {} stops believing in {}, since {}",
                        handle.who,
                        term.name(),
                        Stamp(until)
                    )
                });
                if from < until {
                    self.beliefs.push(Belief {
                        name: term.name().clone(),
                        handle: key,
                        process: handle.process,
                        fence: term.fence(),
                        from,
                        until,
                    });
                }
            }
            _ => {}
        }
        handle.belief = belief;
        true
    }

    /// The registry says that a name has changed hands: whoever believes now is wrong.
    pub(crate) fn turn(&mut self, now: Duration, turn: &Turn) {
        for handle in self.handles.values() {
            if let Some((from, until)) = handle.belief
                && handle.term.name() == &turn.name
                && turn.over.contains(&handle.term.fence())
                && from <= now
                && now < until
            {
                let seen = format!(
                    "{}: {} (fence {}) believes until {}, but {} at {}",
                    turn.name,
                    handle.who,
                    handle.term.fence(),
                    Stamp(until),
                    turn.why,
                    Stamp(now)
                );
                self.broken.push(Broken {
                    law: "the lessee stops first",
                    seen,
                });
            }
        }
    }

    /// Every belief that ended, and those that a world's end cuts off.
    pub(crate) fn take(&mut self, now: Duration) -> Vec<Belief> {
        for (key, handle) in std::mem::take(&mut self.handles) {
            self.close(now, key, &handle);
        }
        std::mem::take(&mut self.beliefs)
    }

    fn close(&mut self, now: Duration, key: u64, handle: &Handle) {
        if let Some((from, until)) = handle.belief
            && from < until.min(now)
        {
            self.beliefs.push(Belief {
                name: handle.term.name().clone(),
                handle: key,
                process: handle.process,
                fence: handle.term.fence(),
                from,
                until: until.min(now),
            });
        }
    }

    /// When the next two would believe at once.
    fn look_ahead(&mut self, now: Duration) {
        self.conflict = None;
        let believing = self
            .handles
            .iter()
            .filter_map(|(key, handle)| Some((*key, handle, handle.belief?)))
            .filter(|(_, _, (_, until))| *until > now);
        let believing: Vec<_> = believing.collect();
        for (place, (one, first, (from, until))) in believing.iter().enumerate() {
            for (other, second, (from2, until2)) in &believing[place + 1..] {
                let begin = *from.max(from2);
                if first.term.name() == second.term.name()
                    && begin < *until.min(until2)
                    && self.conflict.is_none_or(|(at, _, _)| begin < at)
                {
                    self.conflict = Some((begin.max(now), *one, *other));
                }
            }
        }
    }
}
