//! `leasehold doctor` of clusters.

use std::process::Command;
use std::time::Duration;

use leasehold_testkit::servers::{Etcd, EtcdVersion};

use crate::support::{Done, Registry, done};

fn doctor(url: &str, variables: &[(&str, &str)]) -> Done {
    let mut command: Command = Registry::new().command(["doctor"]);
    command
        .env("LEASEHOLD_STORE", url)
        .envs(variables.iter().copied())
        .current_dir("/");
    done(command)
}

fn url(etcd: &Etcd) -> String {
    format!("etcd://{}/team", etcd.address())
}

#[test]
fn a_healthy_cluster_is_well_and_an_old_one_is_warned_of() {
    for version in EtcdVersion::ALL {
        let etcd = Etcd::start(version);
        let done = doctor(&url(&etcd), &[]).exits(0);
        for check in ["open", "read", "write", "latency", "push", "contract"] {
            done.tells("ok", check);
        }
        let flaw = match version {
            EtcdVersion::V3_7 => done.tells("ok", "version"),
            _ => done.tells("warning", "version"),
        };
        let warned = flaw.contains("bugs that can let two lessees believe");
        assert_eq!(warned, version != EtcdVersion::V3_7, "{flaw}");
        assert!(flaw.contains("etcd 3."), "{flaw}");
        let clocks = done.tells("ok", "clocks");
        assert!(clocks.contains("8.33 %"), "{clocks}");
    }
}

#[test]
fn a_cluster_that_is_down_or_silent_is_told_soon_with_69() {
    let mut etcd = Etcd::start(EtcdVersion::V3_7);
    let url = url(&etcd);
    etcd.stop();
    let silent = doctor(&url, &[]).exits(69);
    assert!(silent.took < Duration::from_secs(25), "{silent:?}");
    silent.tells("FAIL", "open");
    etcd.cont();
    etcd.kill();
    let down = doctor(&url, &[]).exits(69);
    assert!(down.took < Duration::from_secs(5), "{down:?}");
    let line = down.tells("FAIL", "open");
    assert!(line.contains(" -> see that the registry runs"), "{line}");
}

#[test]
fn users_without_permission_are_told_with_77_and_passwords_never() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let ctl = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        etcd.ctl(&words).unwrap();
    };
    ctl("user add root:r00t");
    ctl("user grant-role root root");
    ctl("role add all");
    ctl("role grant-permission all --prefix readwrite /team/");
    ctl("role add looks");
    ctl("role grant-permission looks --prefix read /team/");
    for (user, role) in [("me", "all"), ("guest", "looks")] {
        ctl(&format!("user add {user}:r1ght"));
        ctl(&format!("user grant-role {user} {role}"));
    }
    ctl("auth enable");
    let address = etcd.address();
    let of = |user: &str| format!("etcd://{user}@{address}/team");
    let password = [("LEASEHOLD_ETCD_PASSWORD", "r1ght")];
    let told = [
        doctor(&of("me"), &password).exits(0),
        doctor(&of("me:r1ght"), &[]).exits(0),
        doctor(&of("guest"), &password).exits(77),
        doctor(&of("me:wr0ng"), &[]).exits(77),
        doctor(&of("me"), &[("LEASEHOLD_ETCD_PASSWORD", "wr0ng")]).exits(77),
        doctor(&of("me"), &[("LEASEHOLD_ETCD_PASSWORD", "")]).exits(78),
    ];
    let environment = told[0].tells("ok", "environment");
    assert!(
        environment.ends_with("LEASEHOLD_ETCD_PASSWORD is set"),
        "{environment}"
    );
    assert!(told[1].tells("ok", "store").contains("me:***@"));
    told[2].tells("FAIL", "write");
    told[3].tells("FAIL", "open");
    for done in told {
        let all = done.out + &done.err;
        assert!(!all.contains("r1ght") && !all.contains("wr0ng"), "{all}");
    }
}
