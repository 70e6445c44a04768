//! How connections to a cluster are encrypted.

use leasehold_core::{Error, ErrorKind, Result};
use tonic::transport::Endpoint;

use super::config::Config;

impl Config {
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
