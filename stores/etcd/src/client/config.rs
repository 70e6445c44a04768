//! Where a cluster is, and as whom it is asked.

use std::fmt;
use std::path::PathBuf;

use leasehold_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use tonic::transport::Endpoint;

/// Where etcd's members listen for clients, unless the address says so.
const PORT: u16 = 2379;
/// Where a user and a password are looked for that the URL does not have.
const USER: &str = "LEASEHOLD_ETCD_USER";
const PASSWORD: &str = "LEASEHOLD_ETCD_PASSWORD";

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
            prefix: crate::keys::PREFIX.to_owned(),
            user: None,
            tls: None,
        }
    }

    /// Reads `etcd://[user[:password]@]host[:port],...[/prefix][?option=value&...]`, or the same with `etcds:` for TLS.
    ///
    /// Options: `ca`, `cert` with `key`, `server-name` as in [`Tls`]; `password-file`. What is special in URLs is written
    /// as `%XX`. A user or password that is not there is looked for in the environment, as `LEASEHOLD_ETCD_USER` and
    /// `LEASEHOLD_ETCD_PASSWORD`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with what is wrong with it, never with the URL itself.
    pub fn from_url(url: &str) -> Result<Self> {
        let env = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self::read(url, env)
    }

    fn read(url: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| bad("it begins with neither etcd:// nor etcds://"))?;
        let encrypted = match scheme {
            "etcd" => false,
            "etcds" => true,
            _ => return Err(bad("it begins with neither etcd:// nor etcds://")),
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // What follows would be shown.
        if prefix.contains('@') || options.contains('@') {
            return Err(bad(
                "there is an @ behind the hosts: write / as %2F, ? as %3F and @ as %40 in a user, a password, a prefix and \
                 an option",
            ));
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let endpoints = hosts.split(',').map(endpoint).collect::<Result<Vec<_>>>()?;
        let mut config = Self::new(endpoints);
        config.tls = encrypted.then(Tls::default);
        let prefix = decoded(prefix)?;
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            config.prefix = prefix.to_owned();
        }
        let (mut name, mut password) =
            match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
                Some((name, password)) => (Some(decoded(name)?), Some(decoded(password)?)),
                None => (None, None),
            };
        password = password.filter(|text| !text.is_empty());
        let (mut cert, mut key) = (None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (option, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decoded(value)?;
            if value.is_empty() {
                return Err(bad("an option has no value"));
            }
            let tls = || bad("ca, cert, key and server-name are for etcds://");
            match option {
                "ca" => config.tls.as_mut().ok_or_else(tls)?.ca = Some(value.into()),
                "server-name" => config.tls.as_mut().ok_or_else(tls)?.server_name = Some(value),
                "cert" => cert = Some(PathBuf::from(value)),
                "key" => key = Some(PathBuf::from(value)),
                "password-file" => password = Some(password_of(&value)?),
                _ => return Err(bad(UNKNOWN)),
            }
        }
        match (cert, key) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                let tls = config.tls.as_mut();
                tls.ok_or_else(|| bad("ca, cert, key and server-name are for etcds://"))?
                    .identity = Some((cert, key));
            }
            _ => return Err(bad("cert and key go together")),
        }
        name = name.or_else(|| env(USER));
        password = password.or_else(|| env(PASSWORD));
        config.user = match (name, password) {
            (None, None) => None,
            (Some(name), Some(password)) => Some(User {
                name,
                password: Secret::new(password),
            }),
            (Some(_), None) => return Err(bad("there is a user and no password")),
            (None, Some(_)) => return Err(bad("there is a password and no user")),
        };
        Ok(config)
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

    #[cfg(not(feature = "tls"))]
    pub(super) fn secured(&self, endpoint: Endpoint) -> Result<Endpoint> {
        match &self.tls {
            Some(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "leasehold-etcd was compiled without its feature `tls`",
            )),
            None => Ok(endpoint),
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn secured(&self, endpoint: Endpoint) -> Result<Endpoint> {
        use tonic::transport::{Certificate, ClientTlsConfig, Identity};
        let Some(tls) = &self.tls else {
            return Ok(endpoint);
        };
        // Without a limit a member that falls silent here would be waited for until the system gives up, in minutes.
        let mut config = ClientTlsConfig::new().timeout(super::members::CONNECT);
        config = match &tls.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(contents(ca, CERTIFICATE)?)),
            None => config.with_native_roots(),
        };
        let mut of = String::new();
        if let Some((cert, key)) = &tls.identity {
            let (of_whom, with) = (contents(cert, CERTIFICATE)?, contents(key, KEY)?);
            config = config.identity(Identity::from_pem(of_whom, with));
            of = format!(" of {} with {}", cert.display(), key.display());
        }
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name.clone());
        }
        let wrong = |error: tonic::transport::Error| {
            let mut message = format!("the certificates{of} cannot be used");
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                message = format!("{message}: {error}");
                source = error.source();
            }
            Error::new(ErrorKind::InvalidInput, message)
        };
        endpoint.tls_config(config).map_err(wrong)
    }
}

/// What a file has to have, as it stands there and for people.
#[cfg(feature = "tls")]
type Has = (&'static str, &'static str);
#[cfg(feature = "tls")]
const CERTIFICATE: Has = ("-----BEGIN CERTIFICATE-----", "certificate");
#[cfg(feature = "tls")]
const KEY: Has = ("PRIVATE KEY-----", "private key");

const UNKNOWN: &str =
    "it has an option that is not known (ca, cert, key, server-name, password-file)";

#[cfg(feature = "tls")]
fn contents(path: &std::path::Path, (mark, what): Has) -> Result<Vec<u8>> {
    let wrong = |message: String| {
        let message = format!("{} {message}", path.display());
        Error::new(ErrorKind::InvalidInput, message)
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !bytes
        .windows(mark.len())
        .any(|part| part == mark.as_bytes())
    {
        return Err(wrong(format!("has no {what} as PEM")));
    }
    Ok(bytes)
}

fn password_of(path: &str) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::new(
            ErrorKind::InvalidInput,
            "the password's file cannot be read",
        )
        .with_source(error)
    })?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(bad("the password's file is empty"));
    }
    Ok(password.to_owned())
}

/// `host:port`, with the port filled in.
fn endpoint(text: &str) -> Result<String> {
    // An IPv6 address has its colons within brackets.
    let port = match text.rsplit_once(']') {
        Some((_, port)) => port.strip_prefix(':'),
        None => text.split_once(':').map(|(_, port)| port),
    };
    let host = match port {
        Some(port) => text
            .strip_suffix(port)
            .and_then(|host| host.strip_suffix(':'))
            .unwrap_or_default(),
        None => text,
    };
    let whole = |host: &str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._[]:%".contains(c))
    };
    if !whole(host) {
        return Err(bad("a member's address is no host:port"));
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => Err(bad("a port is no number below 65536")),
        Some(_) => Ok(text.to_owned()),
        None => Ok(format!("{host}:{PORT}")),
    }
}

fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| bad("a part of it is no UTF-8"))
}

/// Never with the URL itself, which may carry credentials.
fn bad(reason: &str) -> Error {
    let message =
        format!("not an etcd's URL: {reason}; for example etcd://host1,host2,host3:2379/prefix");
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
