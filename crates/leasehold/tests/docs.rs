//! The documentation says what the code says.
//!
//! `UPDATE_DOCS=1 cargo test -p leasehold --all-features --test docs` writes the generated parts anew.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold::{Capabilities, Door, Drift, MemoryRegister, Observed, RealDoor, Store};
use leasehold_etcd::{Cluster, Config, EtcdClient, EtcdStore};

/// The files that show the table of stores, between the two marks.
const TABLES: [&str; 2] = ["README.md", "crates/leasehold/src/lib.md"];
const BEGIN: &str =
    "<!-- stores: written by crates/leasehold/tests/docs.rs from each store's Capabilities -->\n";
const END: &str = "<!-- end of stores -->";
/// Prose wraps at 120; a word that sticks out is no reason to write a paragraph anew.
const WIDTH: usize = 132;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder of the repository whose name ends with one of the endings.
fn files(folder: &str, endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

async fn stores() -> Vec<(&'static str, &'static str, Capabilities)> {
    let door: std::sync::Arc<dyn Door> = RealDoor::new().unwrap();
    let memory = leasehold::open("memory:").await.unwrap();
    let file = std::env::temp_dir().join(format!("leasehold-docs-{}.db", std::process::id()));
    let sqlite = leasehold::open(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let observed = Observed::new(MemoryRegister::new(), door.clone());
    // Nothing is asked of it: it is what a cluster with its own defaults would be.
    let client = EtcdClient::new(Config::new(["localhost:2379"]), door.clone()).unwrap();
    let cluster = Cluster {
        location: "etcd://localhost:2379".into(),
        prefix: "/leasehold".into(),
        least: Duration::from_secs(2),
        drift: Drift::Unknown,
    };
    let etcd = EtcdStore::new(std::sync::Arc::new(client), door, cluster);
    let stores = vec![
        ("memory", "`memory:`", memory.capabilities().clone()),
        (
            "SQLite file",
            "`sqlite:PATH`, feature `sqlite`",
            sqlite.capabilities().clone(),
        ),
        (
            "etcd",
            "`etcd://HOST,.../PREFIX`, feature `etcd`",
            etcd.declared(),
        ),
        (
            "any compare-and-swap",
            "`Observed<R: Register>`",
            observed.declared(),
        ),
    ];
    sqlite.shutdown(Duration::from_secs(5)).await.unwrap();
    for ending in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{ending}", file.display())));
    }
    stores
}

fn length(length: Duration) -> String {
    let days = length.as_secs() / (24 * 3600);
    if length.is_zero() {
        "none".into()
    } else if days >= 3650 {
        "10 years".into()
    } else if days > 0 {
        format!("{days} days")
    } else {
        format!("{length:?}")
    }
}

fn table(stores: &[(&str, &str, Capabilities)]) -> String {
    let mut out = String::from("\n| |");
    for (name, ..) in stores {
        write!(out, " {name} |").unwrap();
    }
    out += "\n|-|";
    out += &"-|".repeat(stores.len());
    let mut row = |what: &str, cell: &dyn Fn(&str, &Capabilities) -> String| {
        write!(out, "\n| {what} |").unwrap();
        for (_, how, capabilities) in stores {
            write!(out, " {} |", cell(how, capabilities)).unwrap();
        }
    };
    row("how", &|how, _| how.to_owned());
    row("reaches", &|how, c| {
        if how.starts_with("`Observed") {
            "as the register".into()
        } else {
            c.scope.to_string()
        }
    });
    row("expiry by", &|_, c| c.expiry.to_string());
    row("acknowledged writes may be lost", &|how, c| {
        if how.starts_with("`Observed") {
            "as the register".into()
        } else {
            c.loss.to_string()
        }
    });
    row("clock drift covered", &|_, c| c.drift.to_string());
    row("kept back of a 60 s period", &|_, c| {
        length(c.margin(Duration::from_secs(60)))
    });
    row("periods", &|_, c| {
        format!(
            "{} to {}",
            length(c.least_period),
            length(c.greatest_period)
        )
    });
    row("granularity of expiry", &|_, c| length(c.granularity));
    row("changes are learnt by", &|_, c| c.delivery.to_string());
    row("ends of terms are known", &|_, c| {
        if c.ends_known { "yes" } else { "no" }.into()
    });
    row("changes in one request", &|how, c| {
        if how.starts_with("`Observed") {
            "one each, sent together".into()
        } else {
            format!("up to {}", c.batch)
        }
    });
    out += "\n\n";
    out
}

#[tokio::test]
async fn the_table_of_stores_is_what_their_code_declares() {
    let table = table(&stores().await);
    for file in TABLES {
        let text = read(file);
        let (before, rest) = text
            .split_once(BEGIN)
            .unwrap_or_else(|| panic!("{file} has no {BEGIN}"));
        let (shown, after) = rest
            .split_once(END)
            .unwrap_or_else(|| panic!("{file} has no {END}"));
        if shown == table {
            continue;
        }
        assert!(
            std::env::var_os("UPDATE_DOCS").is_some(),
            "{file} is out of date: UPDATE_DOCS=1 cargo test -p leasehold --all-features --test docs\n{table}"
        );
        fs::write(
            root().join(file),
            format!("{before}{BEGIN}{table}{END}{after}"),
        )
        .unwrap();
    }
}

#[test]
fn documents_wrap_and_their_links_lead_somewhere() {
    let mut wrong = Vec::new();
    for file in files("", &[".md"]) {
        let folder = Path::new(&file).parent().unwrap();
        let mut shown = false;
        for (number, line) in read(&file).lines().enumerate() {
            let place = format!("{file}:{}", number + 1);
            // Data that is shown is as wide as it is.
            shown ^= line.starts_with("```");
            let prose = !shown && !line.starts_with('|') && !line.contains("://");
            if line.chars().count() > WIDTH && prose {
                wrong.push(format!("{place}: wider than {WIDTH}"));
            }
            if line.ends_with(' ') {
                wrong.push(format!("{place}: ends with a space"));
            }
            for target in line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                let path = target.split('#').next().unwrap();
                let is_path = path.contains('/') && !path.contains("://") || path.ends_with(".md");
                if is_path && !root().join(folder).join(path).exists() {
                    wrong.push(format!("{place}: {target} does not exist"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two tables name files and tests, of each rule and of each guarantee of the command: each file must exist, each test must be
/// one in the code (a `*` stands for the rest of a name).
#[test]
fn every_file_and_test_that_a_table_names_exists() {
    let code: Vec<(String, String)> = files("", &[".rs"])
        .into_iter()
        .map(|file| (file.clone(), read(file)))
        .collect();
    let tests: BTreeSet<&str> = code
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim_start().split_once("fn "))
        .map(|(_, rest)| rest.split(['(', '<']).next().unwrap())
        .collect();
    let tables = [
        ("docs/design.md", "## Where each rule lives", 20),
        (
            "docs/command.md",
            "## What is guaranteed when something dies",
            10,
        ),
    ];
    for (document, title, at_least) in tables {
        let text = read(document);
        let (_, rest) = text.split_once(title).unwrap();
        let section = rest.split("\n## ").next().unwrap();
        let mut wrong = Vec::new();
        let mut named = 0;
        for word in section.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                if !code.iter().any(|(file, _)| file.ends_with(word)) {
                    wrong.push(format!("no file {word}"));
                }
            } else if word.contains('_') {
                named += 1;
                let exists = match word.strip_suffix('*') {
                    Some(beginning) => tests.iter().any(|test| test.starts_with(beginning)),
                    None => tests.contains(word),
                };
                if !exists {
                    wrong.push(format!("no test {word}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{document}: {}", wrong.join(", "));
        assert!(
            named > at_least,
            "the table of {document} names {named} tests only"
        );
    }
}

/// The tests that a cell names: `` `file`: `test`, `test`; `file`: `test` ``.
fn named_tests(cell: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    for group in cell.split("; ") {
        let (file, tests) = group.split_once(": ").unwrap_or((group, ""));
        for test in tests.split(", ") {
            let [file, test] = [file, test].map(|word| word.trim_matches('`').to_owned());
            named.push((file, test));
        }
    }
    named
}

/// Whether a file has a test of this name.
fn has_test(file: &str, test: &str) -> bool {
    let Ok(text) = fs::read_to_string(root().join(file)) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_it = |line: &str| line.trim_start_matches("async ") == format!("fn {test}() {{");
    let mut found = lines.iter().enumerate().filter(|(_, line)| is_it(line));
    found.any(|(at, _)| {
        let mut before = lines[..at].iter().rev();
        let mut attributes = before.by_ref().take_while(|line| line.starts_with("#["));
        attributes.any(|line| line.ends_with("test]"))
    })
}

/// The complaints are all there, in their order, each with an issue that it was made in and with tests of its number, which
/// exist where the table says; and no test with a complaint's number is missing in its row.
#[test]
fn every_complaint_has_tests_and_they_exist() {
    const COMPLAINTS: usize = 25;
    let document = read("docs/complaints.md");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| |"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), COMPLAINTS);
    let (mut wrong, mut listed) = (Vec::new(), BTreeSet::new());
    for (row, number) in rows.iter().zip(1..) {
        let ["", first, suffered, _, shown, _, ""] = row[..] else {
            panic!("row {number}: {} cells", row.len());
        };
        let is_issue = |word: &str| {
            let (repository, issue) = word.split_once('#').unwrap_or_default();
            repository.contains('/') && issue.parse::<u32>().is_ok()
        };
        if first != number.to_string() || !suffered.split([' ', ',']).any(is_issue) {
            wrong.push(format!("row {number}: another number, or no issue"));
        }
        let own = format!("complaint_{number:02}_");
        let named = named_tests(shown);
        if !named.iter().any(|(_, test)| test.starts_with(&own)) {
            wrong.push(format!("row {number}: no test of its own"));
        }
        for (file, test) in named {
            if test.starts_with("complaint_") && !test.starts_with(&own) {
                wrong.push(format!("row {number}: {test} is another's"));
            }
            if !has_test(&file, &test) {
                wrong.push(format!("row {number}: no test {test} in {file}"));
            }
            listed.insert((file, test));
        }
    }
    for file in files("", &[".rs"]) {
        for line in read(&file).lines() {
            let name = line.trim_start().strip_prefix("fn complaint_");
            let Some((rest, _)) = name.and_then(|name| name.split_once('(')) else {
                continue;
            };
            let test = format!("complaint_{rest}");
            if !listed.contains(&(file.clone(), test.clone())) {
                wrong.push(format!("{test} in {file} is not in the table"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/complaints.md:\n{}",
        wrong.join("\n")
    );
}
