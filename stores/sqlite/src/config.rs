//! What a user may choose.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Door, Result};

use crate::store::SqliteStore;

/// How to open a registry. The defaults are good.
///
/// ```no_run
/// # fn example() -> leasehold_core::Result<()> {
/// let door = leasehold_core::RealDoor::new()?;
/// let store = leasehold_sqlite::Config::new("/run/app/leases.db").create(false).open(door)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) path: PathBuf,
    pub(crate) create: bool,
    pub(crate) poll: Duration,
    pub(crate) patience: Duration,
    pub(crate) boot_id: Option<String>,
    pub(crate) block: u64,
}

impl Config {
    /// The registry in the file at `path`, created where there is none.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            create: true,
            poll: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            boot_id: None,
            block: crate::schema::BLOCK,
        }
    }

    /// Whether to create the file, and its missing folders, where there is none. Default: true.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How often a watch looks for other processes' changes when no notification came. Default: a second.
    #[must_use]
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every.max(Duration::from_millis(1));
        self
    }

    /// How long opening waits for a file that another process has locked. Default: five seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Another boot id than the kernel's: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn boot_id(mut self, id: impl Into<String>) -> Self {
        self.boot_id = Some(id.into());
        self
    }

    /// Another size of the blocks that indexes are reserved in: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn block(mut self, size: u64) -> Self {
        self.block = size.clamp(1, crate::schema::BLOCK);
        self
    }

    /// Opens the registry.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](leasehold_core::ErrorKind::Unsupported) where expiry could not be trusted (a
    /// network or unknown file system, a shifted boot clock); `Permission` for a file or folder that cannot be
    /// written; `Foreign` for a file that is damaged, not ours, or of a newer version; `Unavailable` for a full disk
    /// or a file that stays locked; `InvalidInput` for a path that is no file.
    pub fn open(self, door: Arc<dyn Door>) -> Result<SqliteStore> {
        SqliteStore::open_with(self, door)
    }
}
