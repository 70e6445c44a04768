//! Results go to standard output, messages to standard error.

use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::Value;

use crate::exit::{BROKEN_PIPE, Failure, OWN_FAILURE};

/// Who is told what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    quiet: bool,
    verbose: bool,
}

impl Output {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self { quiet, verbose }
    }

    /// Something that only people who look on want to know: told on a terminal, or when asked for.
    pub(crate) fn notice(self, message: &str) {
        if !self.quiet && (self.verbose || std::io::stderr().is_terminal()) {
            say(message);
        }
    }

    /// Something that must be told, unless it was forbidden.
    pub(crate) fn message(self, message: &str) {
        if !self.quiet {
            say(message);
        }
    }

    /// Something that went wrong: always told.
    pub(crate) fn warning(self, message: &str) {
        say(message);
    }

    pub(crate) fn failure(self, failure: &Failure) {
        let hushed = self.quiet && failure.is_answer();
        if !hushed && !failure.message().is_empty() {
            say(failure.message());
        }
    }

    /// A line of results.
    pub(crate) fn line(self, line: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => Failure::silent(BROKEN_PIPE),
                _ => Failure::new(
                    OWN_FAILURE,
                    format!("cannot write to standard output: {error}"),
                ),
            })
    }

    /// A JSON object in a line of its own.
    pub(crate) fn json(self, object: &Value) -> Result<(), Failure> {
        self.line(&object.to_string())
    }

    /// A sentence for people, who only want it on a terminal.
    pub(crate) fn sentence(self, sentence: &str) -> Result<(), Failure> {
        if self.quiet || !is_terminal() {
            return Ok(());
        }
        self.line(sentence)
    }
}

/// Whether results are read by a person.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

fn say(message: &str) {
    // There is nobody left to tell if this fails.
    _ = writeln!(std::io::stderr().lock(), "leasehold: {message}");
}
