#![doc = include_str!("lib.md")]

pub mod contract;
pub mod fence;
#[doc(hidden)]
pub mod mutants;
pub mod register;
pub mod store;

mod acquire;
mod batch;
mod belief;
mod builder;
mod capabilities;
mod checks;
mod door;
mod election;
mod error;
mod health;
mod keep_alive;
mod keeper;
mod lease;
mod line;
mod lock;
mod lost;
mod manager;
mod memory;
pub mod meters;
mod name;
mod names;
mod observed;
mod outcome;
mod pace;
#[cfg(not(leasehold_shuttle))]
mod real;
mod record;
mod release;
mod renew;
mod request;
mod rounds;
#[cfg(all(test, leasehold_shuttle))]
mod schedules;
mod server;
mod shutdown;
mod signals;
mod slot;
mod status;
mod sync;
mod take_over;
mod tenure;
mod time;
mod timing;
mod wait;
mod watch;

pub use belief::Term;
pub use builder::Builder;
pub use capabilities::{Capabilities, Delivery, Drift, ExpiryClock, Loss, Reach};
pub use door::Door;
pub use election::Election;
pub use error::{Error, ErrorKind, Result};
pub use health::Health;
pub use keep_alive::{Held, KeepAlive};
pub use lease::Lease;
pub use lock::{Lock, LockAttempt};
pub use lost::Lost;
pub use manager::Manager;
pub use memory::MemoryStore;
pub use name::{LeaseName, MAX_NAME_BYTES, Prefix};
pub use observed::Observed;
#[cfg(not(leasehold_shuttle))]
pub use real::RealDoor;
pub use record::{
    AttemptId, Body, Ended, EndedHow, MAX_DATA_BYTES, MAX_INDEX, MAX_MACHINE_ID_BYTES,
    MAX_NOTE_BYTES, Origin, READER_VERSION, Ran, Record, check_machine_id,
};
pub use register::MemoryRegister;
pub use request::{Attempt, Busy, Changes, Displace, Request};
pub use server::Server;
pub use signals::Signals;
pub use slot::Skipped;
pub use status::{Listing, Status};
pub use store::Store;
pub use take_over::TakeOver;
pub use tenure::TermState;
pub use time::{BootInstant, MAX_PERIOD, MIN_PERIOD};
pub use timing::{Requests, Timing, TimingSettings};
pub use watch::{Event, Watch};
