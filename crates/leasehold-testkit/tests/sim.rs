//! The simulator itself.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::Door;
use leasehold_testkit::sim::Sim;

fn order(seed: u64) -> (Vec<u32>, u64) {
    let sim = Sim::new(seed);
    let door = sim.door();
    let order = Arc::new(Mutex::new(Vec::new()));
    for i in 0..20 {
        let (door2, order) = (door.clone(), order.clone());
        sim.spawn(&door, async move {
            for round in 0..3 {
                order.lock().unwrap().push(i * 10 + round);
                door2
                    .sleep_until(door2.now().plus(Duration::from_millis(5)))
                    .await;
            }
        });
    }
    sim.advance(Duration::from_secs(1));
    let order = order.lock().unwrap().clone();
    (order, sim.trace())
}

#[test]
fn one_seed_one_order() {
    assert_eq!(order(1), order(1));
    assert_ne!(order(1).0, order(2).0);
    assert_ne!(order(1).1, order(2).1);
}

#[test]
fn time_jumps_and_sleeps_end_in_order_and_not_early() {
    let sim = Sim::new(3);
    let door = sim.door();
    let start = door.now();
    let order = Mutex::new(Vec::new());
    sim.block_on(async {
        let sleep = |hours: u64| {
            let (door, order) = (&door, &order);
            async move {
                let at = start.plus(Duration::from_secs(hours * 3600));
                door.sleep_until(at).await;
                assert!(door.now() >= at);
                assert!(door.now() < at.plus(Duration::from_millis(1)));
                order.lock().unwrap().push(hours);
            }
        };
        futures_util::future::join3(sleep(50), sleep(5), sleep(30)).await;
    });
    assert_eq!(*order.lock().unwrap(), [5, 30, 50]);
    assert!(sim.now() >= Duration::from_secs(50 * 3600));
}

#[test]
fn clocks_run_at_their_own_rates() {
    let sim = Sim::new(4);
    let (fast, slow) = (
        sim.door_with(83_333, Duration::from_secs(5)),
        sim.door_with(-83_333, Duration::ZERO),
    );
    let (f, s) = (fast.now(), slow.now());
    sim.block_on(async { fast.sleep_until(f.plus(Duration::from_secs(100))).await });
    assert!(fast.now() >= f.plus(Duration::from_secs(100)));
    let truth = sim.now().as_secs_f64();
    assert!((truth - 100.0 / 1.083_333).abs() < 0.001, "{truth}");
    let slow_took = slow.now().since(s).as_secs_f64();
    assert!((slow_took - truth * 0.916_667).abs() < 0.001, "{slow_took}");
}

#[test]
#[should_panic(expected = "seed 77 is stuck")]
fn what_can_never_go_on_panics_and_names_the_seed() {
    Sim::new(77).block_on(std::future::pending::<()>());
}

#[test]
fn a_frozen_process_does_nothing_and_a_killed_one_nothing_more() {
    let sim = Sim::new(5);
    let (door, count) = (sim.door(), Arc::new(Mutex::new(0)));
    let (door2, count2) = (door.clone(), count.clone());
    sim.spawn(&door, async move {
        loop {
            door2
                .sleep_until(door2.now().plus(Duration::from_secs(1)))
                .await;
            *count2.lock().unwrap() += 1;
        }
    });
    sim.advance(Duration::from_millis(3500));
    assert_eq!(*count.lock().unwrap(), 3);
    door.freeze();
    sim.advance(Duration::from_secs(10));
    assert_eq!(*count.lock().unwrap(), 3);
    door.thaw();
    sim.advance(Duration::from_millis(1500));
    assert_eq!(*count.lock().unwrap(), 5);
    door.kill();
    sim.advance(Duration::from_secs(10));
    assert_eq!(*count.lock().unwrap(), 5);
    assert_eq!(Arc::strong_count(&count), 1);
}
