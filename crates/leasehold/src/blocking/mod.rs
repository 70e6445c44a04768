#![doc = include_str!("mod.md")]

mod builder;
mod election;
mod held;
mod lease;
mod lent;
mod lock;
mod looks;
mod manager;
mod stop;
mod term;
mod thread;

pub use builder::{Builder, connect, open};
pub use election::Election;
pub use held::Held;
pub use lease::{Attempt, Lease};
pub use lock::{Lock, LockAttempt};
pub use looks::{Listing, Watch};
pub use manager::Manager;
pub use stop::Stop;
pub use term::Term;
