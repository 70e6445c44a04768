//! From a URL to a manager.

use std::sync::Arc;

use leasehold_core::{Builder, Door, Manager, MemoryStore, RealDoor, Result, Store};

use crate::url::Url;

/// Opens a registry by its URL, with defaults: [`connect`] followed by [`Builder::build`].
///
/// # Errors
/// As [`connect`].
pub async fn open(url: &str) -> Result<Manager> {
    connect(url).await?.build()
}

/// Connects to a registry by its URL. Must be called inside a tokio runtime, which then runs what leasehold does in
/// the background; registries that are reached by the network need one with I/O and time.
///
/// | URL | registry | feature |
/// |-|-|-|
/// | `memory:` | this process's memory, a new one each time | |
/// | `sqlite:///absolute/path`, `sqlite:relative/path` | an embedded file of this machine | `sqlite` |
/// | `etcd://host1,host2,host3:2379/prefix`, `etcds://...` with TLS | an etcd cluster; the documentation of leasehold-etcd has users and certificates | `etcd` |
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a URL that is none of these, [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the store's feature is
/// not compiled in, and whatever the store says.
pub async fn connect(url: &str) -> Result<Builder> {
    let door: Arc<dyn Door> = RealDoor::new()?;
    let store = store(url, &door)
        .await
        .map_err(|error| error.during("open", None))?;
    Ok(Manager::builder(store, door))
}

async fn store(url: &str, door: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    match Url::parse(url)? {
        Url::Memory => Ok(Arc::new(MemoryStore::new(door.clone()))),
        Url::Sqlite(path) => sqlite(path, door),
        Url::Etcd(url) => etcd(url, door).await,
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(path: &str, door: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(leasehold_sqlite::SqliteStore::open(
        path,
        door.clone(),
    )?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &str, _: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    Err(leasehold_core::Error::new(
        leasehold_core::ErrorKind::Unsupported,
        "leasehold was compiled without its feature `sqlite`",
    ))
}

#[cfg(feature = "etcd")]
async fn etcd(url: &str, door: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    let config = leasehold_etcd::Config::from_url(url)?;
    let store = leasehold_etcd::EtcdStore::connect(config, door.clone()).await?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "etcd"))]
async fn etcd(_: &str, _: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    Err(leasehold_core::Error::new(
        leasehold_core::ErrorKind::Unsupported,
        "leasehold was compiled without its feature `etcd`",
    ))
}
