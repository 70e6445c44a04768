#![doc = include_str!("../docs.md")]

// The store knows etcd by a small trait, `api::Api`; the test kit simulates a cluster behind it.
pub mod api;
pub mod fence;
pub mod keys;

mod apply;
#[cfg(feature = "client")]
mod client;
mod doubt;
mod judge;
mod lease;
mod plan;
mod pool;
mod store;
mod table;
mod watching;

#[cfg(feature = "client")]
pub use client::{Config, EtcdClient, Secret, Tls, User};
pub use store::{Cluster, EtcdStore};
