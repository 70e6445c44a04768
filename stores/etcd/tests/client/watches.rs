//! Watches whose connection dies, and whose history is compacted.

use leasehold_core::Manager;
use leasehold_etcd::{Config, EtcdStore};
use leasehold_testkit::servers::{Etcd, EtcdCluster, EtcdVersion};

use super::support::{
    FirstMember, Proxy, SECOND, config, connect, held, manager, quiet, script, sleep, within,
};

async fn take(manager: &Manager, name: &str) -> u64 {
    let lease = manager.acquire_lease(name, "me", 1, SECOND * 30).await;
    lease.unwrap().unwrap().index()
}

/// How long an idle watch may not notice that its member is gone: pings every six seconds, four to answer them. Then
/// another one is asked. Some more, for a busy machine, and less than core waits before it reads all again.
const NOTICED: u32 = 6 + 4 + 10;

pub(crate) async fn an_idle_watch_leaves_a_member_that_is_stopped() {
    let mut cluster = EtcdCluster::start(EtcdVersion::V3_7, 3);
    let addresses = [0, 1, 2].map(|member| cluster[member].address().to_string());
    let store = EtcdStore::connect(Config::new(addresses.clone()), FirstMember::door());
    let idle = manager(store.await.unwrap());
    let mut watch = idle.watch("name").unwrap();
    quiet(&mut watch).await;
    cluster[0].stop();
    let writer = manager(connect(Config::new(&addresses[1..])).await.unwrap());
    let index = within(SECOND * 20, take(&writer, "name")).await;
    within(SECOND * NOTICED, held(&mut watch, "name", index)).await;
    cluster[0].cont();
}

pub(crate) async fn a_watch_that_is_idle_for_long_is_not_closed_for_its_pings() {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let proxy = Proxy::before(etcd.address()).await;
    let idle = manager(
        connect(Config::new([proxy.address.to_string()]))
            .await
            .unwrap(),
    );
    let mut watch = idle.watch("name").unwrap();
    quiet(&mut watch).await;
    sleep(SECOND * 20).await;
    assert_eq!(proxy.connections(), 1);
    let writer = manager(connect(config(&etcd)).await.unwrap());
    let index = take(&writer, "name").await;
    within(SECOND * 5, held(&mut watch, "name", index)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_converges_after_compaction_and_restart() {
    for version in EtcdVersion::ALL {
        let mut etcd = Etcd::start(version);
        let proxy = Proxy::before(etcd.address()).await;
        let cut = manager(
            connect(Config::new([proxy.address.to_string()]))
                .await
                .unwrap(),
        );
        let writer = manager(connect(config(&etcd)).await.unwrap());
        let mut watch = cut.watch_prefix("").unwrap();
        let index = take(&writer, "before").await;
        within(SECOND * 20, held(&mut watch, "before", index)).await;

        proxy.move_to(None);
        take(&writer, "meanwhile").await;
        let index = take(&writer, "later").await;
        let compact = r#"revision=$(etcdctl endpoint status --write-out=fields | sed -n 's/"Revision" : //p')
            etcdctl compact "$revision""#;
        script(&etcd, compact, &[]);
        proxy.move_to(Some(etcd.address()));
        within(SECOND * 20, held(&mut watch, "later", index)).await;

        etcd.restart();
        etcd.wait_healthy();
        let index = take(&writer, "after").await;
        within(SECOND * 20, held(&mut watch, "after", index)).await;
    }
}
