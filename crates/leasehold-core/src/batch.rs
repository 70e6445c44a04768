//! Group commit: what arrives while a request is in flight goes with the next one; no delay is added when idle.
//!
//! A request that hangs does not take the others with it: what has waited for a quarter of its time goes out beside it.
//! Nor does one that panics: its changes' outcomes are unknown, as if it had not been answered.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::door::{Door, until};
use crate::error::{Error, ErrorKind};
use crate::mutants::{Mutant, mutant};
use crate::store::{Change, Outcome, Store};
use crate::sync::{Mutex, MutexGuard};
use crate::time::BootInstant;

/// How many requests may be in flight where earlier ones hang.
const MOST_IN_FLIGHT: u32 = 4;

/// Sends changes to the store, one request at a time as long as they are answered.
#[derive(Debug)]
pub(crate) struct Batch {
    store: Arc<dyn Store>,
    door: Arc<dyn Door>,
    size: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    in_flight: u32,
    next_key: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    key: u64,
    /// The first key of those that were asked for together.
    group: u64,
    change: Change,
    until: BootInstant,
    reply: oneshot::Sender<Outcome>,
}

/// A change, and until when it may take.
pub(crate) type Bounded = (Change, BootInstant);

impl Batch {
    pub(crate) fn new(store: Arc<dyn Store>, door: Arc<dyn Door>) -> Self {
        let size = store.connected().batch.max(1);
        Self {
            store,
            door,
            size,
            queue: Mutex::default(),
        }
    }

    /// Sends one change. Must not be dropped half-way unless its outcome is to stay unknown.
    pub(crate) async fn one(self: &Arc<Self>, change: Change, at: BootInstant) -> Outcome {
        let mut outcomes = self.many(vec![(change, at)]).await;
        outcomes.pop().unwrap_or_else(missing)
    }

    /// How many changes one request carries.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Sends changes of different names together, no more than one request carries. One outcome a change, in order.
    pub(crate) async fn many(self: &Arc<Self>, changes: Vec<Bounded>) -> Vec<Outcome> {
        if changes.is_empty() {
            return Vec::new();
        }
        let queued = {
            let mut queue = self.lock();
            if queue.in_flight > 0 {
                let group = queue.next_key;
                Ok(changes
                    .into_iter()
                    .map(|(change, at)| (queue.push(group, change, at), at))
                    .collect::<Vec<_>>())
            } else {
                queue.in_flight = 1;
                Err(changes)
            }
        };
        match queued {
            Err(changes) => {
                // Whatever becomes of this future, the next request must go out.
                let _next = Next(self);
                self.request(changes).await
            }
            Ok(waiting) => {
                let mut outcomes = Vec::with_capacity(waiting.len());
                for ((key, mut reply), at) in waiting {
                    let now = self.door.now();
                    let patience = now.plus(at.since(now) / 4);
                    let mut answer = until(&self.door, patience, &mut reply).await;
                    if answer.is_none() {
                        self.beside(key);
                        answer = until(&self.door, at, reply).await;
                    }
                    outcomes.push(match answer {
                        Some(Ok(outcome)) => outcome,
                        Some(Err(_)) => Outcome::Unknown(Error::new(
                            ErrorKind::Unavailable,
                            "the request was given up",
                        )),
                        None => self.give_up(key),
                    });
                }
                outcomes
            }
        }
    }

    /// A change has waited for long: if it was not sent yet it goes out beside the requests that hang.
    fn beside(self: &Arc<Self>, key: u64) {
        let mut queue = self.lock();
        let waits = queue.waiting.iter().any(|waiting| waiting.key == key);
        if waits && queue.in_flight < MOST_IN_FLIGHT {
            queue.in_flight += 1;
            drop(queue);
            self.next();
        }
    }

    /// The time of a waiting change is over: if it was not sent yet, it never will be.
    fn give_up(&self, key: u64) -> Outcome {
        let mut queue = self.lock();
        match queue.waiting.iter().position(|waiting| waiting.key == key) {
            Some(place) => {
                queue.waiting.remove(place);
                Outcome::NotApplied(Error::new(
                    ErrorKind::Unavailable,
                    "the registry was still busy with an earlier request: nothing was sent",
                ))
            }
            None => Outcome::Unknown(no_answer()),
        }
    }

    async fn request(&self, changes: Vec<Bounded>) -> Vec<Outcome> {
        let count = changes.len();
        let at = changes
            .iter()
            .map(|(_, at)| *at)
            .max()
            .unwrap_or(BootInstant::ZERO);
        let changes = changes.into_iter().map(|(change, _)| change).collect();
        // Also where it panics the changes may have been applied, and whoever asked has to find out.
        let asked = AssertUnwindSafe(async { self.store.apply(changes, at).await }).catch_unwind();
        let mut outcomes = match until(&self.door, at, asked).await {
            Some(Ok(outcomes)) => outcomes,
            Some(Err(panic)) => {
                if mutant(Mutant::APanickingStoreEndsKeepAlive) {
                    resume_unwind(panic);
                }
                self.panicked(panic);
                Vec::new()
            }
            None => Vec::new(),
        };
        outcomes.resize_with(count, || Outcome::Unknown(no_answer()));
        if mutant(Mutant::OneBadRenewalSinksTheBatch) {
            sink(&mut outcomes);
        }
        outcomes
    }

    /// The store has panicked: that goes its way in a task of its own, where it takes nothing else with it.
    fn panicked(&self, panic: Box<dyn Any + Send>) {
        tracing::error!(store = %self.store.location(), "the store panicked: whether the changes were applied is unknown");
        self.door
            .spawn(Box::pin(async move { resume_unwind(panic) }));
    }

    /// The next request: what waits, as far as one request carries it, in a task of its own. Each request's outcomes
    /// are told before the next one is sent.
    fn next(self: &Arc<Self>) {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            queue.in_flight = queue.in_flight.saturating_sub(1);
            return;
        }
        drop(queue);
        let this = self.clone();
        self.door.spawn(Box::pin(async move {
            let _next = Next(&this);
            let waiting = this.lock().take(this.size);
            let mut replies = Vec::with_capacity(waiting.len());
            let mut changes = Vec::with_capacity(waiting.len());
            for entry in waiting {
                if !entry.reply.is_closed() {
                    changes.push((entry.change, entry.until));
                    replies.push(entry.reply);
                }
            }
            if changes.is_empty() {
                return;
            }
            for (reply, outcome) in replies.into_iter().zip(this.request(changes).await) {
                // Whoever asked has given up and counts it as unknown.
                drop(reply.send(outcome));
            }
        }));
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(
        &mut self,
        group: u64,
        change: Change,
        until: BootInstant,
    ) -> (u64, oneshot::Receiver<Outcome>) {
        let (reply, receiver) = oneshot::channel();
        let key = self.next_key;
        self.next_key += 1;
        self.waiting.push_back(Waiting {
            key,
            group,
            change,
            until,
            reply,
        });
        (key, receiver)
    }

    /// What goes with the next request. Those that were asked for together stay together: their outcomes are told together,
    /// and would wait for two requests otherwise.
    fn take(&mut self, size: usize) -> Vec<Waiting> {
        let mut count = match mutant(Mutant::RequestsSplitARound) {
            true => size.min(self.waiting.len()),
            false => 0,
        };
        while let Some(first) = self.waiting.get(count) {
            let behind = self.waiting.iter().skip(count);
            let group = behind.take_while(|waiting| waiting.group == first.group);
            let more = count + group.count();
            if more > size && count > 0 {
                break;
            }
            count = more;
        }
        self.waiting.drain(..count.min(size)).collect()
    }
}

struct Next<'a>(&'a Arc<Batch>);

impl Drop for Next<'_> {
    fn drop(&mut self) {
        self.0.next();
    }
}

/// The mutant's batch: one failure is everybody's.
fn sink(outcomes: &mut [Outcome]) {
    let bad = |outcome: &Outcome| matches!(outcome, Outcome::NotApplied(_));
    if outcomes.iter().any(bad) {
        outcomes.fill_with(|| Outcome::NotApplied(no_answer()));
    }
}

fn no_answer() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the registry did not answer in time",
    )
}

fn missing() -> Outcome {
    Outcome::Unknown(Error::new(
        ErrorKind::Unavailable,
        "the store gave no outcome",
    ))
}
