//! From a change to a transaction: which native lease carries it, and who must be waited for.

use std::time::Duration;

use bytes::Bytes;
use leasehold_core::mutants::{Mutant, mutant};
use leasehold_core::store::{Believe, Change, Expect, Reopen, Take, Vacate};
use leasehold_core::{AttemptId, BootInstant, LeaseName, Record};

use crate::api::{Attach, Compare, Is, LeaseId, Op, Txn};
use crate::keys::{Keys, mark_of};
use crate::lease::{Native, seconds};
use crate::table::{Pending, Table, Taken};

/// A change that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) change: Change,
    pub(crate) txn: Txn,
    /// When the change was first asked for.
    pub(crate) sent: BootInstant,
    /// The native lease that carries the grant.
    pub(crate) native: Option<LeaseId>,
    /// Whether a keep-alive of it goes beside the transaction.
    pub(crate) keep: bool,
    /// Until when somebody else may believe.
    pub(crate) wait_until: BootInstant,
    /// A tombstone: until when the name stays taken.
    pub(crate) taken_until: Option<BootInstant>,
}

/// What a change needs before it can be sent.
#[derive(Debug)]
pub(crate) enum Need {
    /// To know the record that it replaces.
    Read,
    /// A native lease, from those that are ready.
    Ready(u64),
    /// A native lease that is granted now: after the record was read that the change replaces.
    Fresh(u64),
}

impl Plan {
    pub(crate) fn name(&self) -> &LeaseName {
        self.change.name()
    }

    pub(crate) fn attempt(&self) -> AttemptId {
        self.change.attempt()
    }
}

impl Table {
    /// Plans a change; `native` is what it asked for before.
    pub(crate) fn plan(
        &mut self,
        change: &Change,
        now: BootInstant,
        native: &mut Option<Native>,
    ) -> Result<Plan, Need> {
        match change {
            Change::Take(take) => match take.expect {
                Expect::Vacant(vacancy) => self.acquire(take, vacancy, now, native),
                Expect::Index(index) => self.replace(take, index, now, native),
            },
            Change::Vacate(vacate) => self.vacate(vacate, now, native),
        }
    }

    /// The name is vacant when its lease is gone, and only then; which vacancy it is, its mark tells.
    fn acquire(
        &mut self,
        take: &Take,
        vacancy: Option<u64>,
        now: BootInstant,
        native: &mut Option<Native>,
    ) -> Result<Plan, Need> {
        let wait_until = match take.believe {
            Believe::After(length) => now.plus(length),
            Believe::Now | Believe::AfterReplaced => BootInstant::ZERO,
        };
        let want = seconds(take.hold.max(wait_until.since(now)));
        let Some((id, ttl, keep)) = self.carrier(take, now, native, true) else {
            return Err(Need::Ready(want));
        };
        let keys = self.keys.of(&take.name);
        let mut when = vec![is(&keys.lease, Is::Absent)];
        match vacancy {
            None => when.push(is(&keys.mark, Is::Absent)),
            Some(index) => {
                when.push(is(&keys.mark, Is::Present));
                when.push(is(&keys.mark, Is::UpTo(index)));
            }
        }
        let record = grant(take, ttl, wait_until.since(now));
        let then = vec![
            put(&keys.lease, &record, Attach::To(id)),
            put(&keys.mark, &mark_of(&record), Attach::Nothing),
        ];
        Ok(self.taking(take, keys, (when, then), (id, keep), wait_until))
    }

    /// Renew, steal, claim: the lease of exactly this index is replaced.
    fn replace(
        &mut self,
        take: &Take,
        index: u64,
        now: BootInstant,
        native: &mut Option<Native>,
    ) -> Result<Plan, Need> {
        if self
            .held
            .get(&take.name)
            .is_some_and(|held| held.attempt == take.attempt)
        {
            return Ok(self.ask(take, now));
        }
        let wait_until = match take.believe {
            Believe::Now => self.inherited(&take.name, index)?,
            Believe::After(length) => self.inherited(&take.name, index)?.max(now.plus(length)),
            Believe::AfterReplaced => {
                let taken = self.lessee(&take.name, index)?;
                self.inherited(&take.name, index)?.max(taken.end())
            }
        };
        let want = seconds(take.hold);
        let moving = self.attempt(take, now, false).native.is_some();
        // The protected side tells terms apart by their native leases: each begins on another one, a theft from oneself
        // and without a wait included. Its fence is larger than the index that it replaces.
        let begins = if mutant(Mutant::StealKeepsNativeLease) {
            false
        } else {
            take.record.fence.is_some_and(|fence| fence > index)
        };
        let stays = self.own(&take.name, index).filter(|held| {
            let fits = held.native.asked == want || (now < wait_until && held.native.asked > want);
            take.believe == Believe::Now && fits && !moving && !begins
        });
        let (id, ttl, keep, attach) = match stays {
            Some(held) => (held.native.id, held.native.ttl, true, Attach::Same),
            None => {
                // Whoever may still believe reckons with the record that was read: what carries the name from now on
                // was granted after that, and lasts as long.
                let Some((id, ttl, keep)) = self.carrier(take, now, native, false) else {
                    let wait = seconds(wait_until.since(now));
                    return Err(Need::Fresh(if mutant(Mutant::StealTtlTooShort) {
                        want
                    } else {
                        want.max(wait)
                    }));
                };
                (id, ttl, keep, Attach::To(id))
            }
        };
        let keys = self.keys.of(&take.name);
        let record = grant(take, ttl, wait_until.since(now));
        let when = vec![is(&keys.lease, Is::At(index))];
        let mut then = vec![put(&keys.lease, &record, attach)];
        if !take.same_body {
            then.push(put(&keys.mark, &mark_of(&record), Attach::Nothing));
        }
        Ok(self.taking(take, keys, (when, then), (id, keep), wait_until))
    }

    /// An attempt that an earlier send of it has applied: what stands there is asked for, and changes nothing.
    pub(crate) fn ask(&mut self, take: &Take, now: BootInstant) -> Plan {
        let held = self.held.get(&take.name);
        let held = held.filter(|held| held.attempt == take.attempt);
        let id = held.map(|held| held.native.id);
        let (sent, wait_until) = match self.pending.get(&take.attempt) {
            Some(pending) => (pending.sent, pending.wait_until),
            None => (now, BootInstant::ZERO),
        };
        let keys = self.keys.of(&take.name);
        // No key is both.
        let when = vec![is(&keys.lease, Is::Absent), is(&keys.lease, Is::Present)];
        Plan {
            change: Change::Take(take.clone()),
            txn: txn(&keys, when, Vec::new()),
            sent,
            native: id,
            keep: id.is_some(),
            wait_until,
            taken_until: None,
        }
    }

    /// Release, break: the lease is deleted, or a tombstone takes its place until the wait is over.
    fn vacate(
        &mut self,
        vacate: &Vacate,
        now: BootInstant,
        native: &mut Option<Native>,
    ) -> Result<Plan, Need> {
        let wait_until = self.inherited(&vacate.name, vacate.index)?;
        let reopen = match vacate.reopen {
            Reopen::Now => BootInstant::ZERO,
            Reopen::AfterReplaced => self.lessee(&vacate.name, vacate.index)?.end(),
            Reopen::After(length) => now.plus(length),
        };
        let end = reopen.max(wait_until);
        let keys = self.keys.of(&vacate.name);
        let mut record = vacate.record.clone();
        let mark = put(&keys.mark, &record, Attach::Nothing);
        let (then, taken_until) = if end <= now {
            (vec![Op::Delete(keys.lease.clone()), mark], None)
        } else {
            // Rule *tombstone-ttl-too-short*: its native lease covers the wait.
            let Some(native) = native.take() else {
                let length = if mutant(Mutant::TombstoneTtlTooShort) {
                    Duration::ZERO
                } else {
                    end.since(now)
                };
                return Err(Need::Fresh(seconds(length)));
            };
            record.wait = wait_until.since(now);
            record.hold = end.since(now);
            let tombstone = put(&keys.lease, &record, Attach::To(native.id));
            (vec![tombstone, mark], Some(end))
        };
        let when = vec![is(&keys.lease, Is::At(vacate.index))];
        Ok(Plan {
            change: Change::Vacate(vacate.clone()),
            txn: txn(&keys, when, then),
            sent: now,
            native: None,
            keep: false,
            wait_until,
            taken_until,
        })
    }

    /// Until when somebody may believe because of a wait that the record of this index carries.
    fn inherited(&mut self, name: &LeaseName, index: u64) -> Result<BootInstant, Need> {
        match self.own(name, index) {
            Some(held) => Ok(held.wait_until),
            None => Ok(self.lessee(name, index)?.wait_until()),
        }
    }

    /// The lease of this index as it was seen.
    fn lessee(&mut self, name: &LeaseName, index: u64) -> Result<Taken, Need> {
        self.saw(name, index)
            .filter(|taken| taken.held)
            .ok_or(Need::Read)
    }

    /// The native lease that the name is moved to: the one that this attempt was sent with before, or the one that was
    /// got for it. And whether it is worth renewing.
    fn carrier(
        &mut self,
        take: &Take,
        now: BootInstant,
        native: &mut Option<Native>,
        acquires: bool,
    ) -> Option<(LeaseId, Duration, bool)> {
        let pending = self.attempt(take, now, acquires);
        // What is past its time is left to run out.
        let usable = |native: &Native| now < native.hoped();
        if !pending.native.as_ref().is_some_and(usable) {
            pending.native = native.take().filter(usable);
        }
        let native = pending.native.as_ref()?;
        Some((native.id, native.ttl, native.counted() < pending.sent))
    }

    /// What is known of an attempt: from when it was first asked for.
    fn attempt(&mut self, take: &Take, now: BootInstant, acquires: bool) -> &mut Pending {
        self.pending.entry(take.attempt).or_insert_with(|| Pending {
            native: None,
            sent: now,
            acquires,
            unknown: false,
            watched: false,
            hold: take.hold,
            wait_until: BootInstant::ZERO,
        })
    }

    fn taking(
        &mut self,
        take: &Take,
        keys: Keys,
        (when, then): (Vec<Compare>, Vec<Op>),
        (id, keep): (LeaseId, bool),
        wait_until: BootInstant,
    ) -> Plan {
        let pending = self.pending.get_mut(&take.attempt);
        let sent = pending.map_or(BootInstant::ZERO, |pending| {
            pending.wait_until = pending.wait_until.max(wait_until);
            pending.sent
        });
        Plan {
            change: Change::Take(take.clone()),
            txn: txn(&keys, when, then),
            sent,
            native: Some(id),
            keep,
            wait_until,
            taken_until: None,
        }
    }
}

/// What of a native lease's time is granted: not what the name stays taken for beyond that.
pub(crate) fn granted(take: &Take, ttl: Duration) -> Duration {
    let period = take.record.period.unwrap_or(take.hold);
    ttl.saturating_sub(take.hold.saturating_sub(period))
}

/// The record of a grant: its period is what was granted, and for as long as its native lease lasts it holds.
fn grant(take: &Take, ttl: Duration, wait: Duration) -> Record {
    Record {
        period: Some(granted(take, ttl)),
        hold: ttl,
        wait,
        ..take.record.clone()
    }
}

fn is(key: &Bytes, is: Is) -> Compare {
    let key = key.clone();
    Compare { key, is }
}

fn put(key: &Bytes, record: &Record, lease: Attach) -> Op {
    Op::Put {
        key: key.clone(),
        value: Bytes::from(record.encode()),
        lease,
    }
}

/// Where it is refused, what stands there is told in the same step.
fn txn(keys: &Keys, when: Vec<Compare>, then: Vec<Op>) -> Txn {
    Txn {
        when,
        then,
        otherwise: vec![Op::Get(keys.lease.clone()), Op::Get(keys.mark.clone())],
    }
}
