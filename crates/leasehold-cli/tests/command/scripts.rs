//! The verbs for scripts: what they print, and how they exit.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{Registry, Running, done, eventually, json};

const STATUS: [&str; 16] = [
    "data",
    "data_base64",
    "ended",
    "fence",
    "foreign",
    "held",
    "index",
    "left_ms",
    "machine_id",
    "name",
    "note",
    "period_ms",
    "since",
    "vacant",
    "version",
    "wait_ms",
];

#[test]
fn a_script_acquires_renews_checks_and_releases_by_the_fence() {
    let registry = Registry::new();
    let acquired = registry
        .line("acquire jobs/x --period 1m --note hello --data 10.0.0.7:80 --lessee-version 3")
        .exits(0);
    let fence = acquired.fence();
    assert_eq!(
        (acquired.out.trim(), acquired.err.as_str()),
        (fence.to_string().as_str(), "")
    );
    let status = registry.status("jobs/x");
    let keys: Vec<&str> = status
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, STATUS);
    assert_eq!(status["note"], "hello");
    assert_eq!(status["data"], "10.0.0.7:80");
    assert_eq!(status["data_base64"], "MTAuMC4wLjc6ODA=");
    assert_eq!(
        (&status["version"], &status["period_ms"], &status["held"]),
        (&3.into(), &60_000.into(), &true.into())
    );
    assert!(status["since"].as_str().unwrap().ends_with('Z'), "{status}");

    let quiet = registry
        .line(&format!("renew jobs/x --fence {fence} --period 2m"))
        .exits(0);
    assert_eq!((quiet.out, quiet.err), (String::new(), String::new()));
    let renewed = registry.status("jobs/x");
    assert_eq!(renewed["fence"], status["fence"]);
    assert!(renewed["index"].as_u64() > status["index"].as_u64());
    assert_eq!(
        (&renewed["period_ms"], &renewed["note"]),
        (&120_000.into(), &"hello".into())
    );

    let silent = registry
        .line(&format!("check jobs/x --fence {fence}"))
        .exits(0);
    assert_eq!((silent.out, silent.err), (String::new(), String::new()));
    registry
        .line(&format!("release jobs/x --fence {fence}"))
        .exits(0);
    assert!(!registry.is_held("jobs/x"));
    for verb in ["check", "renew", "release"] {
        registry
            .line(&format!("{verb} jobs/x --fence {fence}"))
            .exits(76)
            .says(&["leasehold: ", "jobs/x"]);
    }
    let next = registry.line("acquire jobs/x").exits(0).fence();
    assert!(next > fence);
    for verb in ["check", "renew", "release"] {
        registry
            .line(&format!("{verb} jobs/x --fence {fence}"))
            .exits(76);
    }
    registry
        .line(&format!("check jobs/x --fence {next}"))
        .exits(0);
}

#[test]
fn an_index_names_one_grant_only() {
    let registry = Registry::new();
    let acquired = json(&registry.line("acquire x --json").exits(0).out);
    assert_eq!(acquired["acquired"], true);
    let first = acquired["index"].as_u64().unwrap();
    let renewed = json(
        &registry
            .line(&format!("renew x --index {first} --json"))
            .exits(0)
            .out,
    );
    let second = renewed["index"].as_u64().unwrap();
    assert!(second > first);
    assert_eq!(
        (&renewed["fence"], &renewed["period_ms"]),
        (&acquired["fence"], &60_000.into())
    );
    registry
        .line(&format!("renew x --index {first}"))
        .exits(76)
        .says(&["changed since index"]);
    registry
        .line(&format!("release x --index {first}"))
        .exits(76);
    let released = registry
        .line(&format!("release x --index {second} --json"))
        .exits(0);
    assert_eq!(json(&released.out)["released"], true);
    registry
        .line(&format!("release x --index {second}"))
        .exits(76);
}

#[test]
fn contention_tells_holder_since_left_note_and_the_store() {
    let registry = Registry::new();
    registry
        .line("acquire x --machine-id host-7 --note busy-with-b")
        .exits(0);
    let store = registry.file().display().to_string();
    let words = [
        "not acquired: x is held by host-7 since 20",
        "left",
        "busy-with-b",
        &store,
        "reaches",
    ];
    registry.line("run x -- true").exits(75).says(&words);
    registry.line("acquire x").exits(75).says(&words);
    let waited = registry
        .line("run x --wait 300ms -- true")
        .exits(75)
        .says(&words);
    assert!(waited.took >= Duration::from_millis(300));
    registry.line("run x -E 0 -- true").exits(0).says(&words);
    registry.line("acquire x --conflict-exit 9").exits(9);
    let quiet = registry.line("-q run x -- true").exits(75);
    assert_eq!((quiet.out, quiet.err), (String::new(), String::new()));
    let busy = json(&registry.line("acquire x --json").exits(75).out);
    assert_eq!(
        (&busy["acquired"], &busy["machine_id"]),
        (&false.into(), &"host-7".into())
    );
}

#[test]
fn what_a_holder_wrote_does_not_reach_the_terminal_raw() {
    let registry = Registry::new();
    let odd = "a\u{1b}[31mb\nc";
    done(registry.command(["acquire", "x", "--note", odd]))
        .exits(64)
        .says(&["control character"]);
    done(registry.command(["acquire", "x", "--data", odd])).exits(0);
    for line in ["get x", "list", "run x -- true"] {
        let done = registry.line(line);
        for text in [done.out, done.err] {
            assert!(!text.contains('\u{1b}'), "{line}: {text:?}");
        }
    }
    assert!(registry.line("get x").out.contains(r"a\u{1b}[31mb\nc"));
    assert_eq!(registry.status("x")["data"], odd);
    // JSON lets through what some terminals obey: the single-character CSI, for one.
    let csi = "\u{9b}31m\u{7f}\u{202e}";
    done(registry.command(["acquire", "y", "--data", csi])).exits(0);
    let json_text = registry.line("get y --json").exits(0).out;
    assert!(
        json_text
            .trim_end()
            .chars()
            .all(|c| !c.is_control() && c != '\u{202e}')
    );
    assert_eq!(json(&json_text)["data"], csi);
}

#[test]
fn what_was_typed_or_named_does_not_reach_the_terminal_raw() {
    let registry = Registry::new();
    let odd = "\u{1b}]0;a\u{7}\u{9b}1modd\u{8}";
    let store = format!("/proc/none{odd}/x.db");
    for words in [
        vec![odd],
        vec!["run", odd, "--", "true"],
        vec!["run", "x", "--period", odd, "--", "true"],
        vec!["run", "x", "--", odd],
        vec!["--store", &store, "run", "x", "--", "true"],
    ] {
        // On a terminal: elsewhere clap takes such things out by itself.
        let mut command = std::process::Command::new("script");
        let line = std::iter::once(env!("CARGO_BIN_EXE_leasehold"))
            .chain(words.iter().copied())
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" ");
        command
            .args(["-qec", &line, "/dev/null"])
            .env("LEASEHOLD_STORE", registry.file())
            .stdin(Stdio::null());
        let done = done(command);
        assert!(
            done.code != 0 && done.out.contains("odd"),
            "{words:?}: {done:?}"
        );
        let raw = |c: char| c.is_control() && !"\r\n".contains(c);
        assert!(!done.out.contains(raw), "{words:?}: {done:?}");
    }
}

#[test]
fn people_s_words_are_shown_as_they_wrote_them() {
    let registry = Registry::new();
    let note = "it's \"Ann's\"";
    done(registry.command(["acquire", "x", "--note", note])).exits(0);
    registry.line("run x -- true").exits(75).says(&[note]);
    for line in ["get x", "list"] {
        assert!(registry.line(line).exits(0).out.contains(note), "{line}");
    }
}

#[test]
fn a_lost_term_tells_who_holds_it_since_when_how_long_still_and_why() {
    let registry = Registry::new();
    let note = [
        "acquire",
        "x",
        "--machine-id",
        "host-7",
        "--note",
        "why not",
    ];
    let fence = done(registry.command(note)).exits(0).out;
    let other = fence.trim().parse::<u64>().unwrap() - 1;
    let words = ["held by host-7", "since 20", "left", "(why not)"];
    for line in [
        "renew x --fence N",
        "release x --fence N",
        "renew x --index N",
        "release x --index N",
        "steal x --fence N",
        "steal x --index N",
        "break x --fence N",
        "break x --index N",
        "check x --fence N",
    ] {
        let line = line.replace('N', &other.to_string());
        registry.line(&line).exits(76).says(&words);
    }
    registry
        .line(&format!("release x --fence {fence}"))
        .exits(0);
    registry
        .line(&format!("renew x --fence {fence}"))
        .exits(76)
        .says(&["held by nobody", "released by host-7"]);
}

#[test]
fn a_full_standard_error_is_no_panic_and_changes_nothing() {
    let registry = Registry::new();
    for line in ["-vv run x -- true", "run x -- true", "-vv acquire y"] {
        let mut command = registry.command(line.split(' '));
        command.stderr(
            std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        );
        let output = command.stdout(Stdio::null()).status().unwrap();
        assert_eq!(output.code(), Some(0), "{line}");
    }
    assert!(!registry.is_held("x"));
    for (line, code) in [("run y -- true", 75), ("nonsense", 64)] {
        let mut command = registry.command(line.split(' '));
        command.stderr(
            std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        );
        assert_eq!(command.status().unwrap().code(), Some(code), "{line}");
    }
}

#[test]
fn get_and_list() {
    let registry = Registry::new();
    registry.line("get x").exits(1).says(&["nobody"]);
    assert_eq!(registry.status("x")["held"], false);
    assert_eq!(registry.line("list").exits(0).out, "");
    for name in ["b", "jobs/2", "jobs/1", "jobsx"] {
        registry
            .line(&format!("acquire {name} --machine-id m-{name}"))
            .exits(0);
    }
    let got = registry.line("get jobs/1").exits(0).out;
    assert!(
        got.contains("holder   m-jobs/1\n") && got.contains("period   1m\n"),
        "{got}"
    );
    let names = |line: &str| {
        let out = registry.line(line).exits(0).out;
        out.lines()
            .map(|line| line.split('\t').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("list"), ["b", "jobs/1", "jobs/2", "jobsx"]);
    assert_eq!(names("list jobs"), ["jobs/1", "jobs/2"]);
    let columns = registry.line("list b").out;
    assert_eq!(columns.trim_end().split('\t').count(), 7, "{columns}");
    let fence = registry.status("b")["fence"].as_u64().unwrap();
    registry
        .line(&format!("release b --fence {fence}"))
        .exits(0);
    assert_eq!(names("list"), ["jobs/1", "jobs/2", "jobsx"]);
    assert_eq!(names("list --all"), ["b", "jobs/1", "jobs/2", "jobsx"]);
    let objects = registry.line("list --json").exits(0).out;
    let held: Vec<bool> = objects
        .lines()
        .map(|line| json(line)["held"] == true)
        .collect();
    assert_eq!(held, [true; 3]);
    registry
        .line("get b")
        .exits(1)
        .says(&["nobody", "released"]);
}

#[test]
fn steal_and_break() {
    let registry = Registry::new();
    for verb in ["steal", "break"] {
        registry
            .line(&format!("{verb} x"))
            .exits(1)
            .says(&["nobody"]);
    }
    let first = registry
        .line("acquire x --period 1h --machine-id old --note n1")
        .exits(0)
        .fence();
    for verb in ["steal", "break"] {
        registry
            .line(&format!("{verb} x --fence {}", first + 1))
            .exits(76);
        registry.line(&format!("{verb} x --index 1")).exits(76);
    }
    assert_eq!(registry.status("x")["fence"].as_u64(), Some(first));
    let stolen = done(registry.command([
        "steal",
        "x",
        "--machine-id",
        "new",
        "--assume-dead",
        "power is off",
        "--period",
        "2s",
    ]));
    let stolen = stolen
        .exits(0)
        .says(&["displacing: x is held by old", "n1"]);
    assert!(stolen.fence() > first && stolen.took < Duration::from_secs(5));
    let status = registry.status("x");
    assert_eq!(
        (&status["machine_id"], &status["ended"]["reason"]),
        (&"new".into(), &"power is off".into())
    );
    // Broken, and waited out.
    let broken = registry
        .line("break x --reason done")
        .exits(0)
        .says(&["displacing: x is held by new"]);
    assert!(broken.took >= Duration::from_millis(500), "{broken:?}");
    let status = registry.status("x");
    assert_eq!(
        (&status["vacant"], &status["ended"]["how"]),
        (&true.into(), &"broken".into())
    );
}

#[test]
fn watch_tells_every_change_as_a_line() {
    let registry = Registry::new();
    let mut command = registry.command(["watch", "--prefix", "jobs", "--json"]);
    let out = std::fs::File::create(registry.path("events")).unwrap();
    command.stdout(out).stderr(Stdio::null());
    let mut watching = command.spawn().unwrap();
    let events = || {
        let text = std::fs::read_to_string(registry.path("events")).unwrap();
        text.lines().map(json).collect::<Vec<_>>()
    };
    registry.line("acquire other").exits(0);
    let fence = registry.line("acquire jobs/a --period 1m").exits(0).fence();
    eventually("acquired", || {
        events()
            .iter()
            .any(|e| e["held"] == true && e["fence"] == fence)
    });
    registry
        .line(&format!("release jobs/a --fence {fence}"))
        .exits(0);
    eventually("released", || {
        events().last().is_some_and(|e| e["held"] == false)
    });
    registry.line("acquire jobs/b --period 500ms").exits(0);
    eventually("run out", || {
        let events = events();
        let b: Vec<_> = events
            .iter()
            .filter(|e| e["name"] == "jobs/b")
            .map(|e| e["held"] == true)
            .collect();
        b == [true, false]
    });
    for event in events() {
        assert!(
            event["name"].as_str().unwrap().starts_with("jobs/"),
            "{event}"
        );
        assert!(event["at"].as_str().unwrap().ends_with('Z'));
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn a_closed_output_is_no_panic_and_an_untold_lease_is_given_back() {
    let registry = Registry::new();
    let closed = |line: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = registry.command(line.split(' '));
        command.stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(closed("acquire x"), (141, String::new()));
    assert!(!registry.is_held("x"));
    registry.line("acquire x").exits(0);
    for line in ["list", "get x", "list --json", "--help", "--version"] {
        assert_eq!(closed(line), (141, String::new()), "{line}");
    }
}

#[test]
fn bad_input_is_64_and_says_what_to_do() {
    let registry = Registry::new();
    for (line, says) in [
        ("run x --period 15 -- true", "did you mean 15s?"),
        ("run x --period 2s -- true", "3s at least"),
        ("run x --wait 5 -- true", "did you mean 5s?"),
        ("run x --period -5s -- true", ""),
        ("run x", "CMD"),
        ("run a//b -- true", "empty segment"),
        ("acquire ~x", "~"),
        ("renew x", "--fence"),
        ("check x --fence abc", "abc"),
        ("acquire x --period 1ms", "period"),
        ("nonsense", "nonsense"),
    ] {
        registry.line(line).exits(64).says(&[says]);
    }
    let help = registry.line("--help").exits(0).out;
    for words in ["Exit status:", "75 ", "Examples:", "LEASEHOLD_STORE"] {
        assert!(help.contains(words), "{words}");
    }
    registry.line("--version").exits(0);
    let help = registry.line("run --help").exits(0).out;
    for words in ["Loss.", "Not covered", "Exit status:", "76 "] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn the_store_is_named_or_refused_never_guessed() {
    let registry = Registry::new();
    let with = |store: Option<&str>, words: &str| {
        let mut command = registry.command(words.split(' '));
        command
            .env_remove("LEASEHOLD_STORE")
            .env("HOME", registry.folder.path())
            .env_remove("XDG_STATE_HOME");
        if let Some(store) = store {
            command.env("LEASEHOLD_STORE", store);
        }
        command
    };
    // In a container nobody may run by the default file.
    let mut command = with(None, "run x -- true");
    command.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    done(command)
        .exits(78)
        .says(&["container", "reaches this one container only", "--store"]);
    let mut command = with(Some("./named.db"), "run x -- true");
    command.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    done(command).exits(0);
    assert!(registry.path("named.db").exists());
    for (store, code) in [
        ("", 78),
        ("ftp://x", 78),
        ("sqlite://relative", 78),
        (".", 78),
    ] {
        done(with(Some(store), "acquire x")).exits(code);
    }
    let file = registry.path("text");
    std::fs::write(
        &file,
        "this is no registry, but somebody's file of some length",
    )
    .unwrap();
    let before = std::fs::read(&file).unwrap();
    done(with(file.to_str(), "acquire x")).exits(78);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // The option goes before the variable.
    done(with(Some("ftp://x"), "--store ./other.db acquire x")).exits(0);
    done(with(Some("ftp://x"), "get x --store ./other.db")).exits(0);
}

#[test]
fn verbose_tells_on_standard_error_only() {
    let registry = Registry::new();
    let done = registry.line("-v acquire x").exits(0);
    assert_eq!(done.out.lines().count(), 1);
    assert!(done.err.contains("granted"), "{done:?}");
}

#[test]
fn a_renewal_in_between_does_not_stop_a_script_that_has_the_fence() {
    let registry = Registry::new();
    // Renewed every second by its own process meanwhile.
    let holder = registry.start("run x --period 3s", "sleep 3");
    registry.wait_until_held("x");
    let fence = registry.status("x")["fence"].as_u64().unwrap();
    let renewals: Vec<Running> = (0..8)
        .map(|_| {
            let mut command = registry.command(["renew", "x", "--period", "10s", "--fence"]);
            command.arg(fence.to_string());
            Running::start(command)
        })
        .collect();
    for renewal in renewals {
        renewal.done().exits(0);
    }
    drop(holder);
}
