//! What is sent and what is not: which change goes with which request, beside which others, and for how long.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use leasehold_core::store::Change;
use leasehold_core::{Door, ErrorKind, Lease, LeaseName, Manager};
use leasehold_testkit::Fault;
use world::World;

const PERIOD: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

/// So many requests that hang, each as long as a request may.
async fn hang(world: &World, count: usize) {
    let acquire = async |i: usize| {
        let name = LeaseName::new(format!("hangs/{i}")).unwrap();
        for _ in 0..100 {
            world.faulty.then_for(&name, Fault::Hang);
        }
        drop(world.manager.acquire_lease(name, "m", 0, PERIOD).await);
    };
    join_all((0..count).map(acquire)).await;
}

/// A request of many renewals that gets no answer is given up while there is time to send the renewals again: after half
/// of the time-out.
#[test]
fn renew_all_sends_again_what_a_hanging_request_carried() {
    let world = World::new(1, 1000, SECOND * 10);
    world.sim.block_on(async {
        let mut leases = [world.take("a", PERIOD).await, world.take("b", PERIOD).await];
        world.faulty.then(Fault::Hang);
        let start = world.door.now();
        let results = world.manager.renew_all(leases.iter_mut(), PERIOD).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let took = world.door.now().since(start);
        assert!(took >= SECOND * 5 && took < SECOND * 6, "{took:?}");
    });
}

/// A renewal of many that goes on being resolved after its answer is outstanding: a shutdown waits for it.
#[test]
fn a_shutdown_waits_for_renewals_that_are_being_resolved() {
    let world = World::new(6, 1000, SECOND * 10);
    world.sim.block_on(async {
        let mut leases = [world.take("a", PERIOD).await, world.take("b", PERIOD).await];
        world.faulty.always(Some(Fault::Lose));
        let results = world.manager.renew_all(leases.iter_mut(), PERIOD).await;
        for result in results {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        }
        let start = world.door.now();
        let error = world.manager.shutdown(SECOND).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(world.door.now().since(start) >= SECOND);
        world.faulty.heal();
        world.manager.shutdown(SECOND * 10).await.unwrap();
    });
}

/// A record that leasehold did not write becomes its own by the renewal of whoever claims it: all of it is written, and
/// says which reader it needs.
#[test]
fn a_foreign_record_becomes_ours_by_its_renewal() {
    let world = World::new(2, 1000, SECOND * 10);
    let name = LeaseName::new("x").unwrap();
    let json = br#"{"MachineID":"fleet","Version":3}"#;
    world.memory.plant(&name, json);
    world.sim.block_on(async {
        let index = world.manager.status("x").await.unwrap().unwrap().index();
        let mut claim = world.manager.resume("x", index).await.unwrap();
        claim.renew(PERIOD).await.unwrap();
        claim.renew(PERIOD).await.unwrap();
    });
    let sent = world.faulty.sent();
    let renewals: Vec<_> = sent
        .iter()
        .map(|sent| match &sent.change {
            Change::Take(take) => (take.record.body.needs, take.same_body),
            Change::Vacate(_) => panic!("nothing was released"),
        })
        .collect();
    // Afterwards it is as any other: the store need not write its body again.
    assert_eq!(renewals, [(1, false), (1, true)]);
}

/// A term that is over for its handle is not renewed, whatever the registry still says: nothing is sent.
#[test]
fn a_term_that_is_over_is_not_renewed() {
    let world = World::new(3, 1000, SECOND * 10);
    world.sim.block_on(async {
        let mut one = world.take("one", PERIOD).await;
        let mut many = world.take("many", PERIOD).await;
        world.sleep(PERIOD).await;
        assert!(world.door.now() >= many.deadline().unwrap());
        let sent = world.faulty.sent().len();
        let error = one.renew(PERIOD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired);
        let results = world.manager.renew_all([&mut many], PERIOD).await;
        assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::Expired);
        assert_eq!(world.faulty.sent().len(), sent);
    });
}

/// A grant that is learnt only after its deadline, as the process was stopped meanwhile, is given back and not used.
#[test]
fn a_grant_that_is_learnt_too_late_is_given_back() {
    let world = World::new(7, 1000, PERIOD * 10);
    world.faulty.then(Fault::DelaySend(PERIOD / 2));
    let told = Arc::new(std::sync::Mutex::new(None));
    let (manager, slot) = (world.manager.clone(), told.clone());
    world.sim.spawn(&world.door, async move {
        let lease = manager.acquire_lease("x", "m", 0, PERIOD).await;
        *slot.lock().unwrap() = Some(lease);
    });
    world.sim.advance(PERIOD / 4);
    world.door.freeze();
    world.sim.advance(PERIOD * 2);
    // It is sent and granted now, for a whole period.
    world.door.thaw();
    world.sim.advance(MOMENT);
    let error = told.lock().unwrap().take().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert_eq!(world.sent("x").len(), 2, "the grant and its release");
    world.sim.block_on(async {
        let status = world.manager.status("x").await.unwrap().unwrap();
        assert!(status.is_vacant());
    });
}

/// Beside a request that hangs there are three others at most, however many changes wait.
#[test]
fn requests_beside_one_that_hangs_are_bounded() {
    let world = World::new(4, 1, SECOND * 10);
    world.sim.block_on(hang(&world, 12));
    assert_eq!(world.faulty.most_in_flight(), 4);
    // They are all let go of again: what comes afterwards is sent at once, one request at a time.
    world.faulty.heal();
    world.sim.block_on(async {
        world.sleep(PERIOD).await;
        let start = world.door.now();
        world.take("x", PERIOD).await.release().await.unwrap();
        assert_eq!(world.door.now(), start);
    });
}

/// A change whose time is over before it was sent never is, and is told so: not applied. Which waits on goes on waiting.
#[test]
fn a_change_that_waited_in_vain_is_not_sent() {
    let world = World::new(5, 1, SECOND * 100);
    world.sim.block_on(async {
        let mut sooner = world.take("sooner", PERIOD).await;
        let mut later = world.take("later", PERIOD).await;
        let sent = world.faulty.sent().len();
        let (short, moment) = (SECOND * 10, MOMENT / 2);
        let start = world.door.now();
        // By then as many requests hang as may.
        let begin = start.plus(SECOND * 20);
        let renewed = async |lease: &mut Lease, period: Duration| {
            world.door.sleep_until(begin).await;
            let error = lease.renew(period).await.unwrap_err();
            let took = world.door.now().since(begin);
            // Half of it is left for another try.
            assert!(
                took >= period / 2 && took < period / 2 + moment / 4,
                "{took:?}"
            );
            error.kind()
        };
        let renewals = async {
            // The one that came first waits a little longer than the other.
            let later = renewed(&mut later, short + moment);
            let sooner = renewed(&mut sooner, short);
            let told = join(later, sooner).await;
            assert_eq!(told, (ErrorKind::Unavailable, ErrorKind::Unavailable));
        };
        join(hang(&world, 4), renewals).await;
        assert!(world.faulty.sent().len() > sent);
        assert_eq!(world.sent("sooner").len(), 1);
        assert_eq!(world.sent("later").len(), 1);
    });
}

/// Whoever waits and is woken looks first: the registry has no change to refuse, and the one that is sent names the right
/// vacancy.
#[test]
fn a_waiter_that_is_woken_looks_before_it_sends() {
    let world = World::new(8, 1000, SECOND * 10);
    let other = Manager::builder(Arc::new(world.memory.clone()), world.door.clone());
    let other = other.build().unwrap();
    world.sim.block_on(async {
        let lease = other.acquire_lease("x", "other", 0, PERIOD).await;
        let mut lease = lease.unwrap().unwrap();
        let lock = world.manager.lock("x").period(PERIOD);
        let holder = async {
            for _ in 0..5 {
                world.sleep(SECOND).await;
                lease.renew(PERIOD).await.unwrap();
            }
            assert_eq!(world.sent("x").len(), 1, "the first try, and no more");
            lease.release().await.unwrap();
        };
        let (held, ()) = join(lock.acquire(), holder).await;
        assert!(held.unwrap().check().is_ok());
        assert_eq!(world.sent("x").len(), 2, "the first try, and the grant");
    });
}
