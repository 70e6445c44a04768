//! The rule about clocks: a process's own clock keeps to the declared drift, over all its readings.

use super::chain::NONE;
use super::records::History;
use super::rules::{Rule, Violations, told};

/// A parts-per-million's unit.
const MILLION: i128 = 1_000_000;

/// A reading, and how far the own clock is ahead of the common one, in millionths of a nanosecond: less what it may
/// have gained since the common clock began, and with what it may have lost.
#[derive(Clone, Copy)]
struct Reading {
    number: u32,
    common: i128,
    own: i128,
    least: i128,
    most: i128,
}

/// Between any two readings a process's own clock ran apart from the common one by no more than the drift, and twice the
/// error of an instant. Of all earlier readings the one counts that leaves the least room on each side.
pub(crate) fn check(history: &History, violations: &mut Violations) {
    let header = history.header();
    // Readings are whole nanoseconds.
    let slack = (2 + 2 * i128::from(header.error)) * MILLION;
    let mut readings = Vec::new();
    for (number, row) in history.rows().iter().enumerate() {
        if !row.is_timed() {
            continue;
        }
        let operation = row.unpack();
        if let Some(own) = operation.own {
            let number = u32::try_from(number).unwrap_or(NONE);
            readings.push((operation.process, operation.invoked, own, number));
        }
    }
    readings.sort_unstable();
    for process in readings.chunk_by(|left, right| left.0 == right.0) {
        let mut bounds: Option<(Reading, Reading)> = None;
        for (_, common, own, number) in process.iter().copied() {
            let (common, own) = (i128::from(common), i128::from(own));
            let ahead = (own - common) * MILLION;
            let drift = common * i128::from(header.drift_ppm);
            let reading = Reading {
                number,
                common,
                own,
                least: ahead - drift,
                most: ahead + drift,
            };
            let (slowest, fastest) = bounds.unwrap_or((reading, reading));
            let apart = if reading.least > slowest.least + slack {
                Some(slowest)
            } else if reading.most < fastest.most - slack {
                Some(fastest)
            } else {
                None
            };
            if let Some(other) = apart {
                let what = format!(
                    "between {} and {} the process's clock moved by {} ns in {} ns: more than {} ppm apart",
                    told(history, other.number),
                    told(history, number),
                    own - other.own,
                    common - other.common,
                    header.drift_ppm
                );
                violations.add(Rule::Assumptions, "", what);
                // Told once: what follows is judged from here.
                bounds = Some((reading, reading));
                continue;
            }
            let slowest = if reading.least < slowest.least {
                reading
            } else {
                slowest
            };
            let fastest = if reading.most > fastest.most {
                reading
            } else {
                fastest
            };
            bounds = Some((slowest, fastest));
        }
    }
}
