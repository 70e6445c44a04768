//! Whether the leases of a manager are well, and why not.

use std::fmt;
use std::time::Duration;

use crate::manager::{Core, Manager};
use crate::name::LeaseName;
use crate::status::human;
use crate::tenure::TermState;

/// How the leases that a manager keeps alive are, computed from the clock at the call, without I/O: [`Manager::health`].
///
/// Its `Display` is the sentence for a health endpoint: what is wrong, since when, and which lease is lost first.
#[derive(Clone, Debug)]
pub struct Health {
    kept: usize,
    at_risk: usize,
    shut_down: bool,
    first: Option<First>,
}

/// The lease at risk that runs out first.
#[derive(Clone, Debug)]
struct First {
    name: LeaseName,
    left: Duration,
    /// Since when its renewals fail, and what with.
    failing: Option<(Duration, Option<String>)>,
}

impl Health {
    /// Whether no lease is at risk, and the manager was not shut down.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.at_risk == 0 && !self.shut_down
    }

    /// How many leases are kept alive.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// How many of them are [at risk](TermState::AtRisk), or lost and their guards do not know yet.
    #[must_use]
    pub fn at_risk(&self) -> usize {
        self.at_risk
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shut_down {
            return f.write_str("the manager was shut down, or is being shut down");
        }
        let Some(first) = &self.first else {
            return write!(f, "{} kept alive, none at risk", leases(self.kept));
        };
        write!(
            f,
            "{} of {} at risk: {} ",
            self.at_risk,
            leases(self.kept),
            first.name
        )?;
        match first.left.is_zero() {
            true => f.write_str("is lost")?,
            false => write!(f, "is lost in {}", human(first.left))?,
        }
        match &first.failing {
            Some((since, Some(why))) => {
                write!(f, ", its renewals have failed for {}: {why}", human(*since))
            }
            Some((since, None)) => {
                write!(f, ", the registry has not answered for {}", human(*since))
            }
            None => f.write_str(", no renewal was sent in time"),
        }
    }
}

fn leases(count: usize) -> String {
    match count {
        1 => "1 lease".to_owned(),
        count => format!("{count} leases"),
    }
}

impl Manager {
    /// How the leases that are kept alive are: each is looked at.
    #[must_use]
    pub fn health(&self) -> Health {
        self.core.health()
    }
}

impl Core {
    pub(crate) fn health(&self) -> Health {
        let terms = self.keeper.terms();
        let now = self.door.now();
        let mut health = Health {
            kept: terms.len(),
            at_risk: 0,
            shut_down: self.phase.is_closing(),
            first: None,
        };
        for term in &terms {
            let state = term.locked();
            let left = match (state.at(now).0, state.deadline()) {
                (TermState::AtRisk, Some(deadline)) => deadline.since(now),
                (TermState::Lost, _) => Duration::ZERO,
                _ => continue,
            };
            health.at_risk += 1;
            if health.first.as_ref().is_none_or(|first| left < first.left) {
                let failing = state.failing();
                let failing = failing.map(|(since, why)| (now.since(since), why));
                health.first = Some(First {
                    name: term.name().clone(),
                    left,
                    failing,
                });
            }
        }
        health
    }
}
