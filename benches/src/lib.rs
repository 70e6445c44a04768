//! What the benchmarks share: the raw floor beside SQLite, and medians.
//!
//! Run all of them with `cargo bench -p leasehold-benches`; the last lines are the ratios to the raw floor.

pub mod raw;

use std::time::Duration;

/// The median of some measurements; zero of none.
#[must_use]
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The process's resident memory in KiB, from `/proc/self/status`.
#[must_use]
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// The processor time that this process has used so far, from `/proc/self/schedstat` of each of its threads.
#[must_use]
pub fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let spent = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
