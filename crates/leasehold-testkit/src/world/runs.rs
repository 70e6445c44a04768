//! The law of *once per slot*, by what is written: a run closes only what was open, and nothing but a run changes it.

use std::time::{Duration, SystemTime};

use leasehold_core::{Ran, Record};

/// What a record says of its slot: until when it is closed, and by whose run.
type Slot = (Option<SystemTime>, Option<Ran>);

/// The slot of one name.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    now: Slot,
    /// Before the present term.
    before: Slot,
    /// The registry has erased the last record, and it is not seen what that left behind: either of the two.
    erased: bool,
}

impl Runs {
    /// A record follows: what is wrong with it, if anything is.
    pub(crate) fn follow(&mut self, record: &Record, began: bool) -> Result<(), String> {
        let next: Slot = (record.body.closed, record.body.ran.as_deref().cloned());
        let was = [&self.now, &self.before];
        let was = if self.erased { &was[..] } else { &was[..1] };
        let from = if record.is_held() {
            was.iter()
                .find(|was| next == ***was || (began && runs(was.0, &next)))
        } else {
            // A grant that nobody took up is given back: what was closed before it is so again.
            [&self.now, &self.before]
                .iter()
                .find(|was| next == ***was)
                .map(|_| &was[0])
        };
        let answer = match from {
            Some(_) => Ok(()),
            None => Err(format!("{:?} was followed by {next:?}", self.now)),
        };
        if began {
            self.before = from.map_or(&self.now, |was| *was).clone();
        }
        self.now = next;
        self.erased = false;
        answer
    }

    /// The registry has erased the record by itself, or as its lessee asked.
    pub(crate) fn erased(&mut self) {
        self.erased = true;
    }
}

/// Whether a run may have closed the slot: it was open to it by the runner's wall clock.
fn runs(was: Option<SystemTime>, next: &Slot) -> bool {
    let (Some(until), Some(ran)) = next else {
        return false;
    };
    // Nine tenths of it are closed.
    let slot = until.duration_since(ran.at).unwrap_or_default() * 10 / 9;
    let left = was.and_then(|was| was.duration_since(ran.at).ok());
    let rounding = Duration::from_micros(10);
    left.is_none_or(|left| left.is_zero() || left + rounding > slot * 2)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leasehold_core::{AttemptId, Body};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn record(lessee: Option<&str>, closed: Option<(u64, u64)>) -> Record {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + SECOND * u32::try_from(seconds).unwrap();
        let body = Body {
            machine_id: lessee.map(str::to_owned),
            closed: closed.map(|(_, until)| at(until)),
            ran: closed.map(|(ran, _)| {
                Box::new(Ran {
                    by: "a".into(),
                    at: at(ran),
                })
            }),
            ..Body::default()
        };
        Record::new(Arc::new(body), AttemptId([0; 16]))
    }

    #[test]
    fn a_run_closes_only_what_is_open_and_nothing_else_changes_it() {
        let held = |closed| (record(Some("a"), closed), true);
        let renewed = |closed| (record(Some("a"), closed), false);
        let over = |closed| (record(None, closed), false);
        let (first, second) = (Some((100, 190)), Some((190, 280)));
        let early = Some((189, 279));
        // Each story's last step is the one that is asked about.
        for (holds, story) in [
            (
                true,
                vec![held(first), renewed(first), over(first), held(second)],
            ),
            (true, vec![held(first), over(None)]),
            (
                true,
                vec![held(first), over(first), held(second), over(first)],
            ),
            (
                true,
                vec![held(first), over(first), held(first), over(first)],
            ),
            // Of a clock far ahead, or a longer slot.
            (true, vec![held(Some((9000, 9090))), held(first)]),
            (false, vec![held(first), over(first), held(early)]),
            (false, vec![held(first), over(first), held(None)]),
            (
                false,
                vec![held(first), over(first), over(None)]
                    .into_iter()
                    .chain([held(first), over(second)])
                    .collect(),
            ),
            (false, vec![held(first), renewed(second)]),
            (
                false,
                vec![held(first), over(first), held(first), over(None)],
            ),
        ] {
            let mut runs = Runs::default();
            let mut last = Ok(());
            for (record, began) in story {
                last = runs.follow(&record, began);
            }
            assert_eq!(last.is_ok(), holds, "{last:?}");
        }
        // What the registry has erased may have been given back before.
        let mut runs = Runs::default();
        runs.follow(&record(Some("a"), first), true).unwrap();
        runs.erased();
        runs.follow(&record(Some("a"), early), true).unwrap();
    }
}
