//! `check` explores the contract as it is, `table` writes `docs/model.md`, `trace` shows one clause's counterexamples.

use std::process::ExitCode;

use leasehold_model::clause::cases;
use leasehold_model::event::Op;
use leasehold_model::explore::{Exploration, Recorded, explorations, large, operations};
use leasehold_model::model::{Bounds, Clock};
use leasehold_model::search::search;
use leasehold_model::table::{MOST, bounded, counterexample, op_name, page};
use leasehold_model::words::words;

const USAGE: &str = "\
check [--clock server|observed|native] [--large]
      [--bounds processes=3,operations=2,crashes=1,restarts=1,drift,short,duplicates,collect] [--ops acquire,steal,...]
table [FILE]       docs/model.md, or another file
trace CLAUSE
clauses";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("check") => check(&arguments),
        Some("table") => {
            let path = arguments.get(1).map_or("docs/model.md", String::as_str);
            let text = page(&mut |what| eprintln!("{what}"));
            std::fs::write(path, text).map_err(|error| format!("{path}: {error}"))
        }
        Some("trace") => trace(arguments.get(1).map_or("", String::as_str)),
        Some("clauses") => {
            for clause in leasehold_model::clause::Clause::ALL {
                println!("{:40} {}", clause.name(), clause.guards());
            }
            Ok(())
        }
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn value<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(place + 1).map(String::as_str)
}

fn check(arguments: &[String]) -> Result<(), String> {
    let clock = match value(arguments, "--clock") {
        None => None,
        Some(name) => Some(
            Clock::ALL
                .into_iter()
                .find(|clock| clock.name() == name)
                .ok_or("no such clock")?,
        ),
    };
    let wanted = |each: Clock| clock.is_none_or(|clock| clock == each);
    if let Some(text) = value(arguments, "--bounds") {
        for clock in Clock::ALL.into_iter().filter(|each| wanted(*each)) {
            let ops = ops(clock, value(arguments, "--ops"))?;
            explore(&Exploration {
                clock,
                bounds: bounds(text, ops)?,
            })?;
        }
    } else if arguments.iter().any(|argument| argument == "--large") {
        for (exploration, recorded) in large().into_iter().filter(|(each, _)| wanted(each.clock)) {
            let found = explore(&exploration)?;
            if found != recorded {
                return Err(format!("recorded as {recorded:?}, now {found:?}"));
            }
        }
    } else {
        for exploration in explorations().into_iter().filter(|each| wanted(each.clock)) {
            explore(&exploration)?;
        }
    }
    Ok(())
}

/// Which operations: those that are named, of those that the clock knows.
fn ops(clock: Clock, names: Option<&str>) -> Result<&'static [Op], String> {
    let known = operations(clock);
    let Some(names) = names else { return Ok(known) };
    let named: Option<Vec<Op>> = names
        .split(',')
        .map(|name| known.iter().copied().find(|op| op_name(*op) == name))
        .collect();
    Ok(Vec::leak(named.ok_or_else(|| {
        format!("no such operation among {names}")
    })?))
}

fn bounds(text: &str, ops: &'static [Op]) -> Result<Bounds, String> {
    let mut bounds = Bounds {
        processes: 3,
        operations: 2,
        crashes: 0,
        restarts: 0,
        drift: false,
        short: false,
        duplicates: false,
        collect: false,
        ops,
    };
    for part in text.split(',') {
        let (name, number) = part.split_once('=').unwrap_or((part, "1"));
        let number: u8 = number.parse().map_err(|error| format!("{part}: {error}"))?;
        let (most, place) = match name {
            "processes" => (3, &mut bounds.processes),
            "operations" => (7, &mut bounds.operations),
            "crashes" => (7, &mut bounds.crashes),
            "restarts" => (7, &mut bounds.restarts),
            _ => {
                let place = match name {
                    "drift" => &mut bounds.drift,
                    "short" => &mut bounds.short,
                    "duplicates" => &mut bounds.duplicates,
                    "collect" => &mut bounds.collect,
                    _ => return Err(format!("no such bound: {name}")),
                };
                *place = number > 0;
                continue;
            }
        };
        if number > most {
            return Err(format!("{name}: {most} at most"));
        }
        *place = number;
    }
    Ok(bounds)
}

#[allow(clippy::disallowed_types, clippy::disallowed_methods)] // A search is timed for whoever waits for it; nothing depends on it.
fn explore(exploration: &Exploration) -> Result<Recorded, String> {
    let started = std::time::Instant::now();
    println!(
        "{} clock: {}",
        exploration.clock.name(),
        bounded(&exploration.bounds, exploration.clock)
    );
    let model = exploration.model();
    let report = search(&model, false, usize::MAX);
    println!(
        "  {} states, {} transitions, farthest {} events, widest {} states; {:.1} s",
        report.states,
        report.transitions,
        report.depth,
        report.widest,
        started.elapsed().as_secs_f64()
    );
    if let Some(law) = report.broken {
        for (number, text) in words(&model, &search(&model, true, usize::MAX).trace)
            .iter()
            .enumerate()
        {
            println!("  {}. {text}", number + 1);
        }
        return Err(format!("broken: {}", law.name()));
    }
    Ok(Recorded {
        states: report.states,
        transitions: report.transitions,
        depth: report.depth,
    })
}

fn trace(name: &str) -> Result<(), String> {
    let chosen: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.clause.name() == name)
        .collect();
    if chosen.is_empty() {
        return Err(format!("no such clause: {name}"));
    }
    for case in chosen {
        let (model, report) = counterexample(&case, MOST);
        println!(
            "{} clock: {:?}, {} states",
            case.clock.name(),
            report.broken,
            report.states
        );
        for (number, text) in words(&model, &report.trace).iter().enumerate() {
            println!("  {}. {text}", number + 1);
        }
    }
    Ok(())
}
