//! The document of the file format tells the truth.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use leasehold_testkit::history::{Checked, History, Rule, check, check_file};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/history.md");
    fs::read_to_string(path).unwrap()
}

fn example() -> String {
    let text = document();
    let (_, rest) = text.split_once("```json\n").unwrap();
    rest.split_once("```").unwrap().0.into()
}

/// A file that goes when the test ends.
struct Kept(PathBuf);

impl Kept {
    fn new(name: &str, text: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

#[test]
fn the_documented_example_keeps_the_contract() {
    let file = Kept::new("example.jsonl", &example());
    let Checked::Kept(report) = check_file(&file.0).unwrap() else {
        unreachable!("it keeps the contract")
    };
    assert_eq!(
        (report.operations, report.applied, report.beliefs),
        (6, 4, 2)
    );
    assert_eq!((report.unknown, report.resolved, report.terms), (1, 1, 2));
}

#[test]
fn the_documented_breach_is_one() {
    let early = example().replace("13001000000", "12001000000");
    let file = Kept::new("early.jsonl", &early);
    let Checked::Broken(violations) = check_file(&file.0).unwrap() else {
        unreachable!("it breaks the contract")
    };
    assert!(violations.breaks(Rule::WaitedOut), "{violations}");
    assert!(violations.to_string().contains("line 8"), "{violations}");
}

/// Each line of the example matters, and each is read as it is written.
#[test]
fn the_example_is_read_and_written_alike() {
    let history = History::read(example().as_bytes()).unwrap();
    let mut written = Vec::new();
    history.write(&mut written).unwrap();
    let again = History::read(written.as_slice()).unwrap();
    let operations = |history: &History| history.operations().collect::<Vec<_>>();
    assert_eq!(operations(&again), operations(&history));
    assert_eq!(check(&again).unwrap(), check(&history).unwrap());
}

#[test]
fn every_rule_is_in_the_document() {
    let text = document();
    let rules = [
        Rule::OneLessee,
        Rule::IndexGrows,
        Rule::Fence,
        Rule::NotEarly,
        Rule::StopsFirst,
        Rule::NeverResumes,
        Rule::WaitedOut,
        Rule::Claim,
        Rule::Unknown,
        Rule::Reads,
        Rule::Assumptions,
    ];
    for rule in rules {
        assert!(text.contains(&format!("| **{rule}** |")), "{rule}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let error = check_file("/no/such/history").unwrap_err();
    assert_eq!(error.line(), 0);
}
