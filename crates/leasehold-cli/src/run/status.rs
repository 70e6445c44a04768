//! How a command ended, or why it could not begin.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::exit::{CANNOT_EXECUTE, Failure, NOT_FOUND, OWN_FAILURE};

/// The exit status that tells of a command's end: its own, or 128 and the signal's number.
pub(super) fn code(raw: i32) -> u8 {
    let status = ExitStatus::from_raw(raw);
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(OWN_FAILURE),
    };
    u8::try_from(code).unwrap_or(OWN_FAILURE)
}

/// The same in words.
pub(super) fn how(raw: i32) -> String {
    let status = ExitStatus::from_raw(raw);
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// Why a command could not begin.
pub(super) fn not_started(command: &[OsString], number: i32) -> Failure {
    let error = io::Error::from_raw_os_error(number);
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => OWN_FAILURE,
        _ => CANNOT_EXECUTE,
    };
    let program = command.first().map(|program| program.to_string_lossy());
    Failure::new(
        code,
        format!("cannot run `{}`: {error}", program.unwrap_or_default()),
    )
}
