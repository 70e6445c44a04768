//! Code of one's own in a simulated world: a service that is wrong, one that is right, and the law that tells them
//! apart.
//!
//! ```text
//! cargo run -p leasehold-testkit --example own_service
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "an example of a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_testkit::world::{Kind, Process, World};

/// The lines of a report, each with the run that wrote it. One run must be over when the next one writes.
#[derive(Clone, Default)]
struct Report(Arc<Mutex<Vec<u64>>>);

impl Report {
    /// Takes every line.
    fn trusting(&self, run: u64) {
        self.0.lock().unwrap().push(run);
    }

    /// Takes a line unless a later run has written already: what a database does with
    /// `UPDATE ... WHERE fence <= $1`.
    fn fenced(&self, fence: u64) -> bool {
        let mut lines = self.0.lock().unwrap();
        let fits = lines.last().is_none_or(|last| *last <= fence);
        if fits {
            lines.push(fence);
        }
        fits
    }

    fn in_order(&self) -> Result<(), String> {
        let lines = self.0.lock().unwrap();
        match lines.is_sorted() {
            true => Ok(()),
            false => Err(format!("an earlier run wrote after a later one: {lines:?}")),
        }
    }
}

/// Wrong: it waits for its lock, and then takes it for granted.
async fn wrong(me: Process, report: Report) {
    let lock = me.manager().lock("report").period(Duration::from_secs(1));
    while !me.is_stopping() {
        let Ok(held) = lock.acquire().await else {
            continue;
        };
        for _ in 0..5 {
            me.sleep(Duration::from_millis(500)).await;
            report.trusting(held.fence());
        }
        drop(held.release().await);
    }
}

/// Right: it stops when the lock is lost, and gives its fence along with every line.
async fn right(me: Process, report: Report) {
    let lock = me.manager().lock("report").period(Duration::from_secs(1));
    while !me.is_stopping() {
        let Ok(held) = lock.acquire().await else {
            continue;
        };
        for _ in 0..5 {
            me.sleep(Duration::from_millis(500)).await;
            if !held.is_current() || !report.fenced(held.fence()) {
                break;
            }
        }
        drop(held.release().await);
    }
}

/// Runs three processes in a world, and says which law was broken.
fn simulate<F>(kind: Kind, seed: u64, service: fn(Process, Report) -> F) -> Result<(), String>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut world = World::new(kind, seed);
    let report = Report::default();
    for id in ["a", "b", "c"] {
        let report = report.clone();
        world.start(id, move |me| service(me, report.clone()));
    }
    world.law(move || report.in_order());
    let ran = world.run(Duration::from_secs(20), async |_| Ok(()));
    ran.map_err(|failure| failure.to_string())
}

fn main() {
    let mut caught = Vec::new();
    for kind in Kind::ALL {
        for seed in 1..=100 {
            if let Err(failure) = simulate(kind, seed, right) {
                panic!("the right service failed: {failure}");
            }
            caught.extend(simulate(kind, seed, wrong).err());
        }
    }
    let Some(first) = caught.first() else {
        panic!("the wrong service was not caught");
    };
    println!(
        "the wrong service was caught {} times, first:\n{first}",
        caught.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewer than the program has, as tests are not optimised.
    const SEEDS: std::ops::RangeInclusive<u64> = 1..=25;

    #[test]
    fn the_right_service_passes() {
        for kind in Kind::ALL {
            for seed in SEEDS {
                assert_eq!(simulate(kind, seed, right), Ok(()), "{kind}");
            }
        }
    }

    #[test]
    fn the_wrong_service_is_caught_in_worlds_of_every_kind() {
        for kind in Kind::ALL {
            let mut failures = SEEDS.filter_map(|seed| simulate(kind, seed, wrong).err());
            let Some(first) = failures.next() else {
                panic!("{kind}: the wrong service was not caught");
            };
            assert!(
                first.contains("an earlier run wrote after a later one"),
                "{kind}: {first}"
            );
        }
    }
}
