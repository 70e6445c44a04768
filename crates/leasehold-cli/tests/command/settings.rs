//! Options that have a variable of the environment as their twin.

use std::os::unix::ffi::OsStrExt;

use crate::support::{Done, Registry, done, json};

fn with(registry: &Registry, variable: (&str, &str), line: &str) -> Done {
    let mut command = registry.command(line.split_whitespace());
    command.env(variable.0, variable.1);
    done(command)
}

#[test]
fn a_variable_is_the_default_and_an_option_goes_before_it() {
    let registry = Registry::new();
    let period = |variable, line| {
        with(&registry, ("LEASEHOLD_PERIOD", variable), line).exits(0);
        registry.status("x")["period_ms"].clone()
    };
    assert_eq!(period("7m", "acquire x"), 420_000);
    let release = |name| {
        let fence = registry.status(name)["fence"].clone();
        registry
            .line(&format!("release {name} --fence {fence}"))
            .exits(0);
    };
    release("x");
    assert_eq!(period("7m", "acquire x --period 8m"), 480_000);
    release("x");
    let line = format!("run x -- {} get x --json", env!("CARGO_BIN_EXE_leasehold"));
    let during = with(&registry, ("LEASEHOLD_PERIOD", "9m"), &line).exits(0);
    assert_eq!(json(&during.out)["period_ms"], 540_000);
}

#[test]
fn how_long_to_wait_can_be_a_setting() {
    let registry = Registry::new();
    registry.line("acquire x --period 1h").exits(0);
    let waits = |line| with(&registry, ("LEASEHOLD_WAIT", "1s"), line).exits(75);
    assert!(waits("acquire x").took.as_millis() >= 1_000);
    assert!(waits("run x -- true").took.as_millis() >= 1_000);
    assert!(waits("acquire x --wait 0s").took.as_millis() < 1_000);
}

/// A variable of its own would be read as a word of the command line, and nobody would find the culprit there.
#[test]
fn a_bad_value_names_its_variable() {
    let registry = Registry::new();
    for (variable, value, line, says) in [
        ("PERIOD", "15", "run x -- true", "did you mean 15s?"),
        ("PERIOD", "15", "acquire x", "did you mean 15s?"),
        ("PERIOD", "", "acquire x", "90s, 1h30m"),
        ("WAIT", "never", "acquire x", "(or `forever`)"),
        ("WAIT", "never", "run x -- a --wait 1s", "(or `forever`)"),
        ("LOG_FORMAT", "xml", "get x", "text, json"),
        ("LOG_FORMAT", "", "run x -- true", "text, json"),
    ] {
        let variable = format!("LEASEHOLD_{variable}");
        let refused = with(&registry, (&variable, value), line).exits(64);
        refused.says(&[&format!("'{variable}'"), says]);
    }
    let not_text = std::ffi::OsStr::from_bytes(b"\xff");
    for (variable, line) in [
        ("LEASEHOLD_PERIOD", "acquire x"),
        ("LEASEHOLD_WAIT", "run x -- true"),
        ("LEASEHOLD_LOG_FORMAT", "list"),
    ] {
        let mut command = registry.command(line.split(' '));
        command.env(variable, not_text);
        done(command).exits(64).says(&[variable]);
    }
    let words = "acquire x --period 15";
    let refused = with(&registry, ("LEASEHOLD_PERIOD", "1m"), words).exits(64);
    refused.says(&["'15' for '--period <TIME>'"]);
    // Verbs that have no such option do not care.
    with(&registry, ("LEASEHOLD_PERIOD", "15"), "list").exits(0);
}

#[test]
fn a_bad_value_does_nothing_to_the_terminal() {
    let registry = Registry::new();
    let odd = "\u{1b}[31m\u{202e}";
    let refused = with(&registry, ("LEASEHOLD_PERIOD", odd), "acquire x").exits(64);
    assert!(!refused.err.contains(['\u{1b}', '\u{202e}']), "{refused:?}");
    refused.says(&[r"\u{202e}"]);
}

/// They are settings of a deployment: a `run` inside a `run` obeys them as the outer one does.
#[test]
fn the_command_inherits_them() {
    let registry = Registry::new();
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let line = format!("run outer -- {leasehold} run inner -- printenv LEASEHOLD_PERIOD");
    let nested = with(&registry, ("LEASEHOLD_PERIOD", "9m"), &line).exits(0);
    assert_eq!(nested.out, "9m\n");
    // What the outer one says of its own lease is none of the inner one's settings.
    let line = format!("run outer -- {leasehold} run inner -- printenv LEASEHOLD_NAME");
    let nested = with(&registry, ("LEASEHOLD_PERIOD", "9m"), &line).exits(0);
    assert_eq!(nested.out, "inner\n");
}

#[test]
fn the_help_shows_them() {
    let registry = Registry::new();
    for (line, variables) in [
        (
            "run --help",
            ["[env: LEASEHOLD_PERIOD]", "[env: LEASEHOLD_WAIT]"],
        ),
        (
            "acquire -h",
            ["[env: LEASEHOLD_PERIOD]", "[env: LEASEHOLD_LOG_FORMAT]"],
        ),
        ("--help", ["  LEASEHOLD_STORE ", "  LEASEHOLD_PERIOD "]),
    ] {
        // Its value is nobody's business who asks for help.
        let help = with(&registry, ("LEASEHOLD_PERIOD", "3h"), line).exits(0);
        for variable in variables {
            assert!(help.out.contains(variable), "{line}: {}", help.out);
        }
        assert!(!help.out.contains("3h"), "{}", help.out);
    }
}
