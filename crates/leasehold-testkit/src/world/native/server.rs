//! A simulated etcd v3 cluster, as its clients meet it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, ready};
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::{BootInstant, Door};
use tokio::sync::oneshot;

use super::reach::Straight;
use super::rules;
use super::space::{Full, no_space, takes_space};
use super::state::{Changed, State};
use crate::chance::Chance;
use crate::world::{Ledger, Log};
use leasehold_etcd::api::{
    Api, Failed, Granted, Kept, LeaseId, Notice, Range, Ranged, Replied, Txn,
};

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
    /// Before this nobody does anything, and what has arrived waits.
    stalled_until: u64,
    full: Option<Full>,
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
                stalled_until: 0,
                full: None,
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

    /// A client of it, whose way is always clear.
    #[must_use]
    pub fn client(self: &Arc<Self>, door: Arc<dyn Door>) -> Arc<dyn Api> {
        let server = self.clone();
        Arc::new(Straight { door, server })
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
    ///
    /// # Errors
    /// Where it is refused.
    pub fn grant(&self, seconds: u64) -> Option<Result<Granted, Failed>> {
        self.commit(|inner, now| {
            let room = inner.room(true, now);
            if matches!(room, Room::None) {
                self.log.fault("refused for want of space");
                return Err(no_space());
            }
            let granted = inner.state.grant(seconds, now)?;
            self.room(room).map(|()| granted)
        })
    }

    /// Renews a native lease, or says that it did. One that has run out is waited for until it is gone, or until a new
    /// leader has extended it: then one has to ask again.
    pub(super) fn keep_alive(&self, id: LeaseId) -> Option<Either<Kept, oneshot::Receiver<()>>> {
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
                return inner.deposed(now).map(|deposed| {
                    Either::Left(Kept {
                        ttl: deposed.leases.get(&id).copied().unwrap_or_default(),
                        term: deposed.term,
                    })
                });
            }
        }
        self.lead(|inner, now| match inner.state.keep_alive(id, now) {
            Either::Left(ttl) => Either::Left(Kept {
                ttl,
                term: inner.term,
            }),
            Either::Right(gone) => Either::Right(gone),
        })
    }

    /// Revokes a native lease.
    pub fn revoke(&self, id: LeaseId) -> Option<()> {
        self.commit(|inner, now| inner.state.revoke(id, now))
    }

    /// Applies a transaction.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn txn(&self, txn: &Txn) -> Option<Result<Replied, Failed>> {
        self.commit(|inner, now| {
            rules::check(txn)?;
            let room = inner.room(takes_space(txn), now);
            if matches!(room, Room::None) {
                self.log.fault("refused for want of space");
                return Err(no_space());
            }
            let done = inner.state.txn(txn, now)?;
            self.room(room)?;
            Ok(Replied {
                done,
                revision: inner.state.revision,
                term: inner.term,
            })
        })
    }

    /// Reads.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn range(&self, ranges: &[Range]) -> Option<Result<Ranged, Failed>> {
        // Also without space: the store's client reads range by range where a transaction is refused.
        self.commit(|inner, _| {
            rules::check_ranges(ranges)?;
            Ok(Ranged {
                entries: ranges
                    .iter()
                    .map(|range| inner.state.range(range))
                    .collect(),
                revision: inner.state.revision,
            })
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
    pub fn change_leader(&self, old_goes_on: Duration) {
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
    pub fn restart(&self, down: Duration) {
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

    /// Nobody does anything for a while: what arrives meanwhile is served afterwards, however long its sender waits.
    pub(crate) fn stall(&self, length: Duration) {
        let now = self.clock.now().as_nanos();
        let mut inner = self.lock();
        inner.stalled_until = inner.stalled_until.max(now.saturating_add(nanos(length)));
    }

    /// What has arrived is served once this is over.
    pub(super) fn arrived(&self) -> BoxFuture<'static, ()> {
        let now = self.clock.now().as_nanos();
        let until = self.lock().stalled_until;
        if until <= now {
            return ready(()).boxed();
        }
        self.log.fault("request served after a stall");
        self.clock.sleep_until(BootInstant::from_nanos(until))
    }

    /// There is no more space for a while. The next `applied` requests find that out when they are applied; an `old` server
    /// refuses transactions that only read or delete, too.
    pub fn run_out(&self, length: Duration, applied: u64, old: bool) {
        let until = self.clock.now().as_nanos().saturating_add(nanos(length));
        self.lock().full = Some(Full {
            until,
            old,
            applied,
        });
    }

    /// There is space again.
    pub fn make_space(&self) {
        self.lock().full = None;
    }

    /// What was done is refused all the same, where there was no room for it.
    fn room(&self, room: Room) -> Result<(), Failed> {
        match room {
            Room::Enough => Ok(()),
            Room::Exceeded | Room::None => {
                self.log.fault("done and refused for want of space");
                Err(no_space())
            }
        }
    }

    /// What watches were not told yet is forgotten, and their connections break. An old server forgets what was deleted
    /// last without saying so (etcd-io/etcd#18089); whether this is one is chance.
    pub(crate) fn compact(&self) {
        let old = self.lock().chance.below(2) == 0;
        self.compact_all(old);
    }

    pub(super) fn compact_all(&self, old: bool) {
        let mut inner = self.lock();
        let revision = inner.state.revision;
        inner.state.compact(revision, old);
        inner.breaks += 1;
        self.settle(&mut inner);
    }

    /// Forgets what changed before a revision, as somebody asks who looks after the registry.
    pub fn compact_to(&self, revision: u64) {
        self.lock().state.compact(revision, false);
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
        inner.stalled_until = 0;
        inner.full = None;
        inner.deposed = None;
        inner.state.slow_revokes = 0;
    }

    /// How much later than their last renewal says native leases run out.
    pub(crate) fn lag(&self) -> Duration {
        let now = self.clock.now().as_nanos();
        let inner = self.lock();
        let idle = inner.down_until.max(inner.stalled_until);
        let down = Duration::from_nanos(idle.saturating_sub(now));
        inner.state.lag() + down + Duration::from_nanos(inner.state.slow_revokes)
    }

    /// The registry's revision.
    #[cfg(test)]
    pub(super) fn revision(&self) -> u64 {
        self.lock().state.revision
    }

    /// How many native leases there are, and how many names are taken.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.state.leases().len(), inner.state.taken())
    }
}

/// Whether there is room for a request.
#[derive(Clone, Copy)]
enum Room {
    Enough,
    /// No, but that is found out only when it is done.
    Exceeded,
    None,
}

impl Inner {
    fn room(&mut self, takes: bool, now: u64) -> Room {
        match &mut self.full {
            Some(full) if full.until <= now => {
                self.full = None;
                Room::Enough
            }
            Some(full) if takes && full.applied > 0 => {
                full.applied -= 1;
                Room::Exceeded
            }
            Some(full) if takes || full.old => Room::None,
            _ => Room::Enough,
        }
    }

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
            if inner.state.compacted > self.after + 1 {
                server.log.fault("watch told of a compaction");
                self.ready.push(Notice::Compacted);
            } else {
                let history = inner.state.history.iter().rev();
                let new = history.take_while(|change| change.revision > self.after);
                let wanted = new.filter(|change| change.key.starts_with(&self.prefix));
                // The latest first: taken from the end.
                let notice =
                    |change: &Changed| Notice::Changed(change.key.clone(), change.revision);
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
