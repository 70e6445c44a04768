//! Real servers for tests: started on ports of their own, killed, paused, started again.
//!
//! ```no_run
//! use leasehold_testkit::servers::{EtcdCluster, EtcdVersion};
//!
//! let mut etcd = EtcdCluster::start(EtcdVersion::V3_7, 3);
//! let leader = etcd.wait_leader();
//! etcd[leader].kill();
//! assert_ne!(etcd.wait_leader(), leader);
//! etcd[leader].restart();
//! etcd.wait_healthy();
//! ```
//!
//! `scripts/setup` installs the programs into `tools` below the target folder; a test whose server is missing fails and
//! says so. A server dies with the value that stands for it, and with the test's process, however that ends. It keeps
//! its data and its log in a temporary folder; where a server does not start, the end of its log is shown.
//!
//! All of this blocks and waits in real time. It needs Linux.

mod etcd;
mod folder;
mod http;
mod ports;
mod postgres;
mod process;
mod proxy;
mod turn;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use etcd::{Etcd, EtcdCluster, EtcdOptions, EtcdVersion};
pub use http::{get, post};
pub use postgres::Postgres;
pub use process::Process;
pub use proxy::{Proxy, Way};

/// How long a server may take to start: a busy machine fails no test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where `scripts/setup` has put a program: `path` below the folder of tools. The environment's variable `name`, where
/// it is set, names another one.
fn tool(name: &str, path: &str) -> PathBuf {
    let found = std::env::var_os(name).map_or_else(|| tools().join(path), PathBuf::from);
    assert!(
        found.exists(),
        "{} is missing: run scripts/setup, or set {name}",
        found.display()
    );
    found
}

fn tools() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A relative one is meant from where cargo and scripts/setup are called.
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace.join(target).join("tools")
}

/// Asks again and again until there is an answer, or none within `limit`.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a real server is waited for in real time"
)]
fn wait<T>(limit: Duration, mut answer: impl FnMut() -> Option<T>) -> Option<T> {
    let start = std::time::Instant::now();
    loop {
        if let Some(answer) = answer() {
            return Some(answer);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
