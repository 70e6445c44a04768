//! The end of a manager: who is told, who is waited for, and what is left.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[allow(dead_code, reason = "not every test uses all of it")]
#[path = "common/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use leasehold_core::{Door, ErrorKind, Held, KeepAlive, Manager, RealDoor, Term};
use leasehold_testkit::Fault;
use world::World;

const PERIOD: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64) -> World {
    World::new(seed, 100, PERIOD)
}

async fn vacant(world: &World, name: &str) -> bool {
    let other = Manager::builder(Arc::new(world.memory.clone()), world.door.clone());
    let other = other.build().unwrap();
    other.get_lease(name).await.unwrap().is_none()
}

/// Work is told to end, keeps its lease until it has, and then the lease is released: its successor waits for nothing.
#[test]
fn a_shutdown_tells_the_work_waits_for_it_and_releases() {
    let world = world(1);
    world.sim.block_on(async {
        let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
        let ended = AtomicBool::new(false);
        let work = held.run(async |term: Term| {
            term.ending().await;
            // Longer than the lease would last without renewals.
            for _ in 0..20 {
                world.sleep(PERIOD / 5).await;
                term.check().unwrap();
            }
            ended.store(true, Ordering::SeqCst);
            7
        });
        let start = world.door.now();
        let shutdown = async {
            let left = world.manager.shutdown(PERIOD * 10).await.unwrap();
            assert!(ended.load(Ordering::SeqCst), "it was waited for");
            assert!(left.is_empty(), "{left:?}");
            let took = world.door.now().since(start);
            assert!(took < PERIOD * 4 + SECOND, "{took:?}");
        };
        let (done, ()) = join(work, shutdown).await;
        assert_eq!(done.unwrap(), 7);
        assert!(vacant(&world, "x").await);
    });
}

/// What is not done within the limit is told, renewed no more, and runs out.
#[test]
fn a_shutdown_tells_what_is_left_to_expire() {
    let world = world(2);
    world.sim.block_on(async {
        let stuck = world
            .take("stuck", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        let other = world
            .take("other", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        let start = world.door.now();
        drop(other);
        let left = world.manager.shutdown(SECOND * 10).await.unwrap();
        let took = world.door.now().since(start);
        assert!(took >= SECOND * 9 && took <= SECOND * 10, "{took:?}");
        let names: Vec<_> = left.iter().map(|term| term.name().as_str()).collect();
        assert_eq!(names, ["stuck"]);
        assert!(vacant(&world, "other").await, "dropped before: released");
        // Its own belief is what it was.
        stuck.check().unwrap();
        let deadline = stuck.deadline().unwrap();
        assert_eq!(left[0].deadline(), Some(deadline));
        world.door.sleep_until(deadline).await;
        assert!(stuck.check().is_err());
        assert!(vacant(&world, "stuck").await);
        let error = stuck.release().await.unwrap_err();
        assert!(error.is_lost(), "{error}");
    });
}

/// Nobody waits for a lock, or campaigns, under a manager that is being shut down; nothing new is begun.
#[test]
fn a_shutdown_cancels_who_waits_and_refuses_what_is_new() {
    let world = world(3);
    world.sim.block_on(async {
        let other = Manager::builder(Arc::new(world.memory.clone()), world.door.clone())
            .build()
            .unwrap();
        let lease = other
            .acquire_lease("x", "other", 0, PERIOD * 10)
            .await
            .unwrap()
            .unwrap();
        let start = world.door.now();
        let waits = async {
            let lock = world.manager.lock("x");
            let error = lock.acquire().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("shut down"), "{error}");
        };
        let leads = async {
            let election = world.manager.election("x");
            let led = election
                .lead_until(std::future::pending(), async |_| panic!("it never leads"))
                .await;
            led.unwrap();
        };
        let shutdown = async {
            world.sleep(SECOND).await;
            let own = world.take("own", PERIOD).await.keep_alive(KeepAlive::new());
            let during = async {
                world.sleep(SECOND).await;
                let refused = world
                    .manager
                    .acquire_lease("new", "m", 0, PERIOD)
                    .await
                    .unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
                let refused = world
                    .manager
                    .steal_lease("x", "m", 0, PERIOD, lease.index())
                    .await
                    .unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
                assert!(world.manager.resume("own", own.fence()).await.is_err());
                // What is held can be renewed, looked at, and released.
                own.renew(PERIOD).await.unwrap();
                assert!(world.manager.get_lease("own").await.unwrap().is_some());
                own.release().await.unwrap();
            };
            let (left, ()) = join(world.manager.shutdown(PERIOD), during).await;
            assert!(left.unwrap().is_empty());
        };
        join(join(waits, leads), shutdown).await;
        let took = world.door.now().since(start);
        assert!(took < SECOND * 3, "{took:?}");
    });
}

/// A leader that does not end in time is dropped, its lease released; an election that is told by its manager ends well.
#[test]
fn a_shutdown_ends_an_election_as_its_own_shutdown_does() {
    let world = world(4);
    world.sim.block_on(async {
        let election = world.manager.election("x").wind_down(SECOND * 3);
        let led = election.lead_until(std::future::pending(), async |_| {
            std::future::pending::<()>().await
        });
        let start = world.door.now();
        let shutdown = async {
            world.sleep(SECOND).await;
            assert!(world.manager.shutdown(PERIOD).await.unwrap().is_empty());
        };
        let (led, ()) = join(led, shutdown).await;
        led.unwrap();
        let took = world.door.now().since(start);
        assert!(took >= SECOND * 4 && took < SECOND * 5, "{took:?}");
        assert!(vacant(&world, "x").await);
    });
}

/// A guard that is dropped just before is released, as is one that is dropped meanwhile, in few requests.
#[test]
fn a_shutdown_releases_many_leases_with_few_requests() {
    let world = world(5);
    world.sim.block_on(async {
        let mut held: Vec<Held> = Vec::new();
        for i in 0..1000 {
            let lease = world.take(&format!("x/{i}"), PERIOD).await;
            held.push(lease.keep_alive(KeepAlive::new()));
        }
        let before = world.faulty.requests().len();
        let dropped = held.split_off(500);
        drop(dropped);
        let release = async {
            world.sleep(SECOND).await;
            drop(held);
        };
        let (left, ()) = join(world.manager.shutdown(PERIOD), release).await;
        assert!(left.unwrap().is_empty());
        let requests = world.faulty.requests().len() - before;
        // A hundred in a request.
        assert!(requests <= 10, "{requests}");
        let other = Manager::builder(Arc::new(world.memory.clone()), world.door.clone())
            .build()
            .unwrap();
        assert!(other.list("x").unwrap().next().await.unwrap().is_none());
    });
}

/// The end has a bound, whatever the registry does.
#[test]
fn a_shutdown_ends_by_its_limit_though_the_registry_is_silent() {
    let world = world(6);
    world.sim.block_on(async {
        let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
        world.faulty.always(Some(Fault::Hang));
        drop(held);
        let start = world.door.now();
        let error = world.manager.shutdown(SECOND * 5).await.unwrap_err();
        assert!(error.to_string().contains("outstanding"), "{error}");
        let took = world.door.now().since(start);
        assert!(took <= SECOND * 5 + SECOND / 10, "{took:?}");
    });
}

/// Dropping everything while its runtime dies, or after, hangs nowhere and panics nowhere: the lease runs out.
#[test]
fn everything_may_be_dropped_in_a_dying_runtime() {
    for how in 0..4 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let door: Arc<dyn Door> = RealDoor::on(runtime.handle().clone());
        let memory = Arc::new(leasehold_core::MemoryStore::new(door.clone()));
        let manager = Manager::builder(memory, door).build().unwrap();
        let (held, waiter, election) = runtime.block_on(async {
            let lease = manager
                .acquire_lease("x", "m", 0, PERIOD)
                .await
                .unwrap()
                .unwrap();
            let held = lease.keep_alive(KeepAlive::new());
            let lock = manager.lock("x");
            let waiter = tokio::spawn(async move { drop(lock.acquire().await) });
            let election = manager.election("x");
            let leads = election.clone();
            tokio::spawn(async move {
                drop(leads.lead_until(std::future::pending(), async |_| ()).await);
            });
            tokio::task::yield_now().await;
            (held, waiter, election)
        });
        let term = held.term();
        match how {
            // Inside a runtime that is alive, with everything.
            0 => runtime.block_on(async { drop((held, waiter, election, manager)) }),
            // Outside of it, before it dies.
            1 => drop((held, waiter, election, manager)),
            // After it died.
            2 => {
                runtime.shutdown_background();
                drop((held, waiter, election, manager));
                assert!(term.left() <= PERIOD);
                continue;
            }
            // By the work that it drops as it dies.
            _ => {
                runtime.spawn(async move {
                    let _all = (held, waiter, election, manager);
                    std::future::pending::<()>().await;
                });
                runtime.block_on(tokio::task::yield_now());
            }
        }
        drop(runtime);
        assert!(term.left() <= PERIOD);
    }
}

/// A limit that never comes is none: the work is waited for, however long it takes.
#[test]
fn a_shutdown_without_a_limit_waits_for_the_work() {
    for limit in [Duration::MAX, Duration::MAX / 2, SECOND * u32::MAX] {
        let world = world(8);
        world.sim.block_on(async {
            let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
            let work = held.run(async |term: Term| {
                term.ending().await;
                world.sleep(PERIOD * 4).await;
                term.check().unwrap();
            });
            let (done, left) = join(work, world.manager.shutdown(limit)).await;
            done.unwrap();
            assert!(left.unwrap().is_empty());
            assert!(vacant(&world, "x").await);
        });
    }
}

/// What is outstanding may still look, so that it can be brought to its end: a shutdown does not wait for reads that it
/// has forbidden itself.
#[test]
fn what_is_outstanding_at_a_shutdown_is_resolved() {
    let world = world(9);
    world.sim.block_on(async {
        let short = SECOND * 2;
        world.faulty.always(Some(Fault::Lose));
        let start = world.door.now();
        let taken = async {
            let taken = world.manager.acquire_lease("x", "m", 0, short).await;
            assert_eq!(taken.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        };
        let end = async {
            world.sleep(SECOND).await;
            let shutdown = world.manager.shutdown(PERIOD);
            let heal = async {
                // It is not sent again by then.
                world.sleep(SECOND + SECOND / 10).await;
                world.faulty.heal();
            };
            join(shutdown, heal).await.0.unwrap();
        };
        join(taken, end).await;
        let took = world.door.now().since(start);
        assert!(took < SECOND * 4, "{took:?}");
    });
}

/// A lease that is kept alive only when its manager is being shut down already: its work is told all the same.
#[test]
fn who_begins_to_keep_a_lease_during_a_shutdown_is_told_to_end() {
    let world = world(10);
    world.sim.block_on(async {
        let late = world.take("late", PERIOD).await;
        let first = world
            .take("first", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        let work = async {
            world.sleep(SECOND).await;
            let held = late.keep_alive(KeepAlive::new());
            drop(first);
            held.run(async |term: Term| term.ending().await)
                .await
                .unwrap();
            world.door.now()
        };
        let start = world.door.now();
        let (ended, left) = join(work, world.manager.shutdown(PERIOD * 2)).await;
        assert!(ended.since(start) < SECOND * 2, "{:?}", ended.since(start));
        assert!(left.unwrap().is_empty());
        assert!(vacant(&world, "late").await);
    });
}

/// A dropped guard whose release has to wait for an earlier change of its name holds up no other release.
#[test]
fn a_release_that_waits_holds_up_no_other() {
    let world = world(11);
    world.sim.block_on(async {
        let stuck = world
            .take("stuck", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        let other = world
            .take("other", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        let name = leasehold_core::LeaseName::new("stuck").unwrap();
        world.faulty.then_for(&name, Fault::DelaySend(SECOND * 12));
        let renews = async {
            drop(stuck.renew(PERIOD).await);
        };
        let drops = world.sleep(SECOND);
        // The renewal goes on where its guard goes.
        futures_util::future::select(std::pin::pin!(renews), std::pin::pin!(drops)).await;
        drop(stuck);
        drop(other);
        // A quarter of its time for the request that is under way.
        world.sleep(SECOND * 6).await;
        assert!(!vacant(&world, "stuck").await);
        assert!(vacant(&world, "other").await);
        world.sleep(SECOND * 5).await;
        assert!(vacant(&world, "stuck").await);
    });
}
