//! Where a cluster is, and as whom it is asked.

use std::fmt;
use std::path::PathBuf;

/// Where a cluster is, which keys of it are leasehold's, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The members' addresses for clients, `host:port`.
    pub endpoints: Vec<String>,
    /// What all keys begin with: `/leasehold` by default.
    pub prefix: String,
    /// As whom, where the cluster asks for that.
    pub user: Option<User>,
    /// Whether and how connections are encrypted.
    pub tls: Option<Tls>,
}

/// A user of the cluster.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// How connections are encrypted. Files are read when the store is opened.
#[derive(Clone, Default, Debug)]
pub struct Tls {
    /// The certificates of those who may vouch for the members, as PEM; the system's without this.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key, as PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the members' certificates, where it is not their address.
    pub server_name: Option<String>,
}

impl Config {
    /// A cluster by its members' addresses, `host:port`.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: super::PREFIX.to_owned(),
            user: None,
            tls: None,
        }
    }

    /// The cluster and the prefix, for people: never with a user or a password.
    pub(crate) fn location(&self) -> String {
        let scheme = if self.tls.is_some() { "etcds" } else { "etcd" };
        format!("{scheme}://{}{}", self.endpoints.join(","), self.prefix)
    }

    pub(super) fn uri(&self, endpoint: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{endpoint}")
    }
}
