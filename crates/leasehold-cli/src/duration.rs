//! Durations as people write them: `90s`, `1h30m`, `250ms`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// How long to wait for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// At most this long.
    For(Duration),
    /// As long as it takes.
    Forever,
}

/// A duration that is not nothing.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let length = at_least_nothing(text)?;
    if length.is_zero() {
        return Err("it must be longer than nothing".into());
    }
    Ok(length)
}

/// A duration, or `forever`.
pub(crate) fn wait(text: &str) -> Result<Wait, String> {
    if text.trim() == "forever" {
        return Ok(Wait::Forever);
    }
    at_least_nothing(text).map(Wait::For).map_err(|reason| {
        if reason.starts_with("did you mean") {
            reason
        } else {
            format!("{reason} (or `forever`)")
        }
    })
}

fn at_least_nothing(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if trimmed.parse::<f64>().is_ok_and(f64::is_finite) {
        let number = trimmed.trim_start_matches(['+', '-']);
        return Err(format!("did you mean {number}s? A duration needs a unit"));
    }
    let example = "a duration looks like 90s, 1h30m or 250ms";
    let span: Span = trimmed.parse().map_err(|_| example.to_owned())?;
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| format!("months and years have no fixed length: {example}"))?;
    if length.is_negative() {
        return Err("it must not be negative".into());
    }
    Duration::try_from(length).map_err(|_| "it is too long".into())
}

/// A duration for people, rounded up: seconds from ten seconds on, else milliseconds.
pub(crate) fn human(length: Duration) -> String {
    let unit: u128 = if length >= Duration::from_secs(10) {
        1_000_000_000
    } else {
        1_000_000
    };
    let whole = length.as_nanos().div_ceil(unit).saturating_mul(unit);
    let whole = i128::try_from(whole).unwrap_or(i128::MAX);
    match i64::try_from(whole / 1_000_000_000) {
        Ok(_) => format!("{:#}", jiff::SignedDuration::from_nanos_i128(whole)),
        Err(_) => "for ever".into(),
    }
}

/// Whole milliseconds of a bound, rounded up.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_s_durations() {
        let ms = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(ms("90s"), Ok(90_000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("1m 5s"), Ok(65_000));
        assert_eq!(ms("2d"), Ok(172_800_000));
        assert_eq!(ms("1.5h"), Ok(5_400_000));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_way_out() {
        for (text, says) in [
            ("15", "did you mean 15s?"),
            ("1.5", "did you mean 1.5s?"),
            ("-15", "did you mean 15s?"),
            ("", "90s"),
            ("soon", "90s"),
            ("1x", "90s"),
            ("nan", "90s"),
            ("-5s", "negative"),
            ("5s ago", "negative"),
            ("0s", "longer than nothing"),
            ("0", "did you mean 0s?"),
            ("1month", "no fixed length"),
            ("1y", "no fixed length"),
        ] {
            let error = duration(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn waits() {
        assert_eq!(wait("forever"), Ok(Wait::Forever));
        assert_eq!(wait("0s"), Ok(Wait::For(Duration::ZERO)));
        assert_eq!(wait("2m"), Ok(Wait::For(Duration::from_secs(120))));
        assert!(wait("15").unwrap_err().contains("did you mean 15s?"));
        assert!(wait("never").unwrap_err().contains("forever"));
    }

    #[test]
    fn lengths_for_people_are_rounded_up() {
        assert_eq!(human(Duration::from_micros(12_000_001)), "13s");
        assert_eq!(human(Duration::from_micros(1_500)), "2ms");
        assert_eq!(human(Duration::from_secs(90)), "1m 30s");
        assert!(!human(Duration::MAX).is_empty());
        assert_eq!(millis(Duration::from_nanos(1)), 1);
    }
}
