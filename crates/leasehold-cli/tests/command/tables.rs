//! `watch` and `list --watch`: a table that repaints on a real terminal, and lines elsewhere.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::support::{Registry, Running, json, pid_in};
use crate::terminal::{PROMPT, Terminal};

const HEAD: &str = "NAME";

/// A table, and nothing below it.
fn is_only_table(lines: &[String]) -> bool {
    is_table(lines) && lines[2..].iter().all(String::is_empty)
}

fn is_table(lines: &[String]) -> bool {
    lines[0].starts_with(HEAD) && lines[0].ends_with("NOTE")
}

/// The seconds that are left in the row of a name.
fn left(lines: &[String], name: &str) -> Option<u64> {
    let row = lines.iter().find(|line| line.starts_with(name))?;
    row.split_whitespace().find_map(|cell| {
        let seconds = cell.strip_suffix('s')?;
        seconds.parse().ok()
    })
}

/// The seconds that a table shows one after the other, down to some of them. On a busy machine some may be missed.
fn countdown(terminal: &Terminal, name: &str, down_to: u64) -> Vec<u64> {
    let mut shown = Vec::new();
    terminal.until("counted down", |lines| left(lines, name).is_some());
    while shown.last().is_none_or(|last| *last > down_to) {
        if let Some(now) = left(&terminal.lines(), name)
            && shown.last() != Some(&now)
        {
            shown.push(now);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    shown
}

#[test]
fn time_left_counts_down_every_second() {
    let registry = Registry::new();
    let line = "acquire jobs/x --period 50s --machine-id host-7 --note nightly";
    let fence = registry.line(line).exits(0).fence();
    for (line, seconds) in [
        ("list --watch", 9),
        ("watch jobs/x", 2),
        ("watch --prefix jobs", 2),
    ] {
        let terminal = Terminal::new(&registry, &[]);
        terminal.leasehold(line);
        let lines = terminal.until("a table", is_table);
        let row: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(row[..3], ["jobs/x", "host-7", &fence.to_string()]);
        assert_eq!(row.last(), Some(&"nightly"));
        assert!(lines[2..].iter().all(String::is_empty), "{lines:?}");
        let first = left(&lines, "jobs/x").unwrap();
        let shown = countdown(&terminal, "jobs/x", first - seconds);
        assert!(shown.is_sorted_by(|a, b| a > b), "{line}: {shown:?}");
        let enough = usize::try_from(seconds * 3 / 4).unwrap();
        assert!(shown.len() > enough, "{line}: {shown:?}");
    }
}

#[test]
fn a_change_is_shown_at_once() {
    let registry = Registry::new();
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("list --watch");
    terminal.until("nothing", |lines| is_table(lines) && lines[1] == "(none)");
    let fence = registry.line("acquire x --period 59s").exits(0).fence();
    registry.line("acquire a --period 1h --note one").exits(0);
    let lines = terminal.until("both", |lines| lines[2].starts_with("x "));
    assert!(lines[1].starts_with("a ") && lines[1].ends_with(" one"));
    // Right after the table was painted: if it were painted every second only, that would take a second more.
    let took = (0..4).map(|n| {
        let before = left(&terminal.lines(), "x");
        terminal.until("a second later", |lines| left(lines, "x") != before);
        let begun = Instant::now();
        let line = format!("renew x --fence {fence} --period 59s --note n{n}");
        registry.line(&line).exits(0);
        terminal.until("renewed", |lines| lines[2].ends_with(&format!(" n{n}")));
        begun.elapsed()
    });
    let took: Vec<Duration> = took.collect();
    assert!(took.iter().min().unwrap().as_millis() < 600, "{took:?}");
    registry
        .line(&format!("release x --fence {fence}"))
        .exits(0);
    let lines = terminal.until("released", |lines| !lines[2].starts_with("x "));
    assert!(lines[2..].iter().all(String::is_empty), "{lines:?}");
    terminal.press("C-c");
    // A watch shows what nobody holds, and how that ended.
    terminal.leasehold("watch x");
    let lines = terminal.until("vacant", |lines| lines[1].starts_with("x     nobody"));
    assert!(lines[1].contains("released by "), "{lines:?}");
}

#[test]
fn rows_are_cut_to_the_terminal_and_what_does_not_fit_is_counted() {
    let registry = Registry::new();
    let note = "a-note-that-is-longer-than-what-a-terminal-has-left-for-it-租约租约租约租约";
    for n in 10..40 {
        let line = format!("acquire jobs/n{n} --period 1h --machine-id host-{n} --note {note}");
        registry.line(&line).exits(0);
    }
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("list --watch");
    let lines = terminal.until("a table", |lines| lines[22].ends_with(" more"));
    assert!(is_table(&lines) && lines[22] == "… 9 more" && lines[23].is_empty());
    for (n, line) in (10..31).zip(&lines[1..]) {
        assert!(
            line.starts_with(&format!("jobs/n{n}  host-{n}  ")),
            "{line}"
        );
        assert!(line.ends_with('…'), "{line}");
    }
    // A smaller terminal, and a larger one again: nothing of the other sizes stays.
    terminal.resize(60, 10);
    let lines = terminal.until("a small table", |lines| lines[8] == "… 23 more");
    assert!(is_table(&lines), "{lines:?}");
    assert!((1..8).all(|n| lines[n].starts_with("jobs/n")), "{lines:?}");
    // At once, and not only with the next second: each size follows right after a table.
    let took = [12, 14, 16, 18].map(|high| {
        let begun = Instant::now();
        terminal.resize(60, high);
        let last = usize::from(high) - 2;
        terminal.until("another size", |lines| {
            is_table(lines) && lines[last].ends_with(" more")
        });
        begun.elapsed()
    });
    assert!(took.iter().min().unwrap().as_millis() < 600, "{took:?}");
    terminal.resize(100, 40);
    let lines = terminal.until("a large table", |lines| lines[30].starts_with("jobs/n39"));
    assert!(is_table(&lines), "{lines:?}");
    assert!(lines[31..].iter().all(String::is_empty), "{lines:?}");
}

/// Whatever ends it: nothing was switched that would have to be switched back.
#[test]
fn the_terminal_is_as_it_was_whatever_ends_it() {
    let registry = Registry::new();
    registry.line("acquire x --period 1h").exits(0);
    let terminal = Terminal::new(&registry, &[]);
    let modes = || terminal.knows("#{cursor_flag} #{alternate_on} #{wrap_flag} #{insert_flag}");
    let sane = || terminal.shell("stty -a | cksum >> modes");
    let before = modes();
    assert_eq!(before, "1 0 1 0");
    sane();
    for (signal, status) in [
        (None, 130),
        (Some(Signal::INT), 130),
        (Some(Signal::TERM), 143),
        (Some(Signal::HUP), 129),
        (Some(Signal::KILL), 137),
    ] {
        let leasehold = env!("CARGO_BIN_EXE_leasehold");
        terminal.shell(&format!(
            "clear; echo what was there; sh -c 'echo $$ > pid; exec {leasehold} watch x'"
        ));
        // A new one: below that of the time before there is a prompt.
        let lines = terminal.until("a table", is_only_table);
        assert!(lines[1].starts_with("x "));
        let pid = pid_in(&registry.path("pid"));
        match signal {
            None => terminal.press("C-c"),
            Some(signal) => kill_process(pid, signal).unwrap(),
        }
        // The last table stays, and the prompt is below it.
        let lines = terminal.until("a prompt", |lines| lines[2..6].contains(&PROMPT.to_owned()));
        assert!(is_table(&lines) && lines[1].starts_with("x "), "{lines:?}");
        assert!(terminal.everything().contains("what was there"));
        terminal.shell("echo status $?");
        terminal.until("its status", |lines| {
            lines.contains(&format!("status {status}"))
        });
        assert_eq!(modes(), before, "{signal:?}");
        sane();
        std::fs::remove_file(registry.path("pid")).unwrap();
    }
    terminal.shell("sort -u modes | wc -l; sort modes | wc -l");
    terminal.until("the same modes", |lines| {
        lines.windows(2).any(|pair| pair == ["1", "6"])
    });
}

#[test]
fn after_a_stop_it_repaints_and_in_the_background_it_does_not_paint() {
    let registry = Registry::new();
    registry.line("acquire x --period 1h").exits(0);
    let terminal = Terminal::new(&registry, &[]);
    terminal.leasehold("watch x");
    terminal.until("a table", is_table);
    terminal.press("C-z");
    terminal.until("stopped", |lines| {
        lines.iter().any(|line| line.contains("Stopped")) && lines.iter().any(|line| line == PROMPT)
    });
    terminal.shell("bg; clear");
    std::thread::sleep(Duration::from_millis(2_500));
    let lines = terminal.lines();
    assert!(
        !lines.iter().any(|line| line.starts_with(HEAD)),
        "{lines:?}"
    );
    terminal.shell("fg");
    let lines = terminal.until("a table again", is_only_table);
    assert!(lines[1].starts_with("x "), "{lines:?}");
    // What the shell wrote meanwhile was not painted over.
    assert!(terminal.everything().contains(&format!("{PROMPT}fg")));
    terminal.press("C-z");
    terminal.until("stopped", |lines| lines.iter().any(|line| line == PROMPT));
    terminal.shell("fg");
    terminal.until("a table for the third time", is_only_table);
    let text = terminal.everything();
    assert!(
        text.contains("Stopped") && text.matches(&format!("{PROMPT}fg")).count() == 2,
        "{text}"
    );
}

#[test]
fn no_color_is_respected() {
    let registry = Registry::new();
    registry.line("acquire x --period 1h").exits(0);
    for (variable, bold) in [("A=", true), ("NO_COLOR=", true), ("NO_COLOR=1", false)] {
        let terminal = Terminal::new(&registry, &[variable]);
        terminal.leasehold("watch x");
        terminal.until("a table", is_table);
        let text = terminal.everything();
        assert_eq!(text.contains('\u{1b}'), bold, "{variable}: {text:?}");
    }
}

/// Such a terminal gets lines, one after the other.
#[test]
fn a_dumb_terminal_and_one_with_a_log_get_lines() {
    let registry = Registry::new();
    registry
        .line("acquire x --period 1h --machine-id h")
        .exits(0);
    for (term, line) in [
        ("TERM=dumb", "watch x"),
        ("TERM=", "watch x"),
        ("TERM=screen", "-v watch x"),
    ] {
        let terminal = Terminal::new(&registry, &[term]);
        terminal.leasehold(line);
        let lines = terminal.until("a line", |lines| {
            lines
                .iter()
                .any(|line| line.contains("x is held by h since"))
        });
        assert!(lines[0].starts_with(PROMPT), "{lines:?}");
        let text = terminal.everything();
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

/// Neither from a record that leasehold would not have written, nor from a name.
#[test]
fn what_a_holder_wrote_does_nothing_to_the_terminal() {
    let registry = Registry::new();
    for name in ["x", "y"] {
        registry
            .line(&format!("acquire {name} --period 1h"))
            .exits(0);
    }
    let odd = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\r\n\tz";
    registry.forge("x", &serde_json::json!({"MachineID": odd, "note": odd}));
    let terminal = Terminal::new(&registry, &["NO_COLOR=1"]);
    let title = || terminal.knows("#{pane_title}");
    let before = title();
    terminal.resize(240, 24);
    terminal.leasehold("list --watch");
    let lines = terminal.until("a table", |lines| {
        is_table(lines) && lines[2].starts_with("y ")
    });
    let shown = r"\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\r\n\tz";
    assert!(
        lines[1].starts_with("x ") && lines[1].ends_with(shown),
        "{lines:?}"
    );
    assert_eq!(lines[1].matches(shown).count(), 2, "{lines:?}");
    let text = terminal.everything();
    let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!text.contains(bad), "{text:?}");
    assert_eq!(title(), before);
}

/// Its lines, as they come.
fn follow(registry: &Registry, line: &str) -> (Running, impl Iterator<Item = String>) {
    let mut command = registry.command(line.split_whitespace());
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let running = Running::start_with(command);
    (running, BufReader::new(reader).lines().map(Result::unwrap))
}

#[test]
fn without_a_terminal_list_goes_on_with_its_own_lines() {
    let registry = Registry::new();
    registry.line("acquire a").exits(0);
    let b = registry
        .line("acquire b --note n --machine-id h")
        .exits(0)
        .fence();
    let c = registry.line("acquire c").exits(0).fence();
    registry.line(&format!("release c --fence {c}")).exits(0);
    let (running, mut lines) = follow(&registry, "list --watch");
    let mut next = || {
        let line = lines.next().unwrap();
        let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        assert_eq!(cells.len(), 7, "{line}");
        cells
    };
    assert_eq!(next()[0], "a");
    let held = next();
    assert_eq!(held[..3], ["b", "h", &b.to_string()]);
    assert_eq!(held[6], "n");
    registry.line(&format!("release b --fence {b}")).exits(0);
    let ended = next();
    assert_eq!(ended[..2], ["b", "nobody"]);
    // It was not held when this began: nobody hears of it before it is.
    let c = registry.line("acquire c").exits(0).fence();
    let held = next();
    assert_eq!((held[0].as_str(), &held[2]), ("c", &c.to_string()));
    running.signal(Signal::INT);
    running.done().exits(-2);
}

#[test]
fn lines_for_programs_have_every_field_and_no_control_character() {
    let registry = Registry::new();
    let mut command = registry.command(["acquire", "x", "--period", "1h", "--data"]);
    command.arg("\u{9b}31m\u{7f}\u{202e}");
    crate::support::done(command).exits(0);
    for line in [
        "watch x --json",
        "list --watch --json",
        "watch --prefix= --json",
    ] {
        let (running, mut lines) = follow(&registry, line);
        let line = lines.next().unwrap();
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{line}"
        );
        let object = json(&line);
        assert_eq!(object["data"], "\u{9b}31m\u{7f}\u{202e}");
        assert!(object["at"].as_str().unwrap().ends_with('Z'));
        drop(running);
    }
}

/// The reader of the lines has gone away.
#[test]
fn a_closed_pipe_ends_it() {
    let registry = Registry::new();
    registry.line("acquire x --period 1h").exits(0);
    let (running, lines) = follow(&registry, "list --watch");
    drop(lines);
    registry.line("acquire y").exits(0);
    let ended = running.done();
    assert!(ended.code == 141 || ended.code == -13, "{ended:?}");
}
