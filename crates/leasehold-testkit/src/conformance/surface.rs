//! The origin's nine operations, and what goes beyond.

use std::time::Duration;

use leasehold_core::{Attempt, Displace, EndedHow, ErrorKind, Request};

use crate::harness::Harness;

/// The origin's operations, by their names: get, acquire, steal, renew, release, and the cached values.
pub async fn surface_the_nine_operations(h: Harness) {
    let (a, b, period) = (&h.a.manager, &h.b.manager, h.long());
    assert!(a.get_lease("jobs/x").await.unwrap().is_none());
    let mut lease = a
        .acquire_lease("jobs/x", "m-1", -7, period)
        .await
        .unwrap()
        .expect("free");
    assert!(lease.is_current());
    assert_eq!((&*lease.machine_id(), lease.version()), ("m-1", -7));
    assert!(
        b.acquire_lease("jobs/x", "m-2", 0, period)
            .await
            .unwrap()
            .is_none()
    );
    let seen = b.get_lease("jobs/x").await.unwrap().expect("held");
    assert_eq!((&*seen.machine_id(), seen.version()), ("m-1", -7));
    assert_eq!((seen.index(), seen.fence()), (lease.index(), lease.fence()));
    assert!(!seen.is_current(), "a proxy never believes");
    assert!(seen.time_remaining() <= period + h.apart(period) + Duration::from_micros(1));
    assert!(seen.time_remaining() + h.slack() + h.apart(period) >= period);
    lease.renew(period).await.unwrap();
    let stale = b
        .steal_lease("jobs/x", "m-2", 0, period, seen.index())
        .await;
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Changed);
    let index = lease.index();
    let thief = b
        .steal_lease("jobs/x", "m-2", 1, period, index)
        .await
        .unwrap();
    assert_eq!((&*thief.machine_id(), thief.version()), ("m-2", 1));
    assert_eq!(
        lease.renew(period).await.unwrap_err().kind(),
        ErrorKind::Changed
    );
    assert!(!lease.is_current());
    thief.release().await.unwrap();
    assert!(a.get_lease("jobs/x").await.unwrap().is_none());
    let gone = b.steal_lease("jobs/x", "m-2", 1, period, index).await;
    assert!(gone.unwrap_err().is_lost());
}

/// Busy says by whom, since when, until when, with which note, from the same attempt and with no second round trip.
pub async fn surface_busy_tells_who_holds(h: Harness) {
    let request = Request::new("x", h.long())
        .machine_id("holder")
        .note("until the backup is done")
        .data("10.0.0.7");
    let Attempt::Acquired(lease) = h.a.manager.try_acquire(request).await.unwrap() else {
        panic!("free");
    };
    let Attempt::Busy(busy) =
        h.b.manager
            .try_acquire(Request::new("x", h.long()))
            .await
            .unwrap()
    else {
        panic!("held");
    };
    assert_eq!(busy.holder(), Some("holder"));
    assert_eq!(busy.note(), Some("until the backup is done"));
    assert_eq!(busy.index(), lease.index());
    assert!(busy.since().is_some());
    assert!(busy.left().is_some_and(|left| left > Duration::ZERO));
    assert_eq!(busy.status().data(), Some(&b"10.0.0.7"[..]));
    assert!(busy.to_string().contains("holder"), "{busy}");
    assert_eq!(h.b.faulty.requests().len(), 1, "no second round trip");
}

/// A renewal leaves the record's note and data alone unless it changes them.
pub async fn surface_renewals_keep_or_change_note_and_data(h: Harness) {
    use leasehold_core::Changes;
    let request = Request::new("x", h.long()).note("one").data("1");
    let Attempt::Acquired(mut lease) = h.a.manager.try_acquire(request).await.unwrap() else {
        panic!("free");
    };
    let seen = async || {
        let status = h.b.manager.status("x").await.unwrap().unwrap();
        (
            status.note().map(str::to_owned),
            status.data().map(<[u8]>::to_vec),
        )
    };
    lease.renew(h.long()).await.unwrap();
    assert_eq!(seen().await, (Some("one".into()), Some(b"1".to_vec())));
    let changes = Changes::none().note(Some("two".into())).data(None);
    lease.renew_with(h.long(), changes).await.unwrap();
    assert_eq!(seen().await, (Some("two".into()), None));
    assert_eq!(lease.note().as_deref(), Some("two"));
    lease.renew(h.long()).await.unwrap();
    assert_eq!(seen().await, (Some("two".into()), None));
}

/// How a term ended is told to the next one: released, stolen, broken with its reason, expired.
pub async fn surface_how_a_term_ended_is_told(h: Harness) {
    let lease = h.a.take("x", h.long()).await;
    let fence = lease.fence();
    let id = lease.machine_id();
    lease.release().await.unwrap();
    let lease = h.b.take("x", h.long()).await;
    let ended = lease.ended().expect("known");
    assert_eq!((ended.how, ended.fence), (EndedHow::Released, Some(fence)));
    assert_eq!(ended.by, Some(id));
    let index = lease.index();
    let thief =
        h.a.manager
            .steal_lease("x", "thief", 0, h.short(), index)
            .await
            .unwrap();
    let ended = thief.ended().expect("known");
    assert_eq!(
        (ended.how, ended.by.as_deref()),
        (EndedHow::Stolen, Some("thief"))
    );
    let displace = Displace::index(thief.index()).assume_dead("its machine burnt down");
    let status = h.b.manager.break_lease("x", displace).await.unwrap();
    let ended = status.ended().expect("known");
    assert_eq!(ended.how, EndedHow::Broken);
    assert_eq!(ended.reason.as_deref(), Some("its machine burnt down"));
    assert_eq!(ended.fence, Some(thief.fence()));
    if h.capabilities().ends_known {
        let lease = h.a.take("y", h.short()).await;
        h.until_vacant(&h.b.manager, "y").await;
        let next = h.b.take("y", h.long()).await;
        let ended = next.ended().expect("known");
        assert_eq!(
            (ended.how, ended.fence),
            (EndedHow::Expired, Some(lease.fence()))
        );
    }
}

/// Many leases of one manager are renewed in one go; one that fails touches no other.
pub async fn surface_many_renewals_are_one_request_and_fail_alone(h: Harness) {
    let mut leases = Vec::new();
    for i in 0..20 {
        leases.push(h.a.take(&format!("x/{i}"), h.long()).await);
    }
    let stolen = leases[7].index();
    drop(
        h.b.manager
            .steal_lease("x/7", "thief", 0, h.long(), stolen)
            .await
            .unwrap(),
    );
    let before = h.a.faulty.requests().len();
    let results = h.a.manager.renew_all(leases.iter_mut(), h.long()).await;
    let requests = h.a.faulty.requests().len() - before;
    let batch = h.capabilities().batch.max(1);
    assert!(
        requests <= 20_usize.div_ceil(batch),
        "{requests} requests of {batch}"
    );
    for (i, result) in results.iter().enumerate() {
        if i == 7 {
            assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::Changed);
            assert!(!leases[i].is_current());
        } else {
            result.as_ref().unwrap();
            assert!(leases[i].is_current());
        }
    }
}

/// After a shutdown nothing new is done, and what was outstanding is settled.
pub async fn surface_shutdown_refuses_new_operations(h: Harness) {
    let client = h.client().await;
    let lease = client.take("x", h.long()).await;
    client
        .manager
        .shutdown(Duration::from_secs(5))
        .await
        .unwrap();
    let refused = client.manager.acquire_lease("y", "m", 0, h.long()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(client.manager.get_lease("x").await.is_err());
    // Still held: it runs out by itself.
    assert!(h.a.manager.get_lease("x").await.unwrap().is_some());
    assert!(lease.is_current());
}

/// A list covers whole segments (`a` is `a` and `a/..`), in the order of the names' bytes, held leases only.
pub async fn surface_a_prefix_is_whole_segments(h: Harness) {
    let names = ["a", "a!", "a/b", "a/b/c", "a0", "ab", "b", "a/z"];
    for name in names {
        drop(h.a.take(name, h.long()).await);
    }
    h.a.take("a/gone", h.long()).await.release().await.unwrap();
    let list = async |prefix: &str, all: bool| {
        let listing = h.b.manager.list(prefix).unwrap();
        let listing = if all { listing.all() } else { listing };
        let found = listing.collect().await.unwrap();
        let found: Vec<String> = found.iter().map(|s| s.name().as_str().to_owned()).collect();
        found
    };
    assert_eq!(list("a", false).await, ["a", "a/b", "a/b/c", "a/z"]);
    assert_eq!(
        list("a", true).await,
        ["a", "a/b", "a/b/c", "a/gone", "a/z"]
    );
    assert_eq!(list("a/b", false).await, ["a/b", "a/b/c"]);
    let mut all = names.to_vec();
    all.sort_unstable();
    assert_eq!(list("", false).await, all);
}

/// A listing of more than a page is complete.
pub async fn surface_a_long_listing_is_complete(h: Harness) {
    let count = if h.is_simulated() { 2500 } else { 1200 };
    let takes = (0..count).map(|i| {
        let manager = &h.a.manager;
        let period = h.long();
        async move {
            let name = format!("many/{i:05}");
            drop(
                manager
                    .acquire_lease(name, "m", 0, period)
                    .await
                    .unwrap()
                    .expect("free"),
            );
        }
    });
    futures_util::future::join_all(takes).await;
    let listed = h.b.manager.list("many").unwrap().collect().await.unwrap();
    assert_eq!(listed.len(), count);
    assert!(
        listed
            .windows(2)
            .all(|pair| pair[0].name() < pair[1].name())
    );
}
