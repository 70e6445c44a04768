//! Unknown is not failure, and not success.

use std::time::Duration;

use leasehold_core::{Attempt, ErrorKind, LeaseName, Request};

use crate::faulty::Fault;
use crate::harness::Harness;

/// Waits until nobody holds the name, and says how long that took.
async fn until_free(h: &Harness, name: &str, limit: Duration) {
    h.within(limit, "nobody holds it", async {
        while h.b.manager.get_lease(name).await.unwrap().is_some() {
            h.sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// How long core may take to resolve what can be resolved.
fn soon(h: &Harness) -> Duration {
    Duration::from_secs(1) + h.slack()
}

/// An acquire that was applied while its answer was lost is a success, its deadline counted from the first send.
pub async fn unknown_is_not_failure_acquire_applied(h: Harness) {
    for fault in [Fault::LoseReply, Fault::Twice] {
        let name = format!("x-{fault:?}").to_lowercase();
        h.a.faulty.then(fault);
        let before = h.now();
        let lease = h
            .within(soon(&h), "resolved", h.a.take(&name, h.long()))
            .await;
        assert!(lease.is_current());
        // Sent at once, but for what the machine took.
        let margin = h.capabilities().margin(h.long());
        let sent =
            h.a.faulty
                .sent()
                .iter()
                .rfind(|s| s.fault == fault)
                .unwrap()
                .at;
        assert!(sent >= before);
        assert!(lease.deadline().unwrap() <= sent.plus(h.long()).minus(margin));
        let seen = h.b.manager.get_lease(&name).await.unwrap().expect("held");
        assert_eq!((seen.index(), seen.fence()), (lease.index(), lease.fence()));
        lease.release().await.unwrap();
    }
}

/// An acquire that was lost on its way is sent again.
pub async fn unknown_is_not_success_acquire_lost(h: Harness) {
    h.a.faulty.then(Fault::Lose).then(Fault::Lose);
    let lease = h
        .within(soon(&h), "resolved", h.a.take("x", h.long()))
        .await;
    assert!(lease.is_current());
    lease.release().await.unwrap();
}

/// A renew that was applied while its answer was lost is a success, its deadline counted from the first send.
pub async fn unknown_is_not_failure_renew_applied(h: Harness) {
    let mut lease = h.a.take("x", h.long()).await;
    let fence = lease.fence();
    for fault in [Fault::LoseReply, Fault::Twice, Fault::Lose] {
        h.a.faulty.then(fault);
        h.within(soon(&h), "resolved", lease.renew(h.long()))
            .await
            .unwrap();
        let margin = h.capabilities().margin(h.long());
        let sent =
            h.a.faulty
                .sent()
                .iter()
                .rfind(|s| s.fault == fault)
                .unwrap()
                .at;
        assert!(lease.deadline().unwrap() <= sent.plus(h.long()).minus(margin));
        assert!(lease.is_current());
        assert_eq!(lease.fence(), fence);
        let seen = h.b.manager.get_lease("x").await.unwrap().expect("held");
        assert_eq!(seen.index(), lease.index());
    }
    lease.release().await.unwrap();
}

/// A release, a steal and a break that were applied while their answers were lost are successes.
pub async fn unknown_is_not_failure_release_steal_and_break(h: Harness) {
    for fault in [Fault::LoseReply, Fault::Lose, Fault::Twice] {
        let lease = h.a.take("x", h.long()).await;
        h.a.faulty.then(fault);
        h.within(soon(&h), "resolved", lease.release())
            .await
            .unwrap();
        let lease = h.b.take("x", h.short()).await;
        h.a.faulty.then(fault);
        let steal =
            h.a.manager
                .steal_lease("x", "thief", 0, h.long(), lease.index());
        let thief = h.within(soon(&h), "resolved", steal).await.unwrap();
        h.a.faulty.then(fault);
        let dead = leasehold_core::Displace::index(thief.index()).assume_dead("test");
        h.within(soon(&h), "resolved", h.a.manager.break_lease("x", dead))
            .await
            .unwrap();
        h.until_vacant(&h.a.manager, "x").await;
    }
}

/// The same attempt sent twice is applied at most once: a late duplicate of an acquire names a vacancy that is gone.
pub async fn unknown_a_late_duplicate_of_an_acquire_is_refused(h: Harness) {
    let late = h.short() / 4;
    // None there; then a tombstone.
    for _ in 0..2 {
        h.a.faulty.then(Fault::Again(late));
        let lease = h.a.take("x", h.long()).await;
        lease.release().await.unwrap();
        h.sleep(late * 2).await;
        assert!(
            h.b.manager.get_lease("x").await.unwrap().is_none(),
            "the duplicate was applied"
        );
    }
    // And it does not take the name from the next one either.
    h.a.faulty.then(Fault::Again(late));
    h.a.take("x", h.long()).await.release().await.unwrap();
    let next = h.b.take("x", h.long()).await;
    h.sleep(late * 2).await;
    let seen = h.a.manager.get_lease("x").await.unwrap().expect("held");
    assert_eq!(seen.index(), next.index());
}

/// Whoever was told that the name is taken does not get it later: an acquire never names a tombstone that is still
/// waited out, which a late duplicate of it would find vacant.
pub async fn unknown_a_late_duplicate_of_a_refused_acquire_is_refused(h: Harness) {
    let period = h.short();
    let free = async || {
        h.until_vacant(&h.b.manager, "x").await;
        h.sleep(period).await;
        let held = h.b.manager.get_lease("x").await.unwrap();
        assert!(held.is_none(), "the duplicate was applied: {held:?}");
    };
    let refused = async || {
        h.b.faulty.then(Fault::Again(period * 3));
        let request = Request::new("x", h.long());
        let attempt = h.b.manager.try_acquire(request).await.unwrap();
        assert!(matches!(attempt, Attempt::Busy(_)), "{attempt:?}");
        h.sleep(period * 3).await;
    };
    // The client itself has just made the tombstone: by a release through a fetched lease ...
    let _lease = h.a.take("x", period).await;
    let proxy = h.b.manager.get_lease("x").await.unwrap().expect("held");
    proxy.release().await.unwrap();
    refused().await;
    free().await;
    // ... and of a lease that was stolen, before the replaced term was waited out.
    h.until_vacant(&h.a.manager, "x").await;
    let lease = h.a.take("x", period).await;
    let index = lease.index();
    let thief = h.b.manager.steal_lease("x", "thief", 0, period * 2, index);
    thief.await.unwrap().release().await.unwrap();
    refused().await;
    free().await;
}

/// A late duplicate of a renewal or release touches nothing either.
pub async fn unknown_late_duplicates_of_renew_and_release_are_refused(h: Harness) {
    let late = h.short() / 4;
    let mut lease = h.a.take("x", h.long()).await;
    h.a.faulty.then(Fault::Again(late));
    lease.renew(h.long()).await.unwrap();
    h.a.faulty.then(Fault::Again(late));
    lease.release().await.unwrap();
    let mut next = h.b.take("x", h.long()).await;
    h.sleep(late * 2).await;
    next.renew(h.long()).await.unwrap();
    assert!(next.is_current());
}

/// An acquire applied after the re-read, when its caller has long been told that nobody knows, is given back.
pub async fn unknown_acquire_applied_after_the_re_read_is_released(h: Harness) {
    for requests in [1, 2] {
        let name = format!("x{requests}");
        h.a.faulty.then(Fault::LateAfter(requests));
        let lease = h
            .within(soon(&h), "resolved", h.a.take(&name, h.long()))
            .await;
        // Whichever of the sends it was, there is one grant and it is this one.
        let seen = h.b.manager.get_lease(&name).await.unwrap().expect("held");
        assert_eq!(seen.index(), lease.index());
        lease.release().await.unwrap();
        assert!(h.b.manager.get_lease(&name).await.unwrap().is_none());
    }
    let manager = h.a.manager_with(h.short() / 2);
    let name = LeaseName::new("late").unwrap();
    h.a.faulty
        .always(Some(Fault::Lose))
        .then_for(&name, Fault::Late(h.short()));
    let error = manager
        .acquire_lease("late", "m", 0, h.long())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    h.sleep(h.short()).await;
    h.a.faulty.always(None);
    h.sleep(Duration::from_millis(100)).await;
    until_free(&h, "late", soon(&h) + Duration::from_secs(2)).await;
    h.b.take("late", h.long()).await.release().await.unwrap();
}

/// A dropped acquire leaves nothing behind, wherever it is dropped.
pub async fn unknown_a_dropped_acquire_is_given_back(h: Harness) {
    for fault in [
        Fault::None,
        Fault::LoseReply,
        Fault::DelayReply(h.short() / 10),
    ] {
        for polls in 0..4 {
            let name = format!("x{polls}-{fault:?}")
                .to_lowercase()
                .replace(['(', ')'], "");
            h.a.faulty.then(fault);
            {
                let mut acquire = Box::pin(h.a.manager.acquire_lease(&name, "m", 0, h.long()));
                let mut done = false;
                for _ in 0..polls {
                    if let std::task::Poll::Ready(lease) = futures_util::poll!(acquire.as_mut()) {
                        lease.unwrap().expect("free").release().await.unwrap();
                        done = true;
                        break;
                    }
                    h.sleep(Duration::from_millis(1)).await;
                }
                if polls == 0 || done {
                    drop(acquire);
                    // What was never polled was never sent.
                    if polls == 0 {
                        h.a.manager
                            .acquire_lease(&name, "m", 0, h.long())
                            .await
                            .unwrap()
                            .expect("free")
                            .release()
                            .await
                            .unwrap();
                    }
                }
            }
            until_free(&h, &name, soon(&h) + h.short()).await;
            let lease = h
                .within(soon(&h), "not stuck", h.a.take(&name, h.long()))
                .await;
            lease.release().await.unwrap();
        }
    }
}

/// Outcomes reach the lease even if the future was dropped.
pub async fn unknown_a_dropped_renewal_reaches_the_lease(h: Harness) {
    let mut lease = h.a.take("x", h.short()).await;
    let deadline = lease.deadline().unwrap();
    h.a.faulty.then(Fault::DelayReply(h.short() / 10));
    {
        let mut renew = Box::pin(lease.renew(h.long()));
        assert!(futures_util::poll!(renew.as_mut()).is_pending());
    }
    h.within(h.short(), "extended", async {
        while lease.deadline().unwrap() <= deadline {
            h.sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    lease.renew(h.long()).await.unwrap();
    assert!(lease.is_current());
}

/// A dropped release goes on.
pub async fn unknown_a_dropped_release_goes_on(h: Harness) {
    let lease = h.a.take("x", h.long()).await;
    h.a.faulty
        .then(Fault::Lose)
        .then(Fault::DelaySend(h.short() / 10));
    {
        let mut release = Box::pin(lease.release());
        assert!(futures_util::poll!(release.as_mut()).is_pending());
    }
    until_free(&h, "x", soon(&h) + h.short()).await;
}

/// A release that nobody could confirm goes on being resolved after its caller was told so.
pub async fn unknown_release_goes_on_being_resolved(h: Harness) {
    let manager = h.a.manager_with(h.short() / 2);
    let lease = manager
        .acquire_lease("x", "m", 0, h.long())
        .await
        .unwrap()
        .expect("free");
    h.a.faulty.always(Some(Fault::Lose));
    let error = lease.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(h.b.manager.get_lease("x").await.unwrap().is_some());
    h.a.faulty.always(None);
    until_free(&h, "x", soon(&h) + Duration::from_secs(2)).await;
}

/// A release while a renewal is under way settles both: the name is free and the release succeeded.
pub async fn unknown_release_overtakes_a_renewal(h: Harness) {
    let mut lease = h.a.take("x", h.long()).await;
    h.a.faulty.then(Fault::DelayReply(h.short() / 10));
    {
        let mut renew = Box::pin(lease.renew(h.long()));
        assert!(futures_util::poll!(renew.as_mut()).is_pending());
    }
    lease.release().await.unwrap();
    assert!(h.b.manager.get_lease("x").await.unwrap().is_none());
    drop(h.b.take("x", h.long()).await);
}

/// One poisoned change never sinks its batch, and a batch carries what arrived while a request was in flight.
pub async fn unknown_a_poisoned_change_fails_alone(h: Harness) {
    let poisoned = LeaseName::new("p/3").unwrap();
    h.a.faulty.then_for(
        &LeaseName::new("first").unwrap(),
        Fault::DelayReply(h.short() / 20),
    );
    h.a.faulty.then_for(&poisoned, Fault::Refuse);
    let manager = &h.a.manager;
    let long = h.long();
    let take = |name: String| async move { manager.acquire_lease(name, "m", 0, long).await };
    let first = take("first".into());
    let rest = async {
        h.sleep(h.short() / 100).await;
        futures_util::future::join_all((0..8).map(|i| take(format!("p/{i}")))).await
    };
    let (first, rest) = futures_util::future::join(first, rest).await;
    assert!(first.unwrap().is_some());
    for (i, result) in rest.into_iter().enumerate() {
        if i == 3 {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
        } else {
            assert!(result.unwrap().expect("free").is_current());
        }
    }
    assert_eq!(h.a.faulty.most_in_flight(), 1);
    if h.is_simulated() {
        assert_eq!(h.a.faulty.requests(), [1, 8], "group commit");
    }
}

/// Every operation ends by the manager's time-out, whatever hangs.
pub async fn unknown_every_operation_ends_by_the_timeout(h: Harness) {
    let timeout = h.short() / 2;
    let manager = h.a.manager_with(timeout);
    let mut lease = manager
        .acquire_lease("x", "m", 0, h.long())
        .await
        .unwrap()
        .expect("free");
    let other = manager
        .acquire_lease("y", "m", 0, h.long())
        .await
        .unwrap()
        .expect("free");
    let index = other.index();
    h.a.faulty.always(Some(Fault::Hang));
    let limit = timeout + h.slack();
    let error = h
        .within(limit, "renew", lease.renew(h.long()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    let error = h
        .within(limit, "release", other.release())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::OutcomeUnknown | ErrorKind::Unavailable
        ),
        "{error}"
    );
    assert!(
        h.within(
            limit,
            "acquire",
            manager.acquire_lease("z", "m", 0, h.long())
        )
        .await
        .is_err()
    );
    assert!(
        h.within(
            limit,
            "steal",
            manager.steal_lease("y", "m", 0, h.long(), index)
        )
        .await
        .is_err()
    );
    h.a.faulty.hang_reads(true);
    assert!(
        h.within(limit, "get", manager.get_lease("x"))
            .await
            .is_err()
    );
    assert!(
        h.within(limit, "status", manager.status("x"))
            .await
            .is_err()
    );
    assert!(
        h.within(limit, "resume", manager.resume("x", 1))
            .await
            .is_err()
    );
    let displace = leasehold_core::Displace::index(index);
    assert!(
        h.within(limit, "break", manager.break_lease("y", displace))
            .await
            .is_err()
    );
    h.a.faulty.hang_reads(false).always(None);
}
