//! URLs of etcd clusters: the store's own files, without the client around them.

use leasehold_core::ErrorKind;

#[allow(dead_code, reason = "part of another crate")]
#[path = "../../stores/etcd/src/client/config.rs"]
mod config;
#[path = "../../stores/etcd/src/client/url.rs"]
mod url;

/// What all keys begin with, unless the URL says so.
const PREFIX: &str = "/leasehold";

/// What is read, without anything that must not be shown.
pub(crate) fn check(text: &str, secret: &str) {
    match config::Config::from_url(text) {
        Ok(config) => {
            assert!(!config.endpoints.is_empty());
            for endpoint in &config.endpoints {
                let (host, port) = endpoint.rsplit_once(':').unwrap();
                assert!(!host.is_empty());
                port.parse::<u16>().unwrap();
            }
            assert!(!config.prefix.is_empty() && !config.prefix.ends_with('/'));
            let shown = config.location();
            assert!(!shown.contains(secret) && !format!("{config:?}").contains(secret));
            // What is shown is a URL of the same place, where nothing in it has to be written otherwise.
            if config.prefix.starts_with('/') && !config.prefix.contains(['%', '?', '@']) {
                let again = config::Config::from_url(&shown).unwrap();
                assert_eq!(
                    (again.endpoints, again.prefix),
                    (config.endpoints, config.prefix)
                );
            }
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
