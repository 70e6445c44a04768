//! *The lessee stops first*, also where the machine slept: the real door's clock is the one that counts suspend.
//!
//! A suspend cannot be had in a test, but a time namespace can: one that shifts the boot clock alone tells apart who
//! reads it from who reads the monotonic clock, which is `std::time::Instant`'s.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use leasehold_core::{BootInstant, Door, RealDoor};

const TEST: &str = "complaint_11_the_lessee_stops_first_by_the_clock_that_counts_suspend";
const CHILD: &str = "LEASEHOLD_TEST_SHIFTED";
const SHIFT: Duration = Duration::from_secs(100_000);

/// What the door says, and when it has slept for a while, as nanoseconds.
fn clock() -> (BootInstant, BootInstant) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let door = RealDoor::on(runtime.handle().clone());
    let before = door.now();
    let at = before.plus(Duration::from_millis(20));
    runtime.block_on(door.sleep_until(at));
    let after = door.now();
    assert!(after >= at);
    assert!(
        after < at.plus(Duration::from_secs(60)),
        "sleeps by the same clock"
    );
    (before, after)
}

/// Complaint 11: `Instant` stands still while the machine sleeps.
#[test]
fn complaint_11_the_lessee_stops_first_by_the_clock_that_counts_suspend() {
    if std::env::var_os(CHILD).is_some() {
        return println!("clock: {}", clock().0.as_nanos());
    }
    let shift = SHIFT.as_secs().to_string();
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--time", "--fork", "--boottime", &shift])
        .arg(program)
        .args(["--exact", TEST, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "a time namespace is made as root: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shifted = text.split("clock: ").nth(1).unwrap();
    let shifted: u64 = shifted.lines().next().unwrap().parse().unwrap();
    let (_, here) = clock();
    let apart = BootInstant::from_nanos(shifted).since(here);
    assert!(
        apart > SHIFT - Duration::from_secs(60),
        "the boot clock was shifted by {SHIFT:?}, the door's by {apart:?}"
    );
}
