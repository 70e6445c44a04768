//! From a URL to a manager.

use std::sync::Arc;

use leasehold_core::{
    Builder, Door, Error, ErrorKind, Manager, MemoryStore, RealDoor, Result, Store,
};

/// Opens a registry by its URL, with defaults: [`connect`] followed by [`Builder::build`].
///
/// # Errors
/// As [`connect`].
pub async fn open(url: &str) -> Result<Manager> {
    connect(url).await?.build()
}

/// Connects to a registry by its URL. Must be called inside a tokio runtime, which then runs what leasehold does in
/// the background.
///
/// | URL | registry | feature |
/// |-|-|-|
/// | `memory:` | this process's memory, a new one each time | |
/// | `sqlite:///absolute/path`, `sqlite:relative/path` | an embedded file of this machine | `sqlite` |
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a URL that is none of these, [`ErrorKind::Unsupported`] where the store's feature is
/// not compiled in, and whatever the store says.
pub async fn connect(url: &str) -> Result<Builder> {
    let door: Arc<dyn Door> = RealDoor::new()?;
    let store = store(url, &door).map_err(|error| error.during("open", None))?;
    Ok(Manager::builder(store, door))
}

fn store(url: &str, door: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    let (scheme, rest) = url
        .split_once(':')
        .ok_or_else(|| not_a_url("it has no scheme"))?;
    match scheme {
        "memory" if rest.is_empty() => Ok(Arc::new(MemoryStore::new(door.clone()))),
        "memory" => Err(not_a_url("`memory:` takes no path")),
        "sqlite" => sqlite(rest, door),
        _ => Err(not_a_url("its scheme is not known here (memory, sqlite)")),
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(rest: &str, door: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => {
            return Err(not_a_url(
                "an absolute path needs three slashes: sqlite:///var/lib/leases.db",
            ));
        }
        None => rest,
    };
    if path.is_empty() {
        return Err(not_a_url("it names no file"));
    }
    Ok(Arc::new(leasehold_sqlite::SqliteStore::open(
        path,
        door.clone(),
    )?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &str, _: &Arc<dyn Door>) -> Result<Arc<dyn Store>> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "leasehold was compiled without its feature `sqlite`",
    ))
}

/// Never with the URL itself, which may carry credentials.
fn not_a_url(reason: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("not a store's URL: {reason}; for example sqlite:///var/lib/leases.db"),
    )
}
