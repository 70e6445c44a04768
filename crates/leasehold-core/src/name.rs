//! Names of leases, and prefixes of names.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The longest name of a lease, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 512;

/// The name of a lease: 1 to 512 bytes of UTF-8, segments separated by `/`.
///
/// Refused, each with its reason: an empty name or segment (so also a leading or trailing `/`), a segment `.` or
/// `..`, control characters, bidirectional control characters (they make one name look like another), and a segment
/// that begins with `~`, which is leasehold's own.
///
/// # The portable subset
///
/// Every registry leasehold supports or plans to support can hold names of at most 200 bytes whose segments are
/// lower-case letters `a-z`, digits and `-`, beginning and ending with a letter or digit. [`LeaseName::is_portable`]
/// tells. Other valid names work wherever the store can spell them (the embedded stores hold them all).
///
/// ```
/// use leasehold_core::LeaseName;
///
/// let name = LeaseName::new("jobs/nightly-report")?;
/// assert!(name.is_portable());
/// let error = LeaseName::new("jobs//report").unwrap_err();
/// assert!(error.to_string().contains("empty segment"));
/// # Ok::<(), leasehold_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseName(Arc<str>);

impl LeaseName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying which rule the name breaks.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check(name, false).map_err(|reason| refuse(name, &reason))?;
        Ok(Self(name.into()))
    }

    /// A name in leasehold's own space (a segment may begin with `~`); also what a store uses to read back names
    /// that it wrote.
    ///
    /// # Errors
    /// As [`LeaseName::new`], the rule about `~` left out.
    pub fn reserved(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check(name, true).map_err(|reason| refuse(name, &reason))?;
        Ok(Self(name.into()))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every registry can hold this name (see the type's documentation).
    #[must_use]
    pub fn is_portable(&self) -> bool {
        self.0.len() <= 200
            && self.0.split('/').all(|segment| {
                let bytes = segment.as_bytes();
                bytes
                    .iter()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
                    && bytes.first() != Some(&b'-')
                    && bytes.last() != Some(&b'-')
            })
    }
}

impl AsRef<str> for LeaseName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whole leading segments of names: `a` covers `a` and `a/b`, not `ab`. The empty prefix covers every name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Checks a prefix: empty, or a valid name. A trailing `/` is allowed and means the same.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying which rule the prefix breaks.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self> {
        let given = prefix.as_ref();
        let prefix = given.strip_suffix('/').unwrap_or(given);
        if !prefix.is_empty() {
            check(prefix, true).map_err(|reason| refuse(given, &reason))?;
        } else if !given.is_empty() {
            return Err(refuse(given, "it has an empty segment"));
        }
        Ok(Self(prefix.into()))
    }

    /// The prefix that covers every name.
    #[must_use]
    pub fn all() -> Self {
        Self("".into())
    }

    /// The prefix without a trailing `/`; empty for every name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the prefix covers a name.
    #[must_use]
    pub fn covers(&self, name: &LeaseName) -> bool {
        if self.0.is_empty() {
            return true;
        }
        match name.as_str().strip_prefix(&*self.0) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl From<&LeaseName> for Prefix {
    fn from(name: &LeaseName) -> Self {
        Self(name.0.clone())
    }
}

fn refuse(name: &str, reason: &str) -> Error {
    let mut shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        shown.push('…');
    }
    Error::new(
        ErrorKind::InvalidInput,
        format!("{shown:?} is not a lease name: {reason}"),
    )
}

fn check(name: &str, reserved: bool) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".into());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!(
            "it has {} bytes, more than {MAX_NAME_BYTES}",
            name.len()
        ));
    }
    if let Some(c) = name.chars().find(|c| is_unprintable(*c)) {
        return Err(format!(
            "it contains the control character U+{:04X}",
            u32::from(c)
        ));
    }
    for segment in name.split('/') {
        match segment {
            "" => {
                return Err("it has an empty segment (a doubled, leading or trailing `/`)".into());
            }
            "." | ".." => return Err(format!("it has a segment `{segment}`")),
            _ if segment.starts_with('~') && !reserved => {
                return Err(
                    "a segment begins with `~`, which is reserved for leasehold itself".into(),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Control characters, and those that reorder text on a screen.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_with_a_reason() {
        for (name, reason) in [
            ("", "empty"),
            ("/a", "empty segment"),
            ("a/", "empty segment"),
            ("a//b", "empty segment"),
            (".", "`.`"),
            ("a/../b", "`..`"),
            ("a\nb", "U+000A"),
            ("a\u{202E}b", "U+202E"),
            ("~x", "reserved"),
            ("a/~x", "reserved"),
        ] {
            let error = LeaseName::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(reason), "{name:?}: {error}");
        }
        assert!(LeaseName::new("x".repeat(513)).is_err());
        for name in ["a", "a/b", "a~b", "...", "ä/日本", &"x".repeat(512)] {
            assert_eq!(LeaseName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        let prefix = Prefix::new("a").unwrap();
        let covers = |n: &str| prefix.covers(&LeaseName::new(n).unwrap());
        assert!(covers("a") && covers("a/b") && !covers("ab") && !covers("b/a"));
        assert_eq!(Prefix::new("a/").unwrap(), prefix);
        assert!(Prefix::new("/").is_err());
        assert!(Prefix::all().covers(&LeaseName::new("x").unwrap()));
    }

    #[test]
    fn portable_names() {
        let portable = |n: &str| LeaseName::new(n).unwrap().is_portable();
        assert!(portable("jobs/nightly-1"));
        assert!(
            !portable("Jobs")
                && !portable("a_b")
                && !portable("-a")
                && !portable("a-/b")
                && !portable("a.b")
        );
    }
}
