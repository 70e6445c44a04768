//! A cluster by its URL. Reading one looks at nothing but the file of a password that it names.

use std::fs::File;
use std::io::Read;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use leasehold_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;

use super::config::{Config, Secret, Tls, User};

/// Where etcd's members listen for clients, unless the address says so.
const PORT: u16 = 2379;
/// How many bytes a password's file may have: a device would be read for ever.
const LONGEST: u64 = 4096;
/// Where a user and a password are looked for that the URL does not have.
const USER: &str = "LEASEHOLD_ETCD_USER";
const PASSWORD: &str = "LEASEHOLD_ETCD_PASSWORD";

impl Config {
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
}

const UNKNOWN: &str =
    "it has an option that is not known (ca, cert, key, server-name, password-file)";

fn password_of(path: &str) -> Result<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    let length = read.map_err(|error| {
        Error::new(
            ErrorKind::InvalidInput,
            "the password's file cannot be read",
        )
        .with_source(error)
    })?;
    if length as u64 > LONGEST {
        return Err(bad("the password's file is too long for one"));
    }
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(bad("the password's file is empty"));
    }
    Ok(password.to_owned())
}

/// `host:port`, with the port filled in.
fn endpoint(text: &str) -> Result<String> {
    let bad_host = || bad("a member's address is no host:port");
    let (host, port) = match text.strip_prefix('[') {
        // An IPv6 address has its colons within brackets, and perhaps a zone.
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad_host)?;
            let (address, zone) = address.split_once('%').unwrap_or((address, ""));
            if address.parse::<Ipv6Addr>().is_err() || !plain(zone) {
                return Err(bad_host());
            }
            (&text[..text.len() - port.len()], port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            if host.is_empty() || !plain(host) {
                return Err(bad_host());
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port
            .parse()
            .map_err(|_| bad("a port is no number below 65536"))?,
        None if port.is_empty() => PORT,
        None => return Err(bad_host()),
    };
    Ok(format!("{host}:{port}"))
}

fn plain(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
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
#[path = "url_tests.rs"]
mod tests;
