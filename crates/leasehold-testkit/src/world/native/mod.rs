//! A simulated registry of etcd's kind, and the store on it: expiry by native leases, which are objects of their own.
//!
//! The store knows the registry by a small trait ([`api::Api`]), so that it can run on a real client as well.

pub mod api;

mod apply;
mod doubt;
mod fixture;
mod judge;
mod keys;
mod lease;
mod plan;
mod pool;
mod reach;
mod registry;
mod server;
mod state;
mod store;
mod table;
mod watching;

#[cfg(test)]
mod tests;

pub use fixture::NativeSim;
pub use registry::{LEAST, NativeRegistry, PPM};
pub use server::Server;
pub use store::NativeStore;
