//! Locks and flags that several threads share. The checker of schedules (`fuzz/schedules`) builds what uses them with its
//! own, which let it decide after each step who runs next.

pub(crate) use std::sync::atomic::{AtomicU8, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
