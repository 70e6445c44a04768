//! Another cluster in the old one's place, and one that has lost what it knew.

use leasehold_core::{Error, ErrorKind, Manager};
use leasehold_etcd::api::Api as _;
use leasehold_etcd::{Config, EtcdClient};
use leasehold_testkit::servers::{Etcd, EtcdVersion};

use super::support::{Proxy, SECOND, connect, door, manager, sleep};

async fn acquire(manager: &Manager, name: &str) -> Result<u64, Error> {
    let lease = manager.acquire_lease(name, "me", 1, SECOND * 20).await?;
    Ok(lease.unwrap().index())
}

/// Until the operator says so, nothing is asked any more.
async fn refuses(manager: &Manager, says: &str, url: &Config) {
    // What was under way when the connection ended may fail in other words.
    let mut told = false;
    for number in 0..4 {
        let error = acquire(manager, &format!("n{number}")).await.unwrap_err();
        told |= error.to_string().contains(says);
        let found = manager.get_lease("name").await;
        let error = found.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        sleep(SECOND / 10).await;
    }
    assert!(told, "{says}");
    let error = manager.get_lease("name").await.unwrap_err();
    assert!(
        error.to_string().contains("open the registry anew"),
        "{error}"
    );

    // Nothing was written there.
    let anew = super::support::manager(connect(url.clone()).await.unwrap());
    assert!(anew.list("").unwrap().next().await.unwrap().is_none());
    acquire(&anew, "name").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_at_the_same_address_is_noticed() {
    let (first, second) = (
        Etcd::start(EtcdVersion::V3_7),
        Etcd::start(EtcdVersion::V3_7),
    );
    let proxy = Proxy::before(first.address()).await;
    let config = Config::new([proxy.address.to_string()]);
    let manager = manager(connect(config.clone()).await.unwrap());
    acquire(&manager, "name").await.unwrap();
    proxy.move_to(Some(second.address()));
    refuses(&manager, "another cluster", &config).await;
}

/// Another cluster knows nothing of the old one's native leases: none is lost by its word.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_ends_no_native_lease() {
    let (first, second) = (
        Etcd::start(EtcdVersion::V3_7),
        Etcd::start(EtcdVersion::V3_7),
    );
    let proxy = Proxy::before(first.address()).await;
    let config = Config::new([proxy.address.to_string()]);
    let client = EtcdClient::new(config, door()).unwrap();
    let until = door().now().plus(SECOND * 30);
    let granted = client.grant(60, until).await.unwrap();
    client.keep_alive(granted.id, until).await.unwrap();
    proxy.move_to(Some(second.address()));
    // The first may have been under way when the connection ended.
    for _ in 0..4 {
        let kept = client.keep_alive(granted.id, until).await;
        assert!(kept.is_err(), "{kept:?}");
        sleep(SECOND / 10).await;
    }
    let error = client.grant(60, until).await.unwrap_err().error();
    assert!(error.to_string().contains("another cluster"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_went_back_is_noticed() {
    for version in EtcdVersion::ALL {
        let mut etcd = Etcd::start(version);
        let config = super::support::config(&etcd);
        let manager = manager(connect(config.clone()).await.unwrap());
        for number in 0..5 {
            acquire(&manager, &format!("before{number}")).await.unwrap();
        }
        etcd.kill();
        std::fs::remove_dir_all(etcd.data()).unwrap();
        etcd.restart();
        etcd.wait_healthy();
        refuses(&manager, "gone back", &config).await;
    }
}
