//! One watch at the registry for all watches of a client.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{BoxStream, StreamExt};
use leasehold_core::store::{Scope, Signal};

use crate::api::Notice;
use crate::store::Client;

/// How long a registry may be quiet before it is asked whether anybody listens still.
const QUIET: Duration = Duration::from_secs(30);

impl Client {
    pub(crate) fn watch(self: &Arc<Self>, scope: Scope) -> BoxStream<'static, Signal> {
        let signals = self.signals.watch(scope);
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *watching, true) {
            let client = self.clone();
            self.door
                .spawn(Box::pin(async move { client.listen().await }));
        }
        signals
    }

    /// Tells the client's watches what the registry tells, until nobody listens any more.
    async fn listen(self: Arc<Self>) {
        let mut after = None;
        let mut pause = Duration::from_millis(10);
        loop {
            let until = self.door.now().plus(Duration::from_secs(5));
            let watched = self.api.watch(self.keys.leases(), after, until).await;
            if let Err(failed) = &watched {
                // Whoever reads is told; what only waits is tried again.
                tracing::debug!(error = %failed.error(), "etcd: no watch");
            }
            if let Ok(mut notices) = watched {
                pause = Duration::from_millis(10);
                if after.is_none() {
                    // What happened before is not told.
                    self.signals.any();
                }
                loop {
                    let quiet = self.door.sleep_until(self.door.now().plus(QUIET));
                    match select(notices.next(), quiet).await {
                        Either::Left((Some(Notice::Changed(key, revision)), _)) => {
                            after = after.max(Some(revision));
                            if let Some(name) = self.keys.leased(&key) {
                                self.signals.name(&name);
                            }
                        }
                        Either::Left((Some(Notice::Compacted), _)) => {
                            after = None;
                            break;
                        }
                        Either::Left((None, _)) => break,
                        Either::Right(_) => {}
                    }
                    if self.unheard() {
                        return;
                    }
                }
            }
            if self.unheard() {
                return;
            }
            self.door.sleep_until(self.door.now().plus(pause)).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether nobody listens; then the next one to listen begins anew.
    fn unheard(&self) -> bool {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        let unheard = self.signals.is_idle();
        *watching = !unheard;
        unheard
    }
}
