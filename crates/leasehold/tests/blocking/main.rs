//! The blocking API does what the async one does, from any thread, and its own thread ends.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests; threads that block are what is tested"
)]

mod basics;
mod ends;
mod fork;
mod leading;
mod runtimes;
mod waits;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold::blocking::{Builder, Held, LockAttempt, Manager};
use leasehold::{BootInstant, Door, MemoryStore, RealDoor};
use leasehold_testkit::Faulty;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// Longer than any test takes: what is had sooner was given back.
const LONG: Duration = Duration::from_secs(60);

fn memory() -> Manager {
    leasehold::blocking::open("memory:").unwrap()
}

/// A manager of a file in a folder.
fn file(folder: &tempfile::TempDir) -> Manager {
    let path = folder.path().join("leases.db");
    leasehold::blocking::open(&format!("sqlite:{}", path.display())).unwrap()
}

/// The same test on a registry in memory, and on two connections to one in a file.
fn each(test: impl Fn(&Manager, &Manager)) {
    let (one, folder) = (memory(), tempfile::tempdir().unwrap());
    test(&one, &one.clone());
    test(&file(&folder), &file(&folder));
}

/// A manager whose registry fails as it is told, and the place of its thread below /proc.
fn faulty() -> (Manager, Arc<Faulty>, PathBuf) {
    let (tell, told) = std::sync::mpsc::channel();
    let builder = Builder::new(async move {
        let door: Arc<dyn Door> = RealDoor::new()?;
        let store = Arc::new(MemoryStore::new(door.clone()));
        let faulty = Arc::new(Faulty::new(store, door.clone()));
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        tell.send((faulty.clone(), thread)).unwrap();
        Ok(leasehold::Manager::builder(faulty, door))
    });
    let manager = builder.unwrap().timeout(SECOND).build().unwrap();
    let (faulty, thread) = told.recv().unwrap();
    (manager, faulty, PathBuf::from("/proc").join(thread))
}

fn held(attempt: LockAttempt) -> Held {
    match attempt {
        LockAttempt::Held(held) => held,
        LockAttempt::Busy(busy) => panic!("{busy}"),
        LockAttempt::Skipped(skipped) => panic!("{skipped}"),
    }
}

fn now(manager: &Manager) -> BootInstant {
    manager.door().now()
}

fn sleep(length: Duration) {
    std::thread::sleep(length);
}

/// Waits for what is to come soon.
#[track_caller]
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        sleep(MS * 5);
    }
    panic!("never: {what}");
}
