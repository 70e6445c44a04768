//! What handles sent that ends or bounds their belief, whatever became of it: releases, and renewals while they are
//! unresolved.

use super::chain::NONE;
use super::records::History;
use super::terms::at_most;
use super::types::{Operation, Outcome, Time};

/// Name, process and handle.
pub(crate) type Key = (u32, u32, u64);

/// In the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The first of each handle.
    releases: Vec<Release>,
    /// Those that can end a belief sooner: those that did not succeed, or of which that was known late.
    renewals: Vec<Renewal>,
}

/// A handle's or claimant's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    key: Key,
    pub(crate) invoked: Time,
    pub(crate) number: u32,
}

/// A handle's or claimant's renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Renewal {
    key: Key,
    pub(crate) invoked: Time,
    /// Until when it asked to be believed, at the latest.
    pub(crate) until: Time,
    /// When its success was known; otherwise it never is.
    pub(crate) returned: Time,
    pub(crate) number: u32,
}

impl Sent {
    pub(crate) fn gather(history: &History) -> Self {
        let mut sent = Self::default();
        for (number, row) in history.rows().iter().enumerate() {
            let (releases, renews) = (row.is_clean_release(), row.is_own_renewal());
            if !releases && !renews {
                continue;
            }
            let operation = row.unpack();
            let Some(handle) = operation.handle else {
                continue;
            };
            let key = (operation.name.0, operation.process, handle);
            let number = u32::try_from(number).unwrap_or(NONE);
            if releases {
                sent.releases.push(Release {
                    key,
                    invoked: operation.invoked,
                    number,
                });
            } else if let Some(renewal) = renewal(history, &operation, key, number) {
                sent.renewals.push(renewal);
            }
        }
        sent.releases.sort_unstable();
        sent.releases.dedup_by_key(|release| release.key);
        sent.renewals.sort_unstable();
        sent
    }

    /// A handle's first release.
    pub(crate) fn release(&self, key: Key) -> Option<&Release> {
        let place = self
            .releases
            .binary_search_by_key(&key, |release| release.key);
        self.releases.get(place.ok()?)
    }

    /// A handle's renewals.
    pub(crate) fn renewals(&self, key: Key) -> &[Renewal] {
        let from = self.renewals.partition_point(|renewal| renewal.key < key);
        let rest = self.renewals.get(from..).unwrap_or_default();
        let count = rest.partition_point(|renewal| renewal.key == key);
        rest.get(..count).unwrap_or_default()
    }
}

fn renewal(history: &History, operation: &Operation, key: Key, number: u32) -> Option<Renewal> {
    let header = history.header();
    // What was granted may be longer than what was asked for, and may have been known before that was recorded. It may be
    // shorter too, down to nothing where what carried it was gone: until that is known what was asked for counts.
    let asked = operation.period?;
    let period = match operation.outcome {
        Outcome::Granted { period, .. } => asked.max(period),
        _ => asked,
    };
    let returned = operation.returned.filter(|_| operation.applied().is_some());
    let returned = returned.unwrap_or(Time::MAX);
    let lasts = at_most(period, header.drift_ppm.into());
    let until = operation
        .invoked
        .saturating_add(header.error)
        .saturating_add(lasts);
    (returned > until).then_some(Renewal {
        key,
        invoked: operation.invoked,
        until,
        returned,
        number,
    })
}
