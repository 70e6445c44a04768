//! What happened, as a line of JSON for whoever started us.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use leasehold::Held;
use serde_json::{Value, json};

use super::attend::Ending;
use crate::exit::{Failure, LOST, OWN_FAILURE, TIME_LIMIT, USAGE};
use crate::guardian::inherited;

/// What the report goes to: a copy of the command's own output or errors, or a descriptor that it does not get.
fn descriptor(number: i32) -> Result<OwnedFd, Failure> {
    let opened = match number {
        1 => dup(std::io::stdout()),
        2 => dup(std::io::stderr()),
        3.. => inherited(number),
        _ => Err(std::io::ErrorKind::InvalidInput.into()),
    };
    opened.map_err(|error| {
        let message = format!("--report {number}: no descriptor to write to: {error}");
        Failure::new(USAGE, message)
    })
}

fn dup(descriptor: impl AsFd) -> std::io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?)
}

#[derive(Debug)]
pub(super) struct Report {
    file: Option<File>,
    name: String,
    fence: Option<u64>,
    machine_id: Option<String>,
    outcome: Option<&'static str>,
    command: Option<(u8, String)>,
}

impl Report {
    pub(super) fn open(number: Option<i32>, name: &str) -> Result<Self, Failure> {
        let file = match number {
            Some(number) => Some(descriptor(number)?),
            None => None,
        };
        Ok(Self {
            file: file.map(File::from),
            name: name.to_owned(),
            fence: None,
            machine_id: None,
            outcome: None,
            command: None,
        })
    }

    pub(super) fn acquired(&mut self, held: &Held) {
        self.fence = Some(held.fence());
        self.machine_id = Some(held.term().machine_id());
    }

    /// It was not acquired, and that is no failure.
    pub(super) fn refused(&mut self, outcome: &'static str) {
        self.outcome = Some(outcome);
    }

    pub(super) fn ended(&mut self, ending: &Ending) {
        self.command = Some((ending.code, ending.how.clone()));
    }

    /// Writes it, if anybody wants it.
    pub(super) fn write(&self, result: &Result<u8, Failure>) -> Result<(), Failure> {
        let Some(mut file) = self.file.as_ref() else {
            return Ok(());
        };
        let line = format!("{}\n", self.line(result));
        file.write_all(line.as_bytes())
            .map_err(|error| Failure::new(OWN_FAILURE, format!("cannot write the report: {error}")))
    }

    fn line(&self, result: &Result<u8, Failure>) -> Value {
        let (code, message) = match result {
            Ok(code) => (*code, None),
            Err(failure) => (failure.code(), Some(failure.message())),
        };
        let outcome = match (self.outcome, &self.command) {
            (Some(outcome), _) => outcome,
            (None, Some(_)) => match code {
                LOST if message.is_some() => "lost",
                TIME_LIMIT if message.is_some() => "timed out",
                _ if message.is_some() => "failed",
                _ => "ended",
            },
            (None, None) if message.is_some() => "failed",
            (None, None) => "interrupted",
        };
        json!({
            "name": self.name,
            "outcome": outcome,
            "exit_status": code,
            "fence": self.fence,
            "machine_id": self.machine_id,
            "command": self.command.as_ref().map(|(_, how)| how),
            "command_status": self.command.as_ref().map(|(code, _)| code),
            "reason": message,
        })
    }
}
