//! How the command ends: its exit status, and what it says on standard error.

use leasehold::{Error, ErrorKind, Status};
use serde_json::{Map, Value};

/// Nobody holds the name (`get`, `steal`, `break`).
pub(crate) const NOT_HELD: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// The registry cannot be reached, or nobody knows whether a change was applied.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Held by somebody else.
pub(crate) const BUSY: u8 = 75;
/// The term is over.
pub(crate) const LOST: u8 = 76;
/// Access denied.
pub(crate) const PERMISSION: u8 = 77;
/// The store or the environment is set up wrongly.
pub(crate) const CONFIGURATION: u8 = 78;
/// The command ran into its time limit.
pub(crate) const TIME_LIMIT: u8 = 124;
/// leasehold itself failed.
pub(crate) const OWN_FAILURE: u8 = 125;
/// The command cannot be executed.
pub(crate) const CANNOT_EXECUTE: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;
/// Standard output was closed: as if by SIGPIPE.
pub(crate) const BROKEN_PIPE: u8 = 128 + 13;

/// The section of the help.
pub(crate) const HELP: &str = "\
Exit status:
  0        done
  1        nobody holds the name (get, steal, break)
  64       the command line is wrong
  69       the registry cannot be reached, or whether a change was applied is unknown
  75       held by somebody else, also after waiting; -E N chooses another
  76       lost: the term is over, whatever the command returned then
  77       permission denied
  78       configuration: no usable store, or none that reaches far enough
  124      run: the command ran into --time-limit
  125      leasehold itself failed; doctor: the registry breaks the contract
  126      run: the command cannot be executed
  127      run: the command was not found
  128+n    signal n ended the command, or leasehold while it waited
  others   run: the command's own";

/// Why the command ends otherwise than well.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    /// A message that `-q` silences: no failure of anything, but an answer.
    answer: bool,
    /// What is known of the lease, for programs that read messages.
    about: Map<String, Value>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            answer: false,
            about: Map::new(),
        }
    }

    /// An expected answer: `-q` leaves only its exit status.
    pub(crate) fn answer(code: u8, message: impl Into<String>) -> Self {
        Self {
            answer: true,
            ..Self::new(code, message)
        }
    }

    /// Nothing to say.
    pub(crate) fn silent(code: u8) -> Self {
        Self::answer(code, "")
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn is_answer(&self) -> bool {
        self.answer
    }

    /// The same, with another exit status.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same, with more to say.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// The same, and whose lease it is about.
    pub(crate) fn found(mut self, status: &Status) -> Self {
        self.about = crate::log::fields(status);
        self
    }

    pub(crate) fn about(&self) -> &Map<String, Value> {
        &self.about
    }

    /// What standard error is told; empty for nothing.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(code(&error), sentence(&error))
    }
}

/// An error and its driver's error, in one line.
pub(crate) fn sentence(error: &Error) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !message.contains(&cause_text) {
            message.push_str(": ");
            message.push_str(&cause_text);
        }
        source = cause.source();
    }
    message
}

fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::InvalidInput => USAGE,
        ErrorKind::Changed | ErrorKind::Expired | ErrorKind::Gone => LOST,
        ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => UNAVAILABLE,
        ErrorKind::Permission => PERMISSION,
        // A record that cannot be judged counts as held.
        ErrorKind::Foreign => BUSY,
        ErrorKind::Unsupported => CONFIGURATION,
        _ => OWN_FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold::LeaseName;

    #[test]
    fn each_kind_has_its_status() {
        let name = LeaseName::new("a").unwrap();
        let of = |kind| code(&Error::new(kind, "x").during("renew", Some(&name)));
        assert_eq!(of(ErrorKind::InvalidInput), 64);
        assert_eq!(of(ErrorKind::Unavailable), 69);
        assert_eq!(of(ErrorKind::OutcomeUnknown), 69);
        assert_eq!(of(ErrorKind::Foreign), 75);
        for kind in [ErrorKind::Changed, ErrorKind::Expired, ErrorKind::Gone] {
            assert_eq!(of(kind), 76);
        }
        assert_eq!(of(ErrorKind::Permission), 77);
        assert_eq!(of(ErrorKind::Unsupported), 78);
    }

    #[test]
    fn the_driver_s_error_is_told_once() {
        let error = Error::new(ErrorKind::Unavailable, "no answer")
            .with_source(std::io::Error::other("disk full"));
        assert_eq!(sentence(&error), "no answer: disk full");
    }
}
