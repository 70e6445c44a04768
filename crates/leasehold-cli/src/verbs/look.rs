//! `leasehold get`, `leasehold list`, `leasehold check`: looking, and changing nothing.

use leasehold::Status;
use serde_json::{Value, json};

use super::Context;
use crate::args::{Check, Get, List};
use crate::exit::{Failure, LOST, NOT_HELD};
use crate::output::is_terminal;
use crate::{show, width};

pub(crate) async fn get(context: &Context, args: Get) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let status = manager.status(&args.name).await?;
    if args.json {
        let object = match &status {
            Some(status) => show::status(status),
            None => absent(args.name.as_str()),
        };
        context.output.json(&Value::Object(object))?;
    }
    match status {
        Some(status) if status.is_held() => {
            if !args.json {
                context.output.line(&show::lines(&status))?;
            }
            Ok(0)
        }
        Some(status) => {
            let failure = Failure::answer(NOT_HELD, show::sentence(&status));
            Err(failure.found(&status))
        }
        None => Err(Failure::answer(
            NOT_HELD,
            format!("{} is held by nobody: there is no record of it", args.name),
        )),
    }
}

/// The status of a name that the registry has no record of.
pub(crate) fn absent(name: &str) -> serde_json::Map<String, Value> {
    let mut object = serde_json::Map::new();
    object.insert("name".into(), name.into());
    object.insert("held".into(), false.into());
    object.insert("vacant".into(), true.into());
    for key in [
        "machine_id",
        "version",
        "fence",
        "index",
        "period_ms",
        "left_ms",
        "wait_ms",
        "since",
        "note",
        "data",
        "data_base64",
        "ended",
        "foreign",
    ] {
        object.insert(key.into(), Value::Null);
    }
    object
}

pub(crate) async fn list(context: &Context, args: List) -> Result<u8, Failure> {
    if args.watch {
        return super::watch::list(context, args).await;
    }
    let manager = context.open().await?;
    let prefix = args.prefix.as_ref().map_or("", |prefix| prefix.as_str());
    let mut listing = manager.list(prefix)?;
    if args.all {
        listing = listing.all();
    }
    let people = is_terminal() && !args.json;
    let mut table = Vec::new();
    while let Some(status) = listing.next().await? {
        if args.json {
            context.output.json(&Value::Object(show::status(&status)))?;
        } else if people {
            table.push(status);
        } else {
            context
                .output
                .line(&show::columns(&status, false).join("\t"))?;
        }
    }
    if people && !table.is_empty() {
        context.output.line(&aligned(&table))?;
    }
    Ok(0)
}

/// A table for people.
fn aligned(statuses: &[Status]) -> String {
    let head = ["NAME", "HOLDER", "FENCE", "INDEX", "LEFT", "SINCE", "NOTE"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head)
        .chain(statuses.iter().map(|status| show::columns(status, true)))
        .collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(width::of(cell));
        }
    }
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, columns)| width::filled(cell, columns))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(crate) async fn check(context: &Context, args: Check) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let status = manager.status(&args.name).await?;
    let stands = status
        .as_ref()
        .is_some_and(|status| status.is_held() && status.fence() == args.fence);
    if args.json {
        let now = status
            .as_ref()
            .map_or_else(|| absent(args.name.as_str()), show::status);
        context.output.json(&json!({
            "name": args.name.as_str(),
            "fence": args.fence,
            "stands": stands,
            "status": now,
        }))?;
    }
    let sentence = match &status {
        Some(status) => show::sentence(status),
        None => format!("{} is held by nobody", args.name),
    };
    if stands {
        if !args.json {
            context.output.sentence(&format!(
                "the term of fence {} stands: {sentence}",
                args.fence
            ))?;
        }
        return Ok(0);
    }
    let failure = Failure::answer(
        LOST,
        format!("the term of fence {} is over: {sentence}", args.fence),
    );
    Err(match &status {
        Some(status) => failure.found(status),
        None => failure,
    })
}
