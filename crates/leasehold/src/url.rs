//! What a store's URL says. Reading it is pure: nothing is looked at, opened or created here.

use leasehold_core::{Error, ErrorKind, Result};

/// A registry, by its URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Url<'a> {
    /// This process's memory.
    Memory,
    /// An embedded file, by its path.
    Sqlite(&'a str),
    /// An etcd cluster, by the whole URL, which its own crate reads.
    Etcd(&'a str),
}

impl<'a> Url<'a> {
    /// Reads a URL.
    pub(crate) fn parse(url: &'a str) -> Result<Self> {
        let (scheme, rest) = url
            .split_once(':')
            .ok_or_else(|| not_a_url("it has no scheme"))?;
        match scheme {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(not_a_url("`memory:` takes no path")),
            "sqlite" => path(rest).map(Self::Sqlite),
            "etcd" | "etcds" => Ok(Self::Etcd(url)),
            _ => Err(not_a_url(
                "its scheme is not known here (memory, sqlite, etcd, etcds)",
            )),
        }
    }
}

fn path(rest: &str) -> Result<&str> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => {
            return Err(not_a_url(
                "an absolute path needs three slashes: sqlite:///var/lib/leases.db",
            ));
        }
        None => rest,
    };
    if path.is_empty() {
        return Err(not_a_url("it names no file"));
    }
    Ok(path)
}

/// Never with the URL itself, which may carry credentials.
fn not_a_url(reason: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("not a store's URL: {reason}; for example sqlite:///var/lib/leases.db"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_documented() {
        for (url, read) in [
            ("memory:", Url::Memory),
            (
                "sqlite:///var/lib/leases.db",
                Url::Sqlite("/var/lib/leases.db"),
            ),
            (
                "sqlite:/var/lib/leases.db",
                Url::Sqlite("/var/lib/leases.db"),
            ),
            ("sqlite:leases.db", Url::Sqlite("leases.db")),
            ("sqlite:///a b?c#d%20", Url::Sqlite("/a b?c#d%20")),
            ("etcd://a,b/c", Url::Etcd("etcd://a,b/c")),
            ("etcds://a", Url::Etcd("etcds://a")),
        ] {
            assert_eq!(Url::parse(url).unwrap(), read, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_showing_it() {
        for (url, reason) in [
            ("", "no scheme"),
            ("s3cret", "no scheme"),
            ("memory:s3cret", "takes no path"),
            ("sqlite:", "names no file"),
            ("sqlite://", "three slashes"),
            ("sqlite://user:s3cret@host/x", "three slashes"),
            ("postgres://user:s3cret@host/x", "not known here"),
            ("s3cret:", "not known here"),
        ] {
            let error = Url::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(text.contains(reason), "{url}: {text}");
                assert!(!text.contains("s3cret"), "{url}: {text}");
            }
        }
    }
}
