//! Histories of leases, and a checker of the contract that knows nothing of leasehold's code.
//!
//! A history is made of records: which process asked for what, when, what it was answered and when, and from when
//! until when its handles believed. [`Recorder`] makes one in memory or into a file, of a simulation or of real
//! processes, and [`check`] holds it to the rules of `docs/design.md`. The file format and the rules are described in
//! `docs/history.md`.
//!
//! ```
//! use leasehold_testkit::history::{Found, Header, Kind, Operation, Outcome, Recorder, check};
//!
//! let recorder = Recorder::new(Header::exact("true time"));
//! let name = recorder.name("db/leader");
//! let acquire = recorder.begin(Operation::new(1, name, Kind::Acquire, 100));
//! acquire.returned(200, Outcome::Granted { index: 1, fence: 1, period: 1000, wait: 0 });
//! let read = recorder.begin(Operation::new(2, name, Kind::Get, 300));
//! read.returned(400, Outcome::Read { found: Found::Nothing });
//!
//! let violations = check(&recorder.take()).unwrap_err();
//! assert!(violations.to_string().contains("Reads are linearizable: db/leader: process 2's get"));
//! ```
//!
//! Every change names its predecessor, so the order of a name's changes is known, and checking takes time linear in
//! the number of records but for sorting them. Changes of unknown outcome fork: all states that may stand are
//! followed, as far as anything tells them apart.

mod beliefs;
mod chain;
mod check;
mod clocks;
mod cover;
mod lines;
mod recorder;
mod records;
mod rules;
mod sent;
mod terms;
mod types;

pub use check::{Checked, check, check_file};
pub use lines::ReadError;
pub use recorder::{Pending, Recorder, Returned};
pub use records::History;
pub use rules::{Report, Rule, Violation, Violations};
pub use types::{
    Attempt, Belief, Found, Header, Kind, Name, Operation, Outcome, Standing, State, Time,
};
