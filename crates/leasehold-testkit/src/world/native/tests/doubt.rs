//! One attempt in several requests at once, change by change at the store itself.

use std::sync::Arc;

use futures_util::future::join;
use leasehold_core::store::{Change, Outcome};
use leasehold_core::{Door, ErrorKind, Manager, Store};
use leasehold_etcd::EtcdStore;

use super::super::registry::cluster;
use super::{Mishap, PERIOD, PPM, SECOND, World, take};
use crate::{Fault, Faulty};

/// A store, and a manager on it whose changes can be kept from it.
struct Client {
    door: Arc<dyn Door>,
    store: Arc<EtcdStore>,
    kept: Faulty,
    manager: Manager,
}

impl Client {
    fn of(world: &World) -> Self {
        let door = world.door.clone();
        let store = EtcdStore::new(world.way.clone(), door.clone(), cluster(SECOND, PPM));
        let store = Arc::new(store);
        let kept = Faulty::new(store.clone(), door.clone());
        let manager = Manager::builder(Arc::new(kept.clone()), door.clone());
        let manager = manager.build().unwrap();
        Self {
            door,
            store,
            kept,
            manager,
        }
    }

    /// The last change that the manager sent.
    fn last(&self) -> Change {
        self.kept.sent().pop().unwrap().change
    }

    async fn apply(&self, change: &Change, limit: std::time::Duration) -> Outcome {
        let until = self.door.now().plus(limit);
        let mut outcomes = self.store.apply(vec![change.clone()], until).await;
        outcomes.pop().unwrap()
    }
}

/// While one request that carries it may still arrive, another one that never leaves gives nothing away.
#[test]
fn a_native_lease_that_is_under_way_is_not_given_away() {
    let world = World::new();
    let client = Client::of(&world);
    world.sim.block_on(async {
        let first = take(&world.b, "x", PERIOD).await;
        client.kept.then(Fault::Refuse);
        let stolen = client
            .manager
            .steal_lease("x", "a", 0, PERIOD, first.index());
        stolen.await.unwrap_err();
        let steal = client.last();
        world.txns(&[Mishap::LoseReply, Mishap::NotSent]);
        let under_way = client.apply(&steal, SECOND * 8);
        let meanwhile = async {
            world.sleep(SECOND).await;
            let again = client.apply(&steal, SECOND).await;
            assert!(matches!(again, Outcome::NotApplied(_)), "{again:?}");
            let named = world.way.script().sent[0][0];
            for (i, seconds) in [10, 11, 10, 11].into_iter().enumerate() {
                drop(take(&client.manager, &format!("y/{i}"), SECOND * seconds).await);
            }
            let script = world.way.script();
            let other = script.sent.iter().skip(2).flatten();
            assert!(other.count() > 0 && !script.revoked.contains(&named));
            assert!(script.sent.iter().skip(2).flatten().all(|id| *id != named));
        };
        let (outcome, ()) = join(under_way, meanwhile).await;
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    });
}

/// What is known of a grant of before says nothing of one that another native lease carries. And an attempt is not
/// forgotten while it is under way.
#[test]
fn a_grant_is_believed_no_longer_than_what_carries_it() {
    let world = World::new();
    let client = Client::of(&world);
    world.sim.block_on(async {
        // Held by this client, and released by a proxy: nothing tells the client.
        let lease = take(&client.manager, "x", PERIOD * 6).await;
        let proxy = world.b.resume("x", lease.fence()).await.unwrap();
        proxy.release().await.unwrap();
        // The first try learns which vacancy there is, and its native lease is ready then; the second is kept back.
        client.kept.then(Fault::None).then(Fault::Refuse);
        let error = client
            .manager
            .acquire_lease("x", "a", 0, PERIOD)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let acquire = client.last();
        // From now on no keep-alive is answered.
        world.keeps(&[Mishap::Lose; 20]);
        world.sleep(PERIOD * 6 / 10).await;
        world.txns(&[Mishap::Lose]);
        let outcome = client.apply(&acquire, SECOND / 2).await;
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        world.sleep(PERIOD * 3 / 10).await;
        // Applied, when little is left of the native lease; the answer waits for the keep-alive.
        let outcome = client.apply(&acquire, SECOND * 6).await;
        let Outcome::Applied(applied) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            world.b.get_lease("x").await.unwrap().map(|x| x.index()),
            None
        );
        let end = applied.counted_from.unwrap().plus(applied.granted);
        let end = end.minus(client.manager.capabilities().margin(applied.granted));
        assert!(end <= world.door.now(), "believed until {end:?}");
    });
}

/// A send without an answer may arrive long after the attempt was refused: the native lease that it names is never used
/// again.
#[test]
fn the_native_lease_of_a_send_without_an_answer_is_never_used_again() {
    let world = World::new();
    let client = Client::of(&world);
    world.sim.block_on(async {
        client.kept.then(Fault::Refuse);
        let acquire = client.manager.acquire_lease("x", "a", 0, PERIOD);
        acquire.await.unwrap_err();
        let acquire = client.last();
        world.txns(&[Mishap::Lose]);
        let outcome = client.apply(&acquire, SECOND).await;
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        let _other = take(&world.b, "x", PERIOD).await;
        let outcome = client.apply(&acquire, SECOND).await;
        assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
        let named = world.way.script().sent[0][0];
        world.way.script().sent.clear();
        for i in 0..5 {
            drop(take(&client.manager, &format!("y/{i}"), PERIOD).await);
        }
        let script = world.way.script();
        assert!(script.sent.iter().flatten().all(|id| *id != named));
        assert!(
            script.revoked.contains(&named),
            "it would free the name at once"
        );
    });
}
