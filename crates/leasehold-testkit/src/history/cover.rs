//! Which instants a handle may believe at: those that a grant of its own covers. A grant covers from when it was sent
//! until it has run out, or until its handle knows of a newer one, which may end sooner.

use super::types::Time;

/// A grant of a term, as far as its handle's belief depends on it. A proxy's is none: no handle knows of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) process: u32,
    /// None: nobody said which of the process's.
    pub(crate) handle: Option<u64>,
    /// The change that made it.
    pub(crate) maker: u32,
    /// Whether that was a claim on the term.
    pub(crate) claim: bool,
    /// From when it can have been applied.
    pub(crate) from: Time,
    /// When it has run out, or been replaced by a newer one of its handle's, at the latest.
    pub(crate) until: Time,
    /// When its handle knew of it, at the latest. `Time::MAX`: perhaps never.
    pub(crate) known: Time,
}

impl Grant {
    fn owner(&self) -> (u32, Option<u64>) {
        (self.process, self.handle)
    }
}

/// Sorts a term's grants by their handles, each handle's in their order, and ends each when a newer one was known.
pub(crate) fn settle(grants: &mut [Grant]) {
    // Mostly there is but one handle.
    if !grants.is_sorted_by_key(Grant::owner) {
        grants.sort_by_key(Grant::owner);
    }
    for own in grants.chunk_by_mut(|left, right| left.owner() == right.owner()) {
        if own.first().is_none_or(|grant| grant.handle.is_none()) {
            continue;
        }
        let mut newer = Time::MAX;
        for grant in own.iter_mut().rev() {
            grant.until = grant.until.min(newer);
            newer = newer.min(grant.known);
        }
    }
}

/// The grants that may be a handle's.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    /// Those that are.
    own: &'a [Grant],
    /// Those of which nobody said which of its process's handles they are of.
    unsaid: &'a [Grant],
    /// From when anything may be: it is not known which change was applied.
    anyone: Option<Time>,
    error: Time,
}

/// Why a belief is not covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// The handle has no grant of the term.
    NoGrant,
    /// It begins before this change, the handle's first, can have been applied; whether that is a claim.
    Before(u32, bool),
    /// All earlier grants had run out by then.
    After(Time),
}

impl<'a> Own<'a> {
    /// Of the settled grants of a term, a handle's.
    pub(crate) fn of(
        grants: &'a [Grant],
        anyone: Option<Time>,
        (process, handle): (u32, u64),
        error: Time,
    ) -> Self {
        let owned = |owner: (u32, Option<u64>)| {
            let from = grants.partition_point(|grant| grant.owner() < owner);
            let rest = grants.get(from..).unwrap_or_default();
            let count = rest.partition_point(|grant| grant.owner() == owner);
            rest.get(..count).unwrap_or_default()
        };
        Self {
            own: owned((process, Some(handle))),
            unsaid: owned((process, None)),
            anyone,
            error,
        }
    }

    /// Whether each instant from `begin` until just before `end` is covered.
    pub(crate) fn cover(&self, begin: Time, end: Time) -> Result<(), Gap> {
        let mut reach = begin;
        let mut passed = None;
        let (mut own, mut unsaid) = (self.own.iter().peekable(), self.unsaid.iter().peekable());
        while reach < end {
            let of_own = match (own.peek(), unsaid.peek()) {
                (Some(one), Some(other)) => one.from <= other.from,
                (one, _) => one.is_some(),
            };
            let next = if of_own { own.next() } else { unsaid.next() };
            // The recorded beginning and the recorded sending may both be wrong.
            let begun = |from: Time| from.saturating_sub(self.error) <= reach;
            match next {
                Some(grant) if begun(grant.from) => {
                    let until = grant.until.saturating_add(self.error);
                    reach = reach.max(until);
                    passed = passed.max(Some(until));
                }
                _ if self.anyone.is_some_and(begun) => return Ok(()),
                _ => {
                    return Err(match (passed, next) {
                        (Some(until), _) => Gap::After(until),
                        (None, Some(grant)) => Gap::Before(grant.maker, grant.claim),
                        (None, None) => Gap::NoGrant,
                    });
                }
            }
        }
        Ok(())
    }

    /// From when another grant than the one of this change, sent then or later, may count.
    pub(crate) fn next_after(&self, sent: Time, maker: u32) -> Time {
        let early = sent.saturating_sub(self.error);
        let next = |grants: &[Grant]| {
            let from = grants.partition_point(|grant| grant.from < early);
            let mut rest = grants.get(from..).unwrap_or_default().iter();
            let next = rest.find(|grant| grant.maker != maker);
            next.map_or(Time::MAX, |grant| grant.from)
        };
        // Whatever was applied earlier may have become known only now.
        let anyone = self.anyone.unwrap_or(Time::MAX).max(early);
        next(self.own).min(next(self.unsaid)).min(anyone)
    }
}
