//! Simulated time, tasks and chance: one seed drives the whole library.
//!
//! [`Sim`] runs futures on one thread. Of the tasks that are ready the seed chooses the next one; when none is, time
//! jumps to the next timer. Nothing here takes real time. Every simulated process has a [`SimDoor`] of its own, whose
//! clock may run fast or slow, and which may be frozen (a stopped process, a long pause) or killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use leasehold_core::{BootInstant, Door};

use crate::chance::Chance;

/// The wall clock's reading when a simulation begins: 2026-01-01.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);
/// The boot clock's reading when a simulation begins.
const BOOT: u64 = 1_000_000_000_000;
/// A simulation that takes more steps than this turns in circles.
const MOST_STEPS: u64 = 50_000_000;

/// A simulated world: its clock, its tasks, its chance.
pub struct Sim {
    world: Arc<World>,
}

struct World {
    seed: u64,
    state: Mutex<State>,
}

struct State {
    /// True time since the beginning, in nanoseconds.
    now: u64,
    chance: Chance,
    next_id: u64,
    tasks: BTreeMap<u64, Task>,
    /// In the order in which they became ready.
    ready: Vec<u64>,
    queued: BTreeSet<u64>,
    timers: BTreeMap<(u64, u64), Waker>,
    frozen: BTreeSet<u64>,
    dead: BTreeSet<u64>,
    steps: u64,
    longest_jump: u64,
    trace: u64,
}

struct Task {
    process: u64,
    /// Taken out while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
}

enum Next {
    Run(u64),
    Advanced,
}

/// The [`Door`] of one simulated process.
pub struct SimDoor {
    world: Arc<World>,
    process: u64,
    ppm: i64,
    offset: u64,
    pid: AtomicU32,
}

impl Sim {
    /// The world that follows from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            now: 0,
            chance: Chance::new(seed),
            next_id: 1,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            queued: BTreeSet::new(),
            timers: BTreeMap::new(),
            frozen: BTreeSet::new(),
            dead: BTreeSet::new(),
            steps: 0,
            longest_jump: u64::MAX,
            trace: 0,
        };
        Self {
            world: Arc::new(World {
                seed,
                state: Mutex::new(state),
            }),
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.world.seed
    }

    /// The door of a new process whose clock is true.
    #[must_use]
    pub fn door(&self) -> Arc<SimDoor> {
        self.door_with(0, Duration::ZERO)
    }

    /// The door of a new process whose boot clock runs `ppm` parts per million fast (or slow, where negative) and
    /// began `offset` ahead.
    #[must_use]
    pub fn door_with(&self, ppm: i32, offset: Duration) -> Arc<SimDoor> {
        let mut state = self.world.lock();
        let process = state.next_id;
        state.next_id += 1;
        let pid = u32::try_from(process % 30_000).unwrap_or(1) + 1;
        Arc::new(SimDoor {
            world: self.world.clone(),
            process,
            ppm: i64::from(ppm).max(-999_999),
            offset: BOOT + u64::try_from(offset.as_nanos()).unwrap_or_default(),
            pid: AtomicU32::new(pid),
        })
    }

    /// True time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world.lock().now)
    }

    /// A seeded number below a bound, for the test's own choices.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.world.lock().chance.below(bound)
    }

    /// How many steps were taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.world.lock().steps
    }

    /// A number that follows from the order of everything that has happened so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.world.lock().trace
    }

    /// Lets time pass in steps no longer than this, so that [`Sim::block_on_watching`] looks at least that often.
    pub fn longest_jump(&self, jump: Duration) {
        self.world.lock().longest_jump = u64::try_from(jump.as_nanos()).unwrap_or(u64::MAX).max(1);
    }

    /// Runs a future, and everything spawned, until the future is done. What is still running then is kept for the
    /// next call.
    ///
    /// # Panics
    /// When nothing can ever happen again (nothing is ready and no timer is set), naming the seed.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.block_on_watching(future, |_| {})
    }

    /// As [`Sim::block_on`], calling `look` after every step with the number of the process that took it, if it was
    /// one: for what must hold at every instant.
    ///
    /// # Panics
    /// As [`Sim::block_on`].
    pub fn block_on_watching<F: Future>(
        &self,
        future: F,
        mut look: impl FnMut(Option<u64>),
    ) -> F::Output {
        let watched = self.block_on_while(future, |process| {
            look(process);
            true
        });
        watched.unwrap_or_else(|| unreachable!("nobody stopped it"))
    }

    /// As [`Sim::block_on_watching`], until the future is done or `look` says no: then the answer is none, and the
    /// future is dropped where it stands.
    ///
    /// # Panics
    /// As [`Sim::block_on`].
    pub fn block_on_while<F: Future>(
        &self,
        future: F,
        mut look: impl FnMut(Option<u64>) -> bool,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        let root = {
            let mut state = self.world.lock();
            let root = state.next_id;
            state.next_id += 1;
            state.wake(root);
            root
        };
        loop {
            let mut process = None;
            if let Next::Run(id) = self.world.next() {
                let waker = Waker::from(Arc::new(Alarm {
                    world: self.world.clone(),
                    id,
                }));
                let mut context = Context::from_waker(&waker);
                if id == root {
                    if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                        return look(None).then_some(output);
                    }
                } else {
                    process = self.world.run(id, &mut context);
                }
            }
            if !look(process) {
                return None;
            }
        }
    }

    /// What `ask` answers at another true time, if nothing happens until then: the clocks are set for this one call.
    pub fn at<T>(&self, truth: Duration, ask: impl FnOnce() -> T) -> T {
        let truth = u64::try_from(truth.as_nanos()).unwrap_or(u64::MAX);
        let now = std::mem::replace(&mut self.world.lock().now, truth);
        let answer = ask();
        self.world.lock().now = now;
        answer
    }

    /// Lets a while of true time pass, with everything that happens in it.
    pub fn advance(&self, length: Duration) {
        let door = self.door();
        self.block_on(door.sleep_until(door.now().plus(length)));
    }

    /// Runs a future as a task of a process.
    pub fn spawn(&self, door: &SimDoor, task: impl Future<Output = ()> + Send + 'static) {
        door.spawn(Box::pin(task));
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Tasks hold doors, which hold the world: without this nothing would ever be freed. What the dropped tasks
        // spawn is dropped too.
        let mut rounds = 0;
        loop {
            let tasks = std::mem::take(&mut self.world.lock().tasks);
            rounds += 1;
            if tasks.is_empty() || rounds > 100 {
                return;
            }
        }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.world, f)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens next: a ready task of the seed's choice, or time goes on.
    fn next(&self) -> Next {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.steps += 1;
        assert!(
            state.steps < MOST_STEPS,
            "simulation of seed {} turns in circles at {:?}",
            self.seed,
            Duration::from_nanos(state.now)
        );
        let count = if state.frozen.is_empty() {
            state.ready.len()
        } else {
            // Those that may run go first.
            let (tasks, frozen) = (&state.tasks, &state.frozen);
            let frozen = |id: u64| {
                tasks
                    .get(&id)
                    .is_some_and(|task| frozen.contains(&task.process))
            };
            state.ready.sort_by_key(|id| frozen(*id));
            state.ready.partition_point(|id| !frozen(*id))
        };
        if count > 0 {
            let place = usize::try_from(state.chance.below(count as u64)).unwrap_or_default();
            let id = state.ready[place];
            // Order is kept: it must follow from the seed alone.
            state.ready.remove(place);
            state.queued.remove(&id);
            // A step takes a little time, or none.
            state.now += state.chance.below(3) * 200;
            state.trace =
                (state.trace.rotate_left(5) ^ id ^ state.now).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            return Next::Run(id);
        }
        let Some((at, _)) = state.timers.first_key_value().map(|(key, _)| *key) else {
            let stuck = format!(
                "simulation of seed {} is stuck at {:?}: nothing is ready and no timer is set; {} tasks wait",
                self.seed,
                Duration::from_nanos(state.now),
                state.tasks.len()
            );
            // Not poisoned: unwinding drops tasks, which take the lock.
            drop(guard);
            panic!("{stuck}");
        };
        state.now = at
            .max(state.now)
            .min(state.now.saturating_add(state.longest_jump));
        let mut due = Vec::new();
        while let Some(first) = state.timers.first_entry() {
            if first.key().0 > state.now {
                break;
            }
            due.push(first.remove());
        }
        // Wakers take the lock themselves.
        drop(guard);
        due.into_iter().for_each(Waker::wake);
        Next::Advanced
    }

    /// Polls a task; says whose it is.
    fn run(&self, id: u64, context: &mut Context<'_>) -> Option<u64> {
        let (process, taken) = match self.lock().tasks.get_mut(&id) {
            Some(task) => (task.process, task.future.take()),
            None => return None,
        };
        let mut future = taken?;
        let done = future.as_mut().poll(context).is_ready();
        let mut left_over = Some(future);
        let mut state = self.lock();
        if done {
            state.tasks.remove(&id);
        } else if let Some(task) = state.tasks.get_mut(&id) {
            // Killed meanwhile: dropped below.
            task.future = left_over.take();
        }
        drop(state);
        drop(left_over);
        Some(process)
    }
}

impl State {
    fn wake(&mut self, id: u64) {
        if self.queued.insert(id) {
            self.ready.push(id);
        }
    }
}

struct Alarm {
    world: Arc<World>,
    id: u64,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.world.lock().wake(self.id);
    }
}

impl SimDoor {
    /// The reading of this process's boot clock at a true time.
    #[must_use]
    pub fn reading_at(&self, truth: Duration) -> BootInstant {
        BootInstant::from_nanos(self.reading(u64::try_from(truth.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The number of this process in its world.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.process
    }

    /// True time since the world began.
    #[must_use]
    pub fn truth_now(&self) -> Duration {
        Duration::from_nanos(self.world.lock().now)
    }

    /// The first true time at which this process's clock shows an instant.
    #[must_use]
    pub fn truth_of(&self, at: BootInstant) -> Duration {
        match at {
            BootInstant::NEVER => Duration::MAX,
            at => Duration::from_nanos(self.truth(at.as_nanos())),
        }
    }

    fn reading(&self, truth: u64) -> u64 {
        let skew = i128::from(truth) * i128::from(self.ppm) / 1_000_000;
        let reading = i128::from(self.offset) + i128::from(truth) + skew;
        u64::try_from(reading.max(0)).unwrap_or(u64::MAX)
    }

    /// The first true time at which this process's clock shows at least `at`.
    fn truth(&self, at: u64) -> u64 {
        let ahead = i128::from(at) - i128::from(self.offset);
        let rate = 1_000_000 + i128::from(self.ppm);
        let mut truth = (ahead.max(0) * 1_000_000 / rate).max(0);
        while truth < i128::from(u64::MAX)
            && self.reading(u64::try_from(truth).unwrap_or(u64::MAX)) < at
        {
            truth += 1;
        }
        u64::try_from(truth).unwrap_or(u64::MAX)
    }

    /// What [`Door::process`] answers from now on: a fork changes it.
    pub fn set_process(&self, pid: u32) {
        self.pid.store(pid, Ordering::SeqCst);
    }

    /// Stops the process: its tasks do not run, its clock goes on.
    pub fn freeze(&self) {
        self.world.lock().frozen.insert(self.process);
    }

    /// Lets it run again.
    pub fn thaw(&self) {
        self.world.lock().frozen.remove(&self.process);
    }

    /// Kills the process: its tasks are gone, and new ones never run.
    pub fn kill(&self) {
        let killed: Vec<Task> = {
            let mut state = self.world.lock();
            state.dead.insert(self.process);
            let ids: Vec<u64> = state
                .tasks
                .iter()
                .filter(|(_, task)| task.process == self.process)
                .map(|(id, _)| *id)
                .collect();
            ids.iter().filter_map(|id| state.tasks.remove(id)).collect()
        };
        drop(killed);
    }
}

impl fmt::Debug for SimDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDoor")
            .field("seed", &self.world.seed)
            .field("process", &self.process)
            .field("ppm", &self.ppm)
            .finish_non_exhaustive()
    }
}

impl Door for SimDoor {
    fn now(&self) -> BootInstant {
        let now = self.world.lock().now;
        BootInstant::from_nanos(self.reading(now))
    }

    fn wall(&self) -> SystemTime {
        let now = self.world.lock().now;
        let since = self.reading(now).saturating_sub(self.offset);
        // Wall clocks agree to a few seconds, whatever their machines' boots were.
        let skew = Duration::from_millis(self.process.wrapping_mul(7919) % 3000);
        SystemTime::UNIX_EPOCH + EPOCH + skew + Duration::from_nanos(since)
    }

    fn sleep_until(&self, at: BootInstant) -> BoxFuture<'static, ()> {
        let at = match at {
            BootInstant::NEVER => u64::MAX,
            at => self.truth(at.as_nanos()),
        };
        Box::pin(Sleep {
            world: self.world.clone(),
            at,
            key: None,
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let refused = {
            let mut state = self.world.lock();
            if state.dead.contains(&self.process) {
                Some(task)
            } else {
                let id = state.next_id;
                state.next_id += 1;
                let task = Task {
                    process: self.process,
                    future: Some(task),
                };
                state.tasks.insert(id, task);
                state.wake(id);
                None
            }
        };
        drop(refused);
    }

    fn random(&self, buffer: &mut [u8]) {
        self.world.lock().chance.fill(buffer);
    }

    fn process(&self) -> u32 {
        self.pid.load(Ordering::SeqCst)
    }
}

struct Sleep {
    world: Arc<World>,
    at: u64,
    key: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut state = world.lock();
        if state.now >= self.at && self.at < u64::MAX {
            return Poll::Ready(());
        }
        if self.at < u64::MAX {
            let key = match self.key {
                Some(key) => key,
                None => {
                    let key = state.next_id;
                    state.next_id += 1;
                    self.key = Some(key);
                    key
                }
            };
            let old = state.timers.insert((self.at, key), context.waker().clone());
            drop(state);
            drop(old);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.world.lock().timers.remove(&(self.at, key));
            drop(waker);
        }
    }
}
