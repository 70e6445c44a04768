//! The verbs for scripts.

pub(crate) mod acquire;
pub(crate) mod completions;
pub(crate) mod displace;
pub(crate) mod doctor;
mod live;
pub(crate) mod look;
pub(crate) mod plan;
pub(crate) mod renew;
pub(crate) mod wait;
pub(crate) mod watch;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold::{Busy, Error, LeaseName, Lock, LockAttempt, Manager};

use crate::args::Lessee;
use crate::duration::{Wait, human};
use crate::exit::{Failure, LOST, USAGE};
use crate::output::Output;
use crate::progress::Progress;
use crate::show;
use crate::store::{Surroundings, container, reach};

/// What every verb needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) store: Option<OsString>,
    pub(crate) opened: OnceCell<Manager>,
}

/// How long an end may take that goes beyond what was asked for: the store's upkeep.
const CLOSE: Duration = Duration::from_secs(2);

impl Context {
    /// The registry.
    pub(crate) async fn open(&self) -> Result<Manager, Failure> {
        self.opened(self.choose()?.open(None).await?)
    }

    /// The registry, for a term that is to begin: one that reaches far enough.
    pub(crate) async fn open_for(&self, lessee: &Lessee) -> Result<Manager, Failure> {
        let choice = self.choose()?;
        let choice = choice.shared(container)?;
        self.opened(choice.open(lessee.machine_id.as_deref()).await?)
    }

    fn opened(&self, manager: Manager) -> Result<Manager, Failure> {
        _ = self.opened.set(manager.clone());
        Ok(manager)
    }

    /// Closes the registry. What was asked for is done by now, and stands whatever becomes of this.
    pub(crate) async fn close(&self) {
        if let Some(manager) = self.opened.get() {
            _ = manager.shutdown(CLOSE).await;
        }
    }

    fn choose(&self) -> Result<crate::store::Choice, Failure> {
        Surroundings::of_this_process().choose(self.store.as_deref())
    }
}

impl Lessee {
    /// The lock of a name with what the lessee says about itself.
    pub(crate) fn lock(&self, manager: &Manager, name: &str, period: Duration) -> Lock {
        let mut lock = manager
            .lock(name)
            .period(period)
            .version(self.lessee_version);
        if let Some(note) = &self.note {
            lock = lock.note(note);
        }
        if let Some(data) = &self.data {
            lock = lock.data(data.clone());
        }
        lock
    }
}

/// Waits for a lock as long as was said; at first only tries.
pub(crate) async fn obtain(
    manager: &Manager,
    lock: &Lock,
    wait: Option<Wait>,
    output: Output,
) -> Result<LockAttempt, Error> {
    let attempt = attempt(manager, lock, wait, output).await?;
    if let LockAttempt::Held(held) = &attempt {
        crate::log::began(held.fence());
    }
    Ok(attempt)
}

async fn attempt(
    manager: &Manager,
    lock: &Lock,
    wait: Option<Wait>,
    output: Output,
) -> Result<LockAttempt, Error> {
    let Some(wait) = wait else {
        return lock.try_acquire().await;
    };
    let mut progress = None;
    if let Ok(attempt) = lock.try_acquire().await {
        let LockAttempt::Busy(busy) = &attempt else {
            return Ok(attempt);
        };
        let (limit, how_long) = match wait {
            Wait::For(limit) => (Some(limit), human(limit)),
            Wait::Forever => (None, "as long as it takes".into()),
        };
        progress = Progress::on_terminal(manager, busy.status(), limit, output);
        if progress.is_none() {
            let holder = show::sentence(busy.status());
            output.notice(&format!("waiting ({how_long}): {holder}"));
        }
    }
    let obtained = async {
        match wait {
            Wait::For(limit) => lock.acquire_within(limit).await,
            Wait::Forever => lock.acquire().await.map(LockAttempt::Held),
        }
    };
    let shown = async {
        match progress {
            Some(progress) => match progress.show().await {},
            None => std::future::pending().await,
        }
    };
    match select(std::pin::pin!(obtained), std::pin::pin!(shown)).await {
        Either::Left((attempt, _)) => attempt,
        Either::Right((attempt, _)) => attempt,
    }
}

/// Somebody else holds it: who, since when, how long still, why; and where that was asked.
pub(crate) fn busy(manager: &Manager, busy: &Busy, code: u8) -> Failure {
    let holder = show::sentence(busy.status());
    let failure = Failure::answer(code, format!("not acquired: {holder}; {}", reach(manager)));
    failure.found(busy.status())
}

/// A term that is over: and who holds the name now, since when, how long still, why.
pub(crate) async fn lost(manager: &Manager, name: &LeaseName, error: Error) -> Failure {
    let failure = Failure::from(error);
    match failure.code() {
        LOST => match manager.status(name).await {
            Ok(Some(status)) => failure
                .and(&format!("; {}", show::sentence(&status)))
                .found(&status),
            _ => failure,
        },
        _ => failure,
    }
}

/// Why a lease was not acquired, and where that was asked.
pub(crate) fn not_acquired(manager: &Manager, error: Error) -> Failure {
    with_reach(manager, error.into())
}

pub(crate) fn with_reach(manager: &Manager, failure: Failure) -> Failure {
    match failure.code() {
        USAGE => failure,
        _ => failure.and(&format!("; not acquired: {}", reach(manager))),
    }
}
