//! What is seen from outside: health, metrics, spans.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "not every test uses all of it")]
#[path = "common/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::{Displace, KeepAlive, LeaseName, Request, Term};
use leasehold_testkit::Fault;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use world::World;

const PERIOD: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// A recorder that keeps the sums.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

struct Counted(Arc<AtomicU64>);

impl HistogramFn for Counted {
    fn record(&self, _value: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Kept {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let mut name = key.name().to_owned();
        for label in key.labels() {
            match label.key() {
                "registry" => assert_eq!(label.value(), "memory:"),
                _ => name += &format!(" {}", label.value()),
            }
        }
        self.0.lock().unwrap().entry(name).or_default().clone()
    }

    fn get(&self, name: &str) -> u64 {
        let all = self.0.lock().unwrap();
        all.get(name)
            .map_or(0, |value| value.load(Ordering::SeqCst))
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.get(name))
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Counted(self.of(key))))
    }
}

/// Every name in the documentation is counted, and counts what it says.
#[test]
fn metrics_count_terms_renewals_and_losses_by_reason() {
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || {
        let world = World::new(1, 100, PERIOD / 3);
        world.sim.block_on(async {
            let mut held = Vec::new();
            for name in ["a", "b", "c", "d"] {
                held.push(world.take(name, PERIOD).await.keep_alive(KeepAlive::new()));
            }
            assert!((kept.gauge("leasehold_leases_kept") - 4.0).abs() < 0.5);
            world.sleep(PERIOD * 2).await;
            let renewed = kept.get("leasehold_renewals_total renewed");
            assert!((4 * 5..=4 * 8).contains(&renewed), "{renewed}");
            assert_eq!(kept.get("leasehold_renewal_seconds"), renewed);
            // One is stolen, one cannot be renewed, one has an end.
            let index = held[0].term().index();
            let steal = world.manager.steal(
                Request::new("a", PERIOD * 3).machine_id("thief"),
                Displace::index(index),
            );
            drop(steal.await.unwrap());
            for _ in 0..1000 {
                world
                    .faulty
                    .then_for(&LeaseName::new("b").unwrap(), Fault::Refuse);
            }
            let last = world.take("e", PERIOD).await;
            held.push(last.keep_alive(KeepAlive::new().max_hold(SECOND)));
            world.sleep(PERIOD * 2 / 3).await;
            assert!((kept.gauge("leasehold_leases_at_risk") - 1.0).abs() < 0.5);
            world.sleep(PERIOD).await;
            assert!(kept.get("leasehold_renewals_total failed") > 3);
            assert_eq!(kept.get("leasehold_renewals_total lost"), 1);
            assert_eq!(kept.get("leasehold_losses_total stolen"), 1);
            assert_eq!(kept.get("leasehold_losses_total unreachable"), 1);
            assert_eq!(kept.get("leasehold_losses_total held too long"), 1);
            assert!((kept.gauge("leasehold_leases_kept") - 2.0).abs() < 0.5);
            assert_eq!(kept.get("leasehold_terms_total"), 6);
            drop(held);
            assert!(kept.gauge("leasehold_leases_kept").abs() < 0.5);
        });
    });
    let source = include_str!("../src/meters.rs");
    for name in kept.0.lock().unwrap().keys() {
        let name = name.split(' ').next().unwrap();
        assert!(
            source.contains(&format!("//! |`{name}`|")),
            "{name} is documented"
        );
    }
}

/// How long a name was without a lessee, as those saw it who waited for it.
#[test]
fn metrics_measure_the_time_without_a_leader() {
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || {
        let world = World::new(4, 100, PERIOD / 3);
        world.sim.block_on(async {
            let first = world.take("x", PERIOD).await;
            let lock = world.manager.lock("x").period(PERIOD);
            let second = async { lock.acquire().await.unwrap() };
            let release = async {
                world.sleep(SECOND).await;
                first.release().await.unwrap();
            };
            let (second, ()) = futures_util::future::join(second, release).await;
            assert_eq!(kept.get("leasehold_vacant_seconds"), 1);
            // Nobody waited, so nobody knows.
            second.release().await.unwrap();
            drop(world.manager.lock("x").acquire().await.unwrap());
            assert_eq!(kept.get("leasehold_vacant_seconds"), 1);
        });
    });
}

/// Health says how many leases are at risk, which one is lost first and when, and why its renewals fail.
#[test]
fn health_says_why() {
    let world = World::new(2, 1, PERIOD / 3);
    world.sim.block_on(async {
        let manager = &world.manager;
        assert_eq!(
            manager.health().to_string(),
            "0 leases kept alive, none at risk"
        );
        let first = world
            .take("first", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        world.sleep(SECOND).await;
        let second = world
            .take("second", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        world.sleep(PERIOD).await;
        let health = manager.health();
        assert!(health.is_ok());
        assert_eq!((health.kept(), health.at_risk()), (2, 0));
        assert_eq!(health.to_string(), "2 leases kept alive, none at risk");
        world.faulty.always(Some(Fault::Refuse));
        first.term().changed(leasehold_core::TermState::Held).await;
        second.term().changed(leasehold_core::TermState::Held).await;
        let health = manager.health();
        assert!(!health.is_ok());
        let soonest = if first.deadline() < second.deadline() {
            "first"
        } else {
            "second"
        };
        let told = health.to_string();
        assert!(
            told.starts_with(&format!("2 of 2 leases at risk: {soonest} is lost in ")),
            "{told}"
        );
        assert!(
            told.contains(", its renewals have failed for ") && told.ends_with("not reached"),
            "{told}"
        );
        world.faulty.always(None);
        world.sleep(PERIOD / 3).await;
        assert!(manager.health().is_ok());
        first.release().await.unwrap();
        second.release().await.unwrap();
        manager.shutdown(SECOND).await.unwrap();
        assert!(!manager.health().is_ok());
        assert!(manager.health().to_string().contains("shut down"));
    });
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the work logs says under which lease and fence it was done; what core logs, in which operation.
#[test]
fn spans_tell_the_lease_and_its_fence() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let fence = tracing::subscriber::with_default(subscriber, || {
        let world = World::new(3, 1, PERIOD / 3);
        world.sim.block_on(async {
            let held = world
                .take("nightly", PERIOD)
                .await
                .keep_alive(KeepAlive::new());
            let fence = held.fence();
            world.faulty.then(Fault::LoseReply);
            let work = held.run(async |_: Term| {
                world.sleep(PERIOD).await;
                tracing::info!("half-way");
            });
            work.await.unwrap();
            fence
        })
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = |what: &str| {
        text.lines()
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what}: {text}"))
    };
    let work = line("half-way");
    assert!(
        work.contains(&format!("term{{name=nightly fence={fence}}}")),
        "{work}"
    );
    let unknown = line("outcome unknown");
    assert!(
        unknown.contains("leasehold{operation=\"renew\""),
        "{unknown}"
    );
}

/// Who is at risk no more, because nothing is kept any more, is counted no more.
#[test]
fn metrics_of_risk_end_with_the_last_lease() {
    for seed in 0..20 {
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || {
            let world = World::new(seed, 100, PERIOD / 3);
            world.sim.block_on(async {
                let held = world.take("a", PERIOD).await.keep_alive(KeepAlive::new());
                world.faulty.always(Some(Fault::Refuse));
                drop(held.lost().await);
                world.sleep(PERIOD).await;
                assert!(kept.gauge("leasehold_leases_kept").abs() < 0.5);
                assert!(kept.gauge("leasehold_leases_at_risk").abs() < 0.5, "{seed}");
            });
        });
    }
}

/// A loss is counted once, also where its guard is dropped before the renewal that is under way comes back.
#[test]
fn metrics_count_a_loss_that_the_guard_saw_first() {
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || {
        let world = World::new(3, 100, PERIOD / 3);
        world.sim.block_on(async {
            let held = world.take("a", PERIOD).await.keep_alive(KeepAlive::new());
            world.faulty.always(Some(Fault::Hang));
            drop(held.lost().await);
            drop(held);
            assert_eq!(kept.get("leasehold_losses_total unreachable"), 1);
            world.sleep(PERIOD * 2).await;
            assert_eq!(kept.get("leasehold_losses_total unreachable"), 1);
        });
    });
}
