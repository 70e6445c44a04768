//! The store on real etcd servers of three versions: the contract, and what becomes of it when servers fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod cluster;
mod conformance;
mod traces;
