//! Users, passwords and roles.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::{Attempt, Displace, ErrorKind, KeepAlive, Manager, Request};
use leasehold_etcd::api::{Api, Attach, Failed, Op};
use leasehold_etcd::{Config, EtcdClient, Secret, User};
use leasehold_testkit::servers::{Etcd, EtcdOptions, EtcdVersion};

use super::support::{SECOND, config, connect, door, held, manager, put, script, sleep, within};

const PASSWORD: &str = "pa:s/w0rd";

/// The commands of the documentation, as they stand there.
pub(crate) fn set_up() -> String {
    let docs = include_str!("../../docs.md");
    let (_, users) = docs.split_once("\n## Users and roles\n").unwrap();
    let (_, commands) = users.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    assert!(commands.contains("etcdctl auth enable"), "{commands}");
    commands.to_owned()
}

/// A server that asks for users, and has the one of the documentation.
fn secured(version: EtcdVersion, args: &[&str]) -> Etcd {
    let etcd = Etcd::start(EtcdOptions::new(version).args(args.iter().copied()));
    let passwords = [("ROOT_PASSWORD", "r00t"), ("PASSWORD", PASSWORD)];
    script(&etcd, &set_up(), &passwords);
    etcd
}

/// As root.
fn root(etcd: &Etcd, command: &str) -> String {
    script(etcd, command, &[("ETCDCTL_USER", "root:r00t")])
}

fn as_user(etcd: &Etcd, password: &str) -> Config {
    let mut config = config(etcd);
    config.user = Some(User {
        name: "leasehold".into(),
        password: Secret::new(password),
    });
    config
}

async fn user_s_manager(etcd: &Etcd) -> Manager {
    manager(connect(as_user(etcd, PASSWORD)).await.unwrap())
}

pub(crate) async fn a_role_for_the_prefix_suffices_for_everything() {
    join_all(EtcdVersion::ALL.map(everything)).await;
}

async fn everything(version: EtcdVersion) {
    let etcd = secured(version, &[]);
    let own = user_s_manager(&etcd).await;
    let other = user_s_manager(&etcd).await;
    let mut watch = other.watch("team/a").unwrap();
    let period = SECOND * 20;

    let mut lease = own
        .acquire_lease("team/a", "me", 1, period)
        .await
        .unwrap()
        .unwrap();
    let index = lease.index();
    within(SECOND * 20, held(&mut watch, "team/a", index)).await;
    lease.renew(period).await.unwrap();
    // Another period is another native lease, and the old one is revoked.
    lease.renew(SECOND * 25).await.unwrap();
    let attempt = other.try_acquire(Request::new("team/a", period)).await;
    let Attempt::Busy(busy) = attempt.unwrap() else {
        panic!("held by two");
    };
    let dead = Displace::index(busy.index()).assume_dead("it is this test");
    let stolen = other.steal(Request::new("team/a", period), dead).await;
    let mut stolen = stolen.unwrap();
    assert!(lease.renew(period).await.unwrap_err().is_lost());
    stolen.renew(period).await.unwrap();
    let held = stolen.keep_alive(KeepAlive::new().period(SECOND * 4));
    sleep(SECOND * 5).await;
    assert!(held.is_current());
    // No renewal moves it any more.
    let mut stopped = held.into_lease().unwrap();
    let mut listing = own.list("team").unwrap();
    let listed = listing.next().await.unwrap().unwrap();
    assert_eq!(listed.name().as_str(), "team/a");
    let reason = Displace::index(listed.index()).assume_dead("again");
    own.break_lease("team/a", reason).await.unwrap();
    assert!(stopped.renew(period).await.unwrap_err().is_lost());
    let last = own.acquire_lease("team/b", "me", 1, period).await;
    last.unwrap().unwrap().release().await.unwrap();
    own.shutdown(SECOND * 5).await.unwrap();
    other.shutdown(SECOND * 5).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_of_its_prefix_everything_is_refused() {
    for version in EtcdVersion::ALL {
        let etcd = secured(version, &[]);
        let mut config = as_user(&etcd, PASSWORD);
        config.prefix = "/leaseholder".into();
        let manager = manager(connect(config.clone()).await.unwrap());
        let errors = [
            manager
                .acquire_lease("name", "me", 1, SECOND * 20)
                .await
                .unwrap_err(),
            manager.get_lease("name").await.unwrap_err(),
            manager.list("").unwrap().next().await.unwrap_err(),
            within(SECOND * 20, manager.watch("name").unwrap().next())
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Permission, "{version}: {error}");
            for part in ["permission denied", "role", "/leaseholder"] {
                assert!(error.to_string().contains(part), "{version}: {error}");
            }
        }
        let client = EtcdClient::new(config, door()).unwrap();
        let until = door().now().plus(SECOND * 20);
        let watched = client.watch("/leaseholder/".into(), None, until).await;
        let Some(Failed::NotDone(error)) = watched.err() else {
            panic!("{version}: watched");
        };
        assert_eq!(error.kind(), ErrorKind::Permission, "{version}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_why() {
    let etcd = secured(EtcdVersion::V3_7, &[]);
    for (config, part) in [
        (as_user(&etcd, "wrong"), "invalid user ID or password"),
        (config(&etcd), "asks for a user and a password"),
    ] {
        let error = connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let open = Etcd::start(EtcdVersion::V3_7);
    let error = connect(as_user(&open, PASSWORD)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("etcdctl auth enable"), "{error}");
}

/// Native leases belong to whoever may write all of their keys: the documentation's table of versions.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_use_another_one_s_native_lease() {
    for version in EtcdVersion::ALL {
        let etcd = secured(version, &[]);
        root(&etcd, "etcdctl user add stranger --new-user-password s");
        let client = |config| EtcdClient::new(config, door()).unwrap();
        let own = client(as_user(&etcd, PASSWORD));
        let until = door().now().plus(SECOND * 20);
        let granted = own.grant(30, until).await.unwrap();
        let mut attached = put("/leasehold/x");
        if let [Op::Put { lease, .. }] = &mut *attached.then {
            *lease = Attach::To(granted.id);
        }
        own.txn(attached, until).await.unwrap();

        let nobody = client(config(&etcd));
        let mut stranger = config(&etcd);
        stranger.user = Some(User {
            name: "stranger".into(),
            password: Secret::new("s"),
        });
        let stranger = client(stranger);
        let denied = |failed: Failed| failed.error().kind() == ErrorKind::Permission;
        for other in [&nobody, &stranger] {
            let revoked = other.revoke(granted.id, until).await;
            assert!(revoked.is_err_and(denied), "{version}");
            let kept = other.keep_alive(granted.id, until).await;
            match version {
                EtcdVersion::V3_4 | EtcdVersion::V3_5 => assert_eq!(kept.unwrap().ttl, SECOND * 30),
                EtcdVersion::V3_7 => assert!(kept.is_err_and(denied)),
            }
        }
        // Without a user nothing is granted by current ones either.
        let granted = nobody.grant(5, until).await;
        assert_eq!(granted.is_ok(), version != EtcdVersion::V3_7, "{version}");
        assert!(stranger.grant(5, until).await.is_ok(), "{version}");
    }
}

/// Tokens that last a second or two: everything goes on.
async fn outlives_its_tokens(etcd: &Etcd, version: EtcdVersion) {
    let own = user_s_manager(etcd).await;
    let other = user_s_manager(etcd).await;
    let mut watch = other.watch("name").unwrap();
    let lease = own.acquire_lease("held", "me", 1, SECOND * 5).await;
    let kept = lease.unwrap().unwrap().keep_alive(KeepAlive::new());
    for _ in 0..3 {
        let lease = own.acquire_lease("name", "me", 1, SECOND * 20).await;
        let lease = lease.unwrap().unwrap();
        within(SECOND * 20, held(&mut watch, "name", lease.index())).await;
        sleep(Duration::from_millis(2500)).await;
        lease.release().await.unwrap();
    }
    assert!(kept.is_current(), "{version}");
    own.shutdown(SECOND * 5).await.unwrap();
}

pub(crate) async fn tokens_that_run_out_are_replaced() {
    let run = EtcdVersion::ALL.map(|version| async move {
        let etcd = secured(version, &["--auth-token=simple", "--auth-token-ttl=1"]);
        outlives_its_tokens(&etcd, version).await;
    });
    join_all(run).await;
}

pub(crate) async fn signed_tokens_that_run_out_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let token = signed(folder.path(), 1);
    let etcd = secured(EtcdVersion::V3_7, &[&token]);
    outlives_its_tokens(&etcd, EtcdVersion::V3_7).await;
}

/// The flag for tokens that are signed with a key in this folder, and last that many seconds.
pub(crate) fn signed(folder: &Path, seconds: u32) -> String {
    let key = folder.join("key.pem");
    let curve = "ec_paramgen_curve:prime256v1";
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ec", "-pkeyopt", curve, "-out"])
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let key = key.display();
    format!("--auth-token=jwt,priv-key={key},sign-method=ES256,ttl={seconds}s")
}

/// How often somebody has presented a password. Each takes the server some 70 ms of its processor.
fn log_ins(etcd: &Etcd) -> u32 {
    let name = r#"grpc_server_started_total{grpc_method="Authenticate",grpc_service="etcdserverpb.Auth",grpc_type="unary"}"#;
    etcd.metric(name).unwrap().parse().unwrap()
}

pub(crate) async fn many_requests_log_in_once() {
    let etcd = secured(EtcdVersion::V3_7, &["--auth-token-ttl=5"]);
    let client = EtcdClient::new(as_user(&etcd, PASSWORD), door()).unwrap();
    let client = Arc::new(client);
    for again in [true, false] {
        let before = log_ins(&etcd);
        let until = door().now().plus(SECOND * 20);
        let puts = (0..100).map(|_| client.txn(put("/leasehold/x"), until));
        for put in join_all(puts).await {
            put.unwrap();
        }
        assert_eq!(log_ins(&etcd) - before, 1);
        if again {
            // The token runs out.
            sleep(SECOND * 12).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_away_ends_in_errors() {
    for version in EtcdVersion::ALL {
        let etcd = secured(version, &[]);
        let own = user_s_manager(&etcd).await;
        let mut lease = own
            .acquire_lease("name", "me", 1, SECOND * 20)
            .await
            .unwrap()
            .unwrap();
        root(&etcd, "etcdctl user revoke-role leasehold leasehold");
        let renewed = within(SECOND * 20, lease.renew(SECOND * 20)).await;
        let error = renewed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission, "{version}: {error}");
        let read = within(SECOND * 20, own.get_lease("name")).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Permission);
        root(&etcd, "etcdctl user grant-role leasehold leasehold");
        lease.renew(SECOND * 20).await.unwrap();
    }
}
