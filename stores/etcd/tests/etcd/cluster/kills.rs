//! Members die, and come back.

use std::time::Duration;

use leasehold_testkit::servers::{Etcd, EtcdVersion};

use super::scene::{MEMBERS, Scene};

/// Longer than the longest period.
const LONG: Duration = Duration::from_secs(4);

fn the_leader_dies(version: EtcdVersion) {
    let mut scene = Scene::start(&format!("{version}, leader killed"), version);
    scene.rounds(|scene| {
        let leader = scene.etcd.wait_leader();
        scene.etcd[leader].kill();
        // Two of three are enough.
        scene.all_are_served();
        scene.pause(Duration::from_secs(1));
        scene.etcd[leader].restart();
        scene.etcd.wait_healthy();
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn the_leader_dies_3_4() {
    the_leader_dies(EtcdVersion::V3_4);
}

#[test]
fn the_leader_dies_3_7() {
    the_leader_dies(EtcdVersion::V3_7);
}

fn a_follower_dies(version: EtcdVersion) {
    let mut scene = Scene::start(&format!("{version}, follower killed"), version);
    scene.rounds(|scene| {
        let follower = (scene.etcd.wait_leader() + 1) % MEMBERS;
        scene.etcd[follower].kill();
        scene.all_are_served();
        scene.pause(Duration::from_secs(1));
        scene.etcd[follower].restart();
        scene.etcd.wait_healthy();
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn a_follower_dies_3_4() {
    a_follower_dies(EtcdVersion::V3_4);
}

#[test]
fn a_follower_dies_3_7() {
    a_follower_dies(EtcdVersion::V3_7);
}

fn the_quorum_is_lost(version: EtcdVersion) {
    let mut scene = Scene::start(&format!("{version}, two killed"), version);
    scene.rounds(|scene| {
        let left = scene.etcd.wait_leader();
        for dead in (0..MEMBERS).filter(|member| *member != left) {
            scene.etcd[dead].kill();
        }
        scene.pause(LONG);
        // No renewal counts any more, and nobody has heard that it was in vain.
        assert_eq!(scene.load.believing(), 0);
        assert!(!scene.is_served(0, Duration::from_secs(1)));
        for dead in (0..MEMBERS).filter(|member| *member != left) {
            scene.etcd[dead].restart();
        }
        scene.etcd.wait_healthy();
        scene.all_are_served();
    });
    scene.finish();
}

#[test]
fn the_quorum_is_lost_3_4() {
    the_quorum_is_lost(EtcdVersion::V3_4);
}

#[test]
fn the_quorum_is_lost_3_7() {
    the_quorum_is_lost(EtcdVersion::V3_7);
}

fn the_whole_cluster_dies(version: EtcdVersion) {
    let mut scene = Scene::start(&format!("{version}, all killed"), version);
    scene.rounds(|scene| {
        scene.etcd.iter_mut().for_each(Etcd::kill);
        scene.pause(Duration::from_millis(500));
        scene.etcd.iter_mut().for_each(Etcd::restart);
        scene.etcd.wait_healthy();
        scene.all_are_served();
        scene.pause(Duration::from_secs(1));
    });
    scene.finish();
}

#[test]
fn the_whole_cluster_dies_3_4() {
    the_whole_cluster_dies(EtcdVersion::V3_4);
}

#[test]
fn the_whole_cluster_dies_3_7() {
    the_whole_cluster_dies(EtcdVersion::V3_7);
}
