#![doc = include_str!("../docs.md")]

pub mod fence;

mod config;
mod fault;
mod library;
mod machine;
mod row;
mod schema;
mod store;
mod sync;
mod transact;
mod upkeep;
mod watch;
mod work;

pub use config::Config;
pub use store::SqliteStore;
