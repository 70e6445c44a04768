//! Durations as people write them: reading is total, and what is shown for people can be read again.

use std::time::Duration;

/// The command's own file.
#[allow(dead_code, unreachable_pub, reason = "part of another crate")]
#[path = "../../crates/leasehold-cli/src/duration.rs"]
mod subject;

use subject::{Wait, duration, human, millis, wait};

pub fn check(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<12>() {
        let (seconds, nanos) = bytes.split_at(8);
        let seconds = u64::from_le_bytes(seconds.try_into().expect("eight"));
        let nanos = u32::from_le_bytes(nanos.try_into().expect("four"));
        shown(Duration::new(seconds % (1 << 40), nanos % 1_000_000_000));
        _ = human(Duration::new(seconds, nanos % 1_000_000_000));
    }
    let text = String::from_utf8_lossy(data);
    match (duration(&text), wait(&text)) {
        (Ok(length), waited) => {
            assert!(!length.is_zero());
            assert_eq!(waited, Ok(Wait::For(length)));
            assert_eq!(
                duration(&format!(" {text}\t")),
                Ok(length),
                "space around it"
            );
            shown(length);
        }
        (Err(reason), Ok(Wait::For(length))) => assert!(length.is_zero(), "{reason}"),
        (Err(_), Ok(Wait::Forever)) => assert_eq!(text.trim(), "forever"),
        (Err(reason), Err(other)) => {
            for reason in [reason, other] {
                assert!(!reason.is_empty() && reason.len() < 300 + text.len());
            }
        }
    }
}

/// Rounded up to whole seconds from ten seconds on, to milliseconds below.
fn shown(length: Duration) {
    let unit = match length >= Duration::from_secs(10) {
        true => Duration::from_secs(1),
        false => Duration::from_millis(1),
    };
    let text = human(length);
    if text == "for ever" {
        return;
    }
    let Ok(Wait::For(read)) = wait(&text) else {
        panic!("{length:?} is shown as {text}, which is no duration");
    };
    assert!(read >= length && read - length < unit, "{length:?}: {text}");
    let millis = Duration::from_millis(millis(length));
    assert!(millis >= length && millis - length < Duration::from_millis(1));
}
