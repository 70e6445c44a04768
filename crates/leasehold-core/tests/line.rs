//! Those who wait for a name stand in a line: served in order, and only the first of them asks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/counted.rs"]
mod counted;

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use counted::Counted;
use futures_util::future::{Either, select};
use leasehold_core::{Door, ErrorKind, Held, LockAttempt, Manager, TakeOver};
use leasehold_testkit::seeds;
use leasehold_testkit::sim::{Sim, SimDoor};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

struct World {
    sim: Sim,
    door: Arc<SimDoor>,
    registry: Counted,
}

impl World {
    fn new(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let door = sim.door();
        let registry = Counted::new(&door, MILLI);
        Self {
            sim,
            door,
            registry,
        }
    }

    async fn sleep(&self, length: Duration) {
        self.door.sleep_until(self.door.now().plus(length)).await;
    }

    /// Who had the name, in that order, each for a while.
    fn waiter(&self, manager: &Manager, number: usize, had: &Arc<Mutex<Vec<usize>>>) {
        let (lock, had, door) = (manager.lock("x"), had.clone(), self.door.clone());
        self.door.spawn(Box::pin(async move {
            let held = lock.acquire().await.unwrap();
            had.lock().unwrap().push(number);
            door.sleep_until(door.now().plus(MILLI)).await;
            held.release().await.unwrap();
        }));
    }
}

async fn ours(attempt: leasehold_core::Result<LockAttempt>) -> Held {
    match attempt.unwrap() {
        LockAttempt::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// However many wait in one manager, a hand-over costs the registry four requests: the release, the next one's read and
/// grant, and a read by whoever is first then.
#[test]
fn ten_thousand_waiters_cost_the_registry_four_requests_a_hand_over() {
    const WAITERS: usize = 10_000;
    let world = World::new(1);
    let manager = world.registry.manager("m");
    let had = Arc::default();
    world.sim.block_on(async {
        let held = manager.lock("x").acquire().await.unwrap();
        let before = world.registry.count();
        for number in 0..WAITERS {
            world.waiter(&manager, number, &had);
            // In this order.
            if number < 100 {
                world.sleep(MILLI / 1000).await;
            }
        }
        world.sleep(SECOND).await;
        let waiting = world.registry.count();
        assert!(waiting.reads + waiting.changes <= before.reads + before.changes + 2);
        assert_eq!(waiting.watches, before.watches + 1, "one watches for all");
        held.release().await.unwrap();
        while had.lock().unwrap().len() < WAITERS {
            world.sleep(SECOND).await;
        }
        world.sleep(SECOND).await;
        let count = world.registry.count();
        let (reads, changes) = (count.reads - waiting.reads, count.changes - waiting.changes);
        println!("{WAITERS} hand-overs: {reads} reads, {changes} changes");
        let hand_overs = u64::try_from(WAITERS).unwrap();
        // The last release is followed by nobody.
        assert!(reads <= hand_overs * 2 + 2, "{reads}");
        assert!(changes <= hand_overs * 2 + 2, "{changes}");
        assert_eq!(count.watches, waiting.watches);
    });
    let had = had.lock().unwrap();
    let first: Vec<usize> = (0..100).collect();
    assert_eq!(had[..100], first);
}

/// Between processes each change costs a read of each that has a line.
#[test]
fn a_hand_over_costs_each_process_a_few_requests() {
    const MANAGERS: usize = 100;
    const EACH: usize = 10;
    let world = World::new(2);
    let managers: Vec<Manager> = (0..MANAGERS)
        .map(|number| world.registry.manager(&format!("m{number}")))
        .collect();
    let had = Arc::default();
    world.sim.block_on(async {
        let first = world.registry.manager("first");
        let held = first.lock("x").acquire().await.unwrap();
        for (number, manager) in managers.iter().enumerate() {
            for _ in 0..EACH {
                world.waiter(manager, number, &had);
            }
        }
        world.sleep(SECOND).await;
        let waiting = world.registry.count();
        held.release().await.unwrap();
        while had.lock().unwrap().len() < MANAGERS * EACH {
            world.sleep(SECOND).await;
        }
        let count = world.registry.count();
        let (reads, changes) = (count.reads - waiting.reads, count.changes - waiting.changes);
        println!(
            "{} hand-overs among {MANAGERS}: {reads} reads, {changes} changes",
            MANAGERS * EACH
        );
        let most = u64::try_from(MANAGERS * EACH * MANAGERS).unwrap();
        assert!(reads <= most * 2, "{reads}");
        assert!(changes <= most, "{changes}");
        assert!(count.watches <= u64::try_from(MANAGERS + 1).unwrap());
    });
}

/// The future, dropped after so many polls.
async fn polled<T>(world: &World, mut future: Pin<Box<impl Future<Output = T>>>, polls: usize) {
    for _ in 0..polls {
        let mut once = pin!(futures_util::future::poll_fn(
            |context: &mut Context<'_>| { Poll::Ready(future.as_mut().poll(context)) }
        ));
        if once.as_mut().await.is_ready() {
            return;
        }
        world.sleep(MILLI / 2).await;
    }
}

/// Whoever is cancelled, wherever in the line, at whatever moment, also while he is just being handed the turn: those behind
/// are served, in order and at once.
#[test]
fn whoever_is_cancelled_in_a_line_holds_up_nobody() {
    for place in 0..4 {
        for polls in 0..40 {
            let world = World::new(polls as u64);
            let manager = world.registry.manager("m");
            let had = Arc::default();
            world.sim.block_on(async {
                let held = manager
                    .lock("x")
                    .period(SECOND * 60)
                    .acquire()
                    .await
                    .unwrap();
                let lock = manager.lock("x");
                let cancelled = Box::pin(async {
                    let _held = lock.acquire().await;
                });
                for number in 0..place {
                    world.waiter(&manager, number, &had);
                    world.sleep(MILLI / 100).await;
                }
                let door = world.door.clone();
                world.door.spawn(Box::pin(async move {
                    door.sleep_until(door.now().plus(MILLI * 5)).await;
                    held.release().await.unwrap();
                }));
                let behind = async {
                    world.sleep(MILLI / 100).await;
                    for number in place..3 {
                        world.waiter(&manager, number, &had);
                        world.sleep(MILLI / 100).await;
                    }
                };
                let cancel = polled(&world, cancelled, polls);
                futures_util::future::join(cancel, behind).await;
                world.sleep(MILLI * 100).await;
                let had = had.lock().unwrap().clone();
                assert_eq!(had, [0, 1, 2], "place {place}, {polls} polls");
            });
        }
    }
}

/// The limit of each waiter holds, wherever he stands, and he is told who holds the name: by what the line knows, without a
/// request of his own.
#[test]
fn those_behind_are_answered_in_time() {
    let world = World::new(3);
    let manager = world.registry.manager("m");
    let other = world.registry.manager("other");
    world.sim.block_on(async {
        let held = other.lock("x").note("at work").acquire().await.unwrap();
        let lock = manager.lock("x");
        let first = lock.clone();
        world.door.spawn(Box::pin(async move {
            let held = first.acquire().await.unwrap();
            std::future::pending::<()>().await;
            drop(held);
        }));
        world.sleep(SECOND).await;
        let before = world.registry.count();
        for limit in [Duration::ZERO, MILLI * 10, SECOND] {
            let start = world.door.now();
            let LockAttempt::Busy(busy) = lock.acquire_within(limit).await.unwrap() else {
                panic!("it is held");
            };
            let took = world.door.now().since(start);
            assert!(took >= limit && took <= limit + MILLI, "{took:?}");
            assert_eq!(busy.holder(), Some("other"));
            assert_eq!(busy.note(), Some("at work"));
        }
        assert_eq!(world.registry.count(), before);
        // The one before has it now, and that is known at once.
        held.release().await.unwrap();
        world.sleep(MILLI * 10).await;
        let LockAttempt::Busy(busy) = lock.acquire_within(MILLI * 10).await.unwrap() else {
            panic!("it is held");
        };
        assert_eq!(busy.holder(), Some("m"));
    });
}

/// Whoever comes while the first has no answer yet waits for that one, a second at most.
#[test]
fn whoever_comes_before_anything_is_known_waits_for_that() {
    for (slow, known) in [(SECOND / 2, true), (SECOND * 20, false)] {
        let sim = Sim::new(4);
        let door = sim.door();
        let registry = Counted::new(&door, MILLI);
        let (manager, other) = (registry.manager("m"), registry.manager("other"));
        sim.block_on(async {
            let held = other.lock("x").period(SECOND * 100).acquire().await;
            registry.take(slow);
            let lock = manager.lock("x");
            let first = lock.clone();
            door.spawn(Box::pin(async move {
                drop(first.acquire().await);
            }));
            door.sleep_until(door.now().plus(MILLI)).await;
            let start = door.now();
            let answer = lock.acquire_within(Duration::ZERO).await;
            let took = door.now().since(start);
            assert!(took <= SECOND + MILLI, "{took:?}");
            match answer {
                Ok(LockAttempt::Busy(busy)) => assert!(known && busy.holder() == Some("other")),
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(!known && error.kind() == ErrorKind::Unavailable, "{error}"),
            }
            drop(held);
        });
    }
}

/// Each asks with its own request, whatever the others of the line ask for: when his turn has come.
#[test]
fn each_asks_with_his_own_request() {
    for seed in seeds() {
        let world = World::new(seed);
        let manager = world.registry.manager("m");
        let other = world.registry.manager("other");
        world.sim.block_on(async {
            let held = other
                .lock("x")
                .version(1)
                .take_over(TakeOver::HigherVersion)
                .acquire()
                .await
                .unwrap();
            let wait_for = |version: i64, limit: Duration| {
                let lock = manager.lock("x").machine_id(format!("v{version}"));
                let lock = lock.version(version).take_over(TakeOver::HigherVersion);
                async move { lock.acquire_within(limit).await }
            };
            let equal = wait_for(1, SECOND);
            let higher = async {
                world.sleep(MILLI * 10).await;
                ours(wait_for(2, SECOND * 2).await).await
            };
            let (equal, higher) = futures_util::future::join(equal, higher).await;
            assert!(matches!(equal, Ok(LockAttempt::Busy(_))), "{equal:?}");
            let term = higher.term();
            assert_eq!(term.machine_id(), "v2");
            assert!(!term.is_current(), "it waits the other's term out");
            drop(held);
        });
    }
}

/// Whoever releases and asks again, again and again, leaves the others a fair part.
#[test]
fn a_releaser_in_a_loop_does_not_starve_other_processes() {
    for seed in seeds() {
        for hold in [2, 10, 50] {
            let hold = MILLI * hold;
            let world = World::new(seed);
            let managers = ["a", "b"].map(|id| world.registry.manager(id));
            let mut had = [0_u32; 2];
            let counts = had.each_mut();
            world.sim.block_on(async {
                let turns = managers.iter().zip(counts).map(async |(manager, count)| {
                    let lock = manager.lock("x");
                    loop {
                        let held = lock.acquire().await.unwrap();
                        world.sleep(hold).await;
                        held.release().await.unwrap();
                        *count += 1;
                    }
                });
                let both = futures_util::future::join_all(turns);
                match select(pin!(both), pin!(world.sleep(SECOND * 10))).await {
                    Either::Left(_) => panic!("they go on"),
                    Either::Right(_) => {}
                }
            });
            let total = had[0] + had[1];
            assert!(total > 50, "{had:?}");
            for had in had {
                assert!(had * 4 >= total, "{hold:?}: {had} of {total}");
            }
        }
    }
}

/// Whoever asks for a name that was not released here just now does not pause, nor does whoever only tries.
#[test]
fn only_a_releaser_that_waits_again_pauses() {
    let world = World::new(5);
    let manager = world.registry.manager("m");
    world.sim.block_on(async {
        let lock = manager.lock("x");
        let start = world.door.now();
        let held = lock.acquire().await.unwrap();
        assert!(world.door.now().since(start) <= MILLI * 2);
        world.sleep(SECOND).await;
        held.release().await.unwrap();
        let start = world.door.now();
        let held = ours(lock.try_acquire().await).await;
        assert!(world.door.now().since(start) <= MILLI * 2);
        world.sleep(SECOND).await;
        held.release().await.unwrap();
        let start = world.door.now();
        let held = lock.acquire().await.unwrap();
        let took = world.door.now().since(start);
        assert!(took >= MILLI * 20 && took <= MILLI * 22, "{took:?}");
        world.sleep(MILLI * 5).await;
        held.release().await.unwrap();
        let start = world.door.now();
        let held = lock.acquire().await.unwrap();
        let took = world.door.now().since(start);
        assert!(took >= MILLI * 5 && took <= MILLI * 9, "{took:?}");
        held.release().await.unwrap();
        world.sleep(MILLI * 20).await;
        let start = world.door.now();
        let _held = lock.acquire().await.unwrap();
        assert!(world.door.now().since(start) <= MILLI * 2);
    });
}

/// So it is with a guard that is dropped, though its release goes on in the background: also where the others learn of it
/// later than their releaser.
#[test]
fn a_guard_that_is_dropped_in_a_loop_starves_no_other_process() {
    for seed in seeds() {
        for drops in [false, true] {
            let world = World::new(seed);
            let near = world.registry.beside(MILLI / 10).manager("near");
            let far = world.registry.beside(MILLI * 2).manager("far");
            let mut had = [0_u32; 2];
            let counts = had.each_mut();
            world.sim.block_on(async {
                let turns = [near, far].into_iter().zip(counts);
                let turns = turns.map(async |(manager, count)| {
                    let lock = manager.lock("x");
                    loop {
                        let held = lock.acquire().await.unwrap();
                        world.sleep(MILLI * 10).await;
                        match drops {
                            true => drop(held),
                            false => held.release().await.unwrap(),
                        }
                        *count += 1;
                    }
                });
                let both = futures_util::future::join_all(turns);
                match select(pin!(both), pin!(world.sleep(SECOND * 10))).await {
                    Either::Left(_) => panic!("they go on"),
                    Either::Right(_) => {}
                }
            });
            let total = had[0] + had[1];
            assert!(total > 50, "{had:?}");
            for had in had {
                assert!(had * 4 >= total, "drops {drops}: {had} of {total}");
            }
        }
    }
}
