//! Names, prefixes and machine ids: what is accepted keeps the rules, and is given back as it was.

use leasehold_core::{
    ErrorKind, LeaseName, MAX_MACHINE_ID_BYTES, MAX_NAME_BYTES, Prefix, check_machine_id,
};

/// Two names and a prefix, one a line; what is no UTF-8 is as people would have pasted it.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (first, second, prefix) = (part(), part(), part());
    one(&text);
    let names = [one(first), one(second)];
    let prefix = self::prefix(prefix);
    for name in names.iter().flatten() {
        let own = Prefix::from(name);
        assert!(own.covers(name) && Prefix::all().covers(name));
        if let Some(prefix) = &prefix {
            assert_eq!(
                prefix.covers(name),
                covered(prefix.as_str(), name.as_str()),
                "{prefix:?} {name:?}"
            );
        }
    }
    if let [Some(a), Some(b)] = &names {
        // Listings page by the order of the names' bytes.
        assert_eq!(a.cmp(b), a.as_str().as_bytes().cmp(b.as_str().as_bytes()));
        assert_eq!(a == b, a.as_str() == b.as_str());
        if let Some(prefix) = &prefix
            && prefix.covers(a)
            && Prefix::from(a).covers(b)
        {
            assert!(prefix.covers(b), "covering is transitive");
        }
    }
}

fn one(text: &str) -> Option<LeaseName> {
    machine_id(text);
    let public = LeaseName::new(text);
    let reserved = LeaseName::reserved(text);
    let own = text.split('/').any(|segment| segment.starts_with('~'));
    for name in [&public, &reserved] {
        match name {
            Ok(name) => {
                assert_eq!(name.as_str(), text);
                assert_eq!(name.to_string(), text);
                assert!((1..=MAX_NAME_BYTES).contains(&text.len()));
                assert!(!text.chars().any(char::is_control));
                let bad = |segment: &str| matches!(segment, "" | "." | "..");
                assert!(!text.split('/').any(bad));
                if name.is_portable() {
                    assert!(text.len() <= 200 && text.is_ascii());
                    let plain = |c: char| "abcdefghijklmnopqrstuvwxyz0123456789-/".contains(c);
                    assert!(text.chars().all(plain));
                    assert!(LeaseName::new(text).is_ok());
                }
            }
            Err(error) => refused(error),
        }
    }
    // The rule about `~` is the only difference between the two.
    assert_eq!(public.is_ok(), reserved.is_ok() && !own);
    reserved.ok()
}

fn prefix(text: &str) -> Option<Prefix> {
    let bare = text.strip_suffix('/').unwrap_or(text);
    let given = Prefix::new(text);
    assert_eq!(
        given.is_ok(),
        text.is_empty() || LeaseName::reserved(bare).is_ok()
    );
    match given {
        Ok(prefix) => {
            assert_eq!(prefix.as_str(), bare);
            assert_eq!(Prefix::new(bare).as_ref().ok(), Some(&prefix));
            Some(prefix)
        }
        Err(error) => {
            refused(&error);
            None
        }
    }
}

/// Whole leading segments, said in another way than the library does.
fn covered(prefix: &str, name: &str) -> bool {
    if prefix.is_empty() {
        return true;
    }
    let mut segments = name.split('/');
    prefix.split('/').all(|own| segments.next() == Some(own))
}

fn machine_id(text: &str) {
    match check_machine_id(text) {
        Ok(()) => {
            assert!((1..=MAX_MACHINE_ID_BYTES).contains(&text.len()));
            assert!(!text.chars().any(char::is_control));
        }
        Err(error) => refused(&error),
    }
}

/// A refusal is short and fit for a terminal, whatever was refused.
fn refused(error: &leasehold_core::Error) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let message = error.to_string();
    assert!(message.len() < 2000, "{} bytes", message.len());
    assert!(!message.chars().any(char::is_control), "{message:?}");
}
