//! The command as its users meet it: real processes, real time.
#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are users: they wait and measure like anybody"
)]

mod child;
#[cfg(feature = "etcd")]
mod cluster;
mod completions;
mod doctor;
#[cfg(feature = "etcd")]
mod doctor_etcd;
mod jobs;
mod lead;
mod loss;
mod messages;
mod outlive;
mod plan;
mod schemas;
mod scripts;
mod settings;
mod signals;
mod stuck;
mod support;
mod tables;
mod takeover;
mod terminal;
mod tree;
mod wait;
