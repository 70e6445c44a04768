//! `simulate`: many worlds, on as many cores as there are.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "how long a simulation takes is real time"
)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use leasehold_testkit::world::{Assumption, Broken, Kind, Report, simulate as world};

use super::progress::Progress;

/// What `simulate` is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The seeds: `17`, `1..1000` or `1..=1000`.
    #[arg(long, default_value = "1..=1000", value_parser = seeds)]
    seeds: Range<u64>,
    /// The kinds of registry; all of them without this.
    #[arg(long = "store", value_name = "KIND")]
    stores: Vec<Kind>,
    /// Tells everything that happens, also where nothing fails.
    #[arg(long)]
    trace: bool,
    /// Writes the history of the first seed, or of the one that fails, into this file (docs/history.md).
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Breaks an assumption that the contract declares, to see which law fails then, and that the fence still refuses.
    #[arg(long = "break", value_name = "ASSUMPTION")]
    broken: Option<Assumption>,
    /// How many worlds run at once; as many as there are cores without this.
    #[arg(long)]
    jobs: Option<usize>,
    /// Keeps in this file how far each kind has come, and goes on from there: with the same first seed, and the same
    /// program.
    #[arg(long, value_name = "FILE", conflicts_with = "broken")]
    resume: Option<PathBuf>,
}

/// In how many worlds every fault of their kind is expected to have happened.
const MANY: u64 = 1000;
/// How many seeds are done between two looks at the clock and the file.
const CHUNK: u64 = 500;

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|error| format!("{text:?} is no seed: {error}"))
    };
    let range = match text.split_once("..") {
        None => number(text).map(|seed| seed..seed.saturating_add(1))?,
        Some((first, last)) => match last.strip_prefix('=') {
            Some(last) => number(first)?..number(last)?.saturating_add(1),
            None => number(first)?..number(last)?,
        },
    };
    if range.is_empty() {
        return Err(format!("there are no seeds in {text}"));
    }
    Ok(range)
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut stores = options.stores.clone();
    if stores.is_empty() {
        stores = Kind::ALL.to_vec();
    }
    if let Some(assumption) = options.broken {
        stores.retain(|kind| assumption.concerns(*kind));
        if stores.is_empty() {
            eprintln!(
                "simulate: no world of this kind has the assumption \"{assumption}\" to break"
            );
            return ExitCode::from(2);
        }
    }
    let mut failed = false;
    for kind in stores {
        failed |= match simulate(kind, options) {
            Ok(failed) => failed,
            // Whoever read this has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("simulate: {error}");
                return ExitCode::from(2);
            }
        };
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn simulate(kind: Kind, options: &Options) -> std::io::Result<bool> {
    let started = Instant::now();
    let mut seeds = options.seeds.clone();
    let out = &mut std::io::stdout();
    let progress = match &options.resume {
        Some(path) => Some(Progress::open(path, kind, seeds.start)?),
        None => None,
    };
    if let Some(progress) = &progress {
        seeds.start = progress.next();
        if seeds.is_empty() {
            writeln!(out, "{kind}: done up to seed {}", seeds.start - 1)?;
            return Ok(false);
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or(cores).max(1);
    let mut report = Report::default();
    let mut failures = Vec::new();
    let mut next = seeds.start;
    while next < seeds.end && (failures.is_empty() || options.broken.is_some()) {
        let chunk = next..seeds.end.min(next + CHUNK);
        failures.extend(work(kind, options, chunk.clone(), jobs, &mut report));
        next = chunk.end;
        if let Some(progress) = &progress
            && failures.is_empty()
        {
            progress.keep(next)?;
        }
    }
    tell(out, kind, &report, started.elapsed(), jobs)?;
    failures.sort_by_key(|(seed, _)| *seed);
    if options.trace || options.history.is_some() {
        trace(out, kind, seeds.start, options)?;
    }
    if let Some(assumption) = options.broken {
        return broken(out, assumption, kind, &report, &failures);
    }
    let Some((seed, _)) = failures.first() else {
        return never_happened(out, kind, &report);
    };
    failed(out, kind, *seed, options)?;
    Ok(true)
}

/// A failure: its story, and the one line that tells it again.
fn failed(out: &mut impl Write, kind: Kind, seed: u64, options: &Options) -> std::io::Result<()> {
    trace(out, kind, seed, options)?;
    writeln!(
        out,
        "FAILED: {kind}, seed {seed}; again: cargo run -p leasehold-testkit -- simulate --store {kind} --seeds {seed}"
    )
}

/// In so many worlds each fault must have happened: one that does not is injected no longer.
fn never_happened(out: &mut impl Write, kind: Kind, report: &Report) -> std::io::Result<bool> {
    if report.seeds < MANY {
        return Ok(false);
    }
    let missing: Vec<&str> = kind
        .faults()
        .into_iter()
        .filter(|fault| !report.faults.contains_key(fault))
        .collect();
    if !missing.is_empty() {
        let (seeds, missing) = (report.seeds, missing.join(", "));
        writeln!(
            out,
            "FAILED: {kind}: never happened in {seeds} worlds: {missing}"
        )?;
    }
    Ok(!missing.is_empty())
}

type Failed = (u64, Vec<Broken>);

/// Runs the worlds of some seeds on several threads, up to the first that fails unless an assumption is broken.
fn work(
    kind: Kind,
    options: &Options,
    seeds: Range<u64>,
    jobs: usize,
    report: &mut Report,
) -> Vec<Failed> {
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut report = Report::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        break;
                    }
                    let ran = world(kind, seed, options.broken, false, &mut report);
                    if let Some(failure) = ran.failure {
                        lock(&failures).push((seed, failure.broken));
                        if options.broken.is_none() {
                            next.store(seeds.end, Ordering::SeqCst);
                        }
                    }
                }
                lock(&reports).push(report);
            });
        }
    });
    for part in reports.into_inner().unwrap_or_else(PoisonError::into_inner) {
        report.add(part);
    }
    failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a world again and tells what happens in it.
fn trace(out: &mut impl Write, kind: Kind, seed: u64, options: &Options) -> std::io::Result<()> {
    let ran = world(kind, seed, options.broken, true, &mut Report::default());
    for line in ran.trace {
        writeln!(out, "{line}")?;
    }
    if options.broken.is_some() {
        for broken in ran.failure.iter().flat_map(|failure| &failure.broken) {
            writeln!(out, "{broken}")?;
        }
    }
    let Some(path) = &options.history else {
        return Ok(());
    };
    for (number, history) in ran.histories.iter().enumerate() {
        // One for each boot of the machine.
        let path = match number {
            0 => path.clone(),
            _ => path.with_extension(number.to_string()),
        };
        history.write(std::io::BufWriter::new(std::fs::File::create(path)?))?;
    }
    Ok(())
}

fn tell(
    out: &mut impl Write,
    kind: Kind,
    report: &Report,
    took: Duration,
    jobs: usize,
) -> std::io::Result<()> {
    let seconds = took.as_secs_f64().max(1e-9);
    let rate = report.seeds as f64 / seconds;
    writeln!(
        out,
        "{kind}: {} seeds in {seconds:.1} s ({rate:.0} seeds/s, {:.0} a core on {jobs}), {} steps, {} records written, \
         {} requests checked as a history, {} beliefs, {} different situations",
        report.seeds,
        rate / jobs as f64,
        report.steps,
        report.records,
        report.operations,
        report.beliefs,
        report.situations.len()
    )?;
    let faults: Vec<String> = report
        .faults
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    writeln!(out, "  faults: {}", faults.join(", "))?;
    writeln!(out, "  trace of them all: {:016x}", report.traces)
}

/// What an assumption was good for: the laws that fail without it, and what the fence then saved.
fn broken(
    out: &mut impl Write,
    assumption: Assumption,
    kind: Kind,
    report: &Report,
    failures: &[Failed],
) -> std::io::Result<bool> {
    let mut laws: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (seed, broken) in failures {
        for broken in broken {
            let entry = laws.entry(broken.law).or_insert((0, *seed));
            entry.0 += 1;
        }
    }
    writeln!(
        out,
        "  without the assumption \"{assumption}\" {} worlds broke a law:",
        failures.len()
    )?;
    for (law, (count, first)) in &laws {
        writeln!(out, "    {law}: {count} times, first under seed {first}")?;
    }
    writeln!(
        out,
        "  writes under a lease: {} accepted, {} refused by the fence, {} accepted from a stale holder",
        report.accepted, report.refused, report.stale
    )?;
    let failed = report.stale > 0 && assumption.fence_holds(kind);
    if failed {
        writeln!(out, "FAILED: the fence let a stale holder pass")?;
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        options: Options,
    }

    /// The line that a failure ends with runs the very world that its story is of.
    #[test]
    fn a_failure_is_told_with_the_line_that_tells_it_again() {
        let all = Asked::parse_from(["simulate", "--seeds", "1..10"]).options;
        let mut out = Vec::new();
        failed(&mut out, Kind::Wall, 7, &all).unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        let (last, story) = lines.split_last().unwrap();
        let (what, line) = last.split_once("; again: ").unwrap();
        assert_eq!(what, "FAILED: wall, seed 7");
        assert!(story.iter().any(|line| line.contains(" believes in ")));
        let line = line.split_once(" -- ").unwrap().1;
        let again = Asked::parse_from(line.split(' ')).options;
        assert_eq!(again.seeds, 7..8);
        assert_eq!(again.stores, [Kind::Wall]);
        let mut told = Vec::new();
        trace(&mut told, again.stores[0], again.seeds.start, &again).unwrap();
        let told = String::from_utf8(told).unwrap();
        assert_eq!(told.lines().collect::<Vec<_>>(), story);
    }

    #[test]
    fn seeds_are_ranges_as_rust_writes_them() {
        assert_eq!(seeds("17"), Ok(17..18));
        assert_eq!(seeds("1..10"), Ok(1..10));
        assert_eq!(seeds("1..=10"), Ok(1..11));
        assert!(seeds("10..1").is_err());
        assert!(seeds("x").is_err());
    }
}
