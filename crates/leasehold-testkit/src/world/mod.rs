//! A simulated world: processes, a registry, and everything that can go wrong between them, driven by one seed.
#![doc = include_str!("world.md")]

mod assumption;
mod chaos;
mod epilogue;
mod kinds;
mod ledger;
mod log;
pub mod native;
mod net;
mod process;
mod register;
mod registry;
mod resource;
mod runs;
mod senders;
mod simulate;
mod slots;
mod torture;
mod vacancies;
#[path = "world.rs"]
mod whole;
mod witness;

pub use assumption::Assumption;
pub use chaos::Chaos;
pub use kinds::Kind;
pub use ledger::{Broken, Ledger};
pub use log::Log;
pub use net::{Link, Missed, Net, Weather};
pub use process::{AtWork, Process};
pub use registry::{Registry, Scene};
pub use simulate::{Ran, Report, simulate};
pub use whole::{Failure, World};
