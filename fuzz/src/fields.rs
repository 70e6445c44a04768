//! Whatever a lessee puts into a record is there when it is read again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arbitrary::{Result, Unstructured};
use leasehold_core::{AttemptId, Body, Ended, EndedHow, MAX_INDEX, Origin, Ran, Record};
use serde_json::{Map, Value};

pub fn check(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(record) = record(&mut input) else {
        return;
    };
    let read = Record::decode(&record.encode());
    assert_eq!(read.origin, Origin::Leasehold);
    // Lengths are kept in microseconds: longer by less than one, never shorter.
    let mut expected = record.clone();
    expected.period = record.period.map(rounded);
    expected.wait = rounded(record.wait);
    expected.hold = rounded(record.hold);
    assert_eq!(read, expected);
    let body = Record::decode(&record.encode_body());
    assert_eq!(body.body, record.body);
    assert_eq!(body.is_held(), record.is_held());
    crate::record::check(&record.encode());
}

fn rounded(length: Duration) -> Duration {
    let micros = length.as_nanos().div_ceil(1000);
    let read = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    assert!(
        read >= length || micros > u128::from(u64::MAX),
        "shorter than it was"
    );
    read
}

fn record(input: &mut Unstructured<'_>) -> Result<Record> {
    let held: bool = input.arbitrary()?;
    let body = Body {
        machine_id: if held {
            let id = text(input, 1024)?;
            Some(if id.is_empty() { "m".into() } else { id })
        } else {
            None
        },
        // A tombstone has no lessee, so no lessee's version.
        version: if held { input.arbitrary()? } else { 0 },
        needs: 1,
        since: option(input, time)?,
        note: option(input, |input| text(input, 1024))?,
        data: option(input, |input| {
            let length = input.int_in_range(0..=300)?;
            Ok(input.bytes(length.min(input.len()))?.to_vec().into())
        })?,
        policy: option(input, |input| text(input, 40))?,
        closed: option(input, time)?,
        ran: option(input, |input| {
            let by = text(input, 40)?;
            Ok(Ran {
                by,
                at: time(input)?,
            })
        })?
        .map(Box::new),
        delay: rounded(length(input)?),
        unconfirmed: input.arbitrary()?,
        ended: option(input, ended)?.map(Box::new),
        unknown: unknown(input)?,
    };
    Ok(Record {
        index: option(input, number)?,
        fence: option(input, number)?,
        period: option(input, length)?,
        wait: length(input)?,
        hold: length(input)?,
        attempt: option(input, |input| Ok(AttemptId(input.arbitrary()?)))?,
        ..Record::new(Arc::new(body), AttemptId([0; 16]))
    })
}

fn option<T>(
    input: &mut Unstructured<'_>,
    read: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if input.arbitrary()? {
        read(input).map(Some)
    } else {
        Ok(None)
    }
}

fn text(input: &mut Unstructured<'_>, most: usize) -> Result<String> {
    let text: &str = input.arbitrary()?;
    let end = (0..=most.min(text.len())).rev();
    let end = end
        .into_iter()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    Ok(text[..end].to_owned())
}

fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    input.int_in_range(0..=MAX_INDEX)
}

fn length(input: &mut Unstructured<'_>) -> Result<Duration> {
    Ok(match input.int_in_range(0..=3)? {
        0 => Duration::ZERO,
        1 => Duration::from_nanos(input.arbitrary::<u16>()?.into()),
        2 => Duration::from_nanos(input.arbitrary()?),
        _ => Duration::new(input.arbitrary()?, input.int_in_range(0..=999_999_999)?),
    })
}

/// Any instant that a date of four digits can name, before 1970 too.
fn time(input: &mut Unstructured<'_>) -> Result<SystemTime> {
    let seconds = input.int_in_range(-377_705_023_201_i64..=253_402_207_199)?;
    let nanos: u32 = input.int_in_range(0..=999_999_999)?;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 {
        SystemTime::UNIX_EPOCH - whole
    } else {
        SystemTime::UNIX_EPOCH + whole
    };
    Ok(second + Duration::from_nanos(nanos.into()))
}

fn ended(input: &mut Unstructured<'_>) -> Result<Ended> {
    use EndedHow::{Broken, Expired, HandedOver, Released, Stolen, Unknown};
    Ok(Ended {
        how: *input.choose(&[Released, Stolen, Broken, HandedOver, Expired, Unknown])?,
        by: option(input, |input| text(input, 100))?,
        reason: option(input, |input| text(input, 100))?,
        fence: option(input, number)?,
    })
}

/// Fields of later versions: any JSON, under any key that is not one of ours.
fn unknown(input: &mut Unstructured<'_>) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    for _ in 0..input.int_in_range(0..=3)? {
        let key = format!("later {}", text(input, 20)?);
        fields.insert(key, value(input, 3)?);
    }
    Ok(fields)
}

fn value(input: &mut Unstructured<'_>, depth: u8) -> Result<Value> {
    Ok(
        match input.int_in_range(0..=if depth == 0 { 5 } else { 7 })? {
            0 => Value::Null,
            1 => Value::Bool(input.arbitrary()?),
            2 => input.arbitrary::<u64>()?.into(),
            3 => input.arbitrary::<i64>()?.into(),
            // What is no number in JSON becomes null.
            4 => Value::from(input.arbitrary::<f64>()?),
            5 => text(input, 100)?.into(),
            6 => {
                let mut list = Vec::new();
                for _ in 0..input.int_in_range(0..=3)? {
                    list.push(value(input, depth - 1)?);
                }
                list.into()
            }
            _ => {
                let mut map = Map::new();
                for _ in 0..input.int_in_range(0..=3)? {
                    map.insert(text(input, 20)?, value(input, depth - 1)?);
                }
                map.into()
            }
        },
    )
}
