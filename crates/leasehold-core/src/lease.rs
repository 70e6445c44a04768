//! The lease: a handle on a grant, a claim on a term, or a fetched proxy.

use std::sync::Arc;
use std::time::Duration;

use crate::belief::{Standing, Term};
use crate::error::{Error, ErrorKind, Result};
use crate::keep_alive::{Held, KeepAlive};
use crate::manager::{Core, Manager};
use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::record::{Ended, Record};
use crate::request::Changes;
use crate::store::{Applied, Seen};
use crate::time::BootInstant;

/// A lease: an auto-expiring right to a name, kept in a registry. Its lessee must renew it again and again to keep it
/// from expiring.
///
/// A *handle* is the value whose own call made the current grant ([`Manager::acquire_lease`],
/// [`Manager::steal_lease`]): only handles believe ([`Lease::is_current`]). A *proxy* was only fetched
/// ([`Manager::get_lease`]): its values are cached, and it never believes.
///
/// Dropping a lease sends nothing: it runs out by itself. [`Lease::release`] ends it, [`Lease::keep_alive`] keeps it.
#[derive(Debug)]
#[must_use = "a dropped lease runs out by itself: release it, renew it or keep it alive"]
pub struct Lease {
    pub(crate) core: Arc<Core>,
    pub(crate) term: Term,
    time_remaining: Duration,
}

impl Lease {
    pub(crate) fn granted(
        core: Arc<Core>,
        name: LeaseName,
        fence: u64,
        record: &Record,
        applied: &Applied,
        (begin, deadline): (BootInstant, BootInstant),
    ) -> Self {
        let state = (
            Standing::Handle,
            applied.index,
            applied.granted,
            record.body.clone(),
        );
        let term = Term::new(core.door.clone(), name, fence, state);
        term.granted(begin, deadline);
        core.meters.granted();
        Self {
            core,
            term,
            time_remaining: applied
                .granted
                .saturating_add(record.body.delay)
                .max(applied.wait),
        }
    }

    pub(crate) fn fetched(core: Arc<Core>, name: LeaseName, seen: &Seen) -> Self {
        Self::from_seen(core, name, seen, Standing::Proxy)
    }

    pub(crate) fn claimed(core: Arc<Core>, name: LeaseName, seen: &Seen) -> Self {
        let claim = Self::from_seen(core, name, seen, Standing::Claim);
        if mutant(Mutant::ClaimBelievesAtOnce) {
            let now = claim.core.door.now();
            claim.term.granted(now, now.plus(claim.time_remaining));
        }
        claim
    }

    /// What was kept alive, as it is now.
    pub(crate) fn kept(core: Arc<Core>, term: Term) -> Self {
        let time_remaining = term.remaining();
        Self {
            core,
            term,
            time_remaining,
        }
    }

    fn from_seen(core: Arc<Core>, name: LeaseName, seen: &Seen, standing: Standing) -> Self {
        let period = seen.record.period.unwrap_or_default();
        let state = (standing, seen.index, period, seen.record.body.clone());
        let term = Term::new(core.door.clone(), name, seen.fence(), state);
        term.fetched(seen.left);
        Self {
            core,
            term,
            time_remaining: seen.left.unwrap_or(Duration::MAX),
        }
    }

    /// Attempts to extend the lease to the given period from now. Succeeds only if the lease has not changed in the
    /// registry since it was last renewed or first acquired.
    ///
    /// While the answer is out the earlier of old and new deadline counts. A proxy's renewal extends the lease in the
    /// registry, but a proxy never believes, and never cuts the granting handle's term short.
    ///
    /// Cancel-safe: a dropped call goes on in the background and its outcome reaches this lease.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`], [`ErrorKind::Expired`] or [`ErrorKind::Gone`] where the term is lost;
    /// [`ErrorKind::Unavailable`] where nothing was changed (try again before the deadline);
    /// [`ErrorKind::OutcomeUnknown`] where nobody knows (try again likewise); [`ErrorKind::InvalidInput`] for a period
    /// that cannot be granted.
    pub async fn renew(&mut self, period: Duration) -> Result<()> {
        self.renew_with(period, Changes::none()).await
    }

    /// [`Lease::renew`] with a new note or data.
    ///
    /// # Errors
    /// As [`Lease::renew`].
    pub async fn renew_with(&mut self, period: Duration, changes: Changes) -> Result<()> {
        self.core.clone().renew(&self.term, period, changes).await?;
        self.time_remaining = self.term.remaining();
        Ok(())
    }

    /// Relinquishes the ownership back to the registry: belief ends before the request is sent, and the name is vacant
    /// at once (after a steal: not before the replaced term, and what it waited for itself, is waited out).
    ///
    /// A release through a proxy is a break: the name is held by nobody until the grant it ends has run out.
    ///
    /// Cancel-safe: a dropped call goes on in the background.
    ///
    /// # Errors
    /// As [`Lease::renew`]; [`ErrorKind::Foreign`] for a proxy of a term whose end nobody knows. Where the outcome is
    /// unknown it goes on being resolved until the deadline.
    pub async fn release(self) -> Result<()> {
        let begun = self.core.begin();
        let begun = begun.map_err(|error| error.during("release", Some(self.name())))?;
        self.core.clone().release(&self.term, begun).await
    }

    /// Keeps the lease alive in the background until it is released or lost.
    pub fn keep_alive(self, options: KeepAlive) -> Held {
        Held::new(self, &options)
    }

    /// The machine id of the lessee: a cached value, not guaranteed to be correct any more.
    #[must_use]
    pub fn machine_id(&self) -> String {
        self.term.machine_id()
    }

    /// The lessee's version of itself, with the same guarantees as [`Lease::machine_id`].
    #[must_use]
    pub fn version(&self) -> i64 {
        self.term.locked().body.version
    }

    /// The index: the registry's clock for this name at the latest grant known here.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.term.index()
    }

    /// What was left when the lease was fetched, granted or renewed, at most: a bound for those who wait for its end,
    /// never a deadline for its lessee ([`Lease::deadline`] is). [`Duration::MAX`] where nobody knows the end (a
    /// foreign record).
    #[must_use]
    pub fn time_remaining(&self) -> Duration {
        self.time_remaining
    }

    /// The fencing token: see [`Term::fence`].
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.term.fence()
    }

    /// From when the handle believes: see [`Term::begin`].
    #[must_use]
    pub fn begin(&self) -> Option<BootInstant> {
        self.term.begin()
    }

    /// Until when the handle believes: see [`Term::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Option<BootInstant> {
        self.term.deadline()
    }

    /// How long the handle may still believe, by the own clock: see [`Term::left`].
    #[must_use]
    pub fn left(&self) -> Duration {
        self.term.left()
    }

    /// Whether the handle is the lessee now: see [`Term::is_current`].
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.term.is_current()
    }

    /// The granted period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.term.locked().period
    }

    /// The lessee's own bytes.
    #[must_use]
    pub fn data(&self) -> Option<bytes::Bytes> {
        self.term.locked().body.data.clone()
    }

    /// The lessee's note.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        self.term.locked().body.note.clone()
    }

    /// How the previous term ended: see [`Term::ended`].
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.term.ended()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &LeaseName {
        self.term.name()
    }

    /// A shared view of the term, for other tasks.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term.view()
    }
}

impl Manager {
    /// Renews many leases of this manager in one go, as far as the store's batches reach: one result a lease, in
    /// order. One that fails touches no other.
    ///
    /// # Errors
    /// Each as [`Lease::renew`].
    pub async fn renew_all<'a>(
        &self,
        leases: impl IntoIterator<Item = &'a mut Lease>,
        period: Duration,
    ) -> Vec<Result<()>> {
        let leases: Vec<&mut Lease> = leases.into_iter().collect();
        let mut own = Vec::with_capacity(leases.len());
        for lease in &leases {
            own.push(Arc::ptr_eq(&lease.core, &self.core));
        }
        let terms: Vec<Term> = leases
            .iter()
            .zip(&own)
            .filter(|(_, own)| **own)
            .map(|(lease, _)| lease.term.clone())
            .collect();
        let mut renewed = self.core.clone().renew_all(terms, period).await.into_iter();
        let mut results = Vec::with_capacity(leases.len());
        for (lease, own) in leases.into_iter().zip(own) {
            let result = match if own { renewed.next() } else { None } {
                Some(result) => result,
                None => Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the lease belongs to another manager",
                )
                .during("renew", Some(lease.name()))),
            };
            if result.is_ok() {
                lease.time_remaining = lease.term.remaining();
            }
            results.push(result);
        }
        results
    }
}
