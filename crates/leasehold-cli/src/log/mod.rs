//! What goes to standard error: lines for people, or with `--log-format json` one JSON object a line.
//!
//! An object has `time`, `level` and `message`, and what is known of the lease by the names that the other JSON output
//! has: `name`, `fence`, `machine_id`, and so on.

mod events;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::ValueEnum;
use leasehold::Status;
use serde_json::{Map, Value};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Global, Verb};
use crate::output::{masked, plain_json};
use crate::show;

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// A JSON object in each line
    Json,
}

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();
/// Which lease this process is about, as far as it knows.
static LEASE: Mutex<BTreeMap<String, Value>> = Mutex::new(BTreeMap::new());

/// Sets how messages are written from now on, and what leasehold tells of itself: nothing; with `-v` what it does; with
/// `-vv` everything it can tell. What its libraries tell of themselves only where it is serious: they would drown it,
/// and could tell what is secret.
pub(crate) fn start(global: &Global, verb: &Verb) {
    set_format(global.log_format);
    if let Some(name) = name_of(verb) {
        know("name", name);
    }
    let filter = match global.verbose {
        0 => return,
        1 => {
            "warn,leasehold=debug,leasehold_core=debug,leasehold_sqlite=debug,leasehold_etcd=debug"
        }
        _ => {
            "warn,leasehold=trace,leasehold_core=trace,leasehold_sqlite=trace,leasehold_etcd=trace"
        }
    };
    if global.log_format == LogFormat::Json {
        return tracing_subscriber::registry()
            .with(EnvFilter::new(filter))
            .with(events::Lines)
            .init();
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        // It would tell of a closed standard error there, and panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && crate::output::colours())
        .init();
}

pub(crate) fn set_format(format: LogFormat) {
    _ = FORMAT.set(format);
}

pub(crate) fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

fn name_of(verb: &Verb) -> Option<&str> {
    let name = match verb {
        Verb::Run(args) => &args.name,
        Verb::Lead(args) => &args.name,
        Verb::Acquire(args) => &args.name,
        Verb::Renew(args) => &args.name,
        Verb::Release(args) => &args.name,
        Verb::Steal(args) => &args.name,
        Verb::Break(args) => &args.name,
        Verb::Get(args) => &args.name,
        Verb::Check(args) => &args.name,
        Verb::Wait(args) => &args.name,
        Verb::Watch(args) => args.name.as_ref()?,
        _ => return None,
    };
    Some(name.as_str())
}

fn know(key: &str, value: impl Into<Value>) {
    let mut lease = LEASE.lock().unwrap_or_else(PoisonError::into_inner);
    lease.insert(key.to_owned(), value.into());
}

/// The term that this process has begun: messages are about it from now on.
pub(crate) fn began(fence: u64) {
    know("fence", fence);
}

/// What messages tell of somebody's lease: what is known, without the lessee's data.
pub(crate) fn fields(status: &Status) -> Map<String, Value> {
    let mut fields = show::status(status);
    fields.retain(|key, value| !value.is_null() && !key.starts_with("data"));
    fields
}

/// Tells something. There is nobody left to tell if that fails.
pub(crate) fn say(level: Level, message: &str, about: &Map<String, Value>) {
    if !is_json() {
        _ = writeln!(std::io::stderr().lock(), "leasehold: {}", masked(message));
        return;
    }
    let lease = LEASE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut fields: Map<String, Value> = lease.into_iter().collect();
    fields.extend(about.clone());
    write(level.as_str(), message, &fields);
}

/// A line that clap made of several, about the command line.
pub(crate) fn unparsed(text: &str) {
    if is_json() {
        let message = text.trim_end();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let fields = [("exit".to_owned(), crate::exit::USAGE.into())];
        return write("ERROR", message, &fields.into_iter().collect());
    }
    for line in text.lines() {
        _ = writeln!(std::io::stderr().lock(), "{}", masked(line));
    }
}

/// Whether the command line cannot be read, but asks for JSON; an option goes before the variable.
pub(crate) fn is_json_wanted<'a>(words: impl Iterator<Item = &'a str>) -> bool {
    let mut words = words.take_while(|word| *word != "--");
    let mut option = None;
    while let Some(word) = words.next() {
        match word.strip_prefix("--log-format") {
            Some("") => option = words.next(),
            Some(value) => option = value.strip_prefix('=').or(option),
            None => {}
        }
    }
    match option {
        Some(value) => value == "json",
        None => std::env::var_os(crate::variables::LOG_FORMAT).is_some_and(|value| value == "json"),
    }
}

fn write(level: &str, message: &str, fields: &Map<String, Value>) {
    let line = line(&now(), level, message, fields);
    // In one piece: others write to standard error, too.
    _ = std::io::stderr().lock().write_all(line.as_bytes());
}

fn line(time: &str, level: &str, message: &str, fields: &Map<String, Value>) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let mut line = format!(
        "{{\"time\":{},\"level\":{},\"message\":{}",
        text(time),
        text(level),
        text(message)
    );
    for (key, value) in fields {
        if !matches!(key.as_str(), "time" | "level" | "message") {
            line += &format!(",{}:{value}", text(key));
        }
    }
    line.push('}');
    let mut line = plain_json(&line).into_owned();
    line.push('\n');
    line
}

#[expect(
    clippy::disallowed_methods,
    reason = "when something was told: shown, never compared"
)]
fn now() -> String {
    show::time(std::time::SystemTime::now()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_without_anything_that_a_terminal_obeys() {
        let fields = serde_json::json!({"name": "a", "note": "\u{1b}[1m\u{202e}\n", "level": "no", "fence": 7});
        let fields = fields.as_object().unwrap().clone();
        let line = line("2026-01-02T03:04:05.678Z", "INFO", "it's \u{9b}1m", &fields);
        assert_eq!(
            line,
            "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"INFO\",\"message\":\"it's \\u009b1m\",\"fence\":7,\
             \"name\":\"a\",\"note\":\"\\u001b[1m\\u202e\\n\"}\n"
        );
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["note"], "\u{1b}[1m\u{202e}\n");
    }

    #[test]
    fn a_line_that_cannot_be_read_may_ask_for_json() {
        let wanted = |line: &str| is_json_wanted(line.split(' '));
        assert!(wanted("leasehold --log-format json get"));
        assert!(wanted("leasehold get x --log-format=json --what"));
        assert!(!wanted("leasehold get --log-format"));
        assert!(!wanted("leasehold run x --y -- a --log-format json"));
        assert!(!wanted("leasehold --log-format json get --log-format=text"));
        assert!(!wanted("leasehold get --log-formats=json"));
    }
}
