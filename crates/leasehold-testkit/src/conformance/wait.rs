//! A broken term is waited out; resuming is a claim.

use std::time::Duration;

use leasehold_core::{Attempt, Displace, ErrorKind, Lease, Request};

use crate::harness::{Client, Harness};

async fn steal(client: &Client, name: &str, period: Duration, index: u64) -> Lease {
    let id = client.manager.machine_id().to_owned();
    client
        .manager
        .steal_lease(name, id, 0, period, index)
        .await
        .unwrap()
}

/// Lets time pass until the last of the handles believes, at most one of them believing at any moment.
async fn one_at_a_time(h: &Harness, handles: &[&Lease], limit: Duration) {
    let start = h.now();
    loop {
        let believing = handles.iter().filter(|lease| lease.is_current()).count();
        assert!(believing <= 1, "{believing} lessees at once: {handles:#?}");
        if handles.last().is_some_and(|last| last.is_current()) {
            return;
        }
        assert!(
            h.now().since(start) <= limit,
            "the last never believes: {handles:#?}"
        );
        h.sleep(h.short() / 200).await;
    }
}

/// A steal's `begin` is when the replaced grant can no longer be believed; and it does begin.
pub async fn broken_term_waited_out_by_the_thief(h: Harness) {
    let lease = h.a.take("x", h.short()).await;
    let thief = steal(&h.b, "x", h.long(), lease.index()).await;
    assert!(lease.is_current(), "the old lessee does not know");
    assert!(!thief.is_current());
    one_at_a_time(
        &h,
        &[&lease, &thief],
        h.short() + h.slack() + h.apart(h.short()) * 2,
    )
    .await;
    assert!(!lease.is_current());
}

/// Every wait that the record already carried is waited out too: chains of steals.
pub async fn broken_term_waited_out_through_a_chain(h: Harness) {
    let first = h.a.take("x", h.short()).await;
    let second = steal(&h.b, "x", h.short() / 2, first.index()).await;
    let c = h.client().await;
    let third = steal(&c, "x", h.short(), second.index()).await;
    let fourth = steal(&h.b, "x", h.long(), third.index()).await;
    assert!(first.fence() < second.fence() && second.fence() < third.fence());
    assert!(third.fence() < fourth.fence());
    let limit = h.short() * 3 + h.slack();
    one_at_a_time(&h, &[&first, &second, &third, &fourth], limit).await;
}

/// The wait stays in the record through a renewal: the thief's own, and a further steal's.
pub async fn broken_term_waited_out_through_renewals(h: Harness) {
    let first = h.a.take("x", h.short()).await;
    let mut second = steal(&h.b, "x", h.long(), first.index()).await;
    second.renew(h.long()).await.unwrap();
    second.renew(h.long()).await.unwrap();
    assert!(first.is_current() && !second.is_current());
    let index = second.index();
    let request = Request::new("x", h.long());
    // Even where the second is dead for sure, the first is not.
    let dead = Displace::index(index).assume_dead("test");
    let third = h.a.manager.steal(request, dead).await.unwrap();
    assert!(!third.is_current(), "an inherited wait is never skipped");
    drop(second);
    one_at_a_time(
        &h,
        &[&first, &third],
        h.short() + h.slack() + h.apart(h.short()) * 3,
    )
    .await;
}

/// The wait stays through the thief's release: nothing makes the name vacant before it.
pub async fn broken_term_waited_out_through_a_release(h: Harness) {
    let first = h.a.take("x", h.short()).await;
    let second = steal(&h.b, "x", h.long(), first.index()).await;
    second.release().await.unwrap();
    let Attempt::Busy(busy) =
        h.b.manager
            .try_acquire(Request::new("x", h.long()))
            .await
            .unwrap()
    else {
        panic!("acquired while the first may believe");
    };
    assert_eq!(busy.holder(), None, "held by nobody");
    assert!(busy.left().is_some_and(|left| left > Duration::ZERO));
    let lock = h.b.manager.lock("x").period(h.long());
    let limit = h.short() + h.slack() + h.apart(h.short()) * 3;
    let held = h.within(limit, "acquired", lock.acquire()).await.unwrap();
    assert!(!first.is_current(), "two lessees at once");
    held.release().await.unwrap();
}

/// A period no longer than the wait makes a steal a mere break: it never believes, and what follows waits.
pub async fn broken_term_waited_out_by_a_steal_that_is_too_short(h: Harness) {
    let least = h.capabilities().least_period;
    let first = h.a.take("x", h.short().max(least * 2)).await;
    let second = steal(&h.b, "x", least.max(h.short() / 10), first.index()).await;
    loop {
        assert!(!(first.is_current() && second.is_current()));
        if let Some(next) =
            h.b.manager
                .acquire_lease("x", "m", 0, h.long())
                .await
                .unwrap()
        {
            assert!(!first.is_current(), "two lessees at once");
            assert!(!second.is_current());
            drop(next);
            return;
        }
        h.sleep(h.short() / 100).await;
    }
}

/// A break leaves the name held by nobody until the broken grant can no longer be believed.
pub async fn broken_term_waited_out_after_a_break(h: Harness) {
    let first = h.a.take("x", h.short()).await;
    let displace = Displace::index(first.index()).reason("stuck");
    let status = h.b.manager.break_lease("x", displace).await.unwrap();
    assert!(!status.is_held() && !status.is_vacant());
    assert!(h.b.manager.get_lease("x").await.unwrap().is_none());
    loop {
        if let Some(next) =
            h.b.manager
                .acquire_lease("x", "m", 0, h.long())
                .await
                .unwrap()
        {
            assert!(!first.is_current(), "two lessees at once");
            assert!(next.fence() > first.fence());
            return;
        }
        h.sleep(h.short() / 100).await;
    }
}

/// A break of a thief's grant keeps the wait that it inherited, even where the thief is assumed dead.
pub async fn broken_term_waited_out_after_a_break_of_a_steal(h: Harness) {
    let first = h.a.take("x", h.short()).await;
    let second = steal(&h.b, "x", h.long(), first.index()).await;
    let dead = Displace::index(second.index()).assume_dead("test");
    let status = h.a.manager.break_lease("x", dead).await.unwrap();
    assert!(!status.is_vacant(), "the first may still believe");
    loop {
        if let Some(next) =
            h.a.manager
                .acquire_lease("x", "m", 0, h.long())
                .await
                .unwrap()
        {
            assert!(!first.is_current(), "two lessees at once");
            drop(next);
            return;
        }
        h.sleep(h.short() / 100).await;
    }
}

/// A release by anyone but the granting handle is a break.
pub async fn broken_term_waited_out_after_a_proxys_release(h: Harness) {
    let first = h.a.take("x", h.short()).await;
    let proxy = h.b.manager.get_lease("x").await.unwrap().expect("held");
    proxy.release().await.unwrap();
    let status = h.a.manager.status("x").await.unwrap().unwrap();
    assert!(!status.is_held() && !status.is_vacant());
    loop {
        if let Some(next) =
            h.b.manager
                .acquire_lease("x", "m", 0, h.long())
                .await
                .unwrap()
        {
            assert!(!first.is_current(), "two lessees at once");
            drop(next);
            return;
        }
        h.sleep(h.short() / 100).await;
    }
}

/// An explicit, audited `assume_dead` skips the wait for the one grant it replaces.
pub async fn broken_term_waited_out_unless_assumed_dead(h: Harness) {
    let first = h.a.take("x", h.long()).await;
    let dead = Displace::index(first.index()).assume_dead("power cut");
    let request = Request::new("x", h.long());
    let second = h.b.manager.steal(request, dead).await.unwrap();
    assert!(second.is_current());
    assert!(second.fence() > first.fence());
    assert_eq!(second.ended().unwrap().reason.as_deref(), Some("power cut"));
    let dead = Displace::index(second.index()).assume_dead("power cut");
    h.a.manager.break_lease("x", dead).await.unwrap();
    drop(h.a.take("x", h.long()).await);
}

/// A steal of progress it did not see is refused.
pub async fn broken_term_steal_names_the_index_it_saw(h: Harness) {
    let mut lease = h.a.take("x", h.long()).await;
    let old = lease.index();
    lease.renew(h.long()).await.unwrap();
    let manager = &h.b.manager;
    for index in [old, lease.index() + 1, 0, 1] {
        let refused = manager.steal_lease("x", "thief", 0, h.long(), index).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Changed, "{index}");
        let refused = manager.break_lease("x", Displace::index(index)).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Changed, "{index}");
    }
    lease.renew(h.long()).await.unwrap();
    assert!(lease.is_current());
    lease.release().await.unwrap();
    let refused = manager.steal_lease("x", "thief", 0, h.long(), old).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Gone);
    let refused = manager.steal_lease("never", "thief", 0, h.long(), 1).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Gone);
    drop(h.a.take("short", h.short()).await);
    let index = manager.status("short").await.unwrap().unwrap().index();
    h.until_vacant(manager, "short").await;
    let refused = manager
        .steal_lease("short", "thief", 0, h.long(), index)
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Expired);
}

/// `time_remaining` is an upper bound of what is left, from when the reply was received.
pub async fn waiting_from_after_the_reply(h: Harness) {
    let lease = h.a.take("x", h.short()).await;
    h.sleep(h.short() / 4).await;
    let seen = h.b.manager.get_lease("x").await.unwrap().expect("held");
    let received = h.b.door.now();
    h.b.door
        .sleep_until(received.plus(seen.time_remaining()))
        .await;
    assert!(!lease.is_current(), "whoever waited that long may go on");
    // On an observed clock the name is vacant now for exactly this observer; elsewhere for everybody.
    h.within(h.slack() + h.capabilities().granularity, "vacant", async {
        while h.b.manager.get_lease("x").await.unwrap().is_some() {
            h.sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(h.b.take("x", h.long()).await);
}

/// A claim is current only after its own renew succeeded, which keeps the fence; its release is a clean one.
pub async fn resuming_is_a_claim_on_the_fence(h: Harness) {
    let lease = h.a.take("x", h.long()).await;
    let fence = lease.fence();
    drop(lease);
    let mut claim = h.b.manager.resume("x", fence).await.unwrap();
    assert!(!claim.is_current());
    claim.renew(h.long()).await.unwrap();
    assert!(claim.is_current());
    assert_eq!(claim.fence(), fence);
    claim.release().await.unwrap();
    drop(h.a.take("x", h.long()).await);
}

/// A claim's release is clean without a renewal too: the guardian of a dead process.
pub async fn resuming_is_a_claim_whose_release_is_clean(h: Harness) {
    let lease = h.a.take("x", h.long()).await;
    let fence = lease.fence();
    drop(lease);
    h.b.manager
        .resume("x", fence)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    drop(h.b.take("x", h.long()).await);
}

/// A claim of another term is refused.
pub async fn resuming_is_a_claim_of_that_term_only(h: Harness) {
    let first = h.a.take("x", h.long()).await;
    let fence = first.fence();
    let second = steal(&h.b, "x", h.long(), first.index()).await;
    let refused = h.a.manager.resume("x", fence).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Changed);
    let fence = second.fence();
    second.release().await.unwrap();
    let refused = h.a.manager.resume("x", fence).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Gone);
    assert!(h.a.manager.resume("never", 1).await.is_err());
    // Nor does a claim revive a handle whose term the claimant took on: its index has moved.
    let mut old = h.a.take("y", h.long()).await;
    let mut claim = h.b.manager.resume("y", old.fence()).await.unwrap();
    claim.renew(h.long()).await.unwrap();
    assert_eq!(
        old.renew(h.long()).await.unwrap_err().kind(),
        ErrorKind::Changed
    );
    assert!(!old.is_current());
}

/// Who claims a thief's term inherits its wait: the claim's own renewal does not end it.
pub async fn resuming_is_a_claim_that_waits_as_its_term_does(h: Harness) {
    let c = h.client().await;
    let first = h.a.take("x", h.short()).await;
    let thief = steal(&h.b, "x", h.long(), first.index()).await;
    let fence = thief.fence();
    drop(thief);
    let mut claim = c.manager.resume("x", fence).await.unwrap();
    claim.renew(h.long()).await.unwrap();
    assert_eq!(claim.fence(), fence);
    let limit = h.short() + h.slack() + h.apart(h.short()) * 3;
    one_at_a_time(&h, &[&first, &claim], limit).await;
}
