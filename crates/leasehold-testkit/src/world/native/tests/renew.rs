//! The table of a renewal: what its swap and its keep-alive answer.

use leasehold_core::{BootInstant, ErrorKind};

use super::{MOMENT, Mishap, PERIOD, SECOND, World, take};

/// The deadline counts from about this instant, and from no later one.
fn counts_from(world: &World, deadline: Option<BootInstant>, sent: BootInstant) {
    let exact = sent.plus(world.believed(PERIOD));
    let deadline = deadline.unwrap();
    assert!(deadline <= exact, "{:?} late", deadline.since(exact));
    assert!(
        deadline.plus(MOMENT) >= exact,
        "{:?} early",
        exact.since(deadline)
    );
}

#[test]
fn swap_and_keep_alive_succeed_the_deadline_moves() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        world.sleep(SECOND * 3).await;
        let sent = world.door.now();
        lease.renew(PERIOD).await.unwrap();
        counts_from(&world, lease.deadline(), sent);
        assert_eq!(world.way.script().grants, 1, "none for the renewal");
        // By a clock of the server's own: it stays as long as it is believed, and goes soon after.
        world.door.sleep_until(lease.deadline().unwrap()).await;
        assert!(world.b.get_lease("x").await.unwrap().is_some());
        world.sleep(SECOND).await;
        assert!(world.b.get_lease("x").await.unwrap().is_none());
    });
}

#[test]
fn swap_succeeds_without_a_counted_keep_alive_the_old_deadline_stands() {
    for mishap in [
        Mishap::NotSent,
        Mishap::OldTerm,
        Mishap::NoTerm,
        Mishap::LoseReply,
    ] {
        let world = World::new();
        world.sim.block_on(async {
            let mut lease = take(&world.a, "x", PERIOD).await;
            let (index, deadline) = (lease.index(), lease.deadline());
            // Before the pool renews what it has ready.
            world.sleep(SECOND / 2).await;
            world.keeps(&[mishap, mishap]);
            let error = lease.renew(PERIOD).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{mishap:?}");
            assert!(lease.index() > index, "{mishap:?}");
            assert!(lease.deadline() <= deadline, "{mishap:?}");
            assert!(lease.is_current(), "{mishap:?}");
            lease.renew(PERIOD).await.unwrap();
            assert!(lease.deadline() > deadline, "{mishap:?}");
        });
    }
}

#[test]
fn a_keep_alive_that_is_sent_again_counts_from_the_swap() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        world.sleep(SECOND * 3).await;
        world.keeps(&[Mishap::Lose]);
        let sent = world.door.now();
        lease.renew(PERIOD).await.unwrap();
        assert!(
            world.door.now().since(sent) > SECOND,
            "the second one was late"
        );
        counts_from(&world, lease.deadline(), sent);
    });
}

#[test]
fn swap_succeeds_and_the_native_lease_is_gone_it_is_lost() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        world.keeps(&[Mishap::Gone]);
        let error = lease.renew(PERIOD).await.unwrap_err();
        assert!(error.is_lost(), "{error}");
        assert!(!lease.is_current());
    });
}

/// What a leader of an older term does not know of is not gone for that.
#[test]
fn swap_succeeds_and_an_old_leader_misses_the_native_lease_it_is_asked_for_again() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        world.sleep(SECOND).await;
        let deadline = lease.deadline();
        world.keeps(&[Mishap::GoneOfOldTerm]);
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.deadline() > deadline);
        assert!(lease.is_current());
    });
}

#[test]
fn swap_is_refused_it_is_lost_and_its_native_lease_is_revoked() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let carried = world.way.script().sent[0][0];
        let index = lease.index();
        let thief = world.b.steal_lease("x", "b", 0, PERIOD * 10, index).await;
        let thief = thief.unwrap();
        assert!(lease.renew(PERIOD).await.unwrap_err().is_lost());
        assert!(!lease.is_current());
        world.sleep(SECOND).await;
        assert!(world.way.script().revoked.contains(&carried));
        world.sleep(PERIOD * 2).await;
        assert!(thief.is_current());
        assert!(world.b.get_lease("x").await.unwrap().is_some());
    });
}

#[test]
fn swap_is_unknown_and_was_applied_it_counts_from_the_first_send() {
    let world = World::new();
    world.sim.block_on(async {
        for keep in [Mishap::None, Mishap::Lose] {
            let mut lease = take(&world.a, "x", PERIOD * 10).await;
            world.sleep(SECOND * 3).await;
            world.txns(&[Mishap::LoseReply]);
            world.keeps(&[keep]);
            let sent = world.door.now();
            let before = lease.index();
            lease.renew(PERIOD * 10).await.unwrap();
            assert!(lease.index() > before);
            let exact = sent.plus(world.believed(PERIOD * 10));
            assert!(lease.deadline().unwrap() <= exact);
            assert!(lease.deadline().unwrap().plus(MOMENT) >= exact);
            lease.release().await.unwrap();
        }
    });
}

#[test]
fn swap_stays_unknown_the_old_deadline_stands() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let deadline = lease.deadline().unwrap();
        world.sleep(SECOND).await;
        // Keep-alives succeed all the while, and alone they prove nothing.
        world.way.script().always = Some(Mishap::Lose);
        assert!(lease.renew(PERIOD).await.is_err());
        assert!(lease.deadline().unwrap() <= deadline);
        world.door.sleep_until(deadline).await;
        assert!(!lease.is_current());
        world.sleep(PERIOD * 2).await;
        world.way.script().always = None;
        let _next = take(&world.b, "x", PERIOD).await;
    });
}

#[test]
fn neither_is_sent_the_old_deadline_stands_and_it_can_be_tried_again() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let deadline = lease.deadline().unwrap();
        world.sleep(SECOND).await;
        world.txns(&[Mishap::NotSent]);
        world.keeps(&[Mishap::NotSent]);
        let error = lease.renew(PERIOD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(lease.deadline(), Some(deadline));
        lease.renew(PERIOD).await.unwrap();
        assert!(lease.deadline().unwrap() > deadline);
    });
}

#[test]
fn another_period_is_another_native_lease() {
    let world = World::new();
    world.sim.block_on(async {
        let mut lease = take(&world.a, "x", PERIOD).await;
        let first = world.way.script().sent[0][0];
        lease.renew(PERIOD * 3).await.unwrap();
        let second = *world.way.script().sent.last().unwrap().last().unwrap();
        assert_ne!(first, second);
        world.sleep(SECOND).await;
        assert!(world.way.script().revoked.contains(&first), "only now");
        world.sleep(PERIOD * 2).await;
        assert!(lease.is_current());
        assert!(world.b.get_lease("x").await.unwrap().is_some());
        // Shorter, and unresolved: the smaller deadline, and neither native lease is touched.
        world.way.script().revoked.clear();
        world.way.script().always = Some(Mishap::LoseReply);
        let sent = world.door.now();
        let term = lease.term();
        assert!(lease.renew(SECOND * 2).await.is_err());
        assert!(term.deadline().unwrap() <= sent.plus(world.believed(SECOND * 2)));
        assert!(world.way.script().revoked.is_empty());
        world.way.script().always = None;
        world.sleep(SECOND * 5).await;
        assert!(!term.is_current());
        let _next = take(&world.b, "x", PERIOD).await;
    });
}
