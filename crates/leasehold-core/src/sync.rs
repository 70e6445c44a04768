//! Locks and flags that several threads share. The checker of schedules (`fuzz/schedules`) builds core with its own,
//! which let it decide after each step who runs next.

#[cfg(not(leasehold_shuttle))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(leasehold_shuttle)]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
