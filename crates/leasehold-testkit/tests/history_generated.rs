//! Long histories of a simulated registry keep the contract; with one answer changed they break it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../examples/check_history/generate.rs"]
mod generate;

use leasehold_testkit::Chance;
use leasehold_testkit::history::{Found, History, Kind, Outcome, Report, Rule, check};

#[test]
fn generated_histories_keep_the_contract() {
    for (seed, clients, names) in [(1, 64, 64), (2, 4, 1), (3, 3, 200), (4, 1, 1), (5, 8, 3)] {
        let history = generate::generate(seed, 20_000, clients, names);
        let report =
            check(&history).unwrap_or_else(|violations| panic!("seed {seed}: {violations}"));
        assert_eq!(report.operations, 20_000);
        assert!(
            report.applied > 100 && report.terms > 50 && report.beliefs > 50,
            "{report}"
        );
        assert!(
            report.unknown > 50 && report.resolved > 2 && report.shown > 1000,
            "{report}"
        );
    }
}

/// Changes one answer; whether it is certain to be a breach.
fn spoil(chance: &mut Chance, history: &mut History) -> Option<(usize, Rule)> {
    let number = usize::try_from(chance.below(history.len() as u64)).unwrap();
    let mut operation = history.operation(number)?;
    let rule = match &mut operation.outcome {
        Outcome::Granted { fence, .. } if operation.kind != Kind::Get => {
            *fence += 1;
            Rule::Fence
        }
        Outcome::Vacated { index } => {
            // Given out already.
            *index = operation.names?;
            Rule::IndexGrows
        }
        Outcome::Read {
            found: Found::Record(state),
        } => {
            state.held = !state.held;
            Rule::IndexGrows
        }
        // A refused renewal is said to have replaced what another change had replaced.
        Outcome::Refused {
            found: Found::Record(state),
        } if operation.kind == Kind::Renew && Some(state.index) > operation.names => {
            let index = state.index + 1_000_000;
            operation.outcome = Outcome::Granted {
                index,
                fence: 0,
                period: 0,
                wait: 0,
            };
            Rule::OneLessee
        }
        _ => return None,
    };
    history.replace(number, &operation);
    Some((number, rule))
}

#[test]
fn one_wrong_answer_is_found_and_named() {
    let history = generate::generate(7, 1_500, 8, 4);
    let mut chance = Chance::new(7);
    let mut found = [0; 11];
    for _ in 0..200 {
        let mut spoilt = history.clone();
        let Some((number, rule)) = spoil(&mut chance, &mut spoilt) else {
            continue;
        };
        let violations = check(&spoilt).unwrap_err();
        let place = format!("(operation {number})");
        let told = violations
            .first
            .iter()
            .any(|v| v.rule == rule && v.what.contains(&place));
        // Of what was shown, who else showed it may be named.
        assert!(
            told || violations.breaks(rule),
            "operation {number}: {violations}"
        );
        found[rule as usize] += 1;
    }
    for rule in [Rule::Fence, Rule::IndexGrows] {
        assert!(found[rule as usize] > 10, "{rule}: {found:?}");
    }
}

/// The rest of what [`Report`] says is not looked at here.
#[test]
fn an_empty_history_keeps_the_contract() {
    let history = generate::generate(1, 0, 1, 1);
    let report = check(&history).unwrap();
    let names = 1;
    assert_eq!(
        report,
        Report {
            names,
            ..Report::default()
        }
    );
}
