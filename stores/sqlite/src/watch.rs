//! How a process learns of other processes' changes: they open a small file beside the registry, and the kernel
//! tells whoever watches it. A slow look at the registry itself is the net.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_core::mutants::{Mutant, mutant};

use crate::fault::Fault;
use crate::machine::{beside, create_beside, knock};
use crate::store::Shared;

/// The small file's suffix.
const SUFFIX: &str = "-notify";

/// What a store needs to tell and to be told.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    warned: AtomicBool,
    failed: AtomicBool,
    stopped: AtomicBool,
    /// The bell that ends the thread, once it runs.
    #[cfg(target_os = "linux")]
    bell: Mutex<Option<Arc<std::os::fd::OwnedFd>>>,
}

impl Watching {
    /// Whether the kernel refused to tell of changes, so that only the slow look remains.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        #[cfg(target_os = "linux")]
        if let Some(bell) = &*self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
            _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }

    fn warn(&self, what: &str, error: &std::io::Error) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "{what}: other processes' changes are noticed late");
        }
    }
}

/// Tells other processes of a commit. Never fails the operation: they look by themselves now and then.
pub(crate) fn tell(shared: &Shared) {
    if mutant(Mutant::LostNotification) {
        return;
    }
    let told = knock(&shared.notify).or_else(|error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            return Err(error);
        }
        create_beside(&shared.notify, &shared.path)?;
        knock(&shared.notify)
    });
    if let Err(error) = told {
        shared
            .watching
            .warn("the notification file cannot be opened", &error);
    }
}

/// Where the small file of a registry is: beside the file itself, even if the path is a link to it.
pub(crate) fn notify_path(path: &std::path::Path) -> std::path::PathBuf {
    beside(path, SUFFIX)
}

/// Starts the thread that listens, unless it runs. On return changes are noticed.
#[cfg(target_os = "linux")]
pub(crate) fn listen(shared: &Arc<Shared>) {
    use rustix::event::{EventfdFlags, eventfd};
    let watching = &shared.watching;
    let mut slot = watching.bell.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_some() || watching.stopped.load(Ordering::SeqCst) {
        return;
    }
    let bell = match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
        Ok(bell) => Arc::new(bell),
        Err(error) => {
            watching.failed.store(true, Ordering::Relaxed);
            watching.warn("the registry cannot be watched", &error.into());
            return;
        }
    };
    let ears = linux::Ears::new(shared);
    let (thread, own) = (shared.clone(), bell.clone());
    match shared
        .threads
        .start("leasehold-watch", move || linux::run(&thread, ears, &own))
    {
        Ok(()) => *slot = Some(bell),
        Err(error) => tracing::warn!(%error, "the registry is not watched"),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn listen(_shared: &Arc<Shared>) {}

/// Wakes the watches if anybody else has committed since the last look.
fn look(shared: &Shared, last: &mut Option<i64>) {
    let version = shared.lock().as_ref().map(|db| db.data_version());
    match version {
        Some(Ok(version)) if *last == Some(version) => {}
        Some(Ok(version)) => {
            *last = Some(version);
            shared.signals.any();
        }
        // Locked: whoever reads will wait for it.
        Some(Err(Fault::Busy)) => shared.signals.any(),
        Some(Err(Fault::Failed(failure))) => {
            // The readers are to see the error themselves.
            tracing::debug!(error = %failure.error(), "the registry cannot be looked at");
            *last = None;
            shared.signals.any();
        }
        None => {}
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Duration, Ordering, Shared, create_beside, look};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;

    /// The kernel's notifications of the small file.
    pub(super) struct Ears {
        queue: Option<OwnedFd>,
        attached: bool,
    }

    impl Ears {
        pub(super) fn new(shared: &Shared) -> Self {
            let queue = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
                Ok(queue) => Some(queue),
                Err(error) => {
                    shared.watching.failed.store(true, Ordering::Relaxed);
                    shared
                        .watching
                        .warn("the kernel gives no notifications", &error.into());
                    None
                }
            };
            let mut ears = Self {
                queue,
                attached: false,
            };
            ears.attach(shared);
            ears
        }

        fn attach(&mut self, shared: &Shared) {
            let Some(queue) = &self.queue else { return };
            let attached = create_beside(&shared.notify, &shared.path).and_then(|()| {
                let events = WatchFlags::OPEN
                    | WatchFlags::ATTRIB
                    | WatchFlags::DELETE_SELF
                    | WatchFlags::MOVE_SELF;
                Ok(inotify::add_watch(queue, &*shared.notify, events)?)
            });
            self.attached = attached.is_ok();
            if let Err(error) = attached {
                shared
                    .watching
                    .warn("the notification file cannot be watched", &error);
            }
        }

        /// Takes what has come. A file that was removed or moved away is made and watched anew.
        fn drain(&mut self) {
            let Some(queue) = &self.queue else { return };
            let mut buffer = [MaybeUninit::uninit(); 1024];
            let mut reader = Reader::new(queue, &mut buffer);
            while let Ok(event) = reader.next() {
                // Unlinking a watched file changes its link count first: an attribute.
                let gone = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
                if event.events().intersects(gone) {
                    self.attached = false;
                }
            }
        }
    }

    pub(super) fn run(shared: &Shared, mut ears: Ears, bell: &OwnedFd) {
        let mut last = None;
        loop {
            if shared.watching.stopped.load(Ordering::SeqCst) {
                return;
            }
            if !ears.attached {
                ears.attach(shared);
            }
            look(shared, &mut last);
            let mut fds = vec![PollFd::new(bell, PollFlags::IN)];
            if let Some(queue) = &ears.queue {
                fds.push(PollFd::new(queue, PollFlags::IN));
            }
            let timeout = timespec(shared.poll);
            if let Err(error) = poll(&mut fds, Some(&timeout))
                && error != rustix::io::Errno::INTR
            {
                shared
                    .watching
                    .warn("waiting for notifications failed", &error.into());
                return;
            }
            drop(fds);
            ears.drain();
        }
    }

    fn timespec(duration: Duration) -> Timespec {
        Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        }
    }
}
