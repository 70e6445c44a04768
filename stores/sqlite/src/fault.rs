//! SQLite's errors, and what they mean to a caller.

use std::path::Path;
use std::sync::Arc;

use leasehold_core::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// Why a step on the file did not succeed.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Somebody else has the lock: try again.
    Busy,
    /// It failed.
    Failed(Failure),
}

/// An error that can be told to several callers.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<rusqlite::Error>>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn of_file(path: &Path, error: &std::io::Error, doing: &str) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Permission
            }
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::InvalidFilename => {
                ErrorKind::InvalidInput
            }
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, format!("{doing} {}: {error}", path.display()))
    }

    pub(crate) fn error(&self) -> Error {
        let error = Error::new(self.kind, self.message.clone());
        match &self.source {
            Some(source) => error.with_source(source.clone()),
            None => error,
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What an error of SQLite's means for the file at `path`.
pub(crate) fn classify(path: &Path, error: rusqlite::Error) -> Fault {
    let shown = path.display();
    let (kind, message) = match &error {
        rusqlite::Error::SqliteFailure(code, _) => match code.code {
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed => return Fault::Busy,
            // SQLITE_READONLY_DBMOVED
            ErrorCode::ReadOnly if code.extended_code == 1032 => {
                (ErrorKind::Unavailable, replaced(path))
            }
            ErrorCode::ReadOnly => (
                ErrorKind::Permission,
                format!(
                    "{shown} is read-only here: leases need to write it; check its mode, its owner and the mount"
                ),
            ),
            ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => (
                ErrorKind::Permission,
                format!("access to {shown} was denied: {error}"),
            ),
            ErrorCode::CannotOpen => (
                ErrorKind::Unavailable,
                format!(
                    "{shown}, or its -wal or -shm beside it, cannot be opened: {error}; check that the folder \
                     exists and that there are file descriptors left"
                ),
            ),
            ErrorCode::DiskFull => (
                ErrorKind::Unavailable,
                format!("the disk that holds {shown} is full: make room, nothing was changed"),
            ),
            ErrorCode::DatabaseCorrupt => (
                ErrorKind::Foreign,
                format!(
                    "{shown} is damaged: {error}; move it and its -wal and -shm away, and a new one is created once \
                     every lease in it has run out"
                ),
            ),
            ErrorCode::NotADatabase => (
                ErrorKind::Foreign,
                format!(
                    "{shown} is no SQLite database: it was left alone; choose another path or move it away"
                ),
            ),
            ErrorCode::SystemIoFailure => (
                ErrorKind::Unavailable,
                format!(
                    "reading or writing {shown} failed: {error}; look at the kernel's log and the disk's free space"
                ),
            ),
            _ => (ErrorKind::Unavailable, format!("{shown}: {error}")),
        },
        rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => (
            ErrorKind::Foreign,
            format!("{shown} is damaged: its counter cannot be read ({error})"),
        ),
        _ => (ErrorKind::Unavailable, format!("{shown}: {error}")),
    };
    Fault::Failed(Failure {
        kind,
        message,
        source: Some(Arc::new(error)),
    })
}

/// Whether an error leaves the rest of its transaction as it was: one poisoned change, not a broken file.
pub(crate) fn is_of_one_change(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

/// Whether a failed commit certainly left nothing behind. A full disk cuts the log before the frame that commits;
/// after any other failure that frame may be there, and be found by whoever recovers the log.
pub(crate) fn leaves_nothing(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// The message for a path that is another file by now.
pub(crate) fn replaced(path: &Path) -> String {
    format!(
        "the file at {} was replaced or removed since it was opened: nothing was changed; reopen the store",
        path.display()
    )
}
