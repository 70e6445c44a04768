//! The only door to time, sleep, spawning and randomness.

use std::fmt::Debug;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use crate::mutants::{Mutant, mutant};
use crate::record::AttemptId;
use crate::sync::{AtomicBool, Ordering};
use crate::time::BootInstant;

/// Time, sleep, spawning and randomness, real ([`RealDoor`](crate::RealDoor)) or simulated (the test kit's), so that
/// one seed can drive the whole library. Core and the stores ask nobody else.
pub trait Door: Debug + Send + Sync + 'static {
    /// The boot clock.
    fn now(&self) -> BootInstant;

    /// The wall clock: for records that people read, for the index of registries that have no number of their own,
    /// never for belief.
    fn wall(&self) -> SystemTime;

    /// Ends when the boot clock has reached the instant, even if the machine slept meanwhile.
    fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()>;

    /// Runs a task to its end, or until the runtime is shut down.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Fills the buffer with random bytes, fresh from the operating system in the real door.
    fn random(&self, buffer: &mut [u8]);

    /// The process: a forked child must not use its parent's manager.
    fn process(&self) -> u32;
}

/// What core makes of a door.
pub(crate) trait DoorExt {
    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()>;
    fn attempt_id(&self) -> AttemptId;
    /// As many ids, asked for at once.
    fn attempt_ids(&self, count: usize) -> Vec<AttemptId>;
    /// A fraction in `0.0..1.0`.
    fn chance(&self) -> f64;
}

impl DoorExt for dyn Door {
    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now().plus(length))
    }

    fn attempt_id(&self) -> AttemptId {
        let mut id = [0; 16];
        self.random(&mut id);
        AttemptId(id)
    }

    fn attempt_ids(&self, count: usize) -> Vec<AttemptId> {
        let mut ids = vec![[0; 16]; count];
        self.random(ids.as_flattened_mut());
        ids.into_iter().map(AttemptId).collect()
    }

    fn chance(&self) -> f64 {
        let mut bytes = [0; 4];
        self.random(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The future's output, or none if the instant comes first. The future is asked first and the timer is only made when
/// it has to wait: what answers at once costs nothing.
pub(crate) async fn until<F: Future>(
    door: &Arc<dyn Door>,
    at: BootInstant,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer: Option<BoxFuture<'static, ()>> = None;
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if at == BootInstant::NEVER {
            return Poll::Pending;
        }
        timer
            .get_or_insert_with(|| door.sleep_until(at))
            .as_mut()
            .poll(cx)
            .map(|()| None)
    })
    .await
}

/// A future that is driven to its end whatever happens to whoever awaits it: dropped half-way, it goes on as a task
/// of its own. Polled in place until then, so that what answers at once needs no hand-over between threads.
pub(crate) struct Driven<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    abandoned: Abandoned,
    door: Arc<dyn Door>,
}

/// Whether whoever awaited an operation has gone away. Only set before the operation is polled again, so that an
/// operation which finds it unset delivers its result in the same poll.
#[derive(Clone, Default, Debug)]
pub(crate) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl<T: Send + 'static> Driven<T> {
    pub(crate) fn new<F>(door: &Arc<dyn Door>, operation: impl FnOnce(Abandoned) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let abandoned = Abandoned::default();
        let future = Box::pin(operation(abandoned.clone()));
        Self {
            future: Some(future),
            abandoned,
            door: door.clone(),
        }
    }
}

impl<T: Send + 'static> Future for Driven<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let poll = future.as_mut().poll(cx);
        if poll.is_ready() {
            self.future = None;
        }
        poll
    }
}

impl<T: Send + 'static> Drop for Driven<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            if mutant(Mutant::DroppedChangeIsForgotten) {
                return;
            }
            self.abandoned.0.store(true, Ordering::SeqCst);
            self.door.spawn(Box::pin(async move { drop(future.await) }));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A door whose clocks stand still and whose randomness is one byte, again and again.
    #[derive(Debug)]
    pub(crate) struct Still {
        pub(crate) wall: SystemTime,
        pub(crate) byte: u8,
    }

    impl Door for Still {
        fn now(&self) -> BootInstant {
            BootInstant::ZERO
        }

        fn wall(&self) -> SystemTime {
            self.wall
        }

        fn sleep_until(&self, _at: BootInstant) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn spawn(&self, _task: BoxFuture<'static, ()>) {}

        fn random(&self, buffer: &mut [u8]) {
            buffer.fill(self.byte);
        }

        fn process(&self) -> u32 {
            1
        }
    }

    #[test]
    fn a_chance_is_a_fraction_below_one_and_follows_from_what_was_drawn() {
        let chance = |byte: u8| {
            let wall = SystemTime::UNIX_EPOCH;
            let door: &dyn Door = &Still { wall, byte };
            door.chance()
        };
        assert!(chance(0).abs() < f64::EPSILON);
        assert!(chance(u8::MAX) < 1.0 && chance(u8::MAX) > 0.999_999);
        assert!((chance(0x80) - f64::from(0x80) / 255.0).abs() < 1e-6);
    }
}
