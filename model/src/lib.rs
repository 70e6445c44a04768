//! A model of leasehold's contract, and an exhaustive search of all that it can do.
//!
//! # What is modelled
//!
//! One name, up to three processes, one registry, in one of three kinds: with the *server's* clock (the atomic step looks
//! at its own clock), with an *observed* clock (a compare-and-swap register; each observer times unchanged records), and
//! with a *native lease* (the key is attached to an object that expires by itself and is kept alive apart from it).
//!
//! - **Operations**: acquire, renew, steal, release, break, renew and release by proxy, steal from a lessee known to be
//!   dead. One is outstanding a process. What reported an unknown outcome and is found later is given back.
//! - **The network**: requests and replies take as long as they like; one that is lost is one that never arrives. The same
//!   attempt is sent again until its first send's deadline. In some bounds the registry applies what it applied already
//!   once more, as a late duplicate. Two requests and two replies a process can be under way at once.
//! - **Time** passes in ticks, between any two events as many as it likes. With drift a clock runs by 2 or by 3 in each
//!   tick, as it likes, where true time runs by 2.5; the long period is 6, the short one 3, the margin a third. Without
//!   drift all are one clock, the periods 2 and 1, and there is no margin. What is kept is what is left of each instant,
//!   on the clock of whoever keeps it.
//! - **Failures**: a process crashes and forgets all, its requests still under way. The registry restarts and times grants
//!   and waits anew (server's clock), or another leader is elected, native leases are extended, and the deposed leader
//!   still answers keep-alives (native lease).
//!
//! # What is not
//!
//! Reads are instantaneous: their reply carries what stood as it was received, which is the worst case, as it may be
//! acted on any time later. The grant of a native lease is one event for the same reason. Hand-over, resuming by fence,
//! delays between terms, renewals by proxy on the native-lease clock and several names are left out. A reply is not
//! duplicated: whatever has been answered asks for no more. The same period is used for all of a native lease's renewals.
//! On that clock *not early* counts from the native lease's grant, which the put that uses it may follow late.
//!
//! # The search
//!
//! Breadth first, so a counterexample is one of the shortest. States that differ only in what can no longer matter are one
//! state ([`canonical`]), processes are interchangeable, and a state is 88 bytes. Of those visited a fingerprint of 64
//! bits is kept.
//!
//! stateright was looked at first. It would do the search, and lets the model be explored in a browser. It was not chosen:
//! it keeps each state with its parent and hands whole values around (half a byte a field and 8 bytes a visited state
//! reach an order of magnitude farther in the same memory), its path is not in terms of the processes' own names once they
//! are interchangeable, and it brings an HTTP server and some dozens of crates for what are 200 lines here (`search.rs`).

pub mod canonical;
pub mod clause;
pub mod event;
pub mod explore;
pub mod law;
mod learn;
pub mod model;
mod own;
mod registry;
pub mod search;
pub mod state;
pub mod step;
pub mod table;
pub mod words;
