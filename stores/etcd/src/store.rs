//! The store on native leases.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::BoxStream;
use leasehold_core::store::{Change, Outcome, Page, Scope, Seen, Signal};
use leasehold_core::{
    BootInstant, Capabilities, Delivery, Door, Drift, ExpiryClock, LeaseName, Loss, MAX_PERIOD,
    Prefix, Reach, Result, Server, Signals, Store,
};

use crate::api::{Api, Entry, Failed, LeaseId, Range, Ranged};
use crate::keys::Keyspace;
use crate::lease::Native;
use crate::pool::Pool;
use crate::table::Table;

/// How many changes one request carries: etcd's own limit of operations in a transaction is 128.
pub(crate) const BATCH: usize = 100;

/// A [`Store`] on etcd's native leases: one key a name, attached to a native lease, so that a dead lessee's key
/// disappears by itself.
pub struct EtcdStore {
    pub(crate) client: Arc<Client>,
    location: String,
    /// The member that was asked when the store was opened.
    pub(crate) server: Option<Server>,
}

/// What the store's tasks share.
pub(crate) struct Client {
    pub(crate) api: Arc<dyn Api>,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) signals: Signals,
    capabilities: Capabilities,
    pub(crate) keys: Keyspace,
    table: Mutex<Table>,
    pool: Mutex<Pool>,
    pub(crate) watching: Mutex<bool>,
    most: AtomicUsize,
    /// The latest raft term that anybody told.
    term: AtomicU64,
}

/// What a store has to know of its cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where it is, for people: without credentials.
    pub location: String,
    /// What all keys begin with.
    pub prefix: String,
    /// The shortest native lease that it grants.
    pub least: Duration,
    /// How far its members' clocks, and those of its clients, may run from true time.
    pub drift: Drift,
}

impl EtcdStore {
    /// A store by any client of a cluster.
    #[must_use]
    pub fn new(api: Arc<dyn Api>, door: Arc<dyn Door>, cluster: Cluster) -> Self {
        let Cluster {
            location,
            prefix,
            least,
            drift,
        } = cluster;
        let keys = Keyspace::new(&prefix);
        let mut capabilities = Capabilities::local();
        capabilities.expiry = ExpiryClock::ServerMonotonic;
        capabilities.loss = Loss::Never;
        capabilities.drift = drift;
        capabilities.least_period = least;
        capabilities.greatest_period = MAX_PERIOD;
        // Whole seconds, no fewer than the least, and the server looks twice a second.
        capabilities.granularity = least.max(Duration::from_secs(1)) + Duration::from_millis(500);
        capabilities.delivery = Delivery::Push;
        capabilities.scope = Reach::Network;
        capabilities.batch = BATCH;
        Self {
            location,
            server: None,
            client: Arc::new(Client {
                api,
                door,
                signals: Signals::default(),
                capabilities,
                table: Mutex::new(Table::new(keys.clone())),
                keys,
                pool: Mutex::default(),
                watching: Mutex::new(false),
                most: AtomicUsize::new(BATCH),
                term: AtomicU64::new(0),
            }),
        }
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("api", &self.client.api)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes one request carries.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// The server takes fewer operations in one transaction than this many changes need.
    pub(crate) fn too_many(&self, changes: usize) {
        self.most.fetch_min((changes / 2).max(1), Ordering::Relaxed);
    }

    /// Somebody told a raft term.
    pub(crate) fn told_term(&self, term: u64) {
        self.term.fetch_max(term, Ordering::Relaxed);
    }

    /// The latest raft term that anybody told.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Grants a native lease.
    pub(crate) async fn grant(&self, seconds: u64, until: BootInstant) -> Result<Native, Failed> {
        let sent = self.door.now();
        let granted = self.api.grant(seconds, until).await?;
        let margin = self.capabilities.margin(granted.ttl);
        Ok(Native::granted(granted, seconds, margin, sent))
    }

    /// Revokes a native lease in the background; if that fails it runs out by itself.
    pub(crate) fn revoke(self: &Arc<Self>, id: LeaseId) {
        let client = self.clone();
        self.door.spawn(Box::pin(async move {
            let until = client.door.now().plus(Duration::from_secs(5));
            _ = client.api.revoke(id, until).await;
        }));
    }

    /// Reads a name, and what it has replaced is known from then on.
    pub(crate) async fn read(
        &self,
        name: &LeaseName,
        until: BootInstant,
    ) -> Result<Option<Seen>, Failed> {
        let keys = self.keys.of(name);
        let one = |from: Bytes| Range {
            from,
            to: None,
            most: 1,
        };
        let ranges = vec![one(keys.lease), one(keys.mark)];
        let ranged = self.api.range(ranges, until).await?;
        let entry = |place: usize| {
            ranged
                .entries
                .get(place)
                .and_then(|entries| entries.first())
        };
        let now = self.door.now();
        Ok(self
            .table()
            .seen(name, (entry(0), entry(1)), ranged.revision, now))
    }

    async fn page(
        &self,
        prefix: &Prefix,
        after: Option<&LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> Result<Page, Failed> {
        let mut after = after.map(|name| Bytes::copy_from_slice(name.as_str().as_bytes()));
        loop {
            let asked = ranges(&self.keys, prefix, after.as_deref(), max);
            let ranged = self.api.range(asked.clone(), until).await?;
            let end = asked.iter().zip(&ranged.entries);
            let end = end.filter_map(|(range, entries)| self.end(range, entries));
            let end = end.min();
            let page = self.paged(&ranged, end.as_deref(), max);
            // Keys of others may fill a page: what is behind them is not known yet.
            if page.entries.is_empty() && end.is_some() {
                after = end;
                continue;
            }
            return Ok(page);
        }
    }

    /// How far a range that was cut off goes, without what the keys of its kind begin with: behind that there may be more.
    fn end(&self, range: &Range, entries: &[Entry]) -> Option<Bytes> {
        let last = entries.last()?;
        let full = range.to.is_some() && entries.len() >= range.most;
        let [leases, marks] = self.keys.kinds();
        let rest = last.key.strip_prefix(&*leases);
        let rest = rest.or_else(|| last.key.strip_prefix(&*marks))?;
        full.then(|| Bytes::copy_from_slice(rest))
    }

    /// The names up to the end, which is where what was read of leases or of marks was cut off.
    fn paged(&self, ranged: &Ranged, end: Option<&[u8]>, max: usize) -> Page {
        let now = self.door.now();
        let mut table = self.table();
        let mut found: std::collections::BTreeMap<LeaseName, (Option<&Entry>, Option<&Entry>)> =
            std::collections::BTreeMap::new();
        for entry in ranged.entries.iter().flatten() {
            if let Some(name) = self.keys.leased(&entry.key) {
                found.entry(name).or_default().0 = Some(entry);
            } else if let Some(name) = self.keys.marked(&entry.key) {
                found.entry(name).or_default().1 = Some(entry);
            }
        }
        let mut page = Page::default();
        for (name, keys) in found {
            let behind = end.is_some_and(|end| end < name.as_str().as_bytes());
            if page.entries.len() == max || behind {
                page.more = true;
                break;
            }
            if let Some(seen) = table.seen(&name, keys, ranged.revision, now) {
                page.entries.push((name, seen));
            }
        }
        page.more |= end.is_some();
        page
    }
}

/// What a page reads behind some key, of whatever kind: the prefix itself and what is below it, of leases and of marks.
fn ranges(keys: &Keyspace, prefix: &Prefix, after: Option<&[u8]>, max: usize) -> Vec<Range> {
    let mut ranges = Vec::with_capacity(4);
    let below = match prefix.as_str() {
        "" => String::new(),
        text => [text, "/"].concat(),
    };
    for kind in keys.kinds() {
        let key = |rest: &[u8]| Bytes::from([&*kind, rest].concat());
        if after.is_none() && !prefix.as_str().is_empty() {
            let from = key(prefix.as_str().as_bytes());
            ranges.push(Range {
                from,
                to: None,
                most: 1,
            });
        }
        let start = key(below.as_bytes());
        let from = match after {
            // The first key behind it.
            Some(rest) => Bytes::from([&*key(rest), b"\0"].concat()).max(start.clone()),
            None => start.clone(),
        };
        let mut to = start.to_vec();
        // No key ends in 0xff: every key that begins so comes before.
        to.push(0xff);
        ranges.push(Range {
            from,
            to: Some(Bytes::from(to)),
            most: max,
        });
    }
    ranges
}

impl Store for EtcdStore {
    fn declared(&self) -> Capabilities {
        self.client.capabilities.clone()
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    fn server(&self) -> Option<Server> {
        self.server.clone()
    }

    fn get<'a>(
        &'a self,
        name: &'a LeaseName,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Option<Seen>>> {
        async move {
            self.client
                .read(name, until)
                .await
                .map_err(|failed| failed.error())
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>, until: BootInstant) -> BoxFuture<'_, Vec<Outcome>> {
        self.client.apply(changes, until).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a LeaseName>,
        max: usize,
        until: BootInstant,
    ) -> BoxFuture<'a, Result<Page>> {
        async move {
            let page = self.client.page(prefix, after, max, until).await;
            page.map_err(|failed| failed.error())
        }
        .boxed()
    }

    fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        self.client.watch(scope)
    }

    fn close(&self, until: BootInstant) -> BoxFuture<'_, Result<()>> {
        async move {
            let warm = self.client.drain();
            let revokes = warm
                .iter()
                .map(|native| self.client.api.revoke(native.id, until));
            // What could not be revoked runs out by itself.
            drop(join_all(revokes).await);
            Ok(())
        }
        .boxed()
    }
}
