//! The thread that does what is asked, and the way to ask it.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::{Error, ErrorKind, Manager, Result};

/// How long what was given back may take, when nobody uses the thread any more.
const END: Duration = Duration::from_secs(2);
/// How much longer a drop waits for the thread, should a store hold it up.
const SLACK: Duration = Duration::from_secs(1);

thread_local! {
    /// Which thread of ours this is, if it is one. Without a destructor: it can be asked at any time.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// A thread with a runtime of its own. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    runtime: Handle,
    number: u64,
    process: u32,
    manager: OnceLock<Manager>,
    end: Mutex<Option<End>>,
}

/// What is needed to end it.
#[derive(Debug)]
struct End {
    stop: oneshot::Sender<Option<Manager>>,
    /// Nothing is sent: it is closed when the thread has ended.
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Thread {
    pub(crate) fn start() -> Result<Arc<Self>> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (stop, stopped) = oneshot::channel();
        let (told, runtime) = mpsc::sync_channel(1);
        let (running, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("leasehold".into())
            .spawn(move || {
                let _running: mpsc::Sender<()> = running;
                NUMBER.set(number);
                run(&told, stopped);
            });
        let thread = thread.map_err(no_thread)?;
        // The thread tells it before it does anything else.
        let runtime = runtime.recv().map_err(no_thread)?.map_err(no_thread)?;
        Ok(Arc::new(Self {
            runtime,
            number,
            process: std::process::id(),
            manager: OnceLock::new(),
            end: Mutex::new(Some(End {
                stop,
                ended,
                thread,
            })),
        }))
    }

    /// What is shut down when the thread ends.
    pub(crate) fn serves(&self, manager: &Manager) {
        drop(self.manager.set(manager.clone()));
    }

    /// Does it on the thread, and waits for the answer. The future is gone when this returns.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.begin(future)?.wait()
    }

    /// Begins it on the thread.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Pending<T>> {
        self.usable()?;
        let (answer, answered) = mpsc::sync_channel(1);
        let task = self.runtime.spawn(async move {
            let done = future.await;
            drop(answer.send(done));
        });
        Ok(Pending {
            answered,
            task: task.abort_handle(),
        })
    }

    /// An error where nobody would ever answer.
    fn usable(&self) -> Result<()> {
        if self.is_forked() {
            return Err(forked());
        }
        if self.is_own() {
            let message = "a blocking call on the very thread that is to answer it";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }

    fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    fn is_own(&self) -> bool {
        NUMBER.get() == self.number
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (end, manager) = (end.take(), self.manager.take());
        if self.is_forked() {
            // The thread is not in this process, and whatever it had locked stays locked.
            std::mem::forget((end, manager));
            return;
        }
        let Some(End {
            stop,
            ended,
            thread,
        }) = end
        else {
            return;
        };
        // Where it is not received the thread has ended.
        drop(stop.send(manager));
        if self.is_own() {
            return;
        }
        match ended.recv_timeout(END + SLACK) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("a store holds up the end of leasehold's thread: it is left alone");
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => drop(thread.join()),
        }
    }
}

/// What the thread does: everything that is begun on its runtime, until nobody uses it any more.
fn run(
    told: &mpsc::SyncSender<std::io::Result<Handle>>,
    stopped: oneshot::Receiver<Option<Manager>>,
) {
    // Made here: a runtime must not be dropped inside another one, where the caller may be.
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(told.send(Err(error))),
    };
    drop(told.send(Ok(runtime.handle().clone())));
    runtime.block_on(async {
        if let Ok(Some(manager)) = stopped.await
            && let Err(error) = manager.shutdown(END).await
        {
            tracing::warn!(%error, "not everything was given back: it runs out by itself");
        }
    });
    // Without waiting for what a store may still do on other threads.
    runtime.shutdown_background();
}

/// Something that was begun on the thread. Dropped, it is given up: its future is dropped there.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    answered: mpsc::Receiver<Result<T>>,
    task: AbortHandle,
}

impl<T> Pending<T> {
    pub(crate) fn wait(self) -> Result<T> {
        self.answered.recv().unwrap_or_else(|_| {
            let message = "leasehold's thread has ended, or could not answer";
            Err(Error::new(ErrorKind::Unavailable, message))
        })
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn forked() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "a forked child may not use its parent's manager: open one of its own",
    )
}

fn no_thread(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "no thread could be started").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends the thread under those who use it, still.
    fn end(thread: &Thread) {
        let end = thread.end.lock().unwrap().take().unwrap();
        drop(end.stop);
        end.thread.join().unwrap();
    }

    #[test]
    fn nobody_waits_for_a_thread_that_has_ended() {
        let thread = Thread::start().unwrap();
        assert_eq!(thread.call(async { Ok(7) }).unwrap(), 7);
        let never = std::future::pending::<Result<()>>();
        let pending = thread.begin(never).unwrap();
        end(&thread);
        let refused = |result: Result<()>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
        };
        refused(pending.wait());
        refused(thread.call(async { Ok(()) }));
        refused(thread.call(std::future::pending()));
    }

    #[test]
    fn what_panics_on_the_thread_is_an_error_and_the_thread_goes_on() {
        let thread = Thread::start().unwrap();
        let panics = async { std::panic::resume_unwind(Box::new("as intended")) };
        let error = thread.call::<()>(panics).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(thread.call(async { Ok(7) }).unwrap(), 7);
    }

    #[test]
    fn what_is_given_up_is_dropped_on_the_thread() {
        struct Tells(mpsc::Sender<u64>);
        impl Drop for Tells {
            fn drop(&mut self) {
                _ = self.0.send(NUMBER.get());
            }
        }
        let thread = Thread::start().unwrap();
        let (tell, told) = mpsc::channel();
        let tells = Tells(tell);
        let pending = thread.begin(async move {
            std::future::pending::<()>().await;
            drop(tells);
            Ok(())
        });
        drop(pending.unwrap());
        assert_eq!(told.recv().unwrap(), thread.number);
    }
}
