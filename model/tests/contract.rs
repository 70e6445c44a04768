//! The contract holds in the model, each weakened clause breaks it, and the page says so.

use leasehold_model::clause::{Case, Clause, cases};
use leasehold_model::explore::explorations;
use leasehold_model::search::search;
use leasehold_model::table::{counterexample, explored, row};
use leasehold_model::words::words;

/// How many states a search of these tests finds, or little more.
const MOST: usize = 150_000;

const PAGE: &str = include_str!("../../docs/model.md");

#[test]
fn the_contract_holds_and_the_page_has_the_numbers() {
    for exploration in explorations() {
        let report = search(&exploration.model(), false, usize::MAX);
        assert_eq!(report.broken, None, "{exploration:?}");
        assert!(
            report.complete && report.states > 10_000,
            "{exploration:?}: {report:?}"
        );
        let row = explored(&exploration, &report);
        assert!(PAGE.contains(&row), "docs/model.md has not {row}");
    }
}

/// The row of a case in the page.
fn rows(case: &Case) -> impl Iterator<Item = &'static str> {
    let (clause, clock) = (
        format!("|`{}`|", case.clause.name()),
        format!("|{}|", case.clock.name()),
    );
    PAGE.lines()
        .filter(move |line| line.starts_with(&clause) && line.contains(&clock))
}

#[test]
fn each_weakened_clause_breaks_its_law_and_the_page_says_how() {
    let mut longer = 0;
    for case in cases() {
        let (model, report) = counterexample(&case, MOST);
        let rows: Vec<_> = rows(&case).collect();
        assert_eq!(rows.len(), 1, "rows of {case:?} in docs/model.md");
        if report.broken.is_none() && !report.complete {
            // Too much for a test: the page has what the command found.
            longer += 1;
            assert_eq!(
                case.why_none.is_none(),
                rows[0].contains(case.law.name()) && !rows[0].contains("none (")
            );
            continue;
        }
        match case.why_none {
            None => assert_eq!(
                report.broken,
                Some(case.law),
                "{case:?}: {} states",
                report.states
            ),
            Some(_) => assert_eq!(report.broken, None, "{case:?}"),
        }
        let row = row(&case, &report);
        assert!(
            rows[0].ends_with(&row),
            "docs/model.md has {} and not {row}",
            rows[0]
        );
        assert_eq!(
            report.trace.len(),
            if case.why_none.is_none() {
                report.depth
            } else {
                0
            }
        );
        for text in words(&model, &report.trace) {
            assert!(PAGE.contains(&text), "docs/model.md has not: {text}");
        }
    }
    assert!(longer <= 6, "{longer} searches are too long for this test");
}

#[test]
fn every_clause_has_a_case() {
    for clause in Clause::ALL {
        assert!(
            cases().iter().any(|case| case.clause == *clause),
            "{} is never weakened",
            clause.name()
        );
        assert!(
            PAGE.contains(&format!("### {}\n", clause.name())),
            "docs/model.md lacks {}",
            clause.name()
        );
    }
}

/// Clauses that only the model weakens: no mutant in the code breaks just them.
const ONLY_HERE: [&str; 7] = [
    "deadline-from-resend",
    "timing-survives-renewal",
    "re-read-decides",
    "assume-dead-skips-inherited",
    "restart-forgets-timers",
    "restart-forgets-waits",
    "restart-keeps-old-timers",
];

/// The clauses are those that the mutants in the code break, by the same names. One mutant drops an inherited wait
/// wherever the model has a clause for each change that may.
#[test]
fn clauses_have_the_names_of_the_mutants() {
    const RECORD: &str = include_str!("../../docs/track-record.md");
    for clause in Clause::ALL {
        let name = clause.name();
        let mutant = match name.split_once("-by-") {
            Some((mutant @ "inherited-wait-dropped", _)) => mutant,
            _ => name,
        };
        let is_mutant = RECORD.contains(&format!("\n|`{mutant}`|"));
        assert_ne!(is_mutant, ONLY_HERE.contains(&name), "{name}");
    }
}
