//! Histories of leases, and a checker of the contract that knows nothing of leasehold's code.

mod lines;
mod recorder;
mod records;
mod types;

pub use lines::ReadError;
pub use recorder::{Pending, Recorder};
pub use records::History;
pub use types::{
    Attempt, Belief, Found, Header, Kind, Name, Operation, Outcome, Standing, State, Time,
};
