//! What a conformance case runs in: two clients of one registry, and time.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use leasehold_core::{BootInstant, Capabilities, Door, Lease, LeaseName, Manager, RealDoor, Store};

use crate::chance::Chance;
use crate::faulty::Faulty;
use crate::sim::{Sim, SimDoor};

/// What the implementor of a store gives, so that the conformance suite can hold the store to the contract: a registry
/// of its own for every test, and ways to it.
pub trait Fixture: Send + Sync + 'static {
    /// Opens a client of the fixture's registry. Called several times a test: the clients must share nothing but the
    /// registry, as if each were a process of its own.
    fn open(&self, door: Arc<dyn Door>) -> BoxFuture<'_, Arc<dyn Store>>;

    /// Puts bytes under a name as a foreign writer would, past leasehold.
    fn plant<'a>(&'a self, name: &'a LeaseName, bytes: &'a [u8]) -> BoxFuture<'a, ()>;

    /// Whether the cases run in simulated time (a store without I/O of its own), or how much real time they may take.
    fn time(&self) -> TestTime {
        TestTime::Simulated { ppm: 0 }
    }
}

/// In which time a fixture's tests run.
#[derive(Clone, Copy, Debug)]
pub enum TestTime {
    /// In the simulator, in no time at all, under several seeds.
    Simulated {
        /// The clocks of the clients run up to this many parts per million fast or slow, where the store's assumptions
        /// allow it.
        ppm: u32,
    },
    /// On the real clock.
    Real {
        /// The period of leases that a test waits out: long enough for a round trip or two on a busy machine.
        short: Duration,
        /// How late anything may be on a busy machine.
        slack: Duration,
        /// How many rounds the races take (1000 where that is quick enough).
        rounds: u32,
    },
}

impl TestTime {
    /// Real time for a store on this machine.
    #[must_use]
    pub const fn real() -> Self {
        Self::Real {
            short: Duration::from_secs(2),
            slack: Duration::from_secs(10),
            rounds: 1000,
        }
    }
}

/// One client: what one process has.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's door.
    pub door: Arc<dyn Door>,
    /// The unreliable way to the registry, which the manager goes; reliable until told otherwise.
    pub faulty: Faulty,
    /// The client's manager.
    pub manager: Manager,
}

/// What a conformance case is given.
#[derive(Clone)]
pub struct Harness {
    /// One client.
    pub a: Client,
    /// Another, independent of the first.
    pub b: Client,
    pub(crate) fixture: Arc<dyn Fixture>,
    pub(crate) time: TestTime,
    chance: Arc<Mutex<Chance>>,
    sim: Option<Arc<Sim>>,
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness")
            .field("a", &self.a)
            .field("b", &self.b)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl Harness {
    /// A further client of the same registry.
    pub async fn client(&self) -> Client {
        Client::open(&*self.fixture, self.new_door()).await
    }

    fn new_door(&self) -> Arc<dyn Door> {
        match (&self.sim, self.time) {
            (Some(sim), TestTime::Simulated { ppm }) => drifting(sim, ppm),
            _ => self.a.door.clone(),
        }
    }

    /// Whether time is simulated: then bounds can be tight.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.sim.is_some()
    }

    /// What the store declares as it is connected.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.a.manager.capabilities().clone()
    }

    /// The period of a lease that the case waits out.
    #[must_use]
    pub fn short(&self) -> Duration {
        let short = match self.time {
            TestTime::Simulated { .. } => Duration::from_secs(10),
            TestTime::Real { short, .. } => short,
        };
        short.max(self.capabilities().least_period)
    }

    /// The period of a lease that must not run out during the case.
    #[must_use]
    pub fn long(&self) -> Duration {
        (self.short() * 100).max(Duration::from_secs(600))
    }

    /// How late anything may be: little in the simulator, much on a busy machine.
    #[must_use]
    pub fn slack(&self) -> Duration {
        match self.time {
            TestTime::Simulated { .. } => Duration::from_millis(50),
            TestTime::Real { slack, .. } => slack,
        }
    }

    /// The longest that a change may take to be told: the store's poll, twice, and the slack.
    #[must_use]
    pub fn notification(&self) -> Duration {
        let poll = match self.capabilities().delivery {
            leasehold_core::Delivery::Poll(every) => every * 2,
            _ => Duration::ZERO,
        };
        poll + self.slack()
    }

    /// How far apart two simulated clocks may have run after a while: what "not later than" must allow for.
    #[must_use]
    pub fn apart(&self, length: Duration) -> Duration {
        match self.time {
            TestTime::Simulated { ppm } => length * (4 * ppm) / 1_000_000,
            TestTime::Real { .. } => Duration::ZERO,
        }
    }

    /// How many rounds a race takes.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        match self.time {
            TestTime::Simulated { .. } => 1000,
            TestTime::Real { rounds, .. } => rounds,
        }
    }

    /// The first client's clock.
    #[must_use]
    pub fn now(&self) -> BootInstant {
        self.a.door.now()
    }

    /// Sleeps by the first client's clock.
    pub async fn sleep(&self, length: Duration) {
        self.a.door.sleep_until(self.now().plus(length)).await;
    }

    /// The future's output, which must come within `length`.
    ///
    /// # Panics
    /// Where it does not.
    pub async fn within<T>(
        &self,
        length: Duration,
        what: &str,
        future: impl Future<Output = T>,
    ) -> T {
        let timer = self.a.door.sleep_until(self.now().plus(length));
        match futures_util::future::select(std::pin::pin!(future), timer).await {
            futures_util::future::Either::Left((output, _)) => output,
            futures_util::future::Either::Right(_) => panic!("{what}: not within {length:?}"),
        }
    }

    /// Puts bytes under a name, past leasehold.
    pub async fn plant(&self, name: &str, bytes: &[u8]) {
        let name = LeaseName::reserved(name).unwrap();
        self.fixture.plant(&name, bytes).await;
    }

    /// A seeded number below a bound.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.chance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .below(bound)
    }

    /// Sleeps until a grant has run out for everybody, as the contract bounds it: an observer of a record that nobody
    /// has observed yet needs a full period from first sight.
    pub async fn until_vacant(&self, manager: &Manager, name: &str) {
        loop {
            let status = manager.status(name).await.unwrap();
            match status.as_ref().and_then(leasehold_core::Status::left) {
                Some(left) if !left.is_zero() => {
                    let door = manager.door();
                    door.sleep_until(door.now().plus(left)).await;
                }
                Some(_) => return,
                None => assert!(status.is_none(), "a foreign record never becomes vacant"),
            }
            if status.is_none() {
                return;
            }
        }
    }
}

impl Client {
    async fn open(fixture: &dyn Fixture, door: Arc<dyn Door>) -> Self {
        let store = fixture.open(door.clone()).await;
        let faulty = Faulty::new(store, door.clone());
        let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
            .build()
            .unwrap();
        Self {
            door,
            faulty,
            manager,
        }
    }

    /// Another manager of the same client, with a time-out of its own.
    ///
    /// # Panics
    /// For a time-out that no manager takes.
    #[must_use]
    pub fn manager_with(&self, timeout: Duration) -> Manager {
        Manager::builder(Arc::new(self.faulty.clone()), self.door.clone())
            .timeout(timeout)
            .build()
            .unwrap()
    }

    /// Acquires a lease that must be free.
    ///
    /// # Panics
    /// Where it is not.
    pub async fn take(&self, name: &str, period: Duration) -> Lease {
        let id = self.manager.machine_id().to_owned();
        self.manager
            .acquire_lease(name, id, 0, period)
            .await
            .unwrap()
            .expect("the name is free")
    }
}

fn drifting(sim: &Sim, ppm: u32) -> Arc<SimDoor> {
    if ppm == 0 {
        return sim.door();
    }
    // The bounds themselves are the likeliest: there the margins are needed in full.
    let ppm = i32::try_from(ppm).unwrap_or(i32::MAX);
    let rate = match sim.below(4) {
        0 => -ppm,
        1 => ppm,
        2 => 0,
        _ => i32::try_from(sim.below(u64::from(ppm.unsigned_abs()) * 2)).unwrap_or_default() - ppm,
    };
    sim.door_with(rate, Duration::from_secs(sim.below(1_000_000)))
}

/// A conformance case.
pub type Case = fn(Harness) -> Pin<Box<dyn Future<Output = ()>>>;

/// Runs a case: in the simulator under several seeds, or in real time. `LEASEHOLD_SEED` names one seed to try again,
/// `LEASEHOLD_SEEDS` says how many to try.
///
/// # Panics
/// Where the case fails.
pub fn run(fixture: impl Fn() -> Box<dyn Fixture>, case: Case) {
    let first: Arc<dyn Fixture> = fixture().into();
    match first.time() {
        TestTime::Simulated { ppm } => {
            for seed in seeds() {
                let on_failure = SeedOnFailure(seed);
                simulated(fixture().into(), seed, ppm, case);
                std::mem::forget(on_failure);
            }
        }
        time @ TestTime::Real { .. } => real(first, time, case),
    }
}

/// Runs a test of one's own as a case is run, in the simulator under one seed. A fixture of real time is run in it.
///
/// # Panics
/// Where the test fails.
pub fn run_with(
    fixture: impl Fn() -> Box<dyn Fixture>,
    seed: u64,
    case: impl AsyncFnOnce(Harness),
) {
    let fixture: Arc<dyn Fixture> = fixture().into();
    match fixture.time() {
        TestTime::Simulated { ppm } => simulated(fixture, seed, ppm, case),
        time @ TestTime::Real { .. } => real(fixture, time, case),
    }
}

/// The seeds to try.
#[must_use]
pub fn seeds() -> Vec<u64> {
    let number = |key: &str| std::env::var(key).ok().and_then(|text| text.parse().ok());
    match number("LEASEHOLD_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("LEASEHOLD_SEEDS").unwrap_or(8)).collect(),
    }
}

/// Says which seed failed.
struct SeedOnFailure(u64);

impl Drop for SeedOnFailure {
    fn drop(&mut self) {
        use std::io::Write as _;
        // Only reached by unwinding. Where standard error is closed nobody reads it.
        _ = writeln!(
            std::io::stderr(),
            "failed under seed {0}: LEASEHOLD_SEED={0} tries only that one",
            self.0
        );
    }
}

fn simulated(fixture: Arc<dyn Fixture>, seed: u64, ppm: u32, case: impl AsyncFnOnce(Harness)) {
    let sim = Arc::new(Sim::new(seed));
    sim.block_on(async {
        let a = Client::open(&*fixture, drifting(&sim, ppm)).await;
        let b = Client::open(&*fixture, drifting(&sim, ppm)).await;
        let harness = Harness {
            a,
            b,
            fixture,
            time: TestTime::Simulated { ppm },
            chance: Arc::new(Mutex::new(Chance::new(seed))),
            sim: Some(sim.clone()),
        };
        case(harness).await;
    });
}

fn real(fixture: Arc<dyn Fixture>, time: TestTime, case: impl AsyncFnOnce(Harness)) {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let door = RealDoor::new().unwrap();
        let a = Client::open(&*fixture, door.clone()).await;
        let b = Client::open(&*fixture, door).await;
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let harness = Harness {
            a,
            b,
            fixture,
            time,
            chance: Arc::new(Mutex::new(Chance::new(seed))),
            sim: None,
        };
        case(harness).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}
