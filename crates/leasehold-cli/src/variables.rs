//! The settings that an environment may carry: each is the twin of an option, which goes before it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

pub(crate) const PERIOD: &str = "LEASEHOLD_PERIOD";
pub(crate) const WAIT: &str = "LEASEHOLD_WAIT";
pub(crate) const LOG_FORMAT: &str = "LEASEHOLD_LOG_FORMAT";

/// Which option each of them is the twin of.
const TWINS: [(&str, &str); 3] = [
    ("--period", PERIOD),
    ("--wait", WAIT),
    ("--log-format", LOG_FORMAT),
];

/// The section of the help.
pub(crate) const HELP: &str = "\
Environment:
  LEASEHOLD_STORE       --store
  LEASEHOLD_PERIOD      --period of run and acquire
  LEASEHOLD_WAIT        --wait of run and acquire; `--wait 0s` does not wait whatever it says
  LEASEHOLD_LOG_FORMAT  --log-format
  NO_COLOR              if it is not empty: no colours and no bold type
  An option goes before its variable, and an empty variable is an error, not the default. They are settings of a deployment, so
  `run` passes them on to its command as it passes on all of its environment, and a leasehold inside that command obeys them, too.";

/// An error of the command line that says which variable a bad value comes from, if it comes from one.
pub(crate) fn named(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    if error.kind() == ErrorKind::InvalidUtf8 {
        return unreadable(words).unwrap_or(error);
    }
    let bad_value = matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
    );
    let twin = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(of)) if bad_value => TWINS
            .iter()
            .find(|(option, _)| of.split(' ').next() == Some(option)),
        _ => None,
    };
    // The variable is only looked at where the option is not given.
    if let Some((option, variable)) = twin
        && !is_given(option, words)
    {
        let variable = ContextValue::String((*variable).to_owned());
        error.insert(ContextKind::InvalidArg, variable);
    }
    error
}

/// Of what is not UTF-8 an error of clap's does not say what it is: the words go first, then the variables.
fn unreadable(words: &[OsString]) -> Option<clap::Error> {
    if own(words).any(|word| word.to_str().is_none()) {
        return None;
    }
    let (_, variable) = TWINS.iter().find(|(option, variable)| {
        let value = std::env::var_os(variable);
        value.is_some_and(|value| value.to_str().is_none()) && !is_given(option, words)
    })?;
    let message = format!("the variable {variable} is not UTF-8\n");
    Some(clap::Error::raw(ErrorKind::InvalidUtf8, message))
}

/// The words that are leasehold's own.
fn own(words: &[OsString]) -> impl Iterator<Item = &OsString> {
    words.iter().take_while(|word| *word != "--")
}

fn is_given(option: &str, words: &[OsString]) -> bool {
    own(words).any(|word| {
        let word = word.to_string_lossy();
        let rest = word.strip_prefix(option);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// Their values, which an error may repeat.
pub(crate) fn values() -> impl Iterator<Item = OsString> {
    TWINS.iter().filter_map(|(_, name)| std::env::var_os(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_given_before_the_dashes_only() {
        let given = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            is_given("--wait", &words)
        };
        assert!(given("leasehold run x --wait 1s -- a"));
        assert!(given("leasehold run x --wait=1s -- a"));
        assert!(!given("leasehold run x -- a --wait"));
        assert!(!given("leasehold run x --waiting -- a"));
    }
}
