//! Who is waited for: a line on a terminal that is written anew every second, and gone when the waiting is over.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold::{BootInstant, Manager, Status};
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::duration::human;
use crate::output::{Output, quoted};
use crate::{log, show, width};

const SECOND: Duration = Duration::from_secs(1);

/// A line that is erased when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    manager: &'a Manager,
    status: Status,
    /// When the status was seen.
    seen: BootInstant,
    since: BootInstant,
    limit: Option<Duration>,
    written: bool,
}

impl<'a> Progress<'a> {
    /// Where a person looks on; nobody else wants it.
    pub(crate) fn on_terminal(
        manager: &'a Manager,
        status: &Status,
        limit: Option<Duration>,
        output: Output,
    ) -> Option<Self> {
        let term = std::env::var_os("TERM").unwrap_or_default();
        let plain = term.is_empty() || term == "dumb" || log::is_json();
        if plain || output.is_quiet() || output.is_verbose() || !std::io::stderr().is_terminal() {
            return None;
        }
        let now = manager.door().now();
        Some(Self {
            manager,
            status: status.clone(),
            seen: now,
            since: now,
            limit,
            written: false,
        })
    }

    /// Shows it for as long as this is polled; ends never.
    pub(crate) async fn show(mut self) -> std::convert::Infallible {
        let mut watch = self.manager.watch(self.status.name()).ok();
        loop {
            self.write();
            let door = self.manager.door().clone();
            let tick = door.sleep_until(door.now().plus(SECOND));
            let Some(events) = &mut watch else {
                tick.await;
                continue;
            };
            let event = match select(std::pin::pin!(events.next()), tick).await {
                Either::Left((event, tick)) => {
                    // An outage is no news here: what is known may be old, and the waiting goes on.
                    if event.is_err() {
                        tick.await;
                    }
                    event.ok()
                }
                Either::Right(_) => None,
            };
            if let Some(status) = event.and_then(|event| event.status) {
                self.status = status;
                self.seen = door.now();
            }
        }
    }

    fn write(&mut self) {
        // Another job may have the terminal.
        let own = rustix::process::getpgrp();
        if tcgetpgrp(std::io::stderr()).is_ok_and(|group| group != own) {
            return;
        }
        let columns = tcgetwinsize(std::io::stderr()).map_or(80, |size| match size.ws_col {
            0 => 80,
            columns => usize::from(columns),
        });
        let line = width::cut(&self.line(), columns.saturating_sub(1));
        self.written = true;
        _ = write!(std::io::stderr().lock(), "\r{line}\x1b[K");
    }

    fn line(&self) -> String {
        let now = self.manager.door().now();
        let waited = Duration::from_secs(now.since(self.since).as_secs());
        let so_far = match self.limit {
            Some(limit) => format!("{} of {}", human(waited), human(limit)),
            None => human(waited),
        };
        let name = self.status.name();
        let mut line = format!(
            "waiting {so_far}: {name} is held by {}",
            show::holder(&self.status)
        );
        if let Some(left) = self.status.left().filter(|_| self.status.is_held()) {
            let left = left.saturating_sub(now.since(self.seen));
            line += &format!(", {}s left", left.as_secs());
        }
        if let Some(since) = self.status.since().and_then(show::time) {
            line += &format!(", since {since}");
        }
        if let Some(note) = self.status.note() {
            line += &format!(" ({})", quoted(note));
        }
        line
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.written {
            _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
