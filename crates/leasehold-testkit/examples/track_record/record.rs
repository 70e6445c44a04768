//! Each mutant against the tests: by which it is caught, and after how many seeds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use leasehold_core::mutants::{From, Mutant, NOT_YET};

/// How many seeds of the simulator each test tries.
const SEEDS: u32 = 4;
/// How many seeds the simulated worlds try, of each kind of registry.
const WORLDS: u32 = 100;
/// The kinds of registry that they know.
const KINDS: &[&str] = &["boot", "wall", "observed", "native"];
/// How many seconds one binary may take: a mutant may well hang.
const LIMIT: u32 = 240;
/// Where the record is kept, and where the part begins that is made here.
const RECORD: &str = "docs/track-record.md";
const BEGIN: &str = "<!-- made by scripts/mutants: begin -->\n";
const END: &str = "<!-- made by scripts/mutants: end -->\n";

/// The binaries by their names: the tests `core/conformance`, and `leasehold-testkit`, which simulates.
type Binaries = BTreeMap<String, String>;

/// What caught a mutant, and how many seeds that took.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Catch {
    /// A binary's name and a test's, or `simulate` and a kind of store.
    by: (String, String),
    seeds: u32,
}

/// What a run of a binary came to.
struct Run {
    passed: bool,
    text: String,
}

pub(crate) fn run() -> ExitCode {
    let mut binaries = Binaries::new();
    let mut only = Vec::new();
    let mut ci = false;
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some((name, path)) => drop(binaries.insert(name.into(), path.into())),
            None if argument == "--ci" => ci = true,
            None => only.push(argument),
        }
    }
    for name in &only {
        let known = Mutant::ALL.iter().any(|mutant| mutant.name() == name);
        assert!(known, "no mutant is called {name:?}");
    }
    assert!(
        !binaries.is_empty(),
        "no binaries: scripts/mutants builds them"
    );
    let survivors = if ci {
        check(&binaries)
    } else {
        search(&binaries, &only)
    };
    if survivors.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("mutants: NOT caught: {}", survivors.join(", "));
    ExitCode::FAILURE
}

/// Every mutant against the catcher that the record names.
fn check(binaries: &Binaries) -> Vec<String> {
    let record = std::fs::read_to_string(RECORD).expect("there is a record");
    let rows = rows(&record);
    let mut most: BTreeMap<&(String, String), u32> = BTreeMap::new();
    for catch in rows.values() {
        let seeds = most.entry(&catch.by).or_default();
        *seeds = catch.seeds.max(*seeds);
    }
    for (by, seeds) in most {
        let run = tried(binaries, by, seeds, None);
        assert!(run.passed, "{by:?} fails without any mutant:\n{}", run.text);
    }
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let Some(catch) = rows.get(mutant.name()) else {
            survivors.push(format!(
                "{} (not in the record: run scripts/mutants)",
                mutant.name()
            ));
            continue;
        };
        let run = tried(binaries, &catch.by, catch.seeds, Some(*mutant));
        if run.passed {
            survivors.push(mutant.name().into());
        } else {
            println!("{}: caught by {} {}", mutant.name(), catch.by.0, catch.by.1);
        }
    }
    survivors
}

/// Every mutant against everything, and the record of it.
fn search(binaries: &Binaries, only: &[String]) -> Vec<String> {
    for (name, path) in binaries {
        if name.contains('/') {
            let run = spawn(path, &["--quiet"], &seeds(SEEDS), None);
            assert!(run.passed, "{name} fails without any mutant:\n{}", run.text);
        }
    }
    for kind in kinds(binaries) {
        let by = ("simulate".to_owned(), kind);
        let run = tried(binaries, &by, WORLDS, None);
        assert!(run.passed, "{by:?} fails without any mutant:\n{}", run.text);
    }
    let mut survivors = Vec::new();
    let mut table = String::new();
    for mutant in Mutant::ALL {
        if !only.is_empty() && !only.iter().any(|name| name == mutant.name()) {
            continue;
        }
        let test = by_test(binaries, *mutant);
        let world = by_simulation(binaries, *mutant);
        println!("{}: {test:?} {world:?}", mutant.name());
        if test.is_none() && world.is_none() {
            survivors.push(mutant.name().to_owned());
        }
        let cell = |catch: Option<Catch>| match catch {
            Some(catch) => format!("`{} {}`, {}", catch.by.0, catch.by.1, catch.seeds),
            None => "-".into(),
        };
        let from = match mutant.from() {
            From::Peers => "peers",
            From::Contract => "contract",
        };
        let (name, bug, clause) = (mutant.name(), mutant.bug(), mutant.clause());
        let (test, world) = (cell(test), cell(world));
        writeln!(table, "|`{name}`|{bug}|{from}|{clause}|{test}|{world}|").unwrap();
    }
    if only.is_empty() {
        write_record(&table);
    }
    survivors
}

/// The first test that catches a mutant: of all that fail, one of the clause that the mutant breaks, if there is one.
fn by_test(binaries: &Binaries, mutant: Mutant) -> Option<Catch> {
    let clause = mutant.clause().to_lowercase();
    let mut words = clause
        .split([' ', ','])
        .filter(|word| !["a", "the"].contains(word));
    let word = words.next().unwrap_or_default();
    // The tests of core first, which run in simulated time, and of them the suite; of SQLite's the suite last, which
    // takes long.
    let mut names: Vec<&String> = binaries.keys().filter(|name| name.contains('/')).collect();
    names.reverse();
    names.sort_by_key(|name| {
        let (core, suite) = (name.starts_with("core/"), name.ends_with("/conformance"));
        (!core, core != suite)
    });
    for binary in names {
        let run = spawn(&binaries[binary], &[], &seeds(SEEDS), Some(mutant));
        let mut failed: Vec<&str> = run.text.lines().filter_map(failed_test).collect();
        failed.sort_by_key(|test| {
            let rule = test.rsplit("::").next().unwrap_or_default();
            (!rule.starts_with(word), *test)
        });
        for test in failed {
            let by = (binary.clone(), test.to_owned());
            let alone = |seed: &u32| {
                let key = ("LEASEHOLD_SEED".to_owned(), seed.to_string());
                !spawn(&binaries[binary], &["--exact", test], &[key], Some(mutant)).passed
            };
            // Not every failure comes again when the test runs alone.
            if let Some(seeds) = (1..=SEEDS).find(alone) {
                return Some(Catch { by, seeds });
            }
        }
        if !run.passed && !run.text.contains("FAILED") {
            println!(
                "{}: {binary} hangs or dies, which counts for nothing",
                mutant.name()
            );
        }
    }
    None
}

fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// The kind of registry whose worlds catch a mutant after the fewest seeds.
fn by_simulation(binaries: &Binaries, mutant: Mutant) -> Option<Catch> {
    let mut best: Option<Catch> = None;
    for kind in kinds(binaries) {
        let by = ("simulate".to_owned(), kind);
        let most = best.as_ref().map_or(WORLDS, |best| best.seeds - 1);
        if most == 0 {
            break;
        }
        let run = tried(binaries, &by, most, Some(mutant));
        if run.passed {
            continue;
        }
        let said = format!("FAILED: {}, seed ", by.1);
        let digits = |text: &str| {
            text.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        };
        match run.text.split(&said).nth(1).and_then(digits) {
            Some(seeds) => best = Some(Catch { by, seeds }),
            None => println!(
                "{}: {by:?} hangs or dies, which counts for nothing",
                mutant.name()
            ),
        }
    }
    best
}

fn kinds(binaries: &Binaries) -> Vec<String> {
    if binaries.contains_key("leasehold-testkit") {
        KINDS.iter().map(|kind| (*kind).to_owned()).collect()
    } else {
        Vec::new()
    }
}

/// Runs a catcher under the seeds from 1 to `count`.
fn tried(binaries: &Binaries, by: &(String, String), count: u32, mutant: Option<Mutant>) -> Run {
    let binary = |name: &str| match binaries.get(name) {
        Some(path) => path.clone(),
        None => panic!("{name} was not built"),
    };
    if by.0 == "simulate" {
        let range = format!("1..{}", count + 1);
        // One world after the other, so that the first seed that fails is always the same.
        let arguments = [
            "simulate", "--seeds", &range, "--store", &by.1, "--jobs", "1",
        ];
        return spawn(&binary("leasehold-testkit"), &arguments, &[], mutant);
    }
    spawn(&binary(&by.0), &["--exact", &by.1], &seeds(count), mutant)
}

fn seeds(count: u32) -> [(String, String); 1] {
    [("LEASEHOLD_SEEDS".into(), count.to_string())]
}

/// Runs a binary with a mutant chosen, or none.
fn spawn(
    path: &str,
    arguments: &[&str],
    variables: &[(String, String)],
    mutant: Option<Mutant>,
) -> Run {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", &LIMIT.to_string(), path])
        .args(arguments);
    for key in ["LEASEHOLD_MUTANT", "LEASEHOLD_SEED", "LEASEHOLD_SEEDS"] {
        command.env_remove(key);
    }
    if let Some(mutant) = mutant {
        command.env("LEASEHOLD_MUTANT", mutant.name());
    }
    command
        .envs(variables.iter().cloned())
        .env("RUST_BACKTRACE", "0");
    let output = command.output().expect("timeout(1) runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        arguments.first() != Some(&"--exact") || !text.contains("running 0 tests"),
        "{path} has no test {arguments:?}"
    );
    Run {
        passed: output.status.success(),
        text,
    }
}

/// The catchers of the record, by mutant: the test where there is one.
fn rows(record: &str) -> BTreeMap<&str, Catch> {
    let made = record
        .split(BEGIN)
        .nth(1)
        .and_then(|rest| rest.split(END).next());
    let mut rows = BTreeMap::new();
    for line in made.unwrap_or_default().lines() {
        let cells: Vec<&str> = line.split('|').collect();
        let &[_, name, _, _, _, test, world, _] = &cells[..] else {
            continue;
        };
        let name = name.trim_matches('`');
        let catch = |cell: &str| {
            let (by, seeds) = cell.strip_prefix('`')?.split_once("`, ")?;
            let (binary, test) = by.split_once(' ')?;
            Some(Catch {
                by: (binary.into(), test.into()),
                seeds: seeds.parse().ok()?,
            })
        };
        if let Some(catch) = catch(test).or_else(|| catch(world)) {
            rows.insert(name, catch);
        }
    }
    rows
}

fn write_record(table: &str) {
    let old = std::fs::read_to_string(RECORD).expect("there is a record to write into");
    let (before, rest) = old
        .split_once(BEGIN)
        .expect("the record has a place for the table");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let mut new = format!("{before}{BEGIN}");
    new += "|mutant|what it does|whose|clause|caught by the test, after how many seeds|by the simulation, after how many seeds|\n";
    new += "|-|-|-|-|-|-|\n";
    new += table;
    new += "\nNot built in, since nothing here can have them yet:\n\n";
    for (bug, why) in NOT_YET {
        writeln!(new, "- {bug}: {why}").unwrap();
    }
    write!(new, "{END}{after}").unwrap();
    std::fs::write(RECORD, new).expect("the record can be written");
}
