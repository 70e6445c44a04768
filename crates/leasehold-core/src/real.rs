//! The real door: the kernel's boot clock, a timer thread, tokio's executor, the operating system's randomness.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};

use crate::door::Door;
use crate::error::{Error, ErrorKind, Result};
use crate::mutants::{Mutant, mutant};
use crate::time::BootInstant;

/// The real [`Door`].
///
/// Time is `CLOCK_BOOTTIME`, which counts suspend. Sleeps end at an instant of that clock, by a timerfd on Linux, even
/// if the machine slept meanwhile. Tasks run on the tokio runtime the door was made in.
#[derive(Debug, Clone)]
pub struct RealDoor {
    runtime: tokio::runtime::Handle,
}

impl RealDoor {
    /// The door of the tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] outside a tokio runtime.
    pub fn new() -> Result<Arc<Self>> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::InvalidInput,
                "leasehold must be opened inside a tokio runtime",
            )
            .with_source(error)
        })?;
        Ok(Arc::new(Self { runtime }))
    }

    /// The door of a given tokio runtime.
    #[must_use]
    pub fn on(runtime: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self { runtime })
    }
}

impl Door for RealDoor {
    fn now(&self) -> BootInstant {
        boot_now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()> {
        Box::pin(Sleep { at, key: None })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.runtime.spawn(task));
    }

    fn random(&self, buffer: &mut [u8]) {
        if getrandom::fill(buffer).is_ok() {
            return;
        }
        // No source of randomness: ids must still differ, so make them from clock, process and a counter.
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        for chunk in buffer.chunks_mut(8) {
            let seed = boot_now().as_nanos()
                ^ u64::from(self.process()).rotate_left(40)
                ^ COUNTER
                    .fetch_add(1, Ordering::Relaxed)
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            chunk.copy_from_slice(&seed.to_le_bytes()[..chunk.len()]);
        }
    }

    fn process(&self) -> u32 {
        std::process::id()
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
const BOOT: ClockId = ClockId::Boottime;
// On Apple's systems this one counts sleep; elsewhere there is nothing better.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "fuchsia")))]
const BOOT: ClockId = ClockId::Monotonic;

fn boot_now() -> BootInstant {
    let clock = if mutant(Mutant::InstantForBootClock) {
        ClockId::Monotonic
    } else {
        BOOT
    };
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    BootInstant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// A sleep on the timer thread.
struct Sleep {
    at: BootInstant,
    key: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if boot_now() >= self.at {
            return Poll::Ready(());
        }
        if self.at < BootInstant::NEVER {
            let at = self.at;
            timer().register(at, &mut self.key, cx.waker());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            timer().lock().remove(&(self.at, key));
        }
    }
}

/// One timer thread for the process, asleep until the earliest instant anybody waits for.
struct Timer {
    sleeping: Mutex<BTreeMap<(BootInstant, u64), Waker>>,
    keys: std::sync::atomic::AtomicU64,
    alarm: Alarm,
}

fn timer() -> &'static Timer {
    static TIMER: OnceLock<Timer> = OnceLock::new();
    static THREAD: OnceLock<()> = OnceLock::new();
    let timer = TIMER.get_or_init(|| Timer {
        sleeping: Mutex::new(BTreeMap::new()),
        keys: std::sync::atomic::AtomicU64::new(0),
        alarm: Alarm::new(),
    });
    THREAD.get_or_init(|| {
        let thread = std::thread::Builder::new()
            .name("leasehold-timer".into())
            .stack_size(64 * 1024);
        if let Err(error) = thread.spawn(move || timer.run()) {
            tracing::error!(%error, "no timer thread: leasehold cannot renew on time");
        }
    });
    timer
}

impl Timer {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(BootInstant, u64), Waker>> {
        self.sleeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, at: BootInstant, key: &mut Option<u64>, waker: &Waker) {
        let key = *key
            .get_or_insert_with(|| self.keys.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let mut sleeping = self.lock();
        sleeping.insert((at, key), waker.clone());
        if sleeping
            .first_key_value()
            .is_some_and(|(first, _)| *first == (at, key))
        {
            self.alarm.set(at);
        }
    }

    fn run(&self) {
        loop {
            self.alarm.wait();
            let mut due = Vec::new();
            {
                let mut sleeping = self.lock();
                let now = boot_now();
                while let Some(first) = sleeping.first_entry() {
                    if first.key().0 > now {
                        self.alarm.set(first.key().0);
                        break;
                    }
                    due.push(first.remove());
                }
            }
            due.into_iter().for_each(Waker::wake);
        }
    }
}

/// A timerfd on the boot clock: set from any thread, waited for by one.
#[cfg(any(target_os = "linux", target_os = "android"))]
struct Alarm(Option<std::os::fd::OwnedFd>);

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Alarm {
    fn new() -> Self {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC);
        if let Err(error) = &timer {
            tracing::warn!(%error, "no timerfd: sleeping in small steps instead");
        }
        Self(timer.ok())
    }

    fn set(&self, at: BootInstant) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let Some(timer) = &self.0 else { return };
        // An absolute zero would disarm.
        let nanos = at.as_nanos().max(1);
        let value = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or_default(),
        };
        let spec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        if let Err(error) = timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &spec) {
            tracing::error!(%error, "the timer could not be set");
        }
    }

    fn wait(&self) {
        let mut buffer = [0; 8];
        match &self.0 {
            Some(timer) if rustix::io::read(timer, &mut buffer).is_ok() => {}
            Some(_) | None => step(),
        }
    }
}

/// Where there is no timerfd, sleep in small steps.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
struct Alarm;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Alarm {
    fn new() -> Self {
        Self
    }

    fn set(&self, _at: BootInstant) {}

    fn wait(&self) {
        step();
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn step() {
    std::thread::sleep(Duration::from_millis(5));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_end_in_order_and_not_early() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let door = RealDoor::on(runtime.handle().clone());
        runtime.block_on(async {
            let start = door.now();
            let order = Mutex::new(Vec::new());
            let sleep = |ms: u64| {
                let (door, order) = (door.clone(), &order);
                async move {
                    let at = start.plus(Duration::from_millis(ms));
                    door.sleep_until(at).await;
                    assert!(door.now() >= at);
                    order.lock().unwrap().push(ms);
                }
            };
            futures_util::future::join3(sleep(60), sleep(5), sleep(30)).await;
            assert_eq!(*order.lock().unwrap(), [5, 30, 60]);
        });
    }

    /// Many threads sleep, poll again with other wakers and give up, at once: nobody is woken early or forgotten, and
    /// nothing is left behind. The one timer thread is shared with this process's other tests.
    #[test]
    fn no_sleeper_is_forgotten() {
        struct Flag(std::sync::atomic::AtomicBool, std::thread::Thread);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
                self.1.unpark();
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let door = RealDoor::on(runtime.handle().clone());
        // Up to four milliseconds, and what to do with them.
        let draw = |door: &RealDoor, state: &mut u64| {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let length = Duration::from_micros(*state >> 52);
            (door.now().plus(length), (*state >> 40) % 4)
        };
        let threads: Vec<_> = (0..8_u64)
            .map(|seed| {
                let door = door.clone();
                std::thread::spawn(move || {
                    let mut state = seed;
                    for _ in 0..300 {
                        let (at, how) = draw(&door, &mut state);
                        let mut sleep = door.sleep_until(at);
                        let flag = Arc::new(Flag(false.into(), std::thread::current()));
                        let waker = Waker::from(flag.clone());
                        if how == 0 {
                            // A first waker that nobody listens to any more.
                            _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        }
                        let mut poll = || sleep.as_mut().poll(&mut Context::from_waker(&waker));
                        if how == 1 {
                            _ = poll();
                            continue;
                        }
                        while poll().is_pending() {
                            let start = door.now();
                            while !flag.0.swap(false, std::sync::atomic::Ordering::SeqCst) {
                                std::thread::park_timeout(Duration::from_secs(20));
                                let waited = door.now().since(start);
                                assert!(waited < Duration::from_secs(20), "never woken");
                            }
                        }
                        assert!(door.now() >= at);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn random_bytes_differ() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let door = RealDoor::on(runtime.handle().clone());
        let (mut a, mut b) = ([0; 16], [0; 16]);
        door.random(&mut a);
        door.random(&mut b);
        assert_ne!(a, b);
    }
}
