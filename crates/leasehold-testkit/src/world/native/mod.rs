//! A simulated cluster of etcd's kind, for the store on it: expiry by native leases, which are objects of their own.

mod fixture;
mod reach;
mod registry;
mod rules;
mod server;
mod space;
mod state;

#[cfg(test)]
mod tests;

pub use fixture::NativeSim;
pub use registry::{LEAST, NativeRegistry, PPM};
pub use server::Server;
