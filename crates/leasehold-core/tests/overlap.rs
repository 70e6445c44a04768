//! Belief intervals of different handles never overlap, checked at every instant by the simulator's true time and
//! nothing but what the handles answer: processes that acquire, renew, steal, break, release, stall and crash, on
//! clocks that run apart as far as is declared.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::store::Store;
use leasehold_core::{
    Capabilities, Displace, Door, Drift, KeepAlive, Manager, MemoryRegister, MemoryStore, Observed,
    Request, Term,
};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Chance, Faulty};

const PERIOD: Duration = Duration::from_millis(1000);

/// Every term that any process was ever granted.
type Terms = Arc<Mutex<Vec<Term>>>;

/// One process: its way to the registry, and what it does until the end.
async fn process(manager: Manager, door: Arc<SimDoor>, seed: u64, terms: Terms) {
    let mut chance = Chance::new(seed);
    let mut held = Vec::new();
    let mut leases = Vec::new();
    loop {
        let pause = chance.duration(PERIOD / 4);
        door.sleep_until(door.now().plus(pause)).await;
        let period = match chance.below(4) {
            0 => PERIOD / 5,
            1 => PERIOD * 2,
            _ => PERIOD,
        };
        let request = Request::new("x", period);
        match chance.below(12) {
            0..=2 => {
                if let Ok(leasehold_core::Attempt::Acquired(lease)) =
                    manager.try_acquire(request).await
                {
                    terms.lock().unwrap().push(lease.term());
                    leases.push(lease);
                }
            }
            3 | 4 => {
                if let Ok(Some(proxy)) = manager.get_lease("x").await {
                    let steal = manager.steal(request, Displace::index(proxy.index()));
                    if let Ok(lease) = steal.await {
                        terms.lock().unwrap().push(lease.term());
                        leases.push(lease);
                    }
                }
            }
            5 => {
                if let Ok(Some(proxy)) = manager.get_lease("x").await {
                    drop(
                        manager
                            .break_lease("x", Displace::index(proxy.index()))
                            .await,
                    );
                }
            }
            6 | 7 => {
                if let Some(lease) = leases.last_mut() {
                    drop(lease.renew(period).await);
                }
            }
            8 => {
                if let Some(lease) = leases.pop() {
                    drop(lease.release().await);
                }
            }
            9 => {
                if let Some(lease) = leases.pop() {
                    held.push(lease.keep_alive(KeepAlive::new()));
                }
            }
            10 => {
                if let Some(lease) = held.pop() {
                    drop(lease.release().await);
                }
            }
            _ => {
                if let Ok(Some(mut proxy)) = manager.get_lease("x").await {
                    if chance.below(2) == 0 {
                        drop(proxy.renew(period).await);
                    } else {
                        drop(proxy.release().await);
                    }
                }
            }
        }
    }
}

/// Runs processes under a seed, and says how many terms there were that somebody believed at some time.
fn run(seed: u64, ppm: i32, faults: u64, open: impl Fn(Arc<SimDoor>) -> Arc<dyn Store>) -> usize {
    let sim = Sim::new(seed);
    sim.longest_jump(PERIOD / 100);
    let terms = Terms::default();
    let mut chance = Chance::new(seed);
    let mut start = |number: u64| {
        let rate = [ppm, -ppm, 0][usize::try_from(chance.below(3)).unwrap()];
        let door = sim.door_with(rate, Duration::from_secs(chance.below(100)));
        let faulty = Faulty::new(open(door.clone()), door.clone());
        if faults > 0 {
            faulty.by_chance(chance.number(), faults, PERIOD);
        }
        let manager = Manager::builder(Arc::new(faulty), door.clone())
            .machine_id(format!("p{number}"))
            .timeout(PERIOD * 2)
            .build()
            .unwrap();
        sim.spawn(
            &door,
            process(manager, door.clone(), chance.number(), terms.clone()),
        );
        door
    };
    let mut doors: Vec<Arc<SimDoor>> = (0..4).map(&mut start).collect();
    let truth = sim.door();
    let mut chaos = Chance::new(seed ^ 0xc4a0);
    let mut believed = std::collections::BTreeSet::new();
    sim.block_on_watching(
        async {
            for number in 4..40 {
                let pause = PERIOD / 2 + chaos.duration(PERIOD);
                truth.sleep_until(truth.now().plus(pause)).await;
                let place = usize::try_from(chaos.below(4)).unwrap();
                match chaos.below(4) {
                    0 => {
                        // What its terms answer still counts: nobody may believe longer because of it.
                        doors[place].kill();
                        doors[place] = start(number);
                    }
                    1 => doors[place].freeze(),
                    _ => doors.iter().for_each(|door| door.thaw()),
                }
            }
        },
        |_| {
            let terms = terms.lock().unwrap();
            let now: Vec<&Term> = terms.iter().filter(|term| term.is_current()).collect();
            assert!(
                now.len() <= 1,
                "seed {seed}: {} lessees at once: {now:#?}",
                now.len()
            );
            if let Some(term) = now.first() {
                believed.insert(term.fence());
            }
        },
    );
    believed.len()
}

fn many(ppm: i32, faults: u64, open: impl Fn(&Sim) -> Box<dyn Fn(Arc<SimDoor>) -> Arc<dyn Store>>) {
    let mut believed = 0;
    for seed in leasehold_testkit::seeds() {
        for part in 0..2 {
            let seed = seed * 1000 + part;
            let open = open(&Sim::new(seed));
            believed += run(seed, ppm, faults, open);
        }
    }
    assert!(believed > 10, "hardly anything happened: {believed} terms");
}

fn memory() -> Box<dyn Fn(Arc<SimDoor>) -> Arc<dyn Store>> {
    let store = std::sync::OnceLock::new();
    Box::new(move |door| Arc::new(store.get_or_init(|| MemoryStore::new(door)).clone()))
}

fn observed() -> Box<dyn Fn(Arc<SimDoor>) -> Arc<dyn Store>> {
    let register = MemoryRegister::new();
    Box::new(move |door| Arc::new(Observed::new(register.clone(), door)))
}

#[test]
fn one_lessee_in_memory() {
    many(0, 0, |_| memory());
}

#[test]
fn one_lessee_in_memory_by_an_unreliable_way() {
    many(0, 250, |_| memory());
}

#[test]
fn one_lessee_observed_by_drifting_clocks() {
    many(83_333, 0, |_| observed());
}

#[test]
fn one_lessee_observed_by_drifting_clocks_and_an_unreliable_way() {
    many(83_333, 250, |_| observed());
}

/// A server's clock that runs within declared bounds: the margin is all that keeps lessees apart.
#[test]
fn one_lessee_by_a_drifting_servers_clock() {
    #[derive(Debug)]
    struct Declares(MemoryStore, Drift);
    impl Store for Declares {
        fn declared(&self) -> Capabilities {
            let mut capabilities = self.0.declared();
            capabilities.drift = self.1;
            capabilities
        }
        fn location(&self) -> String {
            self.0.location()
        }
        fn get<'a>(
            &'a self,
            name: &'a leasehold_core::LeaseName,
            until: leasehold_core::BootInstant,
        ) -> futures_util::future::BoxFuture<
            'a,
            leasehold_core::Result<Option<leasehold_core::store::Seen>>,
        > {
            self.0.get(name, until)
        }
        fn apply(
            &self,
            changes: Vec<leasehold_core::store::Change>,
            until: leasehold_core::BootInstant,
        ) -> futures_util::future::BoxFuture<'_, Vec<leasehold_core::store::Outcome>> {
            self.0.apply(changes, until)
        }
        fn list<'a>(
            &'a self,
            prefix: &'a leasehold_core::Prefix,
            after: Option<&'a leasehold_core::LeaseName>,
            max: usize,
            until: leasehold_core::BootInstant,
        ) -> futures_util::future::BoxFuture<'a, leasehold_core::Result<leasehold_core::store::Page>>
        {
            self.0.list(prefix, after, max, until)
        }
        fn watch(
            &self,
            scope: leasehold_core::store::Scope,
        ) -> futures_util::stream::BoxStream<'static, leasehold_core::store::Signal> {
            self.0.watch(scope)
        }
        fn close(
            &self,
            until: leasehold_core::BootInstant,
        ) -> futures_util::future::BoxFuture<'_, leasehold_core::Result<()>> {
            self.0.close(until)
        }
    }
    for (ppm, drift) in [
        (40_000, Drift::Bounded { ppm: 40_000 }),
        (83_333, Drift::Unknown),
    ] {
        many(ppm, 0, |_| {
            let store = std::sync::OnceLock::new();
            Box::new(move |door: Arc<SimDoor>| {
                // The first process's clock is the server's too.
                let store = store.get_or_init(|| MemoryStore::new(door)).clone();
                Arc::new(Declares(store, drift))
            })
        });
    }
}
