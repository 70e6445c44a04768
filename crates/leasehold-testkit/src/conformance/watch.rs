//! Watch is level-triggered.

use std::time::Duration;

use leasehold_core::{Event, Watch};

use crate::harness::Harness;

/// Reads a watch until an event shows what is wanted.
async fn until(
    h: &Harness,
    watch: &mut Watch,
    limit: Duration,
    what: &str,
    wanted: impl Fn(&Event) -> bool,
) -> Event {
    h.within(limit, what, async {
        loop {
            let event = watch.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

fn held_by(event: &Event) -> Option<&str> {
    event
        .status
        .as_ref()
        .filter(|s| s.is_held())
        .and_then(|s| s.machine_id())
}

/// A watch tells the present state first, then every later one.
pub async fn watch_level_triggered_tells_now_and_later(h: Harness) {
    let mut watch = h.b.manager.watch("x").unwrap();
    let first = h
        .within(h.notification(), "first", watch.next())
        .await
        .unwrap();
    assert!(first.status.is_none());
    let lease = h.a.take("x", h.long()).await;
    let id = lease.machine_id();
    until(&h, &mut watch, h.notification(), "acquired", |e| {
        held_by(e) == Some(&id)
    })
    .await;
    lease.release().await.unwrap();
    until(&h, &mut watch, h.notification(), "released", |e| {
        held_by(e).is_none()
    })
    .await;
    let mut late = h.b.manager.watch("x").unwrap();
    let first = h
        .within(h.notification(), "first", late.next())
        .await
        .unwrap();
    assert!(first.status.is_some_and(|s| s.is_vacant()));
}

/// It converges on the latest record, terms in between conflated.
pub async fn watch_level_triggered_converges(h: Harness) {
    let mut watch = h.b.manager.watch_prefix("w").unwrap();
    let mut last = Vec::new();
    for i in 0..5 {
        for round in 0..10 {
            let lease =
                h.a.manager
                    .acquire_lease(format!("w/{i}"), format!("m-{round}"), 0, h.long())
                    .await;
            let lease = lease.unwrap().expect("free");
            if round == 9 {
                last.push(lease);
            } else {
                lease.release().await.unwrap();
            }
        }
    }
    let mut converged = std::collections::BTreeSet::new();
    h.within(h.notification() * 2, "converged", async {
        while converged.len() < 5 {
            let event = watch.next().await.unwrap();
            if held_by(&event) == Some("m-9") {
                converged.insert(event.name);
            }
        }
    })
    .await;
}

/// A watch of a prefix covers whole segments, and nothing else.
pub async fn watch_level_triggered_covers_whole_segments(h: Harness) {
    let mut watch = h.b.manager.watch_prefix("a").unwrap();
    for name in ["ab", "b", "a!", "a/b", "a"] {
        drop(h.a.take(name, h.long()).await);
    }
    let mut seen = std::collections::BTreeSet::new();
    h.within(h.notification() * 2, "both", async {
        while seen.len() < 2 {
            seen.insert(watch.next().await.unwrap().name.as_str().to_owned());
        }
    })
    .await;
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "a/b"]);
}

/// Expiry is told though nobody tells it, confirmed by a read: never early.
pub async fn watch_level_triggered_tells_expiry(h: Harness) {
    let lease = h.a.take("x", h.short()).await;
    let mut watch = h.b.manager.watch("x").unwrap();
    let limit = h.short() + h.capabilities().granularity + h.slack() + h.apart(h.short());
    until(&h, &mut watch, limit, "held", |e| held_by(e).is_some()).await;
    let event = until(&h, &mut watch, limit, "expired", |e| held_by(e).is_none()).await;
    assert!(!lease.is_current());
    assert!(event.status.is_some_and(|s| s.is_vacant()));
}

/// The end of a broken term's wait is told too.
pub async fn watch_level_triggered_tells_the_end_of_a_wait(h: Harness) {
    let lease = h.a.take("x", h.short()).await;
    let displace = leasehold_core::Displace::index(lease.index());
    h.b.manager.break_lease("x", displace).await.unwrap();
    let mut watch = h.b.manager.watch("x").unwrap();
    let limit = h.short() * 2 + h.slack();
    let vacant = |e: &Event| e.status.as_ref().is_some_and(|s| s.is_vacant());
    until(&h, &mut watch, limit, "vacant", vacant).await;
    assert!(!lease.is_current());
}

/// Lost notifications are made good by a re-read.
pub async fn watch_level_triggered_survives_lost_notifications(h: Harness) {
    if !h.is_simulated() {
        // Half a minute: the simulator covers what core does, and the rest is the other cases.
        return;
    }
    h.b.faulty.drop_signals(true);
    let mut one = h.b.manager.watch("w/x").unwrap();
    let mut all = h.b.manager.watch_prefix("w").unwrap();
    assert!(one.next().await.unwrap().status.is_none());
    // Its first read comes before the change.
    assert!(futures_util::poll!(std::pin::pin!(all.next())).is_pending());
    let lease = h.a.take("w/x", h.long()).await;
    let bound = Duration::from_secs(31) + h.apart(Duration::from_secs(31));
    until(&h, &mut one, bound, "re-read", |e| held_by(e).is_some()).await;
    until(&h, &mut all, bound, "re-read", |e| held_by(e).is_some()).await;
    let lock = h.b.manager.lock("w/x").period(h.long());
    let release = async {
        h.sleep(Duration::from_secs(1)).await;
        lease.release().await.unwrap();
    };
    let (held, ()) = h
        .within(
            bound + Duration::from_secs(2),
            "acquired",
            futures_util::future::join(lock.acquire(), release),
        )
        .await;
    held.unwrap().release().await.unwrap();
}

/// A watch goes on after a failed read, and still converges.
pub async fn watch_level_triggered_goes_on_after_failures(h: Harness) {
    let mut watch = h.b.manager.watch("x").unwrap();
    watch.next().await.unwrap();
    h.b.faulty.fail_reads(3);
    let lease = h.a.take("x", h.long()).await;
    let mut failures = 0;
    let limit = h.notification() + Duration::from_secs(2);
    h.within(limit, "told", async {
        loop {
            match watch.next().await {
                Ok(event) if held_by(&event).is_some() => return,
                Ok(_) => {}
                Err(_) => failures += 1,
            }
        }
    })
    .await;
    assert_eq!(failures, 3);
    drop(lease);
}
