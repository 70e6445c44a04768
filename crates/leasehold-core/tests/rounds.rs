//! The leases of a manager are renewed together, and none of them pays for another.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "not every test uses all of it")]
#[path = "common/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold_core::{Displace, Door as _, Held, KeepAlive, LeaseName, Lost, TermState};
use leasehold_testkit::{Fault, seeds};
use world::World;

const PERIOD: Duration = Duration::from_secs(30);
const BATCH: usize = 32;

fn world(seed: u64) -> World {
    World::new(seed, BATCH, PERIOD / 3)
}

fn name(i: usize) -> String {
    format!("shard/{i:04}")
}

/// So many leases, acquired in no order of their names, over a period.
async fn hold(world: &World, count: usize) -> Vec<Held> {
    let mut held = Vec::new();
    for i in 0..count {
        let lease = world.take(&name(i * 389 % count), PERIOD).await;
        held.push(lease.keep_alive(KeepAlive::new()));
        world.sleep(PERIOD / u32::try_from(count).unwrap()).await;
    }
    held
}

/// Leases of any beginning are renewed by requests that are nearly full, soon, and lie beside each other in each.
#[test]
fn the_leases_of_a_manager_are_renewed_by_full_requests_of_neighbours() {
    let world = world(1);
    world.sim.block_on(async {
        const COUNT: usize = 500;
        let held = hold(&world, COUNT).await;
        world.sleep(PERIOD * 4).await;
        let from = world.door.now();
        world.sleep(PERIOD * 2).await;
        let mut requests: BTreeMap<u64, Vec<LeaseName>> = BTreeMap::new();
        for sent in world.faulty.sent() {
            if sent.at >= from {
                let request = requests.entry(sent.request).or_default();
                request.push(sent.change.name().clone());
            }
        }
        let renewals: usize = requests.values().map(Vec::len).sum();
        // Two periods are six thirds, of which each is up to a tenth shorter; neighbours make some of them sooner.
        assert!((COUNT * 6..COUNT * 8).contains(&renewals), "{renewals}");
        let least = renewals.div_ceil(BATCH);
        assert!(requests.len() <= least * 2, "{} of {least}", requests.len());
        for names in requests.values() {
            assert!(names.is_sorted(), "{names:?}");
        }
        for held in &held {
            held.check().unwrap();
        }
    });
}

/// A request that gets no answer delays none but its own leases.
#[test]
fn a_renewal_that_hangs_delays_no_other_lease() {
    for fault in [Fault::Hang, Fault::HangApplied, Fault::Refuse, Fault::Lose] {
        let world = World::new(2, 4, PERIOD / 3);
        world.sim.block_on(async {
            let held = hold(&world, 40).await;
            let bad = LeaseName::new(name(17)).unwrap();
            for _ in 0..1000 {
                world.faulty.then_for(&bad, fault);
            }
            let until = world.door.now().plus(PERIOD * 3);
            while world.door.now() < until {
                world.sleep(PERIOD / 50).await;
                for held in &held {
                    let state = held.state();
                    // Those of its own request wait for it, if it hangs.
                    let near = held
                        .name()
                        .as_str()
                        .get(6..)
                        .unwrap()
                        .parse::<usize>()
                        .unwrap()
                        .abs_diff(17)
                        < 8;
                    assert!(
                        near || state == TermState::Held,
                        "{fault:?}: {} is {state}",
                        held.name()
                    );
                }
            }
            let lost: Vec<_> = held
                .iter()
                .filter(|held| held.check().is_err())
                .map(Held::name)
                .collect();
            assert_eq!(lost, [&bad], "{fault:?}");
        });
    }
}

/// Several requests that hang at a time hold up none but the leases that they carry: each other's renewal goes out beside
/// them, and is told as soon as its own request is answered.
#[test]
fn renewals_that_hang_at_a_time_hold_up_no_other_lease() {
    for seed in seeds() {
        let world = World::new(seed, 4, PERIOD / 3);
        world.sim.block_on(async {
            let held = hold(&world, 80).await;
            let (mut well, mut carried) = (0, 0);
            for _ in 0..6 {
                // Once each; what is sent again is answered.
                for i in [10, 40, 70] {
                    let bad = LeaseName::new(name(i)).unwrap();
                    world.faulty.then_for(&bad, Fault::Hang);
                }
                let from = world.faulty.sent().len();
                for _ in 0..50 {
                    world.sleep(PERIOD / 50).await;
                    let sent = world.faulty.sent().split_off(from);
                    let hung = sent.iter().filter(|sent| sent.fault == Fault::Hang);
                    let hung: BTreeSet<u64> = hung.map(|sent| sent.request).collect();
                    let sent = sent.iter().filter(|sent| hung.contains(&sent.request));
                    let waiting: BTreeSet<_> = sent.map(|sent| sent.change.name()).collect();
                    for held in &held {
                        let state = held.state();
                        if waiting.contains(held.name()) {
                            carried += 1;
                            assert!(held.is_current(), "{} is {state}", held.name());
                        } else {
                            well += 1;
                            assert_eq!(state, TermState::Held, "{}", held.name());
                        }
                    }
                }
            }
            assert!(well > carried && carried > 0, "{well}, {carried}");
        });
    }
}

/// Complaint 21: one hiccup of the registry loses every lease. One that is shorter than what is left loses none.
#[test]
fn complaint_21_an_outage_shorter_than_what_is_left_loses_no_lease() {
    for fault in [Fault::Hang, Fault::Refuse, Fault::Lose, Fault::LoseReply] {
        let world = world(3);
        world.sim.block_on(async {
            let held = hold(&world, 200).await;
            let left = held.iter().map(|held| held.term().left()).min().unwrap();
            assert!(left > PERIOD / 2);
            world.faulty.always(Some(fault));
            world.sleep(left - PERIOD / 20).await;
            world.faulty.always(None);
            world.sleep(PERIOD * 2).await;
            for held in &held {
                held.check()
                    .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            }
        });
    }
}

/// What happens to one lease of a round happens to that one: stolen, deleted, given up.
#[test]
fn a_lease_that_is_lost_leaves_the_others_of_its_round() {
    let world = world(4);
    world.sim.block_on(async {
        let held = hold(&world, 20).await;
        let thief = world.manager.try_acquire(leasehold_core::Request::new(name(3), PERIOD)).await.unwrap();
        let leasehold_core::Attempt::Busy(busy) = thief else { panic!("{thief:?}") };
        let steal = world.manager.steal(
            leasehold_core::Request::new(name(3), PERIOD * 3).machine_id("thief"),
            Displace::index(busy.status().index()),
        );
        drop(steal.await.unwrap());
        world.sleep(PERIOD / 2).await;
        for held in &held {
            if held.name().as_str() == name(3) {
                let error = held.check().unwrap_err();
                assert!(matches!(error.lost(), Some(Lost::Ended(ended)) if ended.by.as_deref() == Some("thief")), "{error:?}");
            } else {
                held.check().unwrap();
            }
        }
    });
}

/// The renewing task goes when the last lease does, and comes again with the next one.
#[test]
fn leases_are_kept_again_after_the_last_one_has_gone() {
    let world = world(5);
    world.sim.block_on(async {
        for round in 0..3 {
            let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
            world.sleep(PERIOD * 2).await;
            held.check().unwrap();
            // At once, and after its task has seen that nothing is left.
            match round {
                0 => held.release().await.unwrap(),
                _ => {
                    drop(held);
                    world.sleep(PERIOD / 10).await;
                }
            }
        }
    });
}
