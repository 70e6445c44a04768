//! Cancellation: whatever future is dropped, wherever, nothing is stuck and nothing leaks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use leasehold_core::store::Store;
use leasehold_core::{Door, KeepAlive, Manager, MemoryStore};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty};

const LONG: Duration = Duration::from_secs(600);
const PERIOD: Duration = Duration::from_secs(10);

struct World {
    sim: Sim,
    door: Arc<SimDoor>,
    faulty: Faulty,
    manager: Manager,
    /// A reliable way to the same registry.
    other: Manager,
}

fn world(seed: u64) -> World {
    let sim = Sim::new(seed);
    let door = sim.door();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(door.clone()));
    let faulty = Faulty::new(store.clone(), door.clone());
    let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
        .build()
        .unwrap();
    let other = Manager::builder(store, door.clone()).build().unwrap();
    World {
        sim,
        door,
        faulty,
        manager,
        other,
    }
}

impl World {
    async fn sleep(&self, length: Duration) {
        self.door.sleep_until(self.door.now().plus(length)).await;
    }

    /// The name is free after a while, and neither its turn nor its record is stuck.
    async fn settled(&self, what: &str) {
        self.sleep(Duration::from_secs(3)).await;
        self.faulty.heal();
        assert!(
            self.other.get_lease("x").await.unwrap().is_none(),
            "leaked: {what}"
        );
        let lease = self
            .manager
            .acquire_lease("x", "next", 0, PERIOD)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("stuck: {what}"));
        lease.release().await.unwrap();
    }
}

/// Polls a future that often, some time apart, then drops it. Whether it was done by then.
async fn polled<T>(world: &World, mut future: BoxFuture<'_, T>, polls: u32) -> Option<T> {
    for _ in 0..polls {
        if let Poll::Ready(output) = futures_util::poll!(future.as_mut()) {
            return Some(output);
        }
        world.sleep(Duration::from_millis(7)).await;
    }
    None
}

/// Runs a scenario with 0, 1, 2, ... polls before the drop, until it gets done, under every fault of some interest.
fn everywhere(scenario: impl AsyncFn(&World, u32, Fault) -> bool) {
    let delay = Duration::from_millis(40);
    for fault in [
        Fault::None,
        Fault::Lose,
        Fault::LoseReply,
        Fault::Refuse,
        Fault::DelaySend(delay),
        Fault::DelayReply(delay),
        Fault::Late(delay),
        Fault::Twice,
    ] {
        for polls in 0..200 {
            let world = world(u64::from(polls));
            let done = world.sim.block_on(scenario(&world, polls, fault));
            if done {
                break;
            }
            assert!(polls < 199, "never done: {fault:?}");
        }
    }
}

/// Complaint 22: a cancelled call leaves its lock behind.
#[test]
fn complaint_22_a_dropped_acquire_leaves_nothing() {
    everywhere(async |world, polls, fault| {
        world.faulty.then(fault).then(fault);
        let acquire = world.manager.acquire_lease("x", "m", 0, LONG);
        let done = polled(world, Box::pin(acquire), polls).await;
        if let Some(Ok(lease)) = done {
            lease.unwrap().release().await.unwrap();
            world.settled("acquire, done").await;
            return true;
        }
        let failed = done.is_some();
        world
            .settled(&format!("acquire after {polls} polls, {fault:?}"))
            .await;
        failed
    });
}

#[test]
fn a_dropped_release_goes_on() {
    everywhere(async |world, polls, fault| {
        let lease = world
            .manager
            .acquire_lease("x", "m", 0, LONG)
            .await
            .unwrap()
            .unwrap();
        world.faulty.then(fault);
        let done = polled(world, Box::pin(lease.release()), polls).await;
        // What was never polled was never sent, and what was refused is not released: both run out by themselves.
        if polls > 0 && fault != Fault::Refuse {
            world
                .settled(&format!("release after {polls} polls, {fault:?}"))
                .await;
        }
        done.is_some()
    });
}

#[test]
fn a_dropped_release_of_a_held_lease_goes_on() {
    everywhere(async |world, polls, fault| {
        let lease = world
            .manager
            .acquire_lease("x", "m", 0, LONG)
            .await
            .unwrap()
            .unwrap();
        let held = lease.keep_alive(KeepAlive::new());
        // Let the renewing task take the lease up.
        world.sleep(Duration::from_millis(1)).await;
        world.faulty.then(fault);
        let done = polled(world, Box::pin(held.release()), polls).await;
        if fault != Fault::Refuse {
            world
                .settled(&format!("held release after {polls} polls, {fault:?}"))
                .await;
        }
        done.is_some()
    });
}

#[test]
fn a_dropped_renewal_reaches_the_lease() {
    everywhere(async |world, polls, fault| {
        let mut lease = world
            .manager
            .acquire_lease("x", "m", 0, PERIOD)
            .await
            .unwrap()
            .unwrap();
        world.faulty.then(fault);
        let done = polled(world, Box::pin(lease.renew(PERIOD)), polls).await;
        world.sleep(Duration::from_secs(1)).await;
        world.faulty.heal();
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.is_current(), "renewal after {polls} polls, {fault:?}");
        let seen = world.other.get_lease("x").await.unwrap().unwrap();
        assert_eq!(seen.index(), lease.index());
        lease.release().await.unwrap();
        world.settled("renewal").await;
        done.is_some()
    });
}

#[test]
fn complaint_22_a_dropped_lock_leaves_nothing() {
    everywhere(async |world, polls, fault| {
        let before = world
            .other
            .acquire_lease("x", "m", 0, LONG)
            .await
            .unwrap()
            .unwrap();
        let (door, faulty) = (world.door.clone(), world.faulty.clone());
        world.sim.spawn(&world.door, async move {
            door.sleep_until(door.now().plus(Duration::from_millis(30)))
                .await;
            faulty.then(fault);
            before.release().await.unwrap();
        });
        let lock = world.manager.lock("x").period(LONG);
        let done = polled(world, Box::pin(lock.acquire()), polls).await;
        let finished = done.is_some();
        drop(done);
        world
            .settled(&format!("lock after {polls} polls, {fault:?}"))
            .await;
        finished
    });
}

/// A guard dropped at any moment gives the lease back: before the first renewal, during one, after one.
#[test]
fn a_dropped_guard_gives_the_lease_back() {
    for millis in (0..8000).step_by(97) {
        let world = world(millis);
        world.sim.block_on(async {
            let lease = world
                .manager
                .acquire_lease("x", "m", 0, PERIOD)
                .await
                .unwrap()
                .unwrap();
            let held = lease.keep_alive(KeepAlive::new());
            world
                .faulty
                .always(Some(Fault::DelayReply(Duration::from_secs(1))));
            world.sleep(Duration::from_millis(millis)).await;
            drop(held);
            world.sleep(Duration::from_millis(2500)).await;
            world.faulty.always(None);
            assert!(
                world.other.get_lease("x").await.unwrap().is_none(),
                "dropped after {millis} ms"
            );
        });
    }
}

/// Many leases of one manager are renewed as many at a time, dropped half-way or not.
#[test]
fn a_dropped_renewal_of_many_reaches_them() {
    for polls in 0..12 {
        let world = world(polls.into());
        world.sim.block_on(async {
            let mut leases = Vec::new();
            for i in 0..5 {
                let lease = world
                    .manager
                    .acquire_lease(format!("x/{i}"), "m", 0, PERIOD)
                    .await;
                leases.push(lease.unwrap().unwrap());
            }
            world
                .faulty
                .then(Fault::LoseReply)
                .then(Fault::DelayReply(Duration::from_millis(40)));
            let all = world.manager.renew_all(leases.iter_mut(), PERIOD);
            drop(polled(&world, Box::pin(all), polls).await);
            world.sleep(Duration::from_secs(1)).await;
            for lease in &mut leases {
                lease.renew(PERIOD).await.unwrap();
                assert!(lease.is_current());
            }
        });
    }
}
