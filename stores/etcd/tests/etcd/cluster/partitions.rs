//! Connections fail: those of one client, and those between members.

use std::time::Duration;

use leasehold_testkit::servers::{EtcdCluster, EtcdOptions, EtcdVersion, Proxy, Way};

use super::scene::{CLIENTS, MEMBERS, Scene};

/// Longer than the longest period.
const LONG: Duration = Duration::from_secs(4);
/// The client whose way is blocked, again and again in another manner.
const ALONE: usize = 0;

fn a_client_is_cut_off(version: EtcdVersion) {
    let etcd = EtcdCluster::start(version, MEMBERS);
    let proxies: Vec<Proxy> = (0..MEMBERS)
        .map(|member| Proxy::start(etcd[member].address()))
        .collect();
    let members: Vec<String> = (0..MEMBERS)
        .map(|m| etcd[m].address().to_string())
        .collect();
    let blocked: Vec<String> = proxies.iter().map(|p| p.address().to_string()).collect();
    let case = format!("{version}, a client cut off");
    let mut scene = Scene::by(&case, etcd, |client| match client {
        ALONE => blocked.clone(),
        _ => members.clone(),
    });
    let mut manners = [Some(Way::There), Some(Way::Back), None, Some(Way::Both)]
        .into_iter()
        .cycle();
    scene.rounds(|scene| {
        let manner = manners.next().unwrap();
        for proxy in &proxies {
            match manner {
                Some(way) => proxy.stall(way),
                None => proxy.cut(),
            }
        }
        scene.are_served(|client| client != ALONE);
        scene.pause(LONG);
        assert!(
            !scene.is_served(ALONE, Duration::from_secs(1)),
            "{manner:?}"
        );
        // What it has asked meanwhile arrives now, or is lost.
        proxies.iter().for_each(Proxy::heal);
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn a_client_is_cut_off_3_4() {
    a_client_is_cut_off(EtcdVersion::V3_4);
}

#[test]
fn a_client_is_cut_off_3_5() {
    a_client_is_cut_off(EtcdVersion::V3_5);
}

#[test]
fn a_client_is_cut_off_3_7() {
    a_client_is_cut_off(EtcdVersion::V3_7);
}

/// Each client loses the member that it asks first, or its answers, and asks another.
fn a_member_is_lost_to_the_clients(version: EtcdVersion) {
    let etcd = EtcdCluster::start(version, MEMBERS);
    let proxies: Vec<Proxy> = (0..MEMBERS)
        .map(|member| Proxy::start(etcd[member].address()))
        .collect();
    let ways: Vec<String> = proxies.iter().map(|p| p.address().to_string()).collect();
    let case = format!("{version}, a member lost to the clients");
    let mut scene = Scene::by(&case, etcd, |_| ways.clone());
    let mut member = 0;
    scene.rounds(|scene| {
        member = (member + 1) % MEMBERS;
        let proxy = &proxies[member];
        for manner in [Some(Way::Back), Some(Way::Both), None] {
            match manner {
                Some(way) => proxy.stall(way),
                None => proxy.cut(),
            }
            scene.are_served(|client| client < CLIENTS);
            proxy.heal();
        }
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn a_member_is_lost_to_the_clients_3_7() {
    a_member_is_lost_to_the_clients(EtcdVersion::V3_7);
}

/// A member is kept from its peers, mostly the one that leads: it takes itself for the leader for a while, and one client
/// knows no other.
fn a_member_is_isolated(version: EtcdVersion) {
    let options = EtcdOptions::new(version).peers_by_proxies();
    let etcd = EtcdCluster::start(options, MEMBERS);
    let members: Vec<String> = (0..MEMBERS)
        .map(|m| etcd[m].address().to_string())
        .collect();
    let case = format!("{version}, a member isolated");
    let mut scene = Scene::by(&case, etcd, |client| match members.get(client) {
        Some(only) => vec![only.clone()],
        None => members.clone(),
    });
    let mut round = 0;
    scene.rounds(|scene| {
        let member = (scene.etcd.wait_leader() + round / 2) % MEMBERS;
        round += 1;
        scene.etcd.isolate(member);
        scene.are_served(|client| client != member);
        scene.pause(LONG);
        assert!(!scene.is_served(member, Duration::from_secs(1)));
        scene.etcd.rejoin();
        scene.etcd.wait_healthy();
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn a_member_is_isolated_3_7() {
    a_member_is_isolated(EtcdVersion::V3_7);
}
