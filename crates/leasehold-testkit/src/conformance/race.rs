//! One lessee: races.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use leasehold_core::Lease;
use tokio::sync::oneshot;

use crate::harness::{Client, Harness};

/// Runs a task by a client's door and gives back its output.
fn task<T: Send + 'static>(
    client: &Client,
    future: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let (sender, receiver) = oneshot::channel();
    client
        .door
        .spawn(Box::pin(async move { drop(sender.send(future.await)) }));
    async move { receiver.await.expect("the task ended") }
}

/// 64 tasks, of two clients, on one name: exactly one winner a round.
pub async fn one_lessee_of_64_tasks(h: Harness) {
    // Every seed of the simulator has its share of the rounds.
    let rounds = if h.is_simulated() {
        h.rounds() / 8
    } else {
        h.rounds()
    };
    let mut last = 0;
    for round in 0..rounds {
        let takes = (0..64).map(|i| {
            let client = if i % 2 == 0 { &h.a } else { &h.b };
            let (manager, long) = (client.manager.clone(), h.long());
            task(client, async move {
                manager
                    .acquire_lease("x", format!("m-{i}"), 0, long)
                    .await
                    .unwrap()
            })
        });
        let winners: Vec<Lease> = futures_util::future::join_all(takes)
            .await
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(winners.len(), 1, "round {round}");
        for winner in winners {
            assert!(winner.is_current());
            assert!(winner.fence() > last, "round {round}");
            last = winner.fence();
            winner.release().await.unwrap();
        }
    }
}

/// Of many steals that name the same index exactly one is applied.
pub async fn one_lessee_of_many_thieves(h: Harness) {
    let rounds = if h.is_simulated() { 20 } else { 10 };
    for round in 0..rounds {
        let name = format!("x/{round}");
        let index = h.a.take(&name, h.long()).await.index();
        let steals = (0..16).map(|i| {
            let client = if i % 2 == 0 { &h.a } else { &h.b };
            let (manager, long, name) = (client.manager.clone(), h.long(), name.clone());
            task(client, async move {
                manager
                    .steal_lease(name, format!("m-{i}"), 0, long, index)
                    .await
            })
        });
        let results = futures_util::future::join_all(steals).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(
            results
                .iter()
                .flat_map(|r| r.as_ref().err())
                .all(|e| e.is_lost())
        );
    }
}

/// Work done under a lock by many tasks never overlaps.
pub async fn one_lessee_works_under_a_lock(h: Harness) {
    let (tasks, times) = if h.is_simulated() { (16, 10) } else { (8, 5) };
    let busy = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let workers = (0..tasks).map(|i| {
        let client = if i % 2 == 0 { &h.a } else { &h.b };
        let (door, busy, done) = (client.door.clone(), busy.clone(), done.clone());
        let lock = client.manager.lock("x").period(h.long());
        let pause = h.slack().min(std::time::Duration::from_millis(2));
        task(client, async move {
            for _ in 0..times {
                let held = lock.acquire().await.unwrap();
                assert!(!busy.swap(true, Ordering::SeqCst), "two at work");
                door.sleep_until(door.now().plus(pause)).await;
                assert!(busy.swap(false, Ordering::SeqCst));
                done.fetch_add(1, Ordering::SeqCst);
                held.release().await.unwrap();
            }
        })
    });
    let poll = h.notification() * (tasks * times);
    h.within(
        poll,
        "all have had their turns",
        futures_util::future::join_all(workers),
    )
    .await;
    assert_eq!(done.load(Ordering::SeqCst), u64::from(tasks * times));
}
