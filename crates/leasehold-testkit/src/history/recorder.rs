//! The recorder: what processes and simulations call.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lines::Lines;
use super::records::History;
use super::types::{Belief, Header, Name, Operation, Outcome, Time};

/// Records a history, in memory or line by line into a file. Clones record into the same history, from any thread.
///
/// It reads no clock: whoever records says when.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// All of it in memory; only the names where it is written.
    history: History,
    lines: Option<Lines<Box<dyn Write + Send>>>,
    /// Where it is written: operations that were begun. In memory: those that were taken away.
    count: u64,
    failed: Option<io::Error>,
}

/// An operation that was begun. If it is dropped before it has returned, the history says that it never did.
#[derive(Debug)]
#[must_use = "an operation whose outcome is not recorded is unknown"]
pub struct Pending {
    recorder: Recorder,
    number: u64,
    operation: Operation,
}

impl Recorder {
    /// Records into memory.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self::make(header, None)
    }

    /// Writes each record as a line, as it comes. What an operation's process did not live to see returned is in the
    /// file too. A `File` opened for appending may be shared by several processes: each line is one write.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn writing(header: Header, to: impl Write + Send + 'static) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = Box::new(to);
        let mut lines = Lines::new(to);
        lines.header(&header)?;
        Ok(Self::make(header, Some(lines)))
    }

    fn make(header: Header, lines: Option<Lines<Box<dyn Write + Send>>>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            history: History::new(header),
            lines,
            count: 0,
            failed: None,
        })))
    }

    /// The number of a lease's name, new or known.
    #[must_use]
    pub fn name(&self, name: &str) -> Name {
        self.lock().history.name(name)
    }

    /// An operation begins: its outcome is unknown until it returns.
    pub fn begin(&self, operation: Operation) -> Pending {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let number = match &mut inner.lines {
            None => {
                inner.history.push(&operation);
                inner.count + inner.history.len() as u64 - 1
            }
            Some(lines) => {
                inner.count += 1;
                let name = inner.history.text(operation.name);
                let written = lines.operation(name, &operation, Some(inner.count));
                keep(&mut inner.failed, written);
                inner.count
            }
        };
        Pending {
            recorder: self.clone(),
            number,
            operation,
        }
    }

    /// A whole operation.
    pub fn operation(&self, operation: &Operation) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        match &mut inner.lines {
            None => inner.history.push(operation),
            Some(lines) => {
                let name = inner.history.text(operation.name);
                let written = lines.operation(name, operation, None);
                keep(&mut inner.failed, written);
            }
        }
    }

    /// A handle believed, or believes from now on.
    pub fn belief(&self, belief: Belief) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        match &mut inner.lines {
            None => inner.history.believe(belief),
            Some(lines) => {
                let written = lines.belief(inner.history.text(belief.name), &belief);
                keep(&mut inner.failed, written);
            }
        }
    }

    /// What was recorded so far in memory, and an empty history from here on. The names keep their numbers. What was
    /// begun and has not returned yet stays unknown in what is taken.
    #[must_use]
    pub fn take(&self) -> History {
        let mut inner = self.lock();
        if inner.lines.is_none() {
            inner.count += inner.history.len() as u64;
        }
        inner.history.take()
    }

    /// Sees to it that all lines are written.
    ///
    /// # Errors
    /// The first error of any line.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(error) = inner.failed.take() {
            return Err(error);
        }
        inner.lines.as_mut().map_or(Ok(()), Lines::flush)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(failed: &mut Option<io::Error>, written: io::Result<()>) {
    if let Err(error) = written {
        failed.get_or_insert(error);
    }
}

impl Pending {
    /// The operation as it was begun.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// From when its granted period counts, on the common clock, where that is not when it was applied:
    /// [`Operation::counted`].
    pub fn counted_from(mut self, at: Option<Time>) -> Self {
        self.operation.counted = at;
        self
    }

    /// It has returned.
    pub fn returned(self, at: Time, outcome: Outcome) -> Returned {
        let returned = Returned {
            operation: Operation {
                returned: Some(at),
                outcome,
                ..self.operation
            },
            recorder: self.recorder,
            number: self.number,
        };
        returned.write();
        returned
    }
}

/// An operation that has returned.
#[derive(Debug)]
pub struct Returned {
    recorder: Recorder,
    number: u64,
    operation: Operation,
}

impl Returned {
    /// A further answer tells that its period counts from a later instant, on the common clock:
    /// [`Operation::counted`]. An earlier one changes nothing.
    pub fn counted_from(&mut self, at: Time) {
        if self.operation.counted.is_some_and(|known| known < at) {
            self.operation.counted = Some(at);
            self.write();
        }
    }

    fn write(&self) {
        let mut inner = self.recorder.lock();
        let inner = &mut *inner;
        match &mut inner.lines {
            None => {
                if let Some(number) = self.number.checked_sub(inner.count) {
                    let number = usize::try_from(number).unwrap_or(usize::MAX);
                    inner.history.replace(number, &self.operation);
                }
            }
            Some(lines) => {
                let written = lines.returned(&self.operation, self.number);
                keep(&mut inner.failed, written);
            }
        }
    }
}
