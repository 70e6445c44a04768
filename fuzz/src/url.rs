//! URLs of stores: reading one is total, pure, and never shows what was in it.

use leasehold_core::ErrorKind;

/// The facade's own file: reading a URL needs nothing else of it, so no store is compiled for this.
#[allow(dead_code, reason = "part of another crate")]
#[path = "../../crates/leasehold/src/url.rs"]
mod subject;

use subject::Url;

/// No word of any message, so that it can be looked for in them.
const SECRET: &str = "hunter2";

pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if text.contains(SECRET) {
        return;
    }
    one(&text);
    // The same with credentials wherever a mark stands.
    one(&text.replace('@', ":hunter2@"));
    // A path that the command was given reaches the store as it was.
    let path = format!("/{text}");
    assert_eq!(
        Url::parse(&format!("sqlite://{path}")).unwrap(),
        Url::Sqlite(&path)
    );
}

fn one(url: &str) {
    match Url::parse(url) {
        Ok(Url::Memory) => assert_eq!(url, "memory:"),
        Ok(Url::Sqlite(path)) => {
            assert!(!path.is_empty() && url.ends_with(path));
            let scheme = &url[..url.len() - path.len()];
            assert!(matches!(scheme, "sqlite:" | "sqlite://"), "{scheme}");
            assert!(scheme == "sqlite:" || path.starts_with('/'));
            assert!(!path.starts_with("//") || scheme == "sqlite://");
        }
        Ok(Url::Etcd(whole)) => {
            assert_eq!(whole, url);
            assert!(url.starts_with("etcd:") || url.starts_with("etcds:"));
            crate::etcd::check(url, SECRET);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains(SECRET), "{text}");
                assert!(text.len() < 300);
                assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
            }
            assert!(std::error::Error::source(&error).is_none());
        }
    }
}
