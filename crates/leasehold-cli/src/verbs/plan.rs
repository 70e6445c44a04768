//! `leasehold plan`: what a period comes to, before anything is held.

use std::time::Duration;

use leasehold::{Requests, Timing, TimingSettings};
use serde_json::{Value, json};

use super::Context;
use crate::args::Plan;
use crate::duration::millis;
use crate::exit::Failure;

/// The width of the timeline's bars.
const BAR: u32 = 38;
/// What requests are paid for.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

pub(crate) async fn plan(context: &Context, args: Plan) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let mut settings = TimingSettings::new();
    if let Some(timeout) = args.timeout {
        settings = settings.timeout(timeout);
    }
    if let Some(grace) = args.grace {
        settings = settings.grace(grace);
    }
    if let Some(delay) = args.delay {
        settings = settings.delay(delay);
    }
    if let Some(round_trip) = args.round_trip {
        settings = settings.round_trip(round_trip);
    }
    let capabilities = manager.capabilities();
    let timing = Timing::new(args.period, capabilities, settings)?;
    if args.json {
        context.output.json(&object(&timing, &args))?;
        return Ok(0);
    }
    let head = format!(
        "A period of {}, by {}; drift of clocks: {}.",
        least(timing.period()),
        capabilities.expiry,
        capabilities.drift
    );
    let parts = [head, timeline(&timing), figures(&timing, &args)];
    context.output.line(&parts.join("\n\n"))?;
    Ok(0)
}

/// One line for each thing that happens, to scale. What is believed is drawn in dashes.
fn timeline(timing: &Timing) -> String {
    let deadline = timing.deadline();
    let mut events = [
        (Duration::ZERO, "granted, or renewed"),
        (timing.earliest_renewal(), "renewed, at the earliest"),
        (timing.renewal(), "renewed, at the latest"),
        (timing.at_risk(), "at risk: start nothing"),
        (timing.ending(), "the work is told to stop"),
        (deadline, "deadline: it has stopped"),
        (timing.period(), "the period is over"),
        (timing.takeover_after_crash(), "another one holds it"),
    ];
    events.sort_by_key(|(at, _)| *at);
    let end = timing.takeover_after_crash().max(timing.period());
    let place = |at: Duration| {
        let share = at.as_nanos() * u128::from(BAR - 1) / end.as_nanos().max(1);
        usize::try_from(share).unwrap_or_default()
    };
    let lines = events.iter().map(|(at, what)| {
        let believed = "-".repeat(place((*at).min(deadline)));
        let rest = ".".repeat(place(*at) - place((*at).min(deadline)));
        let (at, width) = (most(*at), BAR as usize);
        let bar = format!("{believed}{rest}o");
        format!("{at:>13}  {bar:<width$}  {what}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn figures(timing: &Timing, args: &Plan) -> String {
    let drift = match timing.tolerated_drift_ppm() {
        None => ("any".into(), "drift of the clock: there is only one".into()),
        Some(ppm) => (
            format!("{}.{:04} %", ppm / 10_000, ppm % 10_000),
            "drift of each clock from true time".into(),
        ),
    };
    let each = "at most: each lease by itself";
    let batches = format!("at least: in batches of up to {}", timing.batch());
    let requests = timing.requests(args.leases);
    let load = |load: Requests| {
        vec![
            (number(load.alone), each.to_owned()),
            (number(load.batched), batches.clone()),
        ]
    };
    let plural = if args.leases == 1 { "" } else { "s" };
    let mut groups: Vec<(String, Vec<(String, String)>)> = vec![
        (
            "Tolerated, at least:".into(),
            vec![
                (
                    least(timing.tolerated_outage()),
                    "of an outage in which requests fail".into(),
                ),
                (
                    least(timing.undisturbed_outage()),
                    "of it before the work is told to stop".into(),
                ),
                (
                    least(timing.tolerated_silence()),
                    "of an outage in which requests get no answer".into(),
                ),
                drift,
            ],
        ),
        (
            "Held by another one who waits, at most:".into(),
            vec![
                (most(timing.takeover_after_crash()), "after a crash".into()),
                (
                    most(timing.takeover_after_release()),
                    "after a release, and the notification".into(),
                ),
            ],
        ),
        (
            format!("Requests a second for {} lease{plural}:", args.leases),
            load(requests),
        ),
    ];
    if let Some(price) = args.price {
        groups.push((
            format!("Cost of 30 days at {price} a request:"),
            load(requests.cost(price, MONTH)),
        ));
    }
    let mut out = Vec::new();
    for (head, figures) in groups {
        out.push(head);
        out.extend(
            figures
                .iter()
                .map(|(figure, what)| format!("  {figure:<13} {what}")),
        );
    }
    out.join("\n")
}

/// A rate or a sum, to three digits or so.
fn number(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 1.0 => format!("{n:.2}"),
        n => format!("{n:.4}"),
    }
}

/// The figures for programs: times in milliseconds, each rounded to the safe side.
fn object(timing: &Timing, args: &Plan) -> Value {
    let floor = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let requests = timing.requests(args.leases);
    let cost = args.price.map(|price| requests.cost(price, MONTH));
    json!({
        "period_ms": floor(timing.period()),
        "margin_ms": millis(timing.margin()),
        "earliest_renewal_ms": floor(timing.earliest_renewal()),
        "renewal_ms": millis(timing.renewal()),
        "at_risk_ms": floor(timing.at_risk()),
        "ending_ms": floor(timing.ending()),
        "deadline_ms": floor(timing.deadline()),
        "tolerated_outage_ms": floor(timing.tolerated_outage()),
        "undisturbed_outage_ms": floor(timing.undisturbed_outage()),
        "tolerated_silence_ms": floor(timing.tolerated_silence()),
        "tolerated_drift_ppm": timing.tolerated_drift_ppm(),
        "takeover_after_crash_ms": millis(timing.takeover_after_crash()),
        "takeover_after_release_ms": millis(timing.takeover_after_release()),
        "leases": args.leases,
        "batch": timing.batch(),
        "requests_per_second": requests.alone,
        "requests_per_second_batched": requests.batched,
        "cost_of_30_days": cost.map(|cost| cost.alone),
        "cost_of_30_days_batched": cost.map(|cost| cost.batched),
    })
}

/// A bound from below: rounded down.
pub(crate) fn least(length: Duration) -> String {
    shown(length.as_millis())
}

/// A bound from above: rounded up.
pub(crate) fn most(length: Duration) -> String {
    shown(length.as_nanos().div_ceil(1_000_000))
}

fn shown(millis: u128) -> String {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    format!("{:#}", jiff::SignedDuration::from_millis(millis))
}
