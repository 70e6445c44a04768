//! Native leases that are ready to be used, so that an acquire is one round trip.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::BootInstant;

use crate::lease::Native;
use crate::store::Client;

/// How many are kept ready of each length.
const READY: usize = 2;
/// From which request for a length on one is made ready beforehand. Whoever acquires once, as a command does, asks twice
/// at most: the vacancy was not the one it expected.
const OFTEN: u32 = 3;
/// How long a length that nobody asks for is kept ready, at least.
const IDLE: Duration = Duration::from_secs(60);

/// Native leases without a key, by what was asked for. Nothing that was handed out is renewed here any more, and what
/// comes back is certain to have no key.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    warm: BTreeMap<u64, Vec<Warm>>,
    /// When each length was last asked for, and how often.
    asked: BTreeMap<u64, (BootInstant, u32)>,
    filling: BTreeSet<u64>,
    kept: bool,
    closed: bool,
}

#[derive(Debug)]
struct Warm {
    native: Native,
    /// When it is to be renewed.
    due: BootInstant,
}

impl Warm {
    fn new(native: Native, now: BootInstant) -> Self {
        let due = native.hoped().minus(native.ttl / 2).max(now);
        Self { native, due }
    }
}

/// When one whose renewal did not help is tried again.
fn soon(native: &Native, now: BootInstant) -> BootInstant {
    now.plus(native.ttl / 8)
}

impl Pool {
    /// One that is ready, if there is; and those that are past their time.
    fn take(&mut self, seconds: u64, term: u64, now: BootInstant) -> (Option<Native>, Vec<Native>) {
        let asked = self.asked.entry(seconds).or_insert((now, 0));
        *asked = (now, asked.1.saturating_add(1));
        let mut past = Vec::new();
        let Some(warm) = self.warm.get_mut(&seconds) else {
            return (None, past);
        };
        while let Some(Warm { native, .. }) = warm.pop() {
            if now.plus(native.ttl / 4) < native.hoped() && !native.is_spoilt(term, now) {
                return (Some(native), past);
            }
            past.push(native);
        }
        (None, past)
    }

    fn lacks(&self, seconds: u64) -> bool {
        let often = |asked: &(BootInstant, u32)| asked.1 >= OFTEN;
        !self.closed
            && self.asked.get(&seconds).is_some_and(often)
            && !self.filling.contains(&seconds)
            && self.warm.get(&seconds).is_none_or(Vec::is_empty)
    }
}

impl Client {
    /// A native lease that is ready. Another one is made ready in its place.
    pub(crate) fn ready(self: &Arc<Self>, seconds: u64) -> Option<Native> {
        let now = self.door.now();
        let mut pool = self.pool();
        let (native, past) = pool.take(seconds, self.term(), now);
        let lacks = pool.lacks(seconds) && pool.filling.insert(seconds);
        drop(pool);
        past.iter().for_each(|native| self.revoke(native.id));
        if lacks {
            self.fill(seconds);
        }
        native
    }

    fn fill(self: &Arc<Self>, seconds: u64) {
        let client = self.clone();
        self.door.spawn(Box::pin(async move {
            let until = client.door.now().plus(Duration::from_secs(5));
            let granted = client.grant(seconds, until).await;
            client.pool().filling.remove(&seconds);
            if let Ok(native) = granted {
                client.give_back(native);
            }
        }));
    }

    /// A native lease that has no key, and never had one that is not known to be gone, is ready for the next.
    pub(crate) fn give_back(self: &Arc<Self>, native: Native) {
        let now = self.door.now();
        let mut pool = self.pool();
        let full = pool
            .warm
            .get(&native.asked)
            .is_some_and(|warm| warm.len() >= READY);
        let past = now >= native.hoped() || native.is_spoilt(self.term(), now);
        if full || pool.closed || past {
            drop(pool);
            return self.revoke(native.id);
        }
        let warm = pool.warm.entry(native.asked).or_default();
        warm.push(Warm::new(native, now));
        let keep = !std::mem::replace(&mut pool.kept, true);
        drop(pool);
        if keep {
            let client = self.clone();
            self.door
                .spawn(Box::pin(async move { client.keep_ready().await }));
        }
    }

    /// Renews what is ready as long as it is asked for.
    async fn keep_ready(self: Arc<Self>) {
        loop {
            let due = {
                let mut pool = self.pool();
                let due = pool.warm.values().flatten().map(|warm| warm.due).min();
                pool.kept = due.is_some();
                due
            };
            let Some(due) = due else { return };
            self.door.sleep_until(due).await;
            let now = self.door.now();
            let (idle, renew) = self.pool().due(self.term(), now);
            idle.iter().for_each(|native| self.revoke(native.id));
            for (seconds, id) in renew {
                let until = now.plus(Duration::from_secs(5));
                let kept = self.api.keep_alive(id, until).await;
                if let Ok(kept) = &kept {
                    self.told_term(kept.term);
                }
                let (mut pool, answered) = (self.pool(), self.door.now());
                let Some(warm) = pool.warm.get_mut(&seconds) else {
                    continue;
                };
                let Some(place) = warm.iter().position(|warm| warm.native.id == id) else {
                    continue;
                };
                if let Ok(kept) = kept {
                    let mut native = warm.swap_remove(place).native;
                    if kept.ttl.is_zero() {
                        continue;
                    }
                    native.answered(now, kept, answered);
                    if native.is_spoilt(self.term(), answered) {
                        drop(pool);
                        self.revoke(id);
                        continue;
                    }
                    let mut renewed = Warm::new(native, answered);
                    // What was answered may count for nothing, and be due still.
                    renewed.due = renewed.due.max(soon(&renewed.native, answered));
                    warm.push(renewed);
                }
            }
        }
    }

    /// Empties the pool for good.
    pub(crate) fn drain(&self) -> Vec<Native> {
        let mut pool = self.pool();
        pool.closed = true;
        let warm = std::mem::take(&mut pool.warm);
        warm.into_values().flatten().map(|w| w.native).collect()
    }
}

impl Pool {
    /// What has been idle for too long or is past its time, and what is to be renewed.
    fn due(&mut self, term: u64, now: BootInstant) -> (Vec<Native>, Vec<(u64, u64)>) {
        let (mut idle, mut renew) = (Vec::new(), Vec::new());
        for (seconds, warm) in &mut self.warm {
            let asked = self.asked.get(seconds).map(|asked| asked.0);
            for place in (0..warm.len()).rev() {
                let native = &warm[place].native;
                let limit = IDLE.max(native.ttl * 3);
                let wanted = asked.is_some_and(|asked| now < asked.plus(limit));
                if !wanted || now >= native.hoped() || native.is_spoilt(term, now) {
                    idle.push(warm.swap_remove(place).native);
                } else if warm[place].due <= now {
                    renew.push((*seconds, native.id));
                    // Tried again soon where there is no answer.
                    warm[place].due = soon(native, now);
                }
            }
        }
        self.warm.retain(|_, warm| !warm.is_empty());
        let warm = &self.warm;
        self.asked
            .retain(|seconds, asked| warm.contains_key(seconds) || now < asked.0.plus(IDLE));
        (idle, renew)
    }
}
