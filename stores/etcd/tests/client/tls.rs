//! Encrypted connections, and those that cannot be.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use leasehold_core::{Error, ErrorKind};
use leasehold_etcd::{Config, Tls};
use leasehold_testkit::servers::{Etcd, EtcdOptions, EtcdVersion};
use tempfile::TempDir;

use super::support::{config, connect, manager, script};

/// Certificates made for one test.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        made.authority("ca");
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes `NAME.pem` and `NAME.key` of somebody who vouches for others.
    fn authority(&self, name: &str) {
        self.make(name, "basicConstraints=critical,CA:TRUE", &[]);
    }

    /// Makes `NAME.pem` and `NAME.key`, vouched for by `ca`.
    fn issue(&self, name: &str, names: &str) {
        let (ca, key) = (self.path("ca.pem"), self.path("ca.key"));
        let by = ["-CA".as_ref(), ca.as_path(), "-CAkey".as_ref(), &key];
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={names}"
        );
        self.make(name, &extensions, &by);
    }

    fn make(&self, name: &str, extensions: &str, by: &[&Path]) {
        let settings = self.path(&format!("{name}.cnf"));
        let text = format!(
            "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\nCN={name}\n[ext]\n{extensions}\n"
        );
        std::fs::write(&settings, text).unwrap();
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-config"])
            .arg(&settings)
            .arg("-keyout")
            .arg(self.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.path(&format!("{name}.pem")))
            .args(by)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn server(&self, version: EtcdVersion, more: &[String]) -> Etcd {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name).display());
        let own = [
            file("cert-file", "server.pem"),
            file("key-file", "server.key"),
        ];
        Etcd::start(EtcdOptions::new(version).https().args(own).args(more))
    }
}

/// The certificate of an authority that nothing was issued by. Its folder stays as long as the process.
pub(crate) fn authority() -> PathBuf {
    static MADE: LazyLock<Certificates> = LazyLock::new(Certificates::new);
    MADE.path("ca.pem")
}

fn with(etcd: &Etcd, tls: Tls) -> Config {
    let mut config = config(etcd);
    config.tls = Some(tls);
    config
}

/// Acquires and releases a lease.
async fn cycle(config: Config) {
    let manager = manager(connect(config).await.unwrap());
    let period = Duration::from_secs(20);
    let lease = manager.acquire_lease("name", "me", 1, period).await;
    lease.unwrap().unwrap().release().await.unwrap();
}

async fn refused(config: Config) -> Error {
    super::support::within(Duration::from_secs(20), connect(config))
        .await
        .unwrap_err()
}

fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_authority_is_trusted_and_no_other() {
    let made = Certificates::new();
    made.authority("other");
    made.issue("server", "IP:127.0.0.1");
    for version in EtcdVersion::ALL {
        let etcd = made.server(version, &[]);
        let ca = |name: &str| Tls {
            ca: Some(made.path(name)),
            ..Tls::default()
        };
        cycle(with(&etcd, ca("ca.pem"))).await;
        let url = format!(
            "etcds://{}/by-url?ca={}",
            etcd.address(),
            made.path("ca.pem").display()
        );
        cycle(Config::from_url(&url).unwrap()).await;

        let address = etcd.address().to_string();
        let error = refused(with(&etcd, ca("other.pem"))).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        says(&error, &[&address, "invalid peer certificate", "`ca`"]);
        // Without encryption.
        let error = refused(config(&etcd)).await;
        says(&error, &[&address, "etcds://"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_s_authorities_do_not_vouch_for_an_own_one() {
    let made = Certificates::new();
    made.issue("server", "IP:127.0.0.1");
    let etcd = made.server(EtcdVersion::V3_7, &[]);
    let error = refused(with(&etcd, Tls::default())).await;
    // A machine without any certificates says so when the store is made.
    let kinds = [ErrorKind::Unavailable, ErrorKind::InvalidInput];
    assert!(kinds.contains(&error.kind()), "{error}");
    says(&error, &["certificate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_plain_text_is_told() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let made = Certificates::new();
    let tls = Tls {
        ca: Some(made.path("ca.pem")),
        ..Tls::default()
    };
    let error = refused(with(&etcd, tls)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    says(&error, &[&etcd.address().to_string(), "etcd://"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_have_another_name_than_its_address() {
    let made = Certificates::new();
    made.issue("server", "DNS:etcd.example");
    let etcd = made.server(EtcdVersion::V3_7, &[]);
    let named = |name: Option<&str>| Tls {
        ca: Some(made.path("ca.pem")),
        server_name: name.map(str::to_owned),
        ..Tls::default()
    };
    cycle(with(&etcd, named(Some("etcd.example")))).await;
    for wrong in [None, Some("other.example")] {
        let error = refused(with(&etcd, named(wrong))).await;
        says(
            &error,
            &["not valid for name", "etcd.example", "`server-name`"],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_certificate_is_shown_where_it_is_asked_for() {
    let made = Certificates::new();
    made.issue("server", "IP:127.0.0.1");
    made.issue("leasehold", "DNS:client.example");
    let trusted = format!("--trusted-ca-file={}", made.path("ca.pem").display());
    let more = ["--client-cert-auth".to_owned(), trusted];
    for version in EtcdVersion::ALL {
        let etcd = made.server(version, &more);
        let pair = (made.path("leasehold.pem"), made.path("leasehold.key"));
        let identified = |identity: Option<(PathBuf, PathBuf)>| Tls {
            ca: Some(made.path("ca.pem")),
            identity,
            ..Tls::default()
        };
        cycle(with(&etcd, identified(Some(pair.clone())))).await;

        let error = refused(with(&etcd, identified(None))).await;
        says(&error, &[&etcd.address().to_string(), "`cert` and `key`"]);

        // Its common name is the user, without a password.
        let path = |name: &str| made.path(name).to_string_lossy().into_owned();
        let commands = super::users::set_up().replace("/leasehold/", "/by-certificate/");
        let variables = [
            ("ROOT_PASSWORD", "r00t"),
            ("PASSWORD", "unused"),
            ("ETCDCTL_CACERT", &path("ca.pem")),
            ("ETCDCTL_CERT", &path("leasehold.pem")),
            ("ETCDCTL_KEY", &path("leasehold.key")),
        ];
        script(&etcd, &commands, &variables);
        let mut config = with(&etcd, identified(Some(pair)));
        config.prefix = "/by-certificate".into();
        cycle(config.clone()).await;
        config.prefix = "/else".into();
        let manager = manager(connect(config).await.unwrap());
        let lease = manager.acquire_lease("name", "me", 1, Duration::from_secs(5));
        assert_eq!(lease.await.unwrap_err().kind(), ErrorKind::Permission);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_certificates_are_named() {
    let made = Certificates::new();
    made.issue("client", "DNS:client.example");
    std::fs::write(made.path("junk.pem"), "junk").unwrap();
    let url = |options: &str| {
        let options = options.replace('@', &format!("{}/", made.0.path().display()));
        Config::from_url(&format!("etcds://127.0.0.1:1?{options}")).unwrap()
    };
    for (options, parts) in [
        (
            "ca=@missing.pem",
            &["missing.pem cannot be read", "No such file"][..],
        ),
        ("ca=@junk.pem", &["junk.pem", "no certificate"]),
        (
            "ca=@ca.pem&cert=@junk.pem&key=@client.key",
            &["junk.pem", "no certificate"],
        ),
        (
            "ca=@ca.pem&cert=@client.pem&key=@junk.pem",
            &["junk.pem", "no private key"],
        ),
        (
            "ca=@ca.pem&cert=@client.pem&key=@ca.key",
            &["client.pem", "ca.key"],
        ),
    ] {
        let error = connect(url(options)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{options}: {error}");
        says(&error, parts);
    }
}
