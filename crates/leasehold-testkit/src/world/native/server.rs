//! A simulated etcd v3 cluster, as its clients meet it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::{BootInstant, Door};

use super::state::State;
use crate::chance::Chance;
use crate::world::{Ledger, Log};
use leasehold_etcd::api::{Failed, Granted, Kept, LeaseId, Notice, Range, Ranged, Replied, Txn};

/// The cluster. A request that is answered none is not answered: nobody who could is there.
#[derive(Debug)]
pub struct Server {
    clock: Arc<dyn Door>,
    inner: Mutex<Inner>,
    log: Log,
    me: Weak<Self>,
}

struct Inner {
    state: State,
    /// The raft term of the leader.
    term: u64,
    /// Nobody answers before this.
    down_until: u64,
    deposed: Option<Deposed>,
    breaks: u64,
    /// The registry's revision, and how often connections were broken, as watches know it.
    told: (u64, u64),
    /// The watches that wait for more, in their order: who is woken first is the seed's choice alone.
    waiting: Vec<Waker>,
    /// When the server will look for what has run out.
    alarm: Option<u64>,
    chance: Chance,
}

/// A leader that has not learnt yet that it was deposed.
#[derive(Debug)]
struct Deposed {
    until: u64,
    /// What it says its term is.
    term: u64,
    /// Whether it answers every keep-alive of what it knows, or every other of all.
    answers_all: bool,
    leases: BTreeMap<LeaseId, Duration>,
}

impl Server {
    /// A cluster whose clock is that of a door, and which grants native leases of at least so many seconds.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Door>,
        least: u64,
        (ledger, log): (Ledger, Log),
        seed: u64,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            clock,
            log: log.clone(),
            inner: Mutex::new(Inner {
                state: State::new(least, ledger, log),
                term: 2,
                down_until: 0,
                deposed: None,
                breaks: 0,
                told: (1, 0),
                waiting: Vec::new(),
                alarm: None,
                chance: Chance::new(seed ^ 0x6574_6364),
            }),
            me: me.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something at the leader, at this instant of its clock; none where there is no answer.
    fn lead<T>(&self, serve: impl FnOnce(&mut Inner, u64) -> T) -> Option<T> {
        let now = self.clock.now().as_nanos();
        let mut inner = self.lock();
        inner.state.expire(now);
        let answer = (now >= inner.down_until).then(|| serve(&mut inner, now));
        self.settle(&mut inner);
        answer
    }

    /// What goes through the log; a deposed leader that is asked never answers.
    fn commit<T>(&self, serve: impl FnOnce(&mut Inner, u64) -> T) -> Option<T> {
        let asked_the_deposed = {
            let now = self.clock.now().as_nanos();
            let mut inner = self.lock();
            let strays = inner.deposed(now).is_some_and(|old| !old.answers_all);
            strays && inner.chance.below(3) == 0
        };
        if asked_the_deposed {
            return None;
        }
        self.lead(serve)
    }

    /// After every step: watches hear of it, and the next expiry has its alarm.
    fn settle(&self, inner: &mut Inner) {
        let told = (inner.state.revision, inner.breaks);
        if std::mem::replace(&mut inner.told, told) != told {
            std::mem::take(&mut inner.waiting)
                .into_iter()
                .for_each(Waker::wake);
        }
        let Some(due) = inner.state.next_expiry() else {
            return;
        };
        if inner.alarm.is_some_and(|alarm| alarm <= due) {
            return;
        }
        inner.alarm = Some(due);
        let (me, clock) = (self.me.clone(), self.clock.clone());
        self.clock.spawn(Box::pin(async move {
            clock.sleep_until(BootInstant::from_nanos(due)).await;
            if let Some(server) = me.upgrade() {
                server.alarm(due);
            }
        }));
    }

    fn alarm(&self, due: u64) {
        let mut inner = self.lock();
        if inner.alarm == Some(due) {
            inner.alarm = None;
        }
        inner.state.expire(self.clock.now().as_nanos());
        self.settle(&mut inner);
    }

    /// Grants a native lease.
    pub fn grant(&self, seconds: u64) -> Option<Granted> {
        self.commit(|inner, now| inner.state.grant(seconds, now))
    }

    /// Renews a native lease, or says that it did.
    pub fn keep_alive(&self, id: LeaseId) -> Option<Kept> {
        let now = self.clock.now().as_nanos();
        {
            let mut inner = self.lock();
            let down = now < inner.down_until;
            let known = inner
                .deposed(now)
                .map(|old| old.answers_all.then(|| old.leases.contains_key(&id)));
            let strays = match known {
                Some(Some(known)) => known,
                Some(None) => inner.chance.below(2) == 0,
                None => false,
            };
            if !down && strays {
                // Without effect: it no longer leads.
                self.log.fault("keep-alive answered by a deposed leader");
                return inner.deposed(now).map(|deposed| Kept {
                    ttl: deposed.leases.get(&id).copied().unwrap_or_default(),
                    term: deposed.term,
                });
            }
        }
        self.lead(|inner, now| Kept {
            ttl: inner.state.keep_alive(id, now),
            term: inner.term,
        })
    }

    /// Revokes a native lease.
    pub fn revoke(&self, id: LeaseId) -> Option<()> {
        self.commit(|inner, now| inner.state.revoke(id, now))
    }

    /// Applies a transaction.
    pub fn txn(&self, txn: &Txn) -> Option<Result<Replied, Failed>> {
        self.commit(|inner, now| {
            let done = inner.state.txn(txn, now)?;
            Ok(Replied {
                done,
                revision: inner.state.revision,
                term: inner.term,
            })
        })
    }

    /// Reads.
    pub fn range(&self, ranges: &[Range]) -> Option<Ranged> {
        self.commit(|inner, _| Ranged {
            entries: ranges
                .iter()
                .map(|range| inner.state.range(range))
                .collect(),
            revision: inner.state.revision,
        })
    }

    /// The changes after a revision.
    pub fn watch(&self, prefix: Bytes, after: Option<u64>) -> Option<BoxStream<'static, Notice>> {
        let (breaks, after) = self.lead(|inner, _| {
            let after = after.unwrap_or(inner.state.revision);
            (inner.breaks, after)
        })?;
        let feed = Feed {
            server: self.me.clone(),
            prefix,
            after,
            breaks,
            ready: Vec::new(),
        };
        Some(stream::unfold(feed, Feed::next).boxed())
    }

    /// A new leader, which extends every native lease to its whole length. The old one goes on answering keep-alives
    /// for a while, without effect, as what it was.
    pub(crate) fn change_leader(&self, old_goes_on: Duration) {
        let now = self.clock.now().as_nanos();
        let mut inner = self.lock();
        inner.state.expire(now);
        let until = now.saturating_add(nanos(old_goes_on));
        inner.deposed = (until > now).then(|| Deposed {
            until,
            term: inner.term,
            answers_all: false,
            leases: inner.state.leases(),
        });
        inner.term += 1;
        inner.state.extend_all(now);
        self.settle(&mut inner);
    }

    /// As a deposed leader would have it that fills in the new leader's term: no keep-alive can be trusted then. Never
    /// part of the weather: it shows what the store relies on.
    pub fn deposed_tells_the_new_term(&self) {
        let mut inner = self.lock();
        let term = inner.term;
        if let Some(deposed) = &mut inner.deposed {
            deposed.term = term;
        }
    }

    /// Every keep-alive of what it knows goes to the deposed leader, and nothing else.
    pub fn deposed_answers_all(&self) {
        if let Some(deposed) = &mut self.lock().deposed {
            deposed.answers_all = true;
        }
    }

    /// As an old server would have it, which tells no term.
    pub(crate) fn deposed_tells_nothing(&self) {
        if let Some(deposed) = &mut self.lock().deposed {
            deposed.term = 0;
        }
    }

    /// The whole cluster stops, and starts again after a while: native leases last their whole length from then.
    pub(crate) fn restart(&self, down: Duration) {
        let now = self.clock.now().as_nanos();
        let mut inner = self.lock();
        inner.state.expire(now);
        inner.deposed = None;
        inner.term += 1;
        inner.breaks += 1;
        inner.down_until = now.saturating_add(nanos(down));
        let up = inner.down_until;
        inner.state.extend_all(up);
        self.settle(&mut inner);
    }

    /// Nobody answers for a while; time goes on.
    pub(crate) fn silence(&self, length: Duration) {
        let now = self.clock.now().as_nanos();
        let mut inner = self.lock();
        inner.down_until = inner.down_until.max(now.saturating_add(nanos(length)));
    }

    /// What watches were not told yet is forgotten, and their connections break.
    pub(crate) fn compact(&self) {
        let mut inner = self.lock();
        inner.state.compact();
        inner.breaks += 1;
        self.settle(&mut inner);
    }

    /// Connections of watches break.
    pub(crate) fn break_watches(&self) {
        let mut inner = self.lock();
        inner.breaks += 1;
        self.settle(&mut inner);
    }

    /// Revokes of what has run out take this long from now on; keep-alives succeed meanwhile.
    pub(crate) fn slow_revokes(&self, length: Duration) {
        self.lock().state.slow_revokes = nanos(length);
    }

    /// Deletes a lease's key, as an operator would; whether there was one.
    pub(crate) fn delete(&self, chance: &mut Chance) -> bool {
        let mut inner = self.lock();
        let deleted = inner.state.delete_some(chance);
        self.settle(&mut inner);
        deleted
    }

    /// A leader of before has a native lease revoked, by way of the one that leads; whether there was one.
    pub(crate) fn revoke_late(&self, chance: &mut Chance) -> bool {
        let now = self.clock.now().as_nanos();
        let mut inner = self.lock();
        let revoked = inner.state.revoke_some(now, chance);
        self.settle(&mut inner);
        revoked
    }

    /// Everything works again.
    pub(crate) fn heal(&self) {
        let mut inner = self.lock();
        inner.down_until = 0;
        inner.deposed = None;
        inner.state.slow_revokes = 0;
    }

    /// How much later than their last renewal says native leases run out.
    pub(crate) fn lag(&self) -> Duration {
        let now = self.clock.now().as_nanos();
        let inner = self.lock();
        let down = Duration::from_nanos(inner.down_until.saturating_sub(now));
        inner.state.lag() + down + Duration::from_nanos(inner.state.slow_revokes)
    }

    /// How many native leases there are, and how many names are taken.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.state.leases().len(), inner.state.taken())
    }
}

impl Inner {
    /// The deposed leader, as long as it has not learnt of it.
    fn deposed(&mut self, now: u64) -> Option<&Deposed> {
        if self.deposed.as_ref().is_some_and(|old| old.until <= now) {
            self.deposed = None;
        }
        self.deposed.as_ref()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("term", &self.term)
            .field("revision", &self.state.revision)
            .finish_non_exhaustive()
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// One watch, at the server.
struct Feed {
    server: Weak<Server>,
    prefix: Bytes,
    after: u64,
    breaks: u64,
    ready: Vec<Notice>,
}

impl Feed {
    async fn next(mut self) -> Option<(Notice, Self)> {
        let notice = poll_fn(|context| self.poll(context)).await?;
        if matches!(notice, Notice::Compacted) {
            self.server = Weak::new();
        }
        Some((notice, self))
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Notice>> {
        if let Some(notice) = self.ready.pop() {
            return Poll::Ready(Some(notice));
        }
        let Some(server) = self.server.upgrade() else {
            return Poll::Ready(None);
        };
        let mut inner = server.lock();
        if inner.breaks != self.breaks {
            return Poll::Ready(None);
        }
        if inner.state.revision > self.after {
            if inner.state.compacted > self.after {
                server.log.fault("watch told of a compaction");
                self.ready.push(Notice::Compacted);
            } else {
                let history = inner.state.history.iter().rev();
                let new = history.take_while(|(revision, _)| *revision > self.after);
                let wanted = new.filter(|(_, key)| key.starts_with(&self.prefix));
                // The latest first: taken from the end.
                let notice =
                    |(revision, key): &(u64, Bytes)| Notice::Changed(key.clone(), *revision);
                self.ready.extend(wanted.map(notice));
            }
            self.after = inner.state.revision;
            if let Some(notice) = self.ready.pop() {
                return Poll::Ready(Some(notice));
            }
        }
        inner.waiting.push(context.waker().clone());
        Poll::Pending
    }
}
