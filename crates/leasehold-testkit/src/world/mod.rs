//! A simulated world: processes, a registry, and everything that can go wrong between them, driven by one seed.

mod ledger;
mod log;
pub mod native;
mod net;
mod registry;

pub use ledger::Ledger;
pub use log::Log;
pub use net::{Link, Missed, Net, Weather};
pub use registry::{Registry, Scene};
