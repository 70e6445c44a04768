//! A model of leasehold's contract, and an exhaustive search of what it can do.

pub mod clause;
pub mod event;
pub mod explore;
pub mod law;
pub mod model;
mod registry;
pub mod search;
pub mod state;
pub mod step;
pub mod table;
pub mod words;
