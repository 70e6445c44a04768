//! What is counted, for the `metrics` crate's recorder.
//!
//! |Metric|Kind|What|
//! |-|-|-|
//! |`leasehold_terms_total`|counter|terms that were granted: leases acquired or stolen|
//! |`leasehold_leases_kept`|gauge|leases that are kept alive|
//! |`leasehold_leases_at_risk`|gauge|of these, whose renewal is overdue; brought up to date once a second while there are renewals|
//! |`leasehold_renewals_total`|counter|renewals of leases that are kept alive, by `outcome`: `renewed`, `failed` (and tried again), `lost`|
//! |`leasehold_renewal_seconds`|histogram|from when a renewal was due to be sent until its outcome was known, failures included|
//! |`leasehold_losses_total`|counter|leases that were kept alive and lost, by `reason`: the word of [`Lost::as_str`]|
//! |`leasehold_vacant_seconds`|histogram|without a lessee (a leader), as those saw it who waited: from when they learnt that one term is over until the next one began, or was seen|
//!
//! Each has the label `registry`: [`Manager::location`](crate::Manager::location). The recorder is the one that is installed
//! when the manager is made.

use std::fmt;
use std::time::Duration;

use crate::lost::Lost;

/// How a renewal went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Renewal {
    Renewed,
    Failed,
    Lost,
}

/// A manager's meters.
pub(crate) struct Meters {
    #[cfg(feature = "metrics")]
    on: on::Meters,
}

impl Meters {
    pub(crate) fn new(registry: impl FnOnce() -> String) -> Self {
        #[cfg(not(feature = "metrics"))]
        drop(registry);
        Self {
            #[cfg(feature = "metrics")]
            on: on::Meters::new(registry()),
        }
    }

    /// A term was granted.
    pub(crate) fn granted(&self) {
        #[cfg(feature = "metrics")]
        self.on.terms.increment(1);
    }

    /// So many leases are kept alive.
    pub(crate) fn kept(&self, count: usize) {
        #[cfg(feature = "metrics")]
        self.on.kept.set(on::float(count));
        _ = count;
    }

    /// So many of them are at risk.
    pub(crate) fn at_risk(&self, count: usize) {
        #[cfg(feature = "metrics")]
        self.on.at_risk.set(on::float(count));
        _ = count;
    }

    /// Whether anybody wants to know how many are at risk.
    pub(crate) fn is_on(&self) -> bool {
        cfg!(feature = "metrics")
    }

    pub(crate) fn renewal(&self, outcome: Renewal, took: Duration) {
        #[cfg(feature = "metrics")]
        self.on.renewal(outcome, took);
        _ = (outcome, took);
    }

    /// Between two terms, as somebody saw it who waited.
    pub(crate) fn vacant(&self, length: Duration) {
        #[cfg(feature = "metrics")]
        self.on.vacant.record(length.as_secs_f64());
        _ = length;
    }

    /// A lease that was kept alive is lost.
    pub(crate) fn lost(&self, reason: Option<&Lost>) {
        #[cfg(feature = "metrics")]
        self.on.lost(reason.map_or("unknown", Lost::as_str));
        _ = reason;
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

#[cfg(feature = "metrics")]
mod on {
    use std::time::Duration;

    use metrics::{Counter, Gauge, Histogram, Unit};

    use super::Renewal;

    pub(super) struct Meters {
        registry: String,
        pub(super) terms: Counter,
        pub(super) kept: Gauge,
        pub(super) at_risk: Gauge,
        renewed: Counter,
        failed: Counter,
        lost: Counter,
        latency: Histogram,
        pub(super) vacant: Histogram,
    }

    impl Meters {
        pub(super) fn new(registry: String) -> Self {
            metrics::describe_counter!("leasehold_terms_total", "terms that were granted");
            metrics::describe_gauge!("leasehold_leases_kept", "leases that are kept alive");
            metrics::describe_gauge!(
                "leasehold_leases_at_risk",
                "kept leases whose renewal is overdue"
            );
            metrics::describe_counter!(
                "leasehold_renewals_total",
                "renewals of kept leases, by outcome"
            );
            metrics::describe_histogram!(
                "leasehold_renewal_seconds",
                Unit::Seconds,
                "until a renewal's outcome was known"
            );
            metrics::describe_counter!(
                "leasehold_losses_total",
                "kept leases that were lost, by reason"
            );
            metrics::describe_histogram!(
                "leasehold_vacant_seconds",
                Unit::Seconds,
                "between two terms, as seen by those who waited"
            );
            let at = || registry.clone();
            let outcome = |outcome: &'static str| metrics::counter!("leasehold_renewals_total", "registry" => at(), "outcome" => outcome);
            Self {
                terms: metrics::counter!("leasehold_terms_total", "registry" => at()),
                kept: metrics::gauge!("leasehold_leases_kept", "registry" => at()),
                at_risk: metrics::gauge!("leasehold_leases_at_risk", "registry" => at()),
                renewed: outcome("renewed"),
                failed: outcome("failed"),
                lost: outcome("lost"),
                latency: metrics::histogram!("leasehold_renewal_seconds", "registry" => at()),
                vacant: metrics::histogram!("leasehold_vacant_seconds", "registry" => at()),
                registry,
            }
        }

        pub(super) fn renewal(&self, outcome: Renewal, took: Duration) {
            let counter = match outcome {
                Renewal::Renewed => &self.renewed,
                Renewal::Failed => &self.failed,
                Renewal::Lost => &self.lost,
            };
            counter.increment(1);
            self.latency.record(took.as_secs_f64());
        }

        pub(super) fn lost(&self, reason: &'static str) {
            let registry = self.registry.clone();
            metrics::counter!("leasehold_losses_total", "registry" => registry, "reason" => reason)
                .increment(1);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody holds 2^52 leases")]
    pub(super) fn float(count: usize) -> f64 {
        count as f64
    }
}
