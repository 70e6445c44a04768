//! A server that takes few operations in one transaction.

use futures_util::future::join_all;
use leasehold_core::{Attempt, Displace, ErrorKind, Request};
use leasehold_testkit::servers::{Etcd, EtcdOptions, EtcdVersion};

use super::support::{SECOND, config, connect, manager};

fn limited(version: EtcdVersion, operations: u32) -> Etcd {
    let limit = format!("--max-txn-ops={operations}");
    Etcd::start(EtcdOptions::new(version).args([limit]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_fits_the_server_s_limit() {
    for version in EtcdVersion::ALL {
        let etcd = limited(version, 16);
        let manager = manager(connect(config(&etcd)).await.unwrap());
        let acquired = (0..100).map(|number| {
            let name = format!("n{number}");
            let manager = &manager;
            async move { manager.acquire_lease(&name, "me", 1, SECOND * 20).await }
        });
        let mut leases: Vec<_> = join_all(acquired)
            .await
            .into_iter()
            .map(|lease| lease.unwrap().unwrap())
            .collect();
        for _ in 0..2 {
            let renewed = leases.iter_mut().map(|lease| lease.renew(SECOND * 20));
            for renewed in join_all(renewed).await {
                renewed.unwrap();
            }
        }
        let released = leases.into_iter().map(leasehold_core::Lease::release);
        for released in join_all(released).await {
            released.unwrap();
        }
    }
}

/// What no transaction does with fewer: pages of a prefix are four ranges.
const LEAST: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn the_least_limit_suffices_for_everything() {
    for version in EtcdVersion::ALL {
        let etcd = limited(version, LEAST);
        let manager = manager(connect(config(&etcd)).await.unwrap());
        let period = SECOND * 20;
        let request = || Request::new("a/b", period);
        let acquire = || async {
            match manager.try_acquire(request()).await.unwrap() {
                Attempt::Acquired(lease) => lease,
                other => panic!("{other:?}"),
            }
        };
        let mut lease = acquire().await;
        lease.renew(period).await.unwrap();
        lease.renew(period * 2).await.unwrap();
        let dead = Displace::index(lease.index()).assume_dead("it is this test");
        let stolen = manager.steal(request(), dead).await.unwrap();
        assert!(manager.get_lease("a/b").await.unwrap().is_some());
        stolen.release().await.unwrap();
        let lease = acquire().await;
        let listed = manager.list("a").unwrap().next().await.unwrap();
        assert_eq!(listed.unwrap().index(), lease.index());
        let broken = manager.break_lease("a/b", Displace::index(lease.index()));
        assert!(!broken.await.unwrap().is_held());
        assert!(manager.status("a/b").await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_low_a_limit_is_told() {
    for version in EtcdVersion::ALL {
        let etcd = limited(version, LEAST - 1);
        let manager = manager(connect(config(&etcd)).await.unwrap());
        let error = manager.list("a").unwrap().next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(
            error.to_string().contains("--max-txn-ops of at least 4"),
            "{error}"
        );
    }
    let etcd = limited(EtcdVersion::V3_7, 1);
    let manager = manager(connect(config(&etcd)).await.unwrap());
    let lease = manager.acquire_lease("name", "me", 1, SECOND * 20).await;
    let error = lease.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
