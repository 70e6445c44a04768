//! Which settings are in effect and where each comes from. Passwords are never shown.

use std::os::unix::fs::PermissionsExt as _;

use super::report::{Finding, Report};
use crate::exit::Failure;
use crate::store::{Choice, container};

/// The store's name without what is secret.
pub(super) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':') else {
        return "a URL without a scheme".into();
    };
    match scheme {
        "sqlite" | "memory" => url.into(),
        // What stands before the last @ may be a part of a password, wherever it is.
        "etcd" | "etcds" => match rest.trim_start_matches('/').rsplit_once('@') {
            Some((user, rest)) => match user.split_once(':') {
                Some((name, _)) => format!("{scheme}://{name}:***@{rest}"),
                None => format!("{scheme}://{user}@{rest}"),
            },
            None => url.into(),
        },
        _ => "a URL of a kind that is not known here".into(),
    }
}

/// Tells of the store and the environment. Whether it makes sense to go on.
pub(super) fn check(choice: &Choice, report: &mut Report) -> Result<bool, Failure> {
    let url = choice.url();
    let by = choice.by();
    report.add(
        Finding::ok("store", format!("{}, from {by}", shown(url)))
            .figure("store", shown(url))
            .figure("from", by),
    )?;
    if let Some(finding) = environment(url) {
        report.add(finding)?;
    }
    for finding in secrets(url, by) {
        report.add(finding)?;
    }
    match choice.clone().shared(container) {
        Ok(_) => {
            if let Some(sign) = container() {
                report.add(Finding::ok(
                    "container",
                    format!("this is a container ({sign}), and the store is named"),
                ))?;
            }
            Ok(true)
        }
        Err(failure) => {
            report.add(
                Finding::fail(failure.code(), "container", failure.message())
                    .fix("name a store that all of them share, by --store or LEASEHOLD_STORE"),
            )?;
            Ok(false)
        }
    }
}

/// The variables that leasehold reads, and those that `leasehold run` gave to what it runs.
fn environment(url: &str) -> Option<Finding> {
    let etcd = is_etcd(url);
    let mut set = Vec::new();
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("LEASEHOLD_")) else {
            continue;
        };
        match name {
            "LEASEHOLD_STORE" => {}
            "LEASEHOLD_ETCD_USER" if etcd => {
                let user = std::env::var(name).unwrap_or_default();
                set.push(format!("{name}={user}"));
            }
            "LEASEHOLD_ETCD_USER" | "LEASEHOLD_ETCD_PASSWORD" if !etcd => {
                set.push(format!("{name} is set (this store does not read it)"));
            }
            _ => set.push(format!("{name} is set")),
        }
    }
    set.sort();
    (!set.is_empty()).then(|| Finding::ok("environment", set.join(", ")))
}

fn is_etcd(url: &str) -> bool {
    url.starts_with("etcd://") || url.starts_with("etcds://")
}

/// Passwords that others can read.
fn secrets(url: &str, by: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !is_etcd(url) {
        return findings;
    }
    let in_url = shown(url).contains(":***@");
    if in_url && by == "--store" {
        findings.push(
            Finding::warning(
                "secrets",
                "the password stands in the command line, where everybody on this machine may read it",
            )
            .fix("LEASEHOLD_ETCD_PASSWORD, or ?password-file=PATH in the URL"),
        );
    }
    let file = password_file(url);
    if let Some(file) = &file
        && let Ok(about) = std::fs::metadata(file)
        && about.permissions().mode() & 0o077 != 0
    {
        let mode = about.permissions().mode() & 0o777;
        findings.push(
            Finding::warning(
                "secrets",
                format!(
                    "others than its owner may use the password's file {file} (mode {mode:03o})"
                ),
            )
            .fix(format!("chmod 600 {file}")),
        );
    }
    let secret = in_url || file.is_some() || std::env::var_os("LEASEHOLD_ETCD_PASSWORD").is_some();
    if secret && url.starts_with("etcd://") && !is_local(url) {
        findings.push(
            Finding::warning("secrets", "the password crosses the network in the clear")
                .fix("etcds:// instead of etcd://"),
        );
    }
    findings
}

fn password_file(url: &str) -> Option<String> {
    let (_, options) = url.split_once('?')?;
    let mut files = options
        .rsplit('&')
        .filter_map(|option| option.strip_prefix("password-file="));
    let file = files.next()?;
    // One that is spelt with %XX is not looked at.
    (!file.contains('%')).then(|| file.to_owned())
}

/// Whether all members are on this machine.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    hosts.split(',').all(|host| {
        ["localhost", "127.", "[::1]"]
            .iter()
            .any(|local| host.starts_with(local))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        for (url, told) in [
            ("sqlite:///a:b@c", "sqlite:///a:b@c"),
            ("memory:", "memory:"),
            ("etcd://a,b:2379/team", "etcd://a,b:2379/team"),
            ("etcd://me@a/team", "etcd://me@a/team"),
            ("etcds://me:s3cret@a/t?ca=x", "etcds://me:***@a/t?ca=x"),
            ("etcd://me:s3c/r@t@a,b/t", "etcd://me:***@a,b/t"),
            ("etcd://me:s3cret?x@a/t?y=b@c", "etcd://me:***@c"),
            ("etcd:me:s3cret@a", "etcd://me:***@a"),
            (
                "postgres://me:s3cret@a",
                "a URL of a kind that is not known here",
            ),
            ("s3cret:", "a URL of a kind that is not known here"),
            ("s3cret", "a URL without a scheme"),
        ] {
            assert_eq!(shown(url), told);
            assert!(!shown(url).contains("s3c"), "{url}");
        }
    }

    #[test]
    fn passwords_that_others_can_read_are_told() {
        let told = |url: &str, by: &str| {
            let findings = secrets(url, by);
            format!("{findings:?}")
        };
        assert_eq!(told("etcd://a,b/x", "--store"), "[]");
        assert_eq!(told("sqlite:///me:s3cret@a", "--store"), "[]");
        assert_eq!(told("etcds://me:s3cret@a", "LEASEHOLD_STORE"), "[]");
        assert!(told("etcds://me:s3cret@a", "--store").contains("in the command line"));
        assert!(told("etcd://me:s3cret@a", "LEASEHOLD_STORE").contains("in the clear"));
        for local in ["localhost", "127.0.0.1:2379", "[::1]:2379"] {
            let url = format!("etcd://me:s3cret@{local}/x");
            assert_eq!(told(&url, "LEASEHOLD_STORE"), "[]");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = format!("etcds://me@a/x?password-file={}", file.path().display());
        assert_eq!(told(&url, "--store"), "[]");
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(file.path(), open).unwrap();
        let told = told(&url, "--store");
        assert!(told.contains("mode 640"), "{told}");
    }
}
