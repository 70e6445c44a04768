//! What happens to the cluster.

use std::time::Duration;

use futures_util::future::{Either, join, select};
use leasehold_core::{KeepAlive, Watch};
use leasehold_etcd::api::Api as _;

use super::{MOMENT, Mishap, PERIOD, SECOND, World, take};

/// How often two believed at once while another client waits for the name, and whether that got it.
async fn overlaps(world: &World, held: &leasehold_core::Held) -> (usize, bool) {
    let mut next = None;
    let mut overlaps = 0;
    for _ in 0..300 {
        world.sleep(SECOND / 10).await;
        if next.is_none() {
            let acquired = world.b.acquire_lease("x", "b", 0, PERIOD).await;
            next = acquired.unwrap();
        }
        let both = next.as_ref().is_some_and(leasehold_core::Lease::is_current);
        overlaps += usize::from(both && held.is_current());
    }
    (overlaps, next.is_some())
}

/// A deposed leader answers keep-alives of its old term, without effect: no belief follows from them.
#[test]
fn a_deposed_leaders_keep_alives_do_not_count() {
    let world = World::new();
    world.sim.block_on(async {
        let held = take(&world.a, "x", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        world.sleep(SECOND).await;
        // Every keep-alive of its goes there.
        world.server.change_leader(PERIOD * 20);
        world.server.deposed_answers_all();
        assert_eq!(overlaps(&world, &held).await, (0, true));
    });
}

/// What the store relies on: a deposed leader that fills in the new leader's term would be believed, and two lessees
/// would believe at once. No rule about keep-alives helps against it.
#[test]
fn a_deposed_leader_that_tells_the_new_term_would_be_believed() {
    let world = World::new();
    world.sim.block_on(async {
        let held = take(&world.a, "x", PERIOD)
            .await
            .keep_alive(KeepAlive::new());
        world.sleep(SECOND).await;
        world.server.change_leader(PERIOD * 20);
        world.server.deposed_answers_all();
        world.server.deposed_tells_the_new_term();
        assert!(overlaps(&world, &held).await.0 > 0);
    });
}

/// A leader change and a restart extend what was granted, and take nothing away.
#[test]
fn leader_changes_and_restarts_lose_no_lease() {
    let world = World::new();
    world.sim.block_on(async {
        let held = take(&world.a, "x", PERIOD * 3)
            .await
            .keep_alive(KeepAlive::new());
        for i in 0..20 {
            if i % 2 == 0 {
                world.server.change_leader(SECOND * 2);
            } else {
                world.server.restart(SECOND);
            }
            // Not in step with requests that wait for an answer in vain: each might meet the next trouble.
            world.sleep(SECOND * 7).await;
            held.check().unwrap();
        }
        held.release().await.unwrap();
        drop(take(&world.b, "x", PERIOD).await);
    });
}

async fn holder(watch: &mut Watch) -> Option<String> {
    let status = watch.next().await.unwrap().status?;
    status
        .is_held()
        .then(|| status.machine_id().unwrap_or_default().to_owned())
}

/// A watch whose changes were compacted away reads again, at once and not at its slow re-read.
#[test]
fn a_compacted_watch_reads_again() {
    let world = World::new();
    world.sim.block_on(async {
        let mut watch = world.b.watch("x").unwrap();
        assert_eq!(holder(&mut watch).await, None);
        world.sleep(SECOND).await;
        // The connection breaks, and what it should have told is forgotten before it is made again.
        world.server.break_watches();
        let mut lease = take(&world.a, "x", PERIOD * 100).await;
        lease.renew(PERIOD * 100).await.unwrap();
        world.server.compact();
        let start = world.door.now();
        assert_eq!(holder(&mut watch).await.as_deref(), Some("a"));
        assert!(world.door.now().since(start) < SECOND);
        world.server.break_watches();
        lease.release().await.unwrap();
        assert_eq!(holder(&mut watch).await, None);
        assert!(world.door.now().since(start) < SECOND * 2);
    });
}

/// An old server forgets a deletion that it compacted away, and says nothing: the slow re-read finds it.
#[test]
fn a_forgotten_deletion_is_found() {
    let world = World::new();
    world.sim.block_on(async {
        let lease = take(&world.a, "x", PERIOD * 100).await;
        let mut watch = world.b.watch("x").unwrap();
        assert_eq!(holder(&mut watch).await.as_deref(), Some("a"));
        world.sleep(SECOND).await;
        world.server.break_watches();
        lease.release().await.unwrap();
        world.server.compact_all(true);
        assert_eq!(holder(&mut watch).await, None);
    });
}

/// What arrives in a stall is done after it, though whoever has sent it waits no longer.
#[test]
fn what_a_stall_has_held_up_is_done_late() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let deadline = lease.deadline();
        world.sleep(SECOND).await;
        let before = world.server.revision();
        world.server.stall(SECOND * 3);
        let given_up = world.sleep(SECOND * 2);
        let renewed = Box::pin(lease.renew(PERIOD));
        assert!(matches!(
            select(renewed, Box::pin(given_up)).await,
            Either::Right(_)
        ));
        assert_eq!(world.server.revision(), before);
        assert_eq!(lease.deadline(), deadline);
        world.sleep(SECOND * 2).await;
        assert!(world.server.revision() > before, "nothing was late");
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.deadline() > deadline);
        lease.release().await.unwrap();
    });
}

/// A keep-alive of what has run out waits until that is gone, and says so then.
#[test]
fn a_keep_alive_that_is_too_late_waits_for_the_end() {
    let world = World::new();
    world.sim.block_on(async {
        let until = || world.door.now().plus(PERIOD);
        let granted = world.way.straight.grant(1, until()).await.unwrap();
        // The server looks for what has run out twice a second.
        let mut waited = 0;
        for _ in 0..20 {
            let granted = world.way.straight.grant(1, until()).await.unwrap();
            world.sleep(granted.ttl).await;
            let asked = world.door.now();
            let kept = world.way.straight.keep_alive(granted.id, until()).await;
            assert_eq!(kept.unwrap().ttl, Duration::ZERO);
            let took = world.door.now().since(asked);
            assert!(took < SECOND * 6 / 10, "{took:?}");
            waited += usize::from(took > MOMENT);
            world.sleep(SECOND / 20).await;
        }
        assert!(waited > 5, "{waited}");
        let kept = world.way.straight.keep_alive(granted.id, until()).await;
        assert_eq!(kept.unwrap().ttl, Duration::ZERO);
    });
}

/// A keep-alive of a lease that is being revoked succeeds and saves nothing: what is believed ends in time.
#[test]
fn a_keep_alive_of_a_lease_that_is_being_revoked_saves_nothing() {
    let world = World::new();
    world.sim.block_on(async {
        world.server.slow_revokes(SECOND * 3);
        let mut lease = take(&world.a, "x", PERIOD).await;
        world.door_past(lease.deadline().unwrap()).await;
        world.sleep(SECOND).await;
        // The key is still there.
        assert!(world.b.get_lease("x").await.unwrap().is_some());
        assert!(lease.renew(PERIOD).await.is_err());
        world.sleep(SECOND * 4).await;
        assert!(world.b.get_lease("x").await.unwrap().is_none());
    });
}

/// A grant that was applied and has run out, and whose answer is judged only then, as its keep-alive had none, says nothing
/// about the grant that has followed by the same client.
#[test]
fn a_grant_that_is_learnt_late_leaves_its_successor_alone() {
    let short = SECOND * 2;
    let mut overtaken = 0;
    // The server looks for what has run out twice a second: at different times of this.
    for offset in 0..5 {
        let world = World::new();
        world.sim.block_on(async {
            world.sleep(SECOND / 10 * offset).await;
            take(&world.a, "x", short).await.release().await.unwrap();
            // Neither the one that keeps it ready nor the one beside the acquire is answered.
            world.keeps(&[Mishap::Lose, Mishap::Lose]);
            world.sleep(SECOND * 7 / 5).await;
            let late = async {
                _ = world.a.acquire_lease("x", "a", 0, short).await;
                world.door.now()
            };
            let successor = async {
                world.sleep(SECOND / 10).await;
                loop {
                    let lease = world.twin.acquire_lease("x", "twin", 0, PERIOD).await;
                    if let Some(lease) = lease.unwrap() {
                        return (lease, world.door.now());
                    }
                    world.sleep(SECOND / 50).await;
                }
            };
            let (late, (successor, acquired)) = join(late, successor).await;
            overtaken += usize::from(acquired < late);
            while successor.is_current() {
                let found = world.b.get_lease("x").await.unwrap();
                assert_eq!(found.unwrap().index(), successor.index());
                world.sleep(SECOND / 10).await;
            }
        });
    }
    assert!(overtaken > 0, "no grant was learnt too late");
}
