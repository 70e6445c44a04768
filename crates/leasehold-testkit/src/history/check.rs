//! The checker: one name after the other, each in time linear in its records but for sorting them by index.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::beliefs::Beliefs;
use super::chain::{Chain, NONE};
use super::lines::ReadError;
use super::records::History;
use super::rules::{Report, Rule, Violations, told};
use super::terms::Terms;
use super::types::{Outcome, Time};

/// Holds a history to the contract.
///
/// It tells only what is certain, given the error and the drift that the header declares: a history that passes may
/// still hide a breach that its records do not show.
///
/// # Errors
/// The breaches.
pub fn check(history: &History) -> Result<Report, Violations> {
    let mut violations = Violations::default();
    let mut report = Report {
        operations: history.len(),
        names: history.names(),
        ..Report::default()
    };
    clocks(history, &mut violations);
    let (numbers, ends) = by_name(history);
    let mut chain = Chain::new(history);
    let mut terms = Terms::new(history);
    let mut beliefs = Beliefs::new(history);
    let mut states = Vec::new();
    let mut begin = 0;
    for (place, end) in ends.into_iter().enumerate() {
        let number = u32::try_from(place).unwrap_or(NONE);
        let name = history.text(super::types::Name(number));
        let own = numbers.get(begin..end).unwrap_or_default();
        begin = end;
        chain.order(name, own, &mut states, &mut violations);
        terms.follow(name, &states, &mut violations);
        let oldest = states.first().and_then(|state| state.index);
        beliefs.check(number, name, &terms.terms, oldest, &mut violations);
        report.terms += terms.terms.len();
        report.unknown += chain.open();
        for state in &states {
            if let Some(change) = history.operation(state.maker as usize) {
                report.applied += 1;
                report.resolved += usize::from(change.outcome == Outcome::Unknown);
            }
        }
    }
    report.shown = chain.shown;
    report.beliefs = beliefs.count;
    match violations.count {
        0 => Ok(report),
        _ => Err(violations),
    }
}

/// What came of a file's check.
#[derive(Debug)]
pub enum Checked {
    /// It keeps the contract.
    Kept(Report),
    /// It does not.
    Broken(Violations),
}

/// Reads a history from a file and checks it.
///
/// # Errors
/// When it cannot be read as a history.
pub fn check_file(path: impl AsRef<Path>) -> Result<Checked, ReadError> {
    let file = File::open(path)?;
    let history = History::read(BufReader::with_capacity(1 << 20, file))?;
    Ok(match check(&history) {
        Ok(report) => Checked::Kept(report),
        Err(violations) => Checked::Broken(violations),
    })
}

/// The operations' numbers, sorted by name, and where each name's end.
fn by_name(history: &History) -> (Vec<u32>, Vec<usize>) {
    let mut ends = vec![0_usize; history.names()];
    for name in history.names_of_operations() {
        if let Some(count) = ends.get_mut(name.0 as usize) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for end in &mut ends {
        let count = *end;
        *end = sum;
        sum += count;
    }
    let mut numbers = vec![0_u32; sum];
    for (number, name) in history.names_of_operations().enumerate() {
        if let Some(end) = ends.get_mut(name.0 as usize) {
            if let Some(place) = numbers.get_mut(*end) {
                *place = u32::try_from(number).unwrap_or(NONE);
            }
            *end += 1;
        }
    }
    (numbers, ends)
}

/// Between two readings of a process's own clock it kept to the declared drift.
fn clocks(history: &History, violations: &mut Violations) {
    let header = history.header();
    let mut last: BTreeMap<u32, (u32, Time, Time)> = BTreeMap::new();
    for (number, operation) in history.operations().enumerate() {
        let Some(own) = operation.own else {
            continue;
        };
        let number = u32::try_from(number).unwrap_or(NONE);
        let reading = (number, operation.invoked, own);
        let Some((other, invoked, before)) = last.insert(operation.process, reading) else {
            continue;
        };
        let common = i128::from(operation.invoked) - i128::from(invoked);
        let passed = i128::from(own) - i128::from(before);
        // Readings are whole nanoseconds.
        let drift = common.abs() * i128::from(header.drift_ppm) / 1_000_000 + 2;
        let allowed = drift + 2 * i128::from(header.error);
        if (passed - common).abs() > allowed {
            let what = format!(
                "between {} and {} the process's clock moved by {passed} ns in {common} ns: more than {} ppm apart",
                told(history, other),
                told(history, number),
                header.drift_ppm
            );
            violations.add(Rule::Assumptions, "", what);
        }
    }
}
