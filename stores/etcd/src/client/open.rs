//! Opening a store: what a cluster is asked once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use leasehold_core::{Door, Drift, ErrorKind, Result, Server};

use super::identity::Proof;
use super::wire::{Nothing, StatusResponse};
use super::{Config, EtcdClient};
use crate::api::{Api, Failed};
use crate::store::{Cluster, EtcdStore};

/// How long opening may take.
const OPEN: Duration = Duration::from_secs(10);
/// With less time left than this nothing is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// From which version of each line on the contract holds: earlier ones renew leases that are being revoked, let a deposed
/// leader revoke, or answer linearizable reads with what was true before a pause.
const SOUND: &[(u64, u64, u64)] = &[(3, 4, 42), (3, 5, 28), (3, 6, 9)];

impl EtcdStore {
    /// Connects to a cluster by its configuration. Must be called inside a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for a configuration that cannot be used,
    /// [`ErrorKind::Permission`](leasehold_core::ErrorKind::Permission) and
    /// [`ErrorKind::Unavailable`](leasehold_core::ErrorKind::Unavailable) for a cluster that refuses or does not answer
    /// within ten seconds.
    pub async fn connect(config: Config, door: Arc<dyn Door>) -> Result<Self> {
        let client = EtcdClient::new(config.clone(), door.clone())?;
        let probed = client.probe(&door).await;
        let (least, server) = probed.map_err(|failed| failed.error())?;
        let cluster = Cluster {
            location: config.location(),
            prefix: config.prefix,
            least,
            // Members and clients have clocks that daemons may slew.
            drift: Drift::Unknown,
        };
        let mut store = Self::new(Arc::new(client), door, cluster);
        store.server = Some(server);
        Ok(store)
    }
}

impl EtcdClient {
    /// What the shortest native lease is, and what grants it. Warns of a version with known bugs.
    async fn probe(&self, door: &Arc<dyn Door>) -> Result<(Duration, Server), Failed> {
        let until = door.now().plus(OPEN);
        let (status, granted) = loop {
            let now = door.now();
            // A member that does not answer costs half of the time, and leaves half to the next.
            let half = now.plus(until.since(now) / 2);
            let call = ("/etcdserverpb.Maintenance/Status", Proof::Member);
            let status = self.members.call(call, Nothing {}, half);
            // It has no key, and runs out by itself.
            let (status, granted) = join(status, self.grant(1, half)).await;
            let now = door.now();
            // Silence, or a cluster that is electing its leader. What breaks the first connection will break the second.
            let known = self.members.identity.is_known();
            let passes = |failed: Option<&Failed>| match failed {
                Some(Failed::NoAnswer(_)) => known || now >= half,
                Some(Failed::NotDone(error)) => known && error.kind() == ErrorKind::Unavailable,
                _ => false,
            };
            let failed = [status.as_ref().err(), granted.as_ref().err()];
            if !failed.into_iter().any(passes) || until.since(now) < AGAIN {
                break (status, granted);
            }
            door.sleep_until(now.plus(PAUSE)).await;
        };
        let (status, granted): (StatusResponse, _) = (status?, granted?);
        let server = server(status.version);
        if let Some(flaw) = server.flaw {
            tracing::warn!(version = server.version, "this etcd {flaw}");
        }
        Ok((granted.ttl, server))
    }
}

fn server(version: String) -> Server {
    let is_sound = sound(&version);
    let server = Server::new("etcd", version);
    if is_sound {
        return server;
    }
    server.flawed(
        "has bugs that can let two lessees believe: 3.4.42, 3.5.28, 3.6.9 or later is needed",
    )
}

/// Whether a version is known to have none of the bugs that break the contract.
fn sound(version: &str) -> bool {
    // A version of before a release has its bugs still.
    let number = |part: &str| part.parse::<u64>().ok();
    let mut parts = version.split(['.', '-', '+']).map(number);
    let (Some(Some(major)), Some(Some(minor)), Some(Some(patch))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    match SOUND.iter().find(|line| (line.0, line.1) == (major, minor)) {
        Some(line) => patch >= line.2,
        None => (major, minor) > (3, 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_known_bugs_are_told() {
        for version in [
            "3.4.42", "3.5.28", "3.5.30", "3.6.9", "3.7.0", "3.7.3", "4.0.0",
        ] {
            assert!(sound(version), "{version}");
        }
        for version in ["3.3.27", "3.4.23", "3.5.1", "3.6.8", "3.6", "", "x.y.z"] {
            assert!(!sound(version), "{version}");
        }
    }
}
