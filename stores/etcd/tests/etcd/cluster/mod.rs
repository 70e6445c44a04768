//! Faults of a real cluster of three under load. Whatever happens, the recorded history keeps the contract: nobody's
//! belief overlaps another's, the index never goes back; every operation ends in bounded time, and when what was wrong is
//! over all clients are served again, without having been started again.
//!
//! Each case lasts some ten seconds, or as many as `LEASEHOLD_FAULTS_SECONDS` says.
//!
//! # What each server can be asked to survive
//!
//! The old ones have bugs of their own that take from a lessee what is its, or forget it; the store warns of them when it
//! is opened. None survives that its leader is stopped for longer than a lease lasts and goes on: it revokes, by way of the
//! new leader, native leases that the new one has renewed, and nothing that a client does helps against that. The example
//! `deposed_leader` shows it without the store. (3.7.3 asks whether it leads still, but not right after a tick of its clock.)
//!
//! |fault|3.4.23|3.5.1|3.7.3|why not|
//! |-|-|-|-|-|
//! |a member or all of them killed|yes|no|yes|3.5.0 to 3.5.2: a member that crashes under load may come back with other data than the others (etcd#13766)|
//! |a member isolated|no|no|yes|reads may show what was true before (etcd#20418)|
//! |the leader stopped for a while|no|no|no|see above|
//! |compaction and defragmentation|yes|no|yes|once a member of 3.5.1 was gone while it was defragmented on a busy machine; not seen again|
//! |a client cut off, no space left|yes|yes|yes||

mod kills;
mod ledger;
mod partitions;
mod scene;
mod upkeep;
