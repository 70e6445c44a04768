//! A row as it was read: what the atomic step needs of it, and what a caller sees.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::contract::{Found, Instants};
use leasehold_core::store::Seen;
use leasehold_core::{AttemptId, Body, ErrorKind, MAX_INDEX, Origin, Record};
use rusqlite::types::ValueRef;

use crate::fault::Failure;

/// The columns that [`Row::read`] reads, in its order; a column `l.body` may follow.
pub(crate) const HOT: &str =
    "l.id, h.id, h.idx, h.fence, h.attempt, h.period_ns, h.held, h.believe_from, h.vacant_from";
/// Where `l.body` follows.
pub(crate) const BODY: usize = 9;

/// The narrow part of a record.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) has_hot: bool,
    pub(crate) index: u64,
    pub(crate) held: bool,
    /// None: foreign, nobody knows when its term ends.
    pub(crate) instants: Option<Instants>,
    fence: Option<u64>,
    attempt: Option<AttemptId>,
    period: Option<Duration>,
    /// What is wrong with the row, where something is.
    damage: Option<String>,
}

impl Row {
    /// Reads the columns [`HOT`]. Damage is kept, not an error: the row counts as held.
    pub(crate) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let mut damage = None;
        let mut number = |at: usize, column: &str, most: u64| -> rusqlite::Result<Option<u64>> {
            let found = match row.get_ref(at)? {
                ValueRef::Null => return Ok(None),
                ValueRef::Integer(value) => match u64::try_from(value) {
                    Ok(value) if value <= most => return Ok(Some(value)),
                    _ => value.to_string(),
                },
                other => format!("{:?}", other.data_type()),
            };
            damage = Some(format!("hot.{column} is {found}"));
            Ok(None)
        };
        let index = number(2, "idx", MAX_INDEX)?;
        let fence = number(3, "fence", MAX_INDEX)?;
        let period = number(5, "period_ns", u64::MAX)?;
        let held = number(6, "held", 1)?;
        let believe_from = number(7, "believe_from", u64::MAX)?;
        let vacant_from = number(8, "vacant_from", u64::MAX)?;
        let attempt = match row.get_ref(4)? {
            ValueRef::Null => None,
            ValueRef::Blob(bytes) if bytes.len() == 16 => {
                let mut id = [0; 16];
                id.copy_from_slice(bytes);
                Some(AttemptId(id))
            }
            other => {
                damage = Some(format!("hot.attempt is {:?}", other.data_type()));
                None
            }
        };
        let instants = match (believe_from, vacant_from, &damage) {
            (Some(believe_from), Some(vacant_from), None) if index.is_some() => Some(Instants {
                believe_from,
                vacant_from,
            }),
            _ => None,
        };
        Ok(Self {
            id: row.get(0)?,
            has_hot: !matches!(row.get_ref(1)?, ValueRef::Null),
            index: index.unwrap_or_default(),
            held: held != Some(0) || instants.is_none(),
            instants,
            fence,
            attempt,
            period: period.map(Duration::from_nanos),
            damage,
        })
    }

    /// An error if the row cannot be trusted.
    pub(crate) fn check(&self, path: &Path) -> Result<(), Failure> {
        match &self.damage {
            None => Ok(()),
            Some(damage) => Err(Failure::new(
                ErrorKind::Foreign,
                format!(
                    "the lease's row in {} is damaged ({damage}): it counts as held and was left alone",
                    path.display()
                ),
            )),
        }
    }

    /// The whole record, and the row as its body makes it: what leasehold did not write has no known end.
    pub(crate) fn with_body(mut self, body: &[u8]) -> (Self, Record) {
        let mut record = Record::decode(body);
        if let Some(damage) = &self.damage {
            record.origin = Origin::Unreadable(format!("a damaged row ({damage})"));
        }
        if record.origin != Origin::Leasehold {
            self.instants = None;
        }
        self.held = record.is_held();
        if record.origin == Origin::Leasehold {
            record.fence = self.fence.or(record.fence);
            record.attempt = self.attempt.or(record.attempt);
            record.period = self.period.or(record.period);
        }
        (self, record)
    }

    /// The record where the body is known to be this one.
    pub(crate) fn with_same_body(&self, body: &Arc<Body>) -> Record {
        Record {
            index: None,
            fence: self.fence,
            attempt: self.attempt,
            period: self.period,
            wait: Duration::ZERO,
            hold: Duration::ZERO,
            body: body.clone(),
            origin: Origin::Leasehold,
        }
    }

    pub(crate) fn found(&self) -> Found {
        Found {
            index: self.index,
            held: self.held,
            instants: self.instants,
        }
    }

    pub(crate) fn seen(&self, record: Record, now: u64) -> Seen {
        Seen {
            index: self.index,
            record,
            wait: self.instants.map_or(Duration::ZERO, |i| i.wait_at(now)),
            left: self.instants.map(|i| i.left_at(now)),
        }
    }
}
