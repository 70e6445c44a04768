//! A server that keeps values and swaps them by opaque revisions: an object store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use leasehold_core::register::{Register, Revision, Written};
use leasehold_core::{BootInstant, Capabilities, LeaseName, Prefix, Reach, Record, Result};

use crate::chance::Chance;
use crate::world::net::{Link, Missed};
use crate::world::registry::Scene;
use crate::world::slots::missed;

/// How fast an observer's clock may run.
const FASTEST_PPM: u128 = 83_333;

/// The server. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Values {
    scene: Scene,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    writes: u64,
    values: BTreeMap<LeaseName, (Bytes, Revision)>,
    down_until: Duration,
}

/// A process's client of the server.
#[derive(Debug)]
pub(crate) struct Client {
    server: Values,
    link: Link,
}

impl Values {
    pub(crate) fn new(scene: Scene) -> Self {
        Self {
            scene,
            state: Arc::default(),
        }
    }

    pub(crate) fn client(&self, link: Link) -> Client {
        Client {
            server: self.clone(),
            link,
        }
    }

    /// Nobody answers for a while.
    pub(crate) fn down_for(&self, length: Duration) {
        self.state().down_until = self.scene.wire.truth_now() + length;
    }

    /// Deletes a value, as an operator would.
    pub(crate) fn delete(&self, chance: &mut Chance) -> Option<&'static str> {
        let mut state = self.state();
        let place = usize::try_from(chance.below(state.values.len() as u64)).unwrap_or_default();
        let name = state.values.keys().nth(place)?.clone();
        state.values.remove(&name);
        drop(state);
        self.scene.ledger.deleted(&name);
        Some("record deleted")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state();
        (self.scene.wire.truth_now() >= state.down_until).then_some(state)
    }

    fn write(&self, name: &LeaseName, value: &Bytes, expect: Option<&Revision>) -> Option<Written> {
        let mut state = self.up()?;
        if state.values.get(name).map(|(_, revision)| revision) != expect {
            return Some(Written::Refused);
        }
        state.writes += 1;
        // It tells nothing but that it is another.
        let revision = state.writes.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let revision = Revision(Bytes::copy_from_slice(&revision.to_be_bytes()));
        let written = (value.clone(), revision.clone());
        state.values.insert(name.clone(), written);
        let record = Record::decode(value);
        // Observers judge by clocks of their own: by the fastest of them nothing is early.
        let now = self.scene.wire.truth_now().as_nanos();
        let now = u64::try_from(now + now * FASTEST_PPM / 1_000_000).unwrap_or(u64::MAX);
        self.scene
            .ledger
            .wrote(name, record.index.unwrap_or_default(), &record, now);
        Some(Written::Done(revision))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").finish_non_exhaustive()
    }
}

impl Register for Client {
    fn declared(&self) -> Capabilities {
        let mut declared = Capabilities::local();
        declared.scope = Reach::Network;
        declared
    }

    fn location(&self) -> String {
        "simulated register:".into()
    }

    fn read<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<(Bytes, Revision)>>> {
        let (server, name) = (self.server.clone(), name.clone());
        async move {
            let read = move || Some(server.up()?.values.get(&name).cloned());
            self.link.call(until, read).await.map_err(missed)
        }
        .boxed()
    }

    fn write<'a>(
        &'a self,
        name: &'a LeaseName,
        value: Bytes,
        expect: Option<&'a Revision>,
        until: BootInstant,
    ) -> BoxFuture<'a, Written> {
        let (server, name, expect) = (self.server.clone(), name.clone(), expect.cloned());
        async move {
            let write = move || server.write(&name, &value, expect.as_ref());
            match self.link.call(until, write).await {
                Ok(written) => written,
                Err(why @ Missed::NotSent) => Written::NotWritten(missed(why)),
                Err(why @ Missed::NoAnswer) => Written::Unknown(missed(why)),
            }
        }
        .boxed()
    }

    fn names<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Vec<LeaseName>>> {
        let (server, prefix, after) = (self.server.clone(), prefix.clone(), after.cloned());
        async move {
            let read = move || {
                let state = server.up()?;
                let names = state.values.keys().filter(|name: &&LeaseName| {
                    prefix.covers(name) && after.as_ref().is_none_or(|after| *name > after)
                });
                Some(names.take(max).cloned().collect())
            };
            self.link.call(until, read).await.map_err(missed)
        }
        .boxed()
    }

    fn close(&self, _: BootInstant) -> BoxFuture<'_, Result<()>> {
        futures_util::future::ready(Ok(())).boxed()
    }
}
