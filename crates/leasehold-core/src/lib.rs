#![doc = include_str!("lib.md")]

mod capabilities;
pub mod contract;
mod door;
mod error;
mod memory;
mod name;
mod real;
mod record;
mod signals;
pub mod store;
mod time;
pub use capabilities::{Capabilities, Delivery, Drift, ExpiryClock, Loss, Reach};
pub use door::Door;
pub use error::{Error, ErrorKind, Result};
pub use memory::MemoryStore;
pub use name::{LeaseName, MAX_NAME_BYTES, Prefix};
pub use real::RealDoor;
pub use record::{
    AttemptId, Body, Ended, EndedHow, MAX_DATA_BYTES, MAX_INDEX, MAX_MACHINE_ID_BYTES,
    MAX_NOTE_BYTES, Origin, READER_VERSION, Record, check_machine_id,
};
pub use signals::Signals;
pub use store::Store;
pub use time::{BootInstant, MAX_PERIOD, MIN_PERIOD};
