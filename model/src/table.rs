//! The table of clauses and their counterexamples, as `docs/model.md` has it.

use std::fmt::Write;

use crate::clause::{Case, cases};
use crate::event::Op;
use crate::explore::{Exploration, explorations, large, operations};
use crate::law::Laws;
use crate::model::{Bounds, Clock, Model};
use crate::search::{Report, search};
use crate::words::words;

/// How many states a search of the table may find.
pub const MOST: usize = 40_000_000;

/// The model of a case, and what its search finds among some more than `most` states.
#[must_use]
pub fn counterexample(case: &Case, most: usize) -> (Model, Report) {
    let model = Model {
        weakened: Some(case.clause),
        laws: Laws::only(case.law),
        ..Model::new(case.clock, case.bounds)
    };
    let report = search(&model, case.why_none.is_none(), most);
    (model, report)
}

/// Bounds in a few words.
#[must_use]
pub fn bounded(bounds: &Bounds, clock: Clock) -> String {
    let mut text = format!(
        "{} processes, {} operations",
        bounds.processes, bounds.operations
    );
    let mut also = |yes: bool, what: String| {
        if yes {
            text += ", ";
            text += &what;
        }
    };
    let restarts = if clock == Clock::Native {
        "leader changes"
    } else {
        "restarts of the registry"
    };
    also(bounds.short, "two periods".into());
    also(bounds.drift, "drift".into());
    also(
        bounds.crashes > 0,
        format!("crashes of processes: {}", bounds.crashes),
    );
    also(
        bounds.restarts > 0,
        format!("{restarts}: {}", bounds.restarts),
    );
    also(bounds.duplicates, "late duplicates".into());
    also(bounds.collect, "tombstones collected".into());
    text
}

/// An operation's name in commands and tables.
#[must_use]
pub fn op_name(op: Op) -> &'static str {
    match op {
        Op::Acquire => "acquire",
        Op::Renew => "renew",
        Op::Steal => "steal",
        Op::Release => "release",
        Op::Break => "break",
        Op::ProxyRenew => "proxy-renew",
        Op::ProxyRelease => "proxy-release",
        Op::StealFromDead => "steal-from-dead",
        Op::KeepAlive => "keep-alive",
    }
}

const HEAD: &str = "# The contract, checked exhaustively\n\n\
This page is written by `cargo run --release -p leasehold-model -- table`; do not edit it.\n\n\
`model/` holds a small model of [the contract](design.md): processes that acquire, renew, steal, release and break; a\n\
registry; requests and replies that are delayed, lost and duplicated; crashes and restarts; clocks that drift. Every state\n\
that it can reach within its bounds is visited, in the order of the number of events that lead to it, and in each state\n\
these laws must hold: one lessee, belief never resumes, the index only grows, the fence, not early, unknown is not failure,\n\
applied at most once. Then each clause of the contract is weakened in turn, and the search shows what it was for. The crate's\n\
documentation says what is modelled, how, and what is left out.\n\n";

/// The whole page.
#[must_use]
pub fn page(progress: &mut dyn FnMut(&str)) -> String {
    let mut page = String::from(HEAD);
    page += "## The contract as it is\n\nNo law is broken in any state within these bounds; time is not bounded.\n\n";
    page += "|Clock|Bounds|States|Transitions|Farthest, in events|\n|-|-|-:|-:|-:|\n";
    for exploration in explorations() {
        progress(&format!(
            "{} {}",
            exploration.clock.name(),
            bounded(&exploration.bounds, exploration.clock)
        ));
        let report = search(&exploration.model(), false, usize::MAX);
        _ = writeln!(page, "{}", explored(&exploration, &report));
    }
    for (exploration, recorded) in large() {
        let recorded = Report {
            states: recorded.states,
            transitions: recorded.transitions,
            depth: recorded.depth,
            ..Report::default()
        };
        _ = writeln!(
            page,
            "{}",
            explored(&exploration, &recorded).replacen('|', "|\\* ", 1)
        );
    }
    page += "\nRows marked with \\* are too large to be repeated each time: they stand as they were measured, and\n\
             `-- check --large` repeats them and fails where a number differs.\n\n\
             ## Each clause weakened\n\n\
             The shortest counterexample within the bounds, which are kept as small as shows it. Every event counts: each\n\
             sending, each step of the registry, each receipt, each tick of time. The law is the one that the counterexample\n\
             breaks.\n\n\
             |Clause|What the contract says|Clock|Law broken|Events|States searched|\n|-|-|-|-|-:|-:|\n";
    let mut examples = String::new();
    let mut last = None;
    for case in cases() {
        progress(&format!("{} {}", case.clause.name(), case.clock.name()));
        let (model, report) = counterexample(&case, MOST);
        let guards = if last == Some(case.clause) {
            ""
        } else {
            case.clause.guards()
        };
        _ = writeln!(
            page,
            "|`{}`|{guards}{}",
            case.clause.name(),
            row(&case, &report)
        );
        if last != Some(case.clause) {
            _ = writeln!(
                examples,
                "### {}\n\n{}\n",
                case.clause.name(),
                case.clause.guards()
            );
        }
        last = Some(case.clause);
        example(&mut examples, &case, &model, &report);
    }
    page += "\n## The counterexamples\n\n";
    page += examples.trim_end();
    page.push('\n');
    page
}

/// What follows the clause in its row of the table.
#[must_use]
pub fn row(case: &Case, report: &Report) -> String {
    let (law, events) = match report.broken {
        Some(law) => (law.name().to_string(), report.depth.to_string()),
        None => (format!("none ({})", case.law.name()), "-".into()),
    };
    format!("|{}|{law}|{events}|{}|", case.clock.name(), report.states)
}

/// An exploration's row of the table.
#[must_use]
pub fn explored(exploration: &Exploration, report: &Report) -> String {
    let left_out: Vec<&str> = operations(exploration.clock)
        .iter()
        .filter(|op| !exploration.bounds.ops.contains(op))
        .map(|op| op_name(*op))
        .collect();
    let left_out = if left_out.is_empty() {
        String::new()
    } else {
        format!(", without {}", left_out.join(", "))
    };
    let broken = report
        .broken
        .map_or(String::new(), |law| format!("**broken: {}** ", law.name()));
    format!(
        "|{}|{}{left_out}|{broken}{}|{}|{}|",
        exploration.clock.name(),
        bounded(&exploration.bounds, exploration.clock),
        report.states,
        report.transitions,
        report.depth
    )
}

fn example(page: &mut String, case: &Case, model: &Model, report: &Report) {
    let ops: Vec<&str> = case.bounds.ops.iter().map(|op| op_name(*op)).collect();
    _ = writeln!(
        page,
        "On the {} clock ({}; {}):\n",
        case.clock.name(),
        bounded(&case.bounds, case.clock),
        ops.join(", ")
    );
    if report.broken.is_none() {
        let reach = if report.complete {
            "No counterexample in any state"
        } else {
            "No counterexample so far"
        };
        _ = writeln!(
            page,
            "{reach}: {}.\n",
            case.why_none.unwrap_or("not explained")
        );
        return;
    }
    for (number, text) in words(model, &report.trace).iter().enumerate() {
        _ = writeln!(page, "{}. {text}", number + 1);
    }
    page.push('\n');
}
