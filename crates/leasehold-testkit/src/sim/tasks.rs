//! The tasks of a simulated world, and which of them are ready.

use std::collections::BTreeSet;
use std::task::Waker;

use futures_util::future::BoxFuture;

/// A task's future, which is taken out while it is polled.
pub(super) type Taken = BoxFuture<'static, ()>;

/// Where a task is kept. The number tells it from one that had the place before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    place: usize,
    pub(super) id: u64,
}

/// The tasks.
#[derive(Default)]
pub(super) struct Tasks {
    places: Vec<Place>,
    free: Vec<usize>,
    /// In the order in which they became ready.
    ready: Vec<Key>,
}

struct Place {
    id: u64,
    process: u64,
    future: Option<Taken>,
    waker: Option<Waker>,
    queued: bool,
    used: bool,
}

impl Tasks {
    /// A new task, which is ready. Without a future it is one that its owner polls.
    pub(super) fn insert(
        &mut self,
        id: u64,
        process: u64,
        future: Option<Taken>,
        waker: impl FnOnce(Key) -> Waker,
    ) -> Key {
        let place = self.free.pop().unwrap_or(self.places.len());
        let key = Key { place, id };
        let new = Place {
            id,
            process,
            future,
            waker: Some(waker(key)),
            queued: false,
            used: true,
        };
        match self.places.get_mut(place) {
            Some(old) => *old = new,
            None => self.places.push(new),
        }
        self.wake(key);
        key
    }

    fn get(&mut self, key: Key) -> Option<&mut Place> {
        self.places
            .get_mut(key.place)
            .filter(|place| place.used && place.id == key.id)
    }

    pub(super) fn wake(&mut self, key: Key) {
        if let Some(place) = self.get(key)
            && !std::mem::replace(&mut place.queued, true)
        {
            self.ready.push(key);
        }
    }

    /// How many are ready and may run: they are the first of those that are ready.
    pub(super) fn runnable(&mut self, frozen: &BTreeSet<u64>) -> usize {
        if frozen.is_empty() {
            return self.ready.len();
        }
        let places = &self.places;
        let stopped = |key: &Key| {
            let place = places.get(key.place);
            place.is_some_and(|place| place.id == key.id && frozen.contains(&place.process))
        };
        self.ready.sort_by_key(&stopped);
        self.ready.partition_point(|key| !stopped(key))
    }

    /// Takes the ready task of this place in the queue out of it: its process, its future, its waker. None: it is gone.
    pub(super) fn take(&mut self, place: usize) -> (Key, Option<(u64, Option<Taken>, Waker)>) {
        // Order is kept: it must follow from the seed alone.
        let key = self.ready.remove(place);
        let taken = self.get(key).and_then(|place| {
            place.queued = false;
            let waker = place.waker.clone()?;
            Some((place.process, place.future.take(), waker))
        });
        (key, taken)
    }

    /// Puts a future back that is not done. What comes back belongs to a task that is gone.
    pub(super) fn put_back(&mut self, key: Key, future: Taken) -> Option<Taken> {
        match self.get(key) {
            Some(place) => {
                place.future = Some(future);
                None
            }
            None => Some(future),
        }
    }

    /// A task is done.
    pub(super) fn remove(&mut self, key: Key) -> Option<Taken> {
        let place = self.get(key)?;
        place.used = false;
        place.waker = None;
        let future = place.future.take();
        self.free.push(key.place);
        future
    }

    /// The tasks of a process are gone. Their futures must not be dropped under the lock.
    pub(super) fn kill(&mut self, process: u64) -> Vec<Taken> {
        let of = |(number, place): (usize, &Place)| {
            (place.used && place.process == process).then_some(Key {
                place: number,
                id: place.id,
            })
        };
        let keys: Vec<Key> = self.places.iter().enumerate().filter_map(of).collect();
        keys.into_iter()
            .filter_map(|key| self.remove(key))
            .collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
