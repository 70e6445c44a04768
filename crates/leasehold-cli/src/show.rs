//! What is known of a lease, for people and for programs.
//!
//! Nothing that a lessee wrote reaches a terminal as it is: control characters are escaped.

use std::time::SystemTime;

use base64::Engine as _;
use leasehold::{Ended, Lease, Status};
use serde_json::{Map, Value, json};

use crate::duration::{human, millis};
use crate::output::quoted;

/// Wall time in RFC 3339, UTC.
pub(crate) fn time(at: SystemTime) -> Option<String> {
    let at = jiff::Timestamp::try_from(at).ok()?;
    Some(format!("{at:.3}"))
}

/// Wall time for a narrow column: the time of day if it is of this day, else the date; UTC.
pub(crate) fn short_time(at: SystemTime, now: SystemTime) -> Option<String> {
    let day = |at| time(at).and_then(|text| text.get(..10).map(str::to_owned));
    let (then, today) = (day(at)?, day(now)?);
    match then == today {
        true => time(at)?.get(11..19).map(|text| format!("{text}Z")),
        false => Some(then),
    }
}

fn ended(ended: &Ended) -> Value {
    json!({
        "how": ended.how.as_str(),
        "by": ended.by,
        "reason": ended.reason,
        "fence": ended.fence,
    })
}

fn data(data: Option<&[u8]>) -> [(&'static str, Value); 2] {
    let text = data.and_then(|data| std::str::from_utf8(data).ok());
    let base64 = data.map(|data| base64::engine::general_purpose::STANDARD.encode(data));
    [("data", text.into()), ("data_base64", base64.into())]
}

/// A name's status as a JSON object. Every field is there, null where nothing is known.
pub(crate) fn status(status: &Status) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("name", status.name().as_str().into());
    put("held", status.is_held().into());
    put("vacant", status.is_vacant().into());
    put("machine_id", status.machine_id().into());
    put("version", status.version().into());
    put("fence", status.fence().into());
    put("index", status.index().into());
    put("period_ms", status.period().map(millis).into());
    put("left_ms", status.left().map(millis).into());
    put("wait_ms", millis(status.wait()).into());
    put("since", status.since().and_then(time).into());
    put("note", status.note().into());
    for (key, value) in data(status.data()) {
        put(key, value);
    }
    put("ended", status.ended().map_or(Value::Null, ended));
    put("foreign", status.foreign_because().into());
    object
}

/// A lease that is ours, as a JSON object with the fields of [`status`] that it knows.
pub(crate) fn lease(lease: &Lease) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("name", lease.name().as_str().into());
    put("machine_id", lease.machine_id().into());
    put("version", lease.version().into());
    put("fence", lease.fence().into());
    put("index", lease.index().into());
    put("period_ms", millis(lease.period()).into());
    // A lower bound, where a status has an upper one: until when its holder may count on it.
    let left = u64::try_from(lease.left().as_millis()).unwrap_or(u64::MAX);
    put("left_ms", left.into());
    put("note", lease.note().into());
    let bytes = lease.data();
    for (key, value) in data(bytes.as_deref()) {
        put(key, value);
    }
    put("ended", lease.ended().as_ref().map_or(Value::Null, ended));
    object
}

/// Who holds it, in words: `host-7`, `nobody`.
pub(crate) fn holder(status: &Status) -> String {
    match status.machine_id() {
        Some(id) if status.is_held() => quoted(id),
        _ if status.is_foreign() => "somebody".into(),
        _ => "nobody".into(),
    }
}

/// A sentence: who holds it, since when, how long still, by which fence; or since when and how nobody does.
pub(crate) fn sentence(status: &Status) -> String {
    let mut text = format!("{} is held by {}", status.name(), holder(status));
    if status.is_held() {
        if let Some(since) = status.since().and_then(time) {
            text += &format!(" since {since}");
        }
        match status.left() {
            Some(left) => text += &format!(", {} left", human(left)),
            None => text += ", with no known end",
        }
        text += &format!(", fence {}, index {}", status.fence(), status.index());
    } else {
        if !status.is_vacant() {
            text += &format!(
                " and vacant in {}",
                human(status.left().unwrap_or_default())
            );
        }
        if status.machine_id().is_some() {
            text += &format!(
                ": the term of {} has run out",
                quoted(status.machine_id().unwrap_or_default())
            );
        } else if let Some(ended) = status.ended() {
            text += &format!(": the last term was {}", how(ended));
        }
    }
    if let Some(note) = status.note() {
        text += &format!(" ({})", quoted(note));
    }
    text
}

/// How a term ended: `stolen by host-8 (host-7 is dead)`.
pub(crate) fn how(ended: &Ended) -> String {
    let mut text = ended.how.as_str().to_owned();
    if let Some(by) = &ended.by {
        text += &format!(" by {}", quoted(by));
    }
    if let Some(reason) = &ended.reason {
        text += &format!(" ({})", quoted(reason));
    }
    text
}

/// All that is known, a line each.
pub(crate) fn lines(status: &Status) -> String {
    let mut lines = Vec::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{key:<9}{value}"));
        }
    };
    put("name", Some(status.name().to_string()));
    put("holder", Some(holder(status)));
    put("fence", Some(status.fence().to_string()));
    put("index", Some(status.index().to_string()));
    put(
        "version",
        (status.version() != 0).then(|| status.version().to_string()),
    );
    put("period", status.period().map(human));
    put("left", Some(status.left().map_or("unknown".into(), human)));
    put(
        "wait",
        (!status.wait().is_zero()).then(|| human(status.wait())),
    );
    put("since", status.since().and_then(time));
    put("note", status.note().map(quoted));
    put(
        "data",
        status.data().map(|data| match std::str::from_utf8(data) {
            Ok(text) => quoted(text),
            Err(_) => format!("{} bytes", data.len()),
        }),
    );
    put("before", status.ended().map(how));
    put("foreign", status.foreign_because().map(|why| quoted(&why)));
    lines.join("\n")
}

/// The columns of a listing.
pub(crate) fn columns(status: &Status, people: bool) -> [String; 7] {
    let none = || "-".to_owned();
    let left = match status.left() {
        None => none(),
        Some(left) if people => human(left),
        Some(left) => millis(left).to_string(),
    };
    [
        status.name().to_string(),
        holder(status),
        status.fence().to_string(),
        status.index().to_string(),
        left,
        status.since().and_then(time).unwrap_or_else(none),
        status.note().map_or_else(none, quoted),
    ]
}
