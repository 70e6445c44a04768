//! The line of those who wait for a name in one manager: served in order, and only the first of them asks the registry.
//!
//! Who is first is a state, not a message: whoever leaves the line, at whatever moment, wakes the one who is first then.
//! So no turn is lost with somebody who was just being told of it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::stream::{BoxStream, Fuse, StreamExt};

use crate::error::Error;
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::request::Busy;
use crate::store::Signal;
use crate::sync::{Mutex, MutexGuard};
use crate::time::BootInstant;

/// The lines of a manager, and which names it has just released.
#[derive(Default)]
pub(crate) struct Lines(Mutex<State>);

#[derive(Default)]
struct State {
    lines: BTreeMap<LeaseName, Line>,
    /// Until when whoever asks again for a name that was released here lets others go first.
    rests: BTreeMap<LeaseName, BootInstant>,
}

/// Those who wait for one name.
#[derive(Default)]
struct Line {
    next: u64,
    /// In the order in which they came; how each is woken.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// What whoever was first has learnt last.
    told: Option<Told>,
    /// Whether nothing has been signalled since.
    fresh: bool,
    /// Somebody whose time is over waits for what is learnt next.
    awaited: bool,
    /// The store's signals, handed on from one who is first to the next: what comes in between is not lost.
    signals: Option<Signals>,
}

pub(crate) type Signals = Fuse<BoxStream<'static, Signal>>;

/// What the first of a line has learnt.
#[derive(Debug)]
pub(crate) struct Told {
    /// Who holds the name, or why nobody knows.
    pub(crate) answer: Result<Busy, Error>,
    /// When that was known.
    pub(crate) at: BootInstant,
}

impl Clone for Told {
    fn clone(&self) -> Self {
        let answer = match &self.answer {
            Ok(busy) => Ok(busy.clone()),
            Err(error) => Err(error.duplicate()),
        };
        Self {
            answer,
            at: self.at,
        }
    }
}

/// A place in a line. Dropping it leaves the line.
pub(crate) struct Place {
    lines: Arc<Lines>,
    name: LeaseName,
    number: u64,
    signals: Option<Signals>,
}

/// The longest rest.
const REST: Duration = Duration::from_millis(20);
/// How many rests are remembered.
const RESTS: usize = 1024;

impl Lines {
    /// Goes to the end of the name's line.
    pub(crate) fn enter(self: &Arc<Self>, name: &LeaseName) -> Place {
        let mut state = self.lock();
        let line = state.lines.entry(name.clone()).or_default();
        let number = line.next;
        line.next += 1;
        let number = match line.waiting.is_empty() {
            // Before the others, behind the first.
            false if mutant(Mutant::NewcomerOvertakesTheLine) => u64::MAX.saturating_sub(number),
            _ => number,
        };
        line.waiting.insert(number, None);
        Place {
            lines: self.clone(),
            name: name.clone(),
            number,
            signals: None,
        }
    }

    /// The name was released after it had been held for so long: whoever asks for it again rests as long, though no longer
    /// than 20 ms.
    pub(crate) fn released(&self, name: &LeaseName, now: BootInstant, held: Duration) {
        let mut state = self.lock();
        if state.rests.len() >= RESTS {
            state.rests.retain(|_, until| *until > now);
        }
        if state.rests.len() >= RESTS {
            state.rests.pop_first();
        }
        state.rests.insert(name.clone(), now.plus(held.min(REST)));
    }

    /// Until when whoever asks for the name now rests first.
    pub(crate) fn rest(&self, name: &LeaseName, now: BootInstant) -> Option<BootInstant> {
        if mutant(Mutant::ReleaserDoesNotYield) {
            return None;
        }
        let mut state = self.lock();
        let until = *state.rests.get(name)?;
        if until > now {
            return Some(until);
        }
        state.rests.remove(name);
        None
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().lines.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Ends when it is the first of its line.
    pub(crate) async fn first(&mut self) {
        self.once(|line, number| line.is_first(number).then_some(()))
            .await;
    }

    /// Ends when it is the first, with none, or when something is known, with that.
    pub(crate) async fn first_or_told(&mut self) -> Option<Told> {
        self.once(|line, number| {
            if line.is_first(number) {
                return Some(None);
            }
            line.awaited = line.told.is_none();
            line.told.clone().map(Some)
        })
        .await
    }

    /// Exclusive, because the signals cannot be shared between threads.
    async fn once<T>(&mut self, look: impl Fn(&mut Line, u64) -> Option<T>) -> T {
        std::future::poll_fn(|context| {
            let mut state = self.lines.lock();
            let line = state.lines.entry(self.name.clone()).or_default();
            if let Some(found) = look(line, self.number) {
                return Poll::Ready(found);
            }
            line.waiting
                .insert(self.number, Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Takes the signals over from whoever was first before, or subscribes.
    pub(crate) fn subscribe(&mut self, watch: impl FnOnce() -> BoxStream<'static, Signal>) {
        let inherited = self.line(|line| line.signals.take());
        self.signals = Some(inherited.unwrap_or_else(|| watch().fuse()));
    }

    /// The signals of whoever is first.
    pub(crate) async fn signal(&mut self) -> Option<Signal> {
        match &mut self.signals {
            Some(signals) => signals.next().await,
            None => None,
        }
    }

    /// What is known, where nothing has been signalled since.
    pub(crate) fn fresh(&self) -> Option<Told> {
        self.line(|line| line.told.clone().filter(|_| line.fresh))
    }

    /// Whether the line has learnt anything yet.
    pub(crate) fn is_told(&self) -> bool {
        self.line(|line| line.told.is_some())
    }

    /// What is known is about to be looked at again, whatever becomes of whoever looks.
    pub(crate) fn stale(&self) {
        self.line(|line| line.fresh = false);
    }

    /// Tells the line what was learnt; a failure has to be looked at again by whoever comes next.
    pub(crate) fn tell(&self, told: Told) {
        let woken = self.line(|line| {
            line.fresh = told.answer.is_ok();
            line.told = Some(told);
            match std::mem::take(&mut line.awaited) {
                true => line.waiting.values_mut().filter_map(Option::take).collect(),
                false => Vec::new(),
            }
        });
        woken.into_iter().for_each(Waker::wake);
    }

    fn line<T>(&self, look: impl FnOnce(&mut Line) -> T) -> T {
        let mut state = self.lines.lock();
        look(state.lines.entry(self.name.clone()).or_default())
    }
}

impl Line {
    fn is_first(&self, number: u64) -> bool {
        if mutant(Mutant::EveryWaiterAsks) {
            return true;
        }
        let first = self.waiting.first_key_value();
        first.is_some_and(|(first, _)| *first == number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let signals = self.signals.take();
        // Dropped, or woken, with the lock let go.
        let (next, _last) = {
            let mut state = self.lines.lock();
            let Some(line) = state.lines.get_mut(&self.name) else {
                return;
            };
            line.waiting.remove(&self.number);
            if line.waiting.is_empty() {
                (None, (state.lines.remove(&self.name), signals))
            } else {
                let unused = match signals {
                    Some(signals) => line.signals.replace(signals),
                    None => None,
                };
                let next = line.waiting.first_entry();
                let next = next.and_then(|mut next| next.get_mut().take());
                (next, (None, unused))
            }
        };
        if mutant(Mutant::LeaverWakesNobody) {
            return;
        }
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn name() -> LeaseName {
        LeaseName::new("a").unwrap()
    }

    /// Whoever leaves, wherever in the line, makes room for the next, and the last leaves nothing.
    #[test]
    fn a_line_is_served_in_order_whoever_leaves_it() {
        let lines = Arc::new(Lines::default());
        let mut places: Vec<_> = (0..6).map(|_| Some(lines.enter(&name()))).collect();
        let is_first = |place: &mut Option<Place>| {
            let first = place.as_mut().unwrap().first().now_or_never();
            first.is_some()
        };
        assert!(is_first(&mut places[0]) && !is_first(&mut places[1]));
        // In the middle, then the first, then one who was just told that he is first.
        places[2] = None;
        assert!(is_first(&mut places[0]) && !is_first(&mut places[1]));
        places[0] = None;
        assert!(is_first(&mut places[1]) && !is_first(&mut places[3]));
        {
            let mut place = places[3].take().unwrap();
            let mut waiting = pin!(place.first());
            let mut context = Context::from_waker(noop_waker_ref());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            places[1] = None;
        }
        assert!(is_first(&mut places[4]) && !is_first(&mut places[5]));
        places[5] = None;
        places[4] = None;
        assert!(lines.is_empty());
    }

    #[test]
    fn rests_are_bounded_and_end() {
        let lines = Lines::default();
        let at = |millis| BootInstant::ZERO.plus(Duration::from_millis(millis));
        lines.released(&name(), at(100), Duration::from_millis(5));
        assert_eq!(lines.rest(&name(), at(104)), Some(at(105)));
        assert_eq!(lines.rest(&name(), at(105)), None);
        assert!(lines.lock().rests.is_empty());
        lines.released(&name(), at(100), Duration::from_secs(5));
        assert_eq!(lines.rest(&name(), at(100)), Some(at(120)));
        for number in 0..5000 {
            let name = LeaseName::new(format!("n/{number}")).unwrap();
            lines.released(&name, at(200), REST);
        }
        assert_eq!(lines.lock().rests.len(), RESTS);
    }
}
