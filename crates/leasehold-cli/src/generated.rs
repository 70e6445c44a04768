//! The man pages and the completions that lie in the repository are those of the command line.
//!
//! `UPDATE_DOCS=1 cargo test -p leasehold-cli generated` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::args::Args;

/// What the help leaves out, as it is the same for all verbs.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "LEASEHOLD_STORE",
        "the registry, unless --store names one: a URL or a path.",
    ),
    (
        "LEASEHOLD_PERIOD, LEASEHOLD_WAIT",
        "in the place of --period and --wait of `run` and `acquire`.",
    ),
    (
        "LEASEHOLD_LOG_FORMAT",
        "in the place of --log-format: text or json.",
    ),
    (
        "NOTIFY_SOCKET",
        "of `run` and `lead`: where to pass on what the command tells by sd_notify.",
    ),
    (
        "LEASEHOLD_ETCD_USER, LEASEHOLD_ETCD_PASSWORD",
        "user and password of an etcd cluster, where its URL has none.",
    ),
    (
        "XDG_STATE_HOME, HOME",
        "where the default file of others than root lies.",
    ),
    (
        "POD_NAME",
        "begins the default machine id, instead of the host's name.",
    ),
    (
        "KUBERNETES_SERVICE_HOST",
        "one of the signs of a container, in which a store has to be named.",
    ),
    ("NO_COLOR", "no colours on a terminal."),
    (
        "LEASEHOLD_NAME, LEASEHOLD_MACHINE_ID, LEASEHOLD_FENCE",
        "set for the command of `run` and `lead`, and never read.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "/var/lib/leasehold/leases.db",
        "the default registry of root.",
    ),
    (
        "$XDG_STATE_HOME/leasehold/leases.db, ~/.local/state/leasehold/leases.db",
        "that of others.",
    ),
    (
        "FILE-wal, FILE-shm, FILE-notify",
        "lie beside a registry's file and belong to it: whoever shares leases reads and writes all of them, and their folder.",
    ),
];

/// The headings of sections in the texts that follow a help.
const HEADINGS: &[&str] = &["Exit status:", "Store:", "Examples:"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The whole command, without the verb `help`.
fn command() -> Command {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    command
}

/// Compares a file with what it should be, or writes it.
fn same(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, text).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == text,
        "{} lags behind the command line: UPDATE_DOCS=1 cargo test -p leasehold-cli generated",
        path.display()
    );
}

/// Checks that a folder has these files and no others: a verb's page goes with it.
fn only(folder: &Path, names: &[String]) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let known = names.contains(&name);
        if !known && std::env::var_os("UPDATE_DOCS").is_some() {
            fs::remove_file(entry.path()).unwrap();
        } else {
            assert!(known, "{} is of nothing", entry.path().display());
        }
    }
}

#[test]
fn completions_are_those_of_the_command_line() {
    let folder = folder("completions");
    let shells = [
        (Shell::Bash, "leasehold.bash"),
        (Shell::Zsh, "_leasehold"),
        (Shell::Fish, "leasehold.fish"),
    ];
    for (shell, name) in shells {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "leasehold", &mut script);
        same(&folder.join(name), &String::from_utf8(script).unwrap());
    }
    only(&folder, &shells.map(|(_, name)| name.to_owned()));
}

#[test]
fn man_pages_are_those_of_the_command_line() {
    let folder = folder("man");
    let whole = command();
    let mut names = Vec::new();
    let pages = std::iter::once(&whole).chain(whole.get_subcommands());
    for command in pages.filter(|command| !command.is_hide_set()) {
        let page = page(command, &whole);
        let name = format!("{}.1", title(command));
        same(&folder.join(&name), &page);
        names.push(name);
    }
    only(&folder, &names);
}

/// Each verb's help is compared to the letter by `tests/help.rs`.
#[test]
fn each_verb_has_a_file_of_its_help() {
    let whole = command();
    let names: Vec<String> = std::iter::once(&whole)
        .chain(whole.get_subcommands())
        .map(|command| format!("{}.trycmd", command.get_name()))
        .collect();
    let folder = folder("tests/cmd/help");
    for name in &names {
        let path = folder.join(name);
        let missing = !path.exists();
        if missing && std::env::var_os("UPDATE_DOCS").is_some() {
            let verb = match name.strip_suffix(".trycmd") {
                Some("leasehold") | None => String::new(),
                Some(verb) => format!("{verb} "),
            };
            fs::write(&path, format!("```\n$ leasehold {verb}--help\n\n```\n")).unwrap();
        }
        assert!(path.exists(), "{} is missing", path.display());
    }
    only(&folder, &names);
}

fn title(command: &Command) -> String {
    let name = command.get_display_name().unwrap_or("leasehold");
    name.to_owned()
}

fn page(command: &Command, whole: &Command) -> String {
    let is_whole = command.get_name() == whole.get_name();
    // Its version is in the title.
    let man = Man::new(command.clone())
        .title(title(command))
        .source(concat!("leasehold ", env!("CARGO_PKG_VERSION")))
        .manual("leasehold");
    let mut out = Vec::new();
    man.render_title(&mut out).unwrap();
    man.render_name_section(&mut out).unwrap();
    man.render_synopsis_section(&mut out).unwrap();
    man.render_description_section(&mut out).unwrap();
    man.render_options_section(&mut out).unwrap();
    if is_whole {
        man.render_subcommands_section(&mut out).unwrap();
    }
    let mut roff = Roff::new();
    let after = command.get_after_long_help().or(command.get_after_help());
    sections(
        &mut roff,
        &after.map(ToString::to_string).unwrap_or_default(),
    );
    if is_whole {
        list(&mut roff, "ENVIRONMENT", ENVIRONMENT);
        list(&mut roff, "FILES", FILES);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(match is_whole {
        true => whole
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .map(|verb| format!("{}(1)", title(verb)))
            .collect::<Vec<_>>()
            .join(", "),
        false => "leasehold(1): exit statuses, stores, environment, files, examples".into(),
    })]);
    out.extend(roff.to_roff().into_bytes());
    String::from_utf8(out).unwrap()
}

/// What follows a help: headings make sections, what is indented stays as it is.
fn sections(roff: &mut Roff, text: &str) {
    let mut section = false;
    let mut verbatim = false;
    for line in text.lines() {
        if HEADINGS.contains(&line) {
            set(roff, &mut verbatim, false);
            roff.control("SH", [line.trim_end_matches(':').to_uppercase().as_str()]);
            section = true;
            continue;
        }
        if !section {
            roff.control("SH", ["NOTES"]);
            section = true;
        }
        if line.is_empty() {
            set(roff, &mut verbatim, false);
            roff.control("PP", []);
        } else {
            set(roff, &mut verbatim, line.starts_with("  "));
            roff.text([roman(line)]);
        }
    }
    set(roff, &mut verbatim, false);
}

fn set(roff: &mut Roff, verbatim: &mut bool, wanted: bool) {
    if *verbatim != wanted {
        roff.control(if wanted { "nf" } else { "fi" }, []);
        *verbatim = wanted;
    }
}

fn list(roff: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (term, what) in entries {
        roff.control("TP", []);
        roff.text([roman(*term)]);
        roff.text([roman(*what)]);
    }
}

#[test]
fn the_page_of_the_whole_has_what_people_look_for() {
    let page = page(&command(), &command());
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "EXIT STATUS",
        "STORE",
        "EXAMPLES",
        "ENVIRONMENT",
        "FILES",
        "SEE ALSO",
    ] {
        let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
        assert!(heading.iter().any(|line| page.contains(line)), "{section}");
    }
}
