//! The checker: one name after the other, each in time linear in its records but for sorting them by index.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::beliefs::Beliefs;
use super::chain::{Chain, NONE};
use super::clocks;
use super::lines::ReadError;
use super::records::History;
use super::rules::{Report, Violations};
use super::terms::Terms;
use super::types::Outcome;

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
    clocks::check(history, &mut violations);
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
        let mut entailed = Violations::default();
        let told = match chain.disorderly {
            true => &mut entailed,
            false => &mut violations,
        };
        terms.follow(name, &states, told);
        let oldest = states.first().and_then(|state| state.index);
        beliefs.check(number, name, &terms, oldest, &mut violations);
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
    let names = history.names_of_operations();
    for name in names {
        if let Some(count) = ends.get_mut(*name as usize) {
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
    for (number, name) in names.iter().enumerate() {
        if let Some(end) = ends.get_mut(*name as usize) {
            if let Some(place) = numbers.get_mut(*end) {
                *place = u32::try_from(number).unwrap_or(NONE);
            }
            *end += 1;
        }
    }
    (numbers, ends)
}
