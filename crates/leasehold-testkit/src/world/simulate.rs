//! Many worlds, one after the other: the command `simulate`, and the tests of every change.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use crate::history::{self, History};
use crate::world::assumption::Assumption;
use crate::world::chaos::Chaos;
use crate::world::epilogue::{self, Told};
use crate::world::kinds::Kind;
use crate::world::ledger::Broken;
use crate::world::torture::{self, Actor, NAMES};
use crate::world::whole::{Failure, World};

/// What the worlds of some seeds have shown.
#[derive(Clone, Default)]
pub struct Report {
    /// How many worlds there were.
    pub seeds: u64,
    /// How many steps they took.
    pub steps: u64,
    /// How many records were written.
    pub records: u64,
    /// How many requests the history checker has looked at.
    pub operations: u64,
    /// How many terms somebody believed in at some time.
    pub beliefs: u64,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// The different situations: who believed, and what stood in the registry.
    pub situations: BTreeSet<u64>,
    /// Follows from everything that happened in all of them.
    pub traces: u64,
    /// Writes under a lease that were accepted.
    pub accepted: u64,
    /// Writes under a lease that the fence refused.
    pub refused: u64,
    /// Writes that were accepted although a later term had written before.
    pub stale: u64,
}

/// What came of a world.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The laws that were broken, if any.
    pub failure: Option<Failure>,
    /// What happened, a line each, where it was told.
    pub trace: Vec<String>,
    /// What was asked of the registry and what was answered, for each boot of the machine.
    pub histories: Vec<History>,
}

/// Runs the world of one seed: processes that do everything to leases while everything goes wrong, every law looked at
/// after every step; then calm, in which the names must become free and the watches converge. Without an assumption the
/// world goes on when laws fail, and calm is asked for nothing.
pub fn simulate(
    kind: Kind,
    seed: u64,
    without: Option<Assumption>,
    told: bool,
    report: &mut Report,
) -> Ran {
    let period = kind.period();
    let mut world = World::with(kind, Chaos::of(kind, seed), seed, told);
    if let Some(assumption) = without {
        world = world.without(assumption);
    }
    let cancels = world.chaos().cancellations;
    let count = 2 + seed % 3;
    for number in 0..count {
        world.start(&format!("p{number}"), move |me| async move {
            me.spawn(Actor::new(me.clone(), 1, period, cancels).run());
            me.spawn(torture::write(me.clone(), period));
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
    let ran = panic::catch_unwind(AssertUnwindSafe(|| {
        world.run(period * 12, async |world| match without {
            None => epilogue::hold(world, &watched).await,
            Some(_) => Ok(()),
        })
    }));
    let ran = ran.unwrap_or_else(|panicked| Err(world.failure(nothing_panics(&*panicked))));
    let histories = report.of(&world);
    let legal = histories.iter().try_for_each(|history| {
        let checked = history::check(history).map(drop);
        checked.map_err(|violations| {
            let law = "the history is legal";
            let seen = violations.to_string();
            world.failure(Broken { law, seen })
        })
    });
    let ran = ran.and_then(|()| if without.is_none() { legal } else { Ok(()) });
    Ran {
        failure: ran.err(),
        trace: world.log().lines(),
        histories,
    }
}

fn nothing_panics(panicked: &dyn Any) -> Broken {
    let text = panicked.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panicked.downcast_ref::<String>().cloned());
    Broken {
        law: "nothing panics",
        seen: text.unwrap_or_default(),
    }
}

impl Report {
    fn of(&mut self, world: &World) -> Vec<History> {
        self.seeds += 1;
        self.steps += world.sim().steps();
        self.records += world.ledger().writes();
        let histories = world.histories();
        for history in &histories {
            self.operations += history.len() as u64;
            self.beliefs += history.beliefs().len() as u64;
        }
        self.traces = self.traces.wrapping_add(world.sim().trace());
        let (accepted, refused, stale) = world.writes();
        self.accepted += accepted;
        self.refused += refused;
        self.stale += stale;
        for (kind, count) in world.log().faults() {
            *self.faults.entry(kind).or_default() += count;
        }
        self.situations.extend(world.situations());
        histories
    }

    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.records += other.records;
        self.operations += other.operations;
        self.beliefs += other.beliefs;
        self.traces = self.traces.wrapping_add(other.traces);
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.stale += other.stale;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.situations.extend(other.situations);
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("seeds", &self.seeds)
            .field("steps", &self.steps)
            .field("records", &self.records)
            .field("operations", &self.operations)
            .field("beliefs", &self.beliefs)
            .field("situations", &self.situations.len())
            .field("accepted", &self.accepted)
            .field("refused", &self.refused)
            .field("stale", &self.stale)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
