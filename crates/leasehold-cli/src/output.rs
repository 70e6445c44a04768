//! Results go to standard output, messages to standard error. No control character gets to either of them.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::{Map, Value};

use crate::exit::{BROKEN_PIPE, Failure, OWN_FAILURE};
use crate::log::{Level, say};

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

    /// Whether what is done is told on standard error.
    pub(crate) fn is_verbose(self) -> bool {
        self.verbose
    }

    /// Whether only failures are to be told.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Something that only people who look on want to know: told on a terminal, or when asked for.
    pub(crate) fn notice(self, message: &str) {
        if !self.quiet && (self.verbose || std::io::stderr().is_terminal()) {
            say(Level::Info, message, &Map::new());
        }
    }

    /// Something that only those want to know who look closely.
    pub(crate) fn verbose(self, message: &str) {
        if self.verbose {
            say(Level::Info, message, &Map::new());
        }
    }

    /// Something that must be told, unless it was forbidden.
    pub(crate) fn message(self, message: &str) {
        self.message_about(message, &Map::new());
    }

    /// The same, and which lease it is about.
    pub(crate) fn message_about(self, message: &str, about: &Map<String, Value>) {
        if !self.quiet {
            say(Level::Info, message, about);
        }
    }

    /// Something that went wrong: always told.
    pub(crate) fn warning(self, message: &str) {
        say(Level::Warn, message, &Map::new());
    }

    pub(crate) fn failure(self, failure: &Failure) {
        let hushed = self.quiet && failure.is_answer();
        if !hushed && !failure.message().is_empty() {
            let level = match failure.is_answer() {
                true => Level::Info,
                false => Level::Error,
            };
            let mut about = failure.about().clone();
            about.insert("exit".into(), failure.code().into());
            say(level, failure.message(), &about);
        }
    }

    /// A line of results.
    pub(crate) fn line(self, line: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(|error| unwritten(&error))
    }

    /// A JSON object in a line of its own.
    pub(crate) fn json(self, object: &Value) -> Result<(), Failure> {
        self.line(&plain_json(&object.to_string()))
    }

    /// A sentence for people, who only want it on a terminal.
    pub(crate) fn sentence(self, sentence: &str) -> Result<(), Failure> {
        if self.quiet || !is_terminal() {
            return Ok(());
        }
        self.line(sentence)
    }
}

/// Why results could not be written.
pub(crate) fn unwritten(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::silent(BROKEN_PIPE),
        _ => Failure::new(
            OWN_FAILURE,
            format!("cannot write to standard output: {error}"),
        ),
    }
}

/// Whether results are read by a person.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether colours and bold type are wanted, on a terminal.
pub(crate) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether a terminal might obey it, or show other text in another order than it is.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text in which whatever a terminal might obey is spelt out.
pub(crate) fn masked(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_unsafe(c) {
            true => safe.extend(c.escape_debug()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Somebody's own words: masked, and a backslash is doubled, so that what was spelt out can be told from what was not.
pub(crate) fn quoted(text: &str) -> String {
    masked(&text.replace('\\', r"\\")).into_owned()
}

/// The same JSON, with what JSON allows and a terminal might obey spelt out. It can only be inside strings.
pub(crate) fn plain_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_unsafe(c) {
            true => safe += &format!("\\u{:04x}", u32::from(c)),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(masked("it's \"so\" \u{e9}"), "it's \"so\" \u{e9}");
        assert_eq!(
            masked("a\u{1b}[1m\u{9b}b\rc\n\u{7f}\u{202e}d"),
            r"a\u{1b}[1m\u{9b}b\rc\n\u{7f}\u{202e}d"
        );
        assert_eq!(quoted("it's \\n\n"), r"it's \\n\n");
        let value = serde_json::json!({"data": "\u{9b}31m\u{7f}\u{1b}\u{202e}\u{e9}"});
        let text = value.to_string();
        let json = plain_json(&text);
        assert_eq!(json, "{\"data\":\"\\u009b31m\\u007f\\u001b\\u202e\u{e9}\"}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }
}
