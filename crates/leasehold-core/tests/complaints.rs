//! What users of other systems complain of, by its number in docs/complaints.md: what the rest of the tests do not show as
//! such already.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "not every test uses all of it")]
#[path = "common/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{
    Attempt, Displace, Door, EndedHow, Held, KeepAlive, LockAttempt, Lost, Manager, MemoryRegister,
    MemoryStore, Observed, Request, Store,
};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, seeds};
use world::World;

const SECOND: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(12);
/// What the simulator's scheduling may add.
const MOMENT: Duration = Duration::from_millis(1);

fn world(seed: u64) -> World {
    World::new(seed, 1000, PERIOD)
}

async fn sleep(door: &SimDoor, length: Duration) {
    door.sleep_until(door.now().plus(length)).await;
}

async fn hold(manager: &Manager, name: &str, period: Duration) -> Held {
    let lease = manager.acquire_lease(name, "m", 0, period).await;
    lease.unwrap().unwrap().keep_alive(KeepAlive::new())
}

/// Complaint 9: the renewal outlives the unlock. A release ends the renewals, one that is under way included: nothing of the
/// old term is sent afterwards, and the next lessee's grant stays as it was made.
#[test]
fn complaint_09_nothing_is_renewed_after_the_release() {
    for seed in seeds() {
        for fault in [
            Fault::None,
            Fault::DelaySend(SECOND),
            Fault::DelayReply(SECOND),
            Fault::LoseReply,
        ] {
            let world = world(seed);
            world.sim.block_on(async {
                let held = hold(&world.manager, "x", PERIOD).await;
                world.sleep(PERIOD).await;
                world.faulty.always(Some(fault));
                // Often in the middle of a renewal.
                let length = Duration::from_millis(world.sim.below(5000));
                world.sleep(length).await;
                world.faulty.always(None);
                held.release().await.unwrap();
                let next = world.take("x", PERIOD * 10).await;
                let sent = world.sent("x").len();
                world.sleep(PERIOD * 5).await;
                assert_eq!(world.sent("x").len(), sent, "{fault:?}: it is renewed");
                let found = world.manager.get_lease("x").await.unwrap().unwrap();
                assert_eq!(
                    (found.fence(), found.index()),
                    (next.fence(), next.index()),
                    "{fault:?}"
                );
                assert!(next.is_current());
            });
        }
    }
}

/// Complaint 10: a renewal that was applied and answered by an error loses the lease. Here it is found to be ours.
#[test]
fn complaint_10_a_renewal_that_failed_but_was_applied_keeps_the_lease() {
    const ROUNDS: usize = 20;
    for seed in seeds() {
        for fault in [Fault::LoseReply, Fault::HangApplied] {
            let world = world(seed);
            world.sim.block_on(async {
                let held = hold(&world.manager, "x", PERIOD).await;
                let fence = held.fence();
                for _ in 0..ROUNDS {
                    world.faulty.then(fault);
                    world.sleep(PERIOD / 2).await;
                    held.check()
                        .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
                }
                let sent = world.faulty.sent();
                let failed = sent.iter().filter(|sent| sent.fault == fault).count();
                assert!(failed > ROUNDS / 2, "{failed} renewals failed");
                assert_eq!(held.fence(), fence);
                held.release().await.unwrap();
            });
        }
    }
}

/// A process whose wall clock is off by as many years.
#[derive(Debug)]
struct Askew {
    door: Arc<SimDoor>,
    years: std::sync::atomic::AtomicI64,
}

impl Askew {
    fn new(sim: &Sim, years: i64) -> Arc<Self> {
        Arc::new(Self {
            door: sim.door(),
            years: years.into(),
        })
    }

    fn set(&self, years: i64) {
        self.years.store(years, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Door for Askew {
    fn now(&self) -> leasehold_core::BootInstant {
        self.door.now()
    }

    fn wall(&self) -> std::time::SystemTime {
        const YEAR: u64 = 365 * 24 * 3600;
        let years = self.years.load(std::sync::atomic::Ordering::SeqCst);
        let off = Duration::from_secs(YEAR * years.unsigned_abs());
        match years < 0 {
            true => self.door.wall() - off,
            false => self.door.wall() + off,
        }
    }

    fn sleep_until(
        &self,
        at: leasehold_core::BootInstant,
    ) -> futures_util::future::BoxFuture<'static, ()> {
        self.door.sleep_until(at)
    }

    fn spawn(&self, task: futures_util::future::BoxFuture<'static, ()>) {
        self.door.spawn(task);
    }

    fn random(&self, buffer: &mut [u8]) {
        self.door.random(buffer);
    }

    fn process(&self) -> u32 {
        self.door.process()
    }
}

/// A registry for several processes: one with a clock of its own, or one that each of them times.
enum Registry {
    Own(MemoryStore),
    Observed(MemoryRegister),
}

impl Registry {
    fn both(sim: &Sim) -> [Self; 2] {
        let own = MemoryStore::new(sim.door());
        [Self::Own(own), Self::Observed(MemoryRegister::new())]
    }

    fn manager(&self, door: Arc<dyn Door>) -> Manager {
        let store: Arc<dyn Store> = match self {
            Self::Own(store) => Arc::new(store.clone()),
            Self::Observed(register) => Arc::new(Observed::new(register.clone(), door.clone())),
        };
        Manager::builder(store, door).build().unwrap()
    }
}

/// Complaint 12: wall clocks that differ. They may be decades apart, and be set while a lease is held: nobody takes it over
/// while it is renewed, and it is taken over in time when it is not.
#[test]
fn complaint_12_wall_clocks_that_are_years_off_decide_nothing() {
    for seed in seeds() {
        for (holders, waiters) in [(10, -10), (-10, 10)] {
            let sim = Sim::new(seed);
            for registry in Registry::both(&sim) {
                let (here, there) = (Askew::new(&sim, holders), Askew::new(&sim, waiters));
                let (holder, waiter) = (
                    registry.manager(here.clone()),
                    registry.manager(there.clone()),
                );
                sim.block_on(async {
                    let held = hold(&holder, "x", PERIOD).await;
                    let lock = waiter.lock("x").period(PERIOD);
                    for years in [0, 7, -7, 20, -20] {
                        let taken = lock.acquire_within(PERIOD * 2).await.unwrap();
                        assert!(matches!(taken, LockAttempt::Busy(_)), "{taken:?}");
                        held.check().unwrap();
                        here.set(holders + years);
                        there.set(waiters - years);
                    }
                    let (fence, crashed) = (held.fence(), there.now());
                    here.door.kill();
                    let taken = lock.acquire_within(PERIOD * 2).await.unwrap();
                    let LockAttempt::Held(next) = taken else {
                        panic!("{taken:?}")
                    };
                    let waited = there.now().since(crashed);
                    assert!(!held.is_current() && next.is_current());
                    assert!(next.fence() > fence);
                    assert!(waited <= PERIOD + SECOND, "{waited:?}");
                });
            }
        }
    }
}

/// Complaint 13: whoever starts after everything else has died waits a full period for what expired long ago. Where the
/// registry has a clock of its own nothing is waited for. Where nobody but the observers has one, a record may be as new as
/// its first sight: one full period is what it takes to know that nobody renews it, unless it says that it was released.
#[test]
fn complaint_13_a_cold_start_takes_over_at_once_what_expired_long_ago() {
    let sim = Sim::new(1);
    for registry in Registry::both(&sim) {
        let old = sim.door();
        let manager = registry.manager(old.clone());
        sim.block_on(async {
            let crashed = hold(&manager, "crashed", PERIOD).await;
            hold(&manager, "left", PERIOD)
                .await
                .release()
                .await
                .unwrap();
            old.kill();
            let door = sim.door();
            sleep(&door, PERIOD * 100).await;
            assert!(!crashed.is_current());
            let manager = registry.manager(door.clone());
            let waited = async |name| {
                let start = door.now();
                let lock = manager.lock(name).period(PERIOD);
                let taken = lock.acquire_within(PERIOD * 2).await.unwrap();
                let LockAttempt::Held(held) = taken else {
                    panic!("{taken:?}")
                };
                held.check().unwrap();
                door.now().since(start)
            };
            assert!(waited("left").await <= MOMENT);
            let waited = waited("crashed").await;
            match registry {
                Registry::Own(_) => assert!(waited <= MOMENT, "{waited:?}"),
                Registry::Observed(_) => {
                    assert!(waited >= PERIOD && waited <= PERIOD + SECOND, "{waited:?}");
                }
            }
        });
    }
}

/// Complaint 17: who has lost a lease has to exit, as the library is of no more use. Here the loss is of that term alone: the
/// other leases of the process are kept, the same manager takes the same name again, under a new fence.
#[test]
fn complaint_17_a_process_goes_on_after_a_loss() {
    for seed in seeds() {
        let world = world(seed);
        world.sim.block_on(async {
            let other = hold(&world.manager, "other", PERIOD).await;
            let mut fence = 0;
            for round in 0..5 {
                let held = hold(&world.manager, "x", PERIOD).await;
                assert!(held.fence() > fence);
                fence = held.fence();
                let lost = match round % 2 {
                    0 => {
                        let displace = Displace::index(held.term().index());
                        drop(world.manager.break_lease("x", displace).await.unwrap());
                        held.lost().await
                    }
                    _ => {
                        let name = held.name().clone();
                        for _ in 0..100 {
                            world.faulty.then_for(&name, Fault::Refuse);
                        }
                        let lost = held.lost().await;
                        world.faulty.heal();
                        lost
                    }
                };
                match lost.lost() {
                    Some(Lost::Ended(ended)) => assert_eq!(ended.how, EndedHow::Broken),
                    Some(Lost::Unreachable { .. }) => {}
                    lost => panic!("{lost:?}"),
                }
                drop(held);
                world.sleep(PERIOD * 2).await;
            }
            other.check().unwrap();
        });
    }
}

/// Complaint 25: one period for all, no renewal. Each lease has its own, may be renewed to another, and ends by it.
#[test]
fn complaint_25_each_lease_has_its_own_period_and_can_be_renewed() {
    let world = world(1);
    world.sim.block_on(async {
        let periods = [3, 60, 3600].map(Duration::from_secs);
        let mut kept = Vec::new();
        for period in periods {
            let name = format!("kept/{period:?}");
            kept.push(hold(&world.manager, &name, period).await);
        }
        world.sleep(periods[2] * 2).await;
        for (held, period) in kept.iter().zip(periods) {
            held.check().unwrap();
            // Each by a third of its own, a little sooner at most, or at half of that with a neighbour that is due.
            let sent = world.sent(held.name().as_str()).len();
            let thirds = (periods[2] * 6).div_duration_f64(period);
            let thirds = (thirds as usize, (thirds * 2.1) as usize);
            assert!(sent >= thirds.0 && sent <= thirds.1, "{period:?}: {sent}");
        }
        for period in periods {
            let mut lease = world.take("x", period).await;
            let start = world.door.now();
            // Longer, then shorter than it was.
            for times in [3, 2] {
                lease.renew(period * times).await.unwrap();
                assert_eq!(lease.deadline(), Some(start.plus(period * times)));
            }
            let request = || Request::new("x", period).machine_id("next");
            world.sleep(period * 2 - MOMENT).await;
            let early = world.manager.try_acquire(request()).await.unwrap();
            assert!(matches!(early, Attempt::Busy(_)), "{period:?}: early");
            world.sleep(MOMENT * 2).await;
            let taken = world.manager.try_acquire(request()).await.unwrap();
            let Attempt::Acquired(next) = taken else {
                panic!("{period:?}: late");
            };
            next.release().await.unwrap();
        }
    });
}
