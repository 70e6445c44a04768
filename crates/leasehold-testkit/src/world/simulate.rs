//! Many worlds, one after the other: the command `simulate`, and the tests of every change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::world::chaos::Chaos;
use crate::world::epilogue::{self, Told};
use crate::world::kinds::Kind;
use crate::world::torture::{Actor, NAMES};
use crate::world::whole::{Failure, World};

/// What the worlds of some seeds have shown.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many worlds there were.
    pub seeds: u64,
    /// How many steps they took.
    pub steps: u64,
    /// How many records were written.
    pub writes: u64,
    /// How many terms somebody believed in at some time.
    pub beliefs: u64,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// Different situations: who believed, what was written, how many were at work.
    pub states: BTreeSet<u64>,
}

/// Runs the world of one seed: processes that do everything to leases while everything goes wrong, every law looked at
/// after every step; then calm, in which the names must become free and the watches converge.
///
/// # Errors
/// The law that was broken, with a trace if `told`.
pub fn simulate(kind: Kind, seed: u64, told: bool, report: &mut Report) -> Result<u64, Failure> {
    simulate_in(kind, Chaos::of(kind, seed), seed, told, report)
}

/// As [`simulate`], but that other things go wrong.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_in(
    kind: Kind,
    chaos: Chaos,
    seed: u64,
    told: bool,
    report: &mut Report,
) -> Result<u64, Failure> {
    let period = kind.period();
    let mut world = World::with(kind, chaos, seed, told);
    let cancels = world.chaos().cancellations;
    let count = 2 + seed % 3;
    for number in 0..count {
        world.start(&format!("p{number}"), move |me| async move {
            for task in 1..2 {
                let actor = Actor::new(me.clone(), task, period, cancels);
                me.spawn(actor.run());
            }
            Actor::new(me, 0, period, cancels).run().await;
        });
    }
    let watched = Told::default();
    let told = watched.clone();
    world.start("watcher", move |me| {
        let told = told.clone();
        async move {
            for name in NAMES {
                me.spawn(epilogue::watch(me.clone(), name, told.clone()));
            }
        }
    });
    let storm: Duration = period * 20;
    let ran = world
        .run(storm, async |world| epilogue::hold(world, &watched).await)
        .map(|()| world.sim().trace());
    report.seeds += 1;
    report.steps += world.sim().steps();
    report.writes += world.ledger().writes();
    report.beliefs += world.beliefs().len() as u64;
    for (kind, count) in world.log().faults() {
        *report.faults.entry(kind).or_default() += count;
    }
    ran
}
