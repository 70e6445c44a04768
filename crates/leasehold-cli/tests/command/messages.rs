//! `--log-format json`: what is told on standard error, for programs.

use serde_json::Value;

use crate::support::{Done, Registry, done, json};

/// The messages, each of which has what all of them have.
fn messages(done: &Done) -> Vec<Value> {
    let messages: Vec<Value> = done.err.lines().map(json).collect();
    for message in &messages {
        let time = message["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{message}");
        let level = message["level"].as_str().unwrap();
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level),
            "{message}"
        );
        assert!(!message["message"].as_str().unwrap().is_empty());
    }
    messages
}

fn only(done: &Done) -> Value {
    let [message] = <[Value; 1]>::try_from(messages(done)).unwrap();
    message
}

#[test]
fn messages_are_objects_with_the_lease_s_fields() {
    let registry = Registry::new();
    let held = registry
        .line("--log-format json acquire x --machine-id host-7 --note hello")
        .exits(0);
    assert_eq!(held.err, "");
    let fence = held.fence();
    let busy = only(&registry.line("run x --log-format json -- true").exits(75));
    for (field, value) in [
        ("level", Value::from("INFO")),
        ("name", "x".into()),
        ("machine_id", "host-7".into()),
        ("note", "hello".into()),
        ("fence", fence.into()),
        ("exit", 75.into()),
    ] {
        assert_eq!(busy[field], value, "{field}: {busy}");
    }
    let message = busy["message"].as_str().unwrap();
    assert!(message.starts_with("not acquired: x is held by host-7"));

    let mut command = registry.command(["steal", "x", "--reason", "test", "--period", "1s"]);
    command.env("LEASEHOLD_LOG_FORMAT", "json");
    command.args(["--fence", "1"]);
    let lost = only(&done(command).exits(76));
    assert_eq!(
        (&lost["level"], &lost["name"]),
        (&"ERROR".into(), &"x".into())
    );

    // As quiet as ever.
    let line = "-q run x --log-format json -- true";
    assert_eq!(registry.line(line).exits(75).err, "");
}

#[test]
fn what_leasehold_does_is_told_in_the_same_form() {
    let registry = Registry::new();
    let told = registry.line("-v --log-format json run jobs/x -- true");
    let told = messages(&told.exits(0));
    let granted = told.iter().find(|line| line["message"] == "granted");
    let granted = granted.unwrap();
    for (field, value) in [
        ("level", "DEBUG"),
        ("name", "jobs/x"),
        ("operation", "acquire"),
        ("target", "leasehold_core::acquire"),
    ] {
        assert_eq!(granted[field], value, "{granted}");
    }
    assert!(granted["fence"].is_u64() && granted["index"].is_u64());
    let id = granted["machine_id"].as_str().unwrap();
    assert!(!id.contains("Some"), "{id}");
}

#[test]
fn a_bad_command_line_is_told_in_that_form_too() {
    let registry = Registry::new();
    for line in [
        "get --log-format json",
        "--log-format=json run x true",
        "renew x --log-format json",
        "get x --log-format json --what",
    ] {
        let told = only(&registry.line(line).exits(64));
        assert_eq!(
            (&told["level"], &told["exit"]),
            (&"ERROR".into(), &64.into())
        );
        assert!(told["message"].as_str().unwrap().contains("Usage: "));
    }
    let text = registry.line("run x --log-format text --what").exits(64);
    assert!(text.err.starts_with("error: "), "{text:?}");
}

#[test]
fn control_characters_are_escaped_in_objects_too() {
    let registry = Registry::new();
    let note = "\u{1b}[31m\u{9b}1m\u{202e}\n";
    registry.line("acquire x").exits(0);
    let fields = serde_json::json!({"MachineID": "a\u{1b}b", "note": note});
    registry.forge("x", &fields);
    for line in [
        "acquire x --log-format json",
        "-v acquire x --log-format json",
    ] {
        let told = registry.line(line).exits(75);
        let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!told.err.contains(bad), "{told:?}");
        let told = messages(&told);
        assert_eq!(told.last().unwrap()["note"], note);
        assert_eq!(told.last().unwrap()["machine_id"], "a\u{1b}b");
    }
}

#[test]
fn the_command_s_own_words_are_left_alone() {
    let registry = Registry::new();
    let done = registry.shell("--log-format json run x", "echo hello >&2; exit 3");
    assert_eq!(done.exits(3).err, "hello\n");
}
