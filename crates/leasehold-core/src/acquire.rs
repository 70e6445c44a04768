//! Acquire, steal, break: the changes that begin or end a term from outside.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::door::DoorExt;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::manager::{Core, Kept, Progress, Vacancy, over};
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::outcome::{Resolved, shows, unknown};
use crate::record::{Body, Ended, EndedHow, MAX_INDEX, Origin, Ran, Record, check_details};
use crate::request::{Attempt, Busy, Displace};
use crate::slot::{Skipped, Slot};
use crate::status::{Status, shown};
use crate::store::{Applied, Believe, Change, Expect, Reopen, Seen, Take, Vacate};
use crate::time::BootInstant;

/// A checked request.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) machine_id: String,
    pub(crate) version: i64,
    pub(crate) period: Duration,
    pub(crate) note: Option<String>,
    pub(crate) data: Option<bytes::Bytes>,
    pub(crate) policy: Option<String>,
    pub(crate) delay: Duration,
    pub(crate) slot: Option<Slot>,
}

/// What a sent grant needs to be told or given back.
struct Asked {
    take: Take,
    sent: BootInstant,
    /// What the record that it replaces had to hand on: a grant that nobody takes up leaves no other slot closed.
    before: Kept,
}

impl Core {
    /// Acquire: names the vacancy it saw, and learns of it from the refusal where there was another.
    pub(crate) async fn take_vacant(
        self: Arc<Self>,
        name: LeaseName,
        grant: Grant,
        progress: &Progress,
    ) -> Result<Attempt> {
        let _turn = self.names.turn(&name).await;
        let (mut vacancy, mut found) = (self.vacancy(&name), false);
        // A blind patch looks first, and then compares nothing.
        if mutant(Mutant::BlindAcquire)
            && let Some(seen) = self.get("acquire", &name).await?
            && seen.is_held()
        {
            let status = Status::new(name, seen);
            return Ok(Attempt::Busy(Busy { status }));
        }
        loop {
            progress.awaited()?;
            if let Some(skipped) = grant.skipped(&name, &vacancy, self.door.wall()) {
                if found {
                    return Ok(Attempt::Skipped(skipped));
                }
                // Another run may have closed the slot for less since this was remembered.
                vacancy = Vacancy::default();
            }
            let asked = self.take(
                &name,
                &grant,
                (vacancy.ended.as_deref().cloned(), vacancy.kept.clone()),
                Expect::Vacant(vacancy.index),
                Believe::Now,
                None,
            )?;
            progress.sending();
            let last_send = self.deadline(asked.sent, grant.period, None);
            let change = Change::Take(asked.take.clone());
            match self.resolve(change, last_send).await {
                Resolved::Applied(applied) => {
                    return self
                        .taken(name, asked, applied, progress)
                        .await
                        .map(Attempt::Acquired);
                }
                Resolved::Refused(None) if vacancy.index.is_some() => vacancy = Vacancy::default(),
                // Refused for a vacancy that is not there, yet nothing is there: it comes and goes.
                Resolved::Refused(None) => self.door.sleep(Duration::from_millis(1)).await,
                Resolved::Refused(Some(seen)) => {
                    seen.record.judged()?;
                    if !seen.is_vacant() {
                        return Ok(Attempt::Busy(Busy {
                            status: Status::new(name, seen),
                        }));
                    }
                    if vacancy.index == Some(seen.index) {
                        self.door.sleep(Duration::from_millis(1)).await;
                    }
                    (vacancy, found) = (Vacancy::of(&seen), true);
                }
                Resolved::NotApplied(error) => return Err(error),
                Resolved::Unknown(error) => {
                    self.fence_off(&name, &asked).await;
                    return Err(unknown(
                        error,
                        "if it was, it runs out by itself within a period",
                    ));
                }
            }
        }
    }

    /// Steal: replaces exactly the grant of the index that was named, and waits it out.
    pub(crate) async fn take_from(
        self: Arc<Self>,
        name: LeaseName,
        grant: Grant,
        displace: Displace,
        progress: &Progress,
    ) -> Result<Lease> {
        let _turn = self.names.turn(&name).await;
        let seen = self.displaced(&name, &displace, "steal").await?;
        progress.awaited()?;
        let ended = Ended {
            how: EndedHow::Stolen,
            by: Some(grant.machine_id.clone()),
            reason: displace.reason.clone(),
            fence: Some(seen.fence()),
        };
        let believe = if displace.assume_dead || mutant(Mutant::StealWithoutWait) {
            Believe::Now
        } else {
            Believe::AfterReplaced
        };
        // Larger than every index and fence that the replaced term and its predecessors ever showed.
        let fence = if mutant(Mutant::StealKeepsFence) {
            seen.fence()
        } else {
            seen.index + 1
        };
        let asked = self.take(
            &name,
            &grant,
            (Some(ended), Kept::of(&seen.record)),
            Expect::Index(seen.index),
            believe,
            Some(fence),
        )?;
        progress.sending();
        let last_send = self.deadline(asked.sent, grant.period, None);
        let change = Change::Take(asked.take.clone());
        match self.resolve(change, last_send).await {
            Resolved::Applied(applied) => self.taken(name, asked, applied, progress).await,
            Resolved::Refused(found) => Err(self.moved(&name, displace.index, found)),
            Resolved::NotApplied(error) => Err(error),
            Resolved::Unknown(error) => {
                self.fence_off(&name, &asked).await;
                Err(unknown(
                    error,
                    "if it was, it runs out by itself within a period",
                ))
            }
        }
    }

    /// Break: ends the term of the index that was named; the name stays taken until it is waited out.
    pub(crate) async fn break_term(
        self: Arc<Self>,
        name: LeaseName,
        displace: Displace,
        progress: &Progress,
    ) -> Result<Status> {
        let _turn = self.names.turn(&name).await;
        let seen = self.displaced(&name, &displace, "break").await?;
        progress.awaited()?;
        let ended = Ended {
            how: EndedHow::Broken,
            by: Some(self.machine_id.clone()),
            reason: displace.reason.clone(),
            fence: Some(seen.fence()),
        };
        let reopen = if displace.assume_dead || mutant(Mutant::BreakVacantAtOnce) {
            Reopen::Now
        } else {
            Reopen::AfterReplaced
        };
        let kept = Kept::of(&seen.record);
        let vacate = self.vacate(&name, seen.index, kept, ended, reopen);
        progress.sending();
        let last_send = self.door.now().plus(self.timeout);
        let record = vacate.record.clone();
        match self.resolve(Change::Vacate(vacate), last_send).await {
            Resolved::Applied(applied) => {
                // Known without another read, which might fail: what was left of the grant before is a bound.
                let replaced = match displace.assume_dead {
                    true => Duration::ZERO,
                    false => seen.left.unwrap_or_default(),
                };
                let tombstone = Seen {
                    index: applied.index,
                    record,
                    wait: applied.wait,
                    left: Some(applied.wait.max(replaced)),
                };
                Ok(Status::new(name, tombstone))
            }
            Resolved::Refused(found) => Err(self.moved(&name, displace.index, found)),
            Resolved::NotApplied(error) => Err(error),
            Resolved::Unknown(error) => Err(unknown(
                error,
                "look again, and break again if it still stands",
            )),
        }
    }

    /// What a steal or break is about to displace: exactly what was named, or an error.
    async fn displaced(
        &self,
        name: &LeaseName,
        displace: &Displace,
        what: &'static str,
    ) -> Result<Seen> {
        if displace.index >= MAX_INDEX {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} is no index", displace.index),
            ));
        }
        // Kept in the record like a note, and shown like one.
        check_details(displace.reason.as_deref(), None)?;
        let Some(seen) = self.get(what, name).await? else {
            return Err(Error::new(
                ErrorKind::Gone,
                "nobody holds it: acquire it instead",
            ));
        };
        match &seen.record.origin {
            Origin::Newer(_) => seen.record.judged()?,
            Origin::Unreadable(_) if !displace.assume_dead => seen.record.judged()?,
            _ => {}
        }
        if !seen.is_held() {
            return Err(over(&Status::new(name.clone(), seen)));
        }
        if seen.index != displace.index && !mutant(Mutant::StealIgnoresProgress) {
            return Err(self.moved(name, displace.index, Some(seen)));
        }
        if seen.left.is_none() && !displace.assume_dead {
            return Err(Error::new(
                ErrorKind::Foreign,
                format!(
                    "{} holds it by a record that leasehold did not write, whose end nobody knows: a {what} cannot \
                     wait it out; make sure that it is dead and say so (assume dead)",
                    shown(seen.record.body.machine_id.as_deref().unwrap_or("somebody"))
                ),
            ));
        }
        Ok(seen)
    }

    /// A grant was applied: the lease, unless nobody can use it any more.
    async fn taken(
        self: Arc<Self>,
        name: LeaseName,
        asked: Asked,
        applied: Applied,
        progress: &Progress,
    ) -> Result<Lease> {
        let Asked { take, sent, before } = asked;
        // Read after the success is known; what is left of the wait counts from here.
        let known = self.door.now();
        let begin = if mutant(Mutant::BeginBeforeSuccessKnown) {
            sent.plus(applied.wait)
        } else {
            known.plus(applied.wait)
        };
        let sent = if mutant(Mutant::DeadlineFromReply) {
            known
        } else {
            sent
        };
        let deadline = self.deadline(sent, applied.granted, applied.counted_from);
        let own = if mutant(Mutant::FenceCounterOverflows) {
            applied.index.to_le_bytes()[0].into()
        } else {
            applied.index
        };
        let fence = take.record.fence.unwrap_or(own);
        if progress.is_abandoned() {
            if !mutant(Mutant::AbandonedAcquireNotGivenBack) {
                self.give_back(&name, applied.index, &take.record, fence, before)
                    .await;
            }
            return Err(Error::new(ErrorKind::Unavailable, "given up"));
        }
        if self.door.now() >= deadline {
            if !mutant(Mutant::LateSuccessNotGivenBack) {
                self.give_back(&name, applied.index, &take.record, fence, before)
                    .await;
            }
            return Err(Error::new(
                ErrorKind::Expired,
                format!(
                    "it was granted, but the answer took longer than the period of {:?}",
                    applied.granted
                ),
            ));
        }
        tracing::debug!(%name, index = applied.index, fence, machine_id = take.record.body.machine_id.as_deref(), "granted");
        Ok(Lease::granted(
            self,
            name,
            fence,
            &take.record,
            &applied,
            (begin, deadline),
        ))
    }

    /// A grant stayed unknown, and the time for sending it again is over. If it was applied after all it is given back;
    /// if an acquire could still be applied later, the vacancy that it names is made to move on.
    async fn fence_off(&self, name: &LeaseName, asked: &Asked) {
        let Asked { take, before, .. } = asked;
        let at = self.door.now().plus(self.timeout);
        let mut pause = Duration::from_millis(20);
        let seen = loop {
            match self.read("acquire", name).await {
                Ok(seen) => break seen,
                Err(_) if self.door.now().plus(pause) < at => self.door.sleep(pause).await,
                // It holds at most one period from its application.
                Err(_) => return,
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        };
        if let Some(seen) = &seen
            && shows(seen, take.attempt)
        {
            let fence = seen.fence();
            let before = before.clone();
            return self
                .give_back(name, seen.index, &take.record, fence, before)
                .await;
        }
        if mutant(Mutant::AcquireAppliedAfterReRead) {
            return;
        }
        let standing = seen.as_ref().map(|seen| seen.index);
        let vacant = seen.is_none_or(|seen| seen.is_vacant());
        if take.expect != Expect::Vacant(standing) || !vacant {
            return;
        }
        let attempt = self.door.attempt_id();
        let mut again = take.clone();
        again.attempt = attempt;
        again.record.attempt = Some(attempt);
        let last_send = self.door.now().plus(self.timeout.min(take.hold));
        if let Resolved::Applied(applied) = self.resolve(Change::Take(again), last_send).await {
            let before = before.clone();
            self.give_back(name, applied.index, &take.record, applied.index, before)
                .await;
        }
    }

    /// Releases a grant that nobody will use, once, as its own handle.
    pub(crate) async fn give_back(
        &self,
        name: &LeaseName,
        index: u64,
        record: &Record,
        fence: u64,
        kept: Kept,
    ) {
        let kept = if mutant(Mutant::GivenBackClosesSlot) {
            Kept::of(record)
        } else {
            kept
        };
        let ended = Ended {
            how: EndedHow::Released,
            by: record.body.machine_id.clone(),
            reason: None,
            fence: Some(fence),
        };
        let vacate = self.vacate(name, index, kept, ended, Reopen::Now);
        let last_send = self.door.now().plus(self.timeout);
        let resolved = self.resolve(Change::Vacate(vacate), last_send).await;
        tracing::debug!(%name, index, ?resolved, "gave back a grant that came too late");
    }

    /// A grant to be sent, as handed to the driver for the first time now.
    fn take(
        &self,
        name: &LeaseName,
        grant: &Grant,
        (ended, before): (Option<Ended>, Kept),
        expect: Expect,
        believe: Believe,
        fence: Option<u64>,
    ) -> Result<Asked> {
        let attempt = self.door.attempt_id();
        let wall = self.door.wall();
        let after = grant.closes(wall, &before)?;
        let body = Arc::new(grant.body(wall, ended.map(Box::new), after));
        let period = Some(grant.period);
        let record = Record {
            fence,
            period,
            ..Record::new(body, attempt)
        };
        let sent = self.door.now();
        let take = Take {
            name: name.clone(),
            attempt,
            expect,
            record,
            same_body: false,
            believe,
            hold: grant.period.saturating_add(grant.delay),
            durable: grant.slot.is_some(),
        };
        Ok(Asked { take, sent, before })
    }

    /// The tombstone that ends a grant.
    pub(crate) fn vacate(
        &self,
        name: &LeaseName,
        index: u64,
        kept: Kept,
        ended: Ended,
        reopen: Reopen,
    ) -> Vacate {
        let attempt = self.door.attempt_id();
        let kept = if mutant(Mutant::ReleaseReopensSlot) {
            Kept {
                closed: None,
                ..kept
            }
        } else {
            kept
        };
        let body = Body {
            needs: 1,
            closed: kept.closed,
            ran: kept.ran,
            unknown: kept.unknown,
            ended: Some(Box::new(ended)),
            ..Body::default()
        };
        let record = Record::new(Arc::new(body), attempt);
        Vacate {
            name: name.clone(),
            attempt,
            index,
            record,
            reopen,
        }
    }

    /// *The lessee stops first*: when belief ends for a grant that was first sent at `sent`, and whose expiry counts from
    /// an earlier instant where another object carries it.
    pub(crate) fn deadline(
        &self,
        sent: BootInstant,
        period: Duration,
        counted: Option<BootInstant>,
    ) -> BootInstant {
        counted
            .map_or(sent, |counted| counted.min(sent))
            .plus(period)
            .minus(self.capabilities.margin(period))
    }

    /// The error for a change that named an index which no longer stands.
    pub(crate) fn moved(&self, name: &LeaseName, index: u64, found: Option<Seen>) -> Error {
        let Some(seen) = found else {
            return Error::new(ErrorKind::Gone, "nobody holds it any more");
        };
        if let Err(error) = seen.record.judged() {
            return error;
        }
        let status = Status::new(name.clone(), seen);
        if !status.is_held() {
            return over(&status);
        }
        Error::new(
            ErrorKind::Changed,
            format!(
                "it has changed since index {index}: {} (index {})",
                Busy {
                    status: status.clone()
                },
                status.index()
            ),
        )
    }
}

impl Grant {
    /// Why this request is refused although the name is vacant: its slot is closed.
    fn skipped(&self, name: &LeaseName, vacancy: &Vacancy, wall: SystemTime) -> Option<Skipped> {
        let until = vacancy.kept.closed?;
        self.slot?.is_closed(name, until, wall).then(|| Skipped {
            name: name.clone(),
            until,
            wall,
            ran: vacancy.kept.ran.as_deref().cloned(),
            ended: vacancy.ended.as_deref().cloned(),
        })
    }

    /// What the grant hands on: which slot is closed by it, or was closed before.
    fn closes(&self, wall: SystemTime, before: &Kept) -> Result<Kept> {
        let mut kept = before.clone();
        if let Some(slot) = self.slot {
            kept.closed = Some(slot.closes(wall)?);
            kept.ran = Some(Box::new(Ran {
                by: self.machine_id.clone(),
                at: wall,
            }));
        }
        Ok(kept)
    }

    fn body(&self, wall: SystemTime, ended: Option<Box<Ended>>, kept: Kept) -> Body {
        Body {
            machine_id: Some(self.machine_id.clone()),
            version: self.version,
            needs: 1,
            since: Some(wall),
            note: self.note.clone(),
            data: self.data.clone(),
            policy: self.policy.clone(),
            delay: self.delay,
            ended,
            closed: kept.closed,
            ran: kept.ran,
            unknown: kept.unknown,
            ..Body::default()
        }
    }
}

impl Kept {
    pub(crate) fn of(record: &Record) -> Self {
        match record.origin {
            Origin::Leasehold => Self {
                closed: record.body.closed,
                ran: record.body.ran.clone(),
                unknown: if mutant(Mutant::UnknownFieldsDropped) {
                    serde_json::Map::new()
                } else {
                    record.body.unknown.clone()
                },
            },
            _ => Self::default(),
        }
    }
}

impl Vacancy {
    pub(crate) fn of(seen: &Seen) -> Self {
        let expired = || Ended {
            how: EndedHow::Expired,
            by: None,
            reason: None,
            fence: Some(seen.fence()),
        };
        let ended = match &seen.record.body.machine_id {
            Some(_) => Some(Box::new(expired())),
            None => seen.record.body.ended.clone(),
        };
        Self {
            index: Some(seen.index),
            ended,
            kept: Kept::of(&seen.record),
        }
    }
}
