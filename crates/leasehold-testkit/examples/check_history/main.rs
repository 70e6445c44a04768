//! Checks a history, or generates one and measures how long its check takes:
//!
//! ```text
//! check_history FILE
//! check_history generate OPERATIONS CLIENTS [NAMES [FILE]]
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures"
)]

mod generate;

use std::error::Error;
use std::fs::File;
use std::time::Instant;

use leasehold_testkit::history::{Checked, check, check_file};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["generate", operations, clients, rest @ ..] => {
            let names = rest.first().unwrap_or(&"64").parse()?;
            let begin = Instant::now();
            let history = generate::generate(1, operations.parse()?, clients.parse()?, names);
            println!(
                "generated {} operations and {} beliefs of {clients} clients on {names} names in {:.2?}; {} MiB",
                history.len(),
                history.beliefs().len(),
                begin.elapsed(),
                memory("VmRSS"),
            );
            if let Some(path) = rest.get(1) {
                history.write(File::create(path)?)?;
            }
            let begin = Instant::now();
            let report = check(&history)?;
            println!(
                "checked in {:.2?}; at most {} MiB",
                begin.elapsed(),
                memory("VmHWM")
            );
            println!("{report}");
        }
        [path] => {
            let begin = Instant::now();
            match check_file(path)? {
                Checked::Kept(report) => println!("{report}"),
                Checked::Broken(violations) => return Err(violations.into()),
            }
            println!(
                "read and checked in {:.2?}; at most {} MiB",
                begin.elapsed(),
                memory("VmHWM")
            );
        }
        _ => {
            return Err(
                "check_history FILE, or: generate OPERATIONS CLIENTS [NAMES [FILE]]".into(),
            );
        }
    }
    Ok(())
}

/// Of this process, in MiB, where the kernel says so.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(what));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    number.unwrap_or_default() / 1024
}
