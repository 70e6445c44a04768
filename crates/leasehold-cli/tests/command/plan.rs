//! `leasehold plan`.

use crate::support::{Registry, json};

/// Nothing of it depends on the machine, so it is compared to the letter; and it fits a terminal.
#[test]
fn a_plan_is_drawn_to_scale() {
    let done = Registry::new().line("plan --period 1m --leases 1000 --grace 10s --price 0.000005");
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.lines().all(|line| line.chars().count() <= 80));
    assert_eq!(
        done.out,
        "\
A period of 1m, by boot clock; drift of clocks: none (one clock).

           0s  o                                       granted, or renewed
          18s  -----------o                            renewed, at the earliest
          20s  ------------o                           renewed, at the latest
          30s  ------------------o                     at risk: start nothing
          50s  ------------------------------o         the work is told to stop
           1m  -------------------------------------o  deadline: it has stopped
           1m  -------------------------------------o  the period is over
           1m  -------------------------------------o  another one holds it

Tolerated, at least:
  39s 998ms     of an outage in which requests fail
  29s 998ms     of it before the work is told to stop
  38s 998ms     of an outage in which requests get no answer
  any           drift of the clock: there is only one
Held by another one who waits, at most:
  1m            after a crash
  0s            after a release, and the notification
Requests a second for 1000 leases:
  55.56         at most: each lease by itself
  0.0556        at least: in batches of up to 1000
Cost of 30 days at 0.000005 a request:
  720           at most: each lease by itself
  0.7200        at least: in batches of up to 1000
"
    );
}

#[test]
fn a_plan_shows_what_slow_requests_and_delays_cost() {
    let done = Registry::new().line("plan --period 6s --round-trip 400ms --delay 3s --timeout 1s");
    assert_eq!(done.code, 0, "{}", done.err);
    for line in [
        "           6s  ----------------------o                 the period is over",
        "     9s 800ms  ----------------------...............o  another one holds it",
        "  2s 798ms      of an outage in which requests fail",
        "  2s 298ms      of an outage in which requests get no answer",
        "  800ms         after a release, and the notification",
    ] {
        let found = done.out.lines().any(|found| found == line);
        assert!(found, "{line}\nis not in\n{}", done.out);
    }
}

#[test]
fn a_plan_for_programs_has_the_same_figures() {
    let done = Registry::new().line("plan --period 1m --leases 1000 --price 0.5 --json");
    let plan = json(&done.out);
    for (field, value) in [
        ("period_ms", 60_000),
        ("margin_ms", 0),
        ("renewal_ms", 20_000),
        ("ending_ms", 54_000),
        ("deadline_ms", 60_000),
        ("tolerated_outage_ms", 39_998),
        ("undisturbed_outage_ms", 33_998),
        ("tolerated_silence_ms", 38_998),
        ("takeover_after_crash_ms", 60_000),
        ("takeover_after_release_ms", 0),
        ("leases", 1000),
        ("batch", 1000),
    ] {
        assert_eq!(plan[field], value, "{field}");
    }
    assert!(plan["tolerated_drift_ppm"].is_null());
    let per_second = plan["requests_per_second"].as_f64().unwrap();
    assert!((per_second - 1000.0 / 18.0).abs() < 1e-9);
    let cost = plan["cost_of_30_days_batched"].as_f64().unwrap();
    assert!((cost - 0.5 * 30.0 * 86_400.0 / 18.0).abs() < 1e-3);
}

#[test]
fn what_is_not_safe_is_no_plan() {
    let registry = Registry::new();
    for (line, says) in [
        ("plan --period 5ms", "grants periods from 10ms"),
        ("plan --period 3s --grace 2s", "a grace of 2s is too long"),
        ("plan --period 3s --round-trip 1s", "is too short"),
    ] {
        let done = registry.line(line);
        assert_eq!((done.code, &*done.out), (64, ""), "{line}");
        assert!(done.err.contains(says), "{}", done.err);
    }
}
