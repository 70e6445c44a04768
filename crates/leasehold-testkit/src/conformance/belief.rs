//! The lessee stops first; belief never resumes; belief belongs to handles.

use std::time::Duration;

use leasehold_core::{BootInstant, ErrorKind};

use crate::faulty::Fault;
use crate::harness::Harness;

/// The latest deadline that the contract allows a grant that was first sent at `sent`.
fn latest(h: &Harness, sent: BootInstant, period: Duration) -> BootInstant {
    sent.plus(period).minus(h.capabilities().margin(period))
}

/// Belief belongs to handles, never to machine ids: the same id elsewhere is somebody else.
pub async fn one_lessee_is_a_handle_never_a_machine_id(h: Harness) {
    let lease =
        h.a.manager
            .acquire_lease("x", "same", 0, h.long())
            .await
            .unwrap()
            .expect("free");
    assert!(
        h.b.manager
            .acquire_lease("x", "same", 0, h.long())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        h.a.manager
            .acquire_lease("x", "same", 0, h.long())
            .await
            .unwrap()
            .is_none()
    );
    let mut proxy = h.b.manager.get_lease("x").await.unwrap().expect("held");
    assert!(!proxy.is_current());
    assert_eq!(
        (proxy.begin(), proxy.deadline(), proxy.left()),
        (None, None, Duration::ZERO)
    );
    proxy.renew(h.long()).await.unwrap();
    assert!(
        !proxy.is_current(),
        "a proxy never believes, whatever it renews"
    );
    drop(lease);
}

/// `begin` is read after the success is known, `deadline` is counted from before it was asked for.
pub async fn lessee_stops_first_deadline_counts_from_the_send(h: Harness) {
    let delay = h.short() / 4;
    h.a.faulty.then(Fault::DelayReply(delay));
    let before = h.now();
    let mut lease = h.a.take("x", h.long()).await;
    let after = h.now();
    assert!(after >= before.plus(delay));
    assert!(lease.begin().unwrap() >= before.plus(delay));
    assert!(lease.begin().unwrap() <= after);
    // The send came no later than that long before the reply.
    let latest_send = after.minus(delay);
    assert!(lease.deadline().unwrap() <= latest(&h, latest_send, h.long()));
    assert!(lease.deadline().unwrap() >= latest(&h, before, h.long()));

    let begin = lease.begin();
    h.a.faulty.then(Fault::DelayReply(delay));
    let before = h.now();
    lease.renew(h.long()).await.unwrap();
    let latest_send = h.now().minus(delay);
    assert!(lease.deadline().unwrap() <= latest(&h, latest_send, h.long()));
    assert!(lease.deadline().unwrap() >= latest(&h, before, h.long()));
    assert_eq!(lease.begin(), begin, "one term, one begin");
}

/// `is_current()` is computed at the call from the clock: it turns false at the deadline by itself.
pub async fn lessee_stops_first_at_its_deadline(h: Harness) {
    let lease = h.a.take("x", h.short()).await;
    let (term, deadline) = (lease.term(), lease.deadline().unwrap());
    assert!(lease.is_current() && term.is_current());
    h.a.door.sleep_until(deadline).await;
    assert!(!lease.is_current() && !term.is_current());
    assert_eq!(lease.left(), Duration::ZERO);
}

/// A holder has stopped whenever another can begin, however their clocks drift.
pub async fn lessee_stops_first_whoever_is_next(h: Harness) {
    for round in 0..if h.is_simulated() { 10 } else { 2 } {
        let (one, two) = if round % 2 == 0 {
            (&h.a, &h.b)
        } else {
            (&h.b, &h.a)
        };
        let lease = one.take("x", h.short()).await;
        loop {
            let next = two
                .manager
                .acquire_lease("x", "next", 0, h.short())
                .await
                .unwrap();
            if let Some(next) = next {
                assert!(!lease.is_current(), "two lessees at once");
                next.release().await.unwrap();
                break;
            }
            h.sleep(h.short() / 200).await;
        }
    }
}

/// At the deadline the term is over for its handle: it cannot be renewed any more, though the record may still stand.
pub async fn belief_never_resumes_after_the_deadline(h: Harness) {
    let mut lease = h.a.take("x", h.short()).await;
    h.a.door.sleep_until(lease.deadline().unwrap()).await;
    let error = lease.renew(h.long()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert!(!lease.is_current());
    assert!(lease.release().await.is_err() || h.a.manager.get_lease("x").await.unwrap().is_none());
}

/// A success learnt after the deadline is released, not used.
pub async fn belief_never_resumes_by_a_late_success(h: Harness) {
    let mut lease = h.a.take("x", h.short()).await;
    let (term, deadline) = (lease.term(), lease.deadline().unwrap());
    h.a.faulty.always(Some(Fault::HangApplied));
    let error = lease.renew(h.long()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(
        h.now() <= deadline.plus(h.slack()),
        "the caller is answered by the deadline"
    );
    h.a.door.sleep_until(deadline).await;
    assert!(!term.is_current());
    // It was applied: the name is taken for long.
    assert!(h.b.manager.get_lease("x").await.unwrap().is_some());
    h.a.faulty.always(None);
    h.within(
        h.slack() + Duration::from_secs(20),
        "the late success is released",
        async {
            while h.b.manager.get_lease("x").await.unwrap().is_some() {
                assert!(!term.is_current());
                h.sleep(Duration::from_millis(20)).await;
            }
        },
    )
    .await;
    assert!(!term.is_current());
    drop(h.b.take("x", h.long()).await);
}

/// A grant whose success is learnt after its own deadline is given back.
pub async fn belief_never_begins_by_a_late_success(h: Harness) {
    h.a.faulty.always(Some(Fault::HangApplied));
    let manager = h.a.manager_with(h.short() / 2);
    let error = manager
        .acquire_lease("x", "m", 0, h.long())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    h.a.faulty.always(None);
    h.within(
        h.slack() + Duration::from_secs(20),
        "it is released",
        async {
            while h.b.manager.get_lease("x").await.unwrap().is_some() {
                h.sleep(Duration::from_millis(20)).await;
            }
        },
    )
    .await;
}

/// A release ends belief before it is sent.
pub async fn lessee_stops_first_before_its_release_is_sent(h: Harness) {
    let lease = h.a.take("x", h.long()).await;
    let term = lease.term();
    h.a.faulty.then(Fault::DelaySend(h.short() / 4));
    let mut release = Box::pin(lease.release());
    let first = futures_util::poll!(release.as_mut());
    assert!(first.is_pending());
    assert!(
        !term.is_current(),
        "belief must end before the release is sent"
    );
    assert!(h.b.manager.get_lease("x").await.unwrap().is_some());
    release.await.unwrap();
    drop(h.b.take("x", h.long()).await);
}

/// While a renew is unresolved the deadline is the smaller of old and new, and that is never undone.
pub async fn lessee_stops_first_by_an_unresolved_shorter_renewal(h: Harness) {
    let mut lease = h.a.take("x", h.long()).await;
    let term = lease.term();
    h.a.faulty.always(Some(Fault::Hang));
    let before = h.now();
    {
        let mut renew = Box::pin(lease.renew(h.short()));
        assert!(futures_util::poll!(renew.as_mut()).is_pending());
        assert!(term.deadline().unwrap() <= latest(&h, h.now(), h.short()));
        assert!(term.deadline().unwrap() >= latest(&h, before, h.short()));
        let error = renew.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    }
    let deadline = term.deadline().unwrap();
    h.a.door.sleep_until(deadline).await;
    h.a.faulty.always(None);
    assert!(!lease.is_current());
    h.sleep(h.short() / 10).await;
    assert_eq!(term.deadline(), Some(deadline), "never undone");
    assert!(!term.is_current());
}

/// A renewal that was certainly not applied leaves the lease as it is, but for the smaller deadline.
pub async fn lessee_stops_first_failed_renewal_keeps_the_lease(h: Harness) {
    let mut lease = h.a.take("x", h.long()).await;
    let deadline = lease.deadline().unwrap();
    h.a.faulty.then(Fault::Refuse);
    let error = lease.renew(h.long() * 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(lease.is_current());
    assert_eq!(lease.deadline(), Some(deadline));
    lease.renew(h.long()).await.unwrap();
    assert!(lease.is_current());
}

/// A renewal or release of a lease that has changed since is refused, and touches nothing.
pub async fn one_lessee_renew_and_release_name_their_index(h: Harness) {
    let mut lease = h.a.take("x", h.long()).await;
    let other = h.a.take("y", h.long()).await;
    let thief =
        h.b.manager
            .steal_lease("x", "thief", 0, h.long(), lease.index())
            .await
            .unwrap();
    assert_eq!(
        lease.renew(h.long()).await.unwrap_err().kind(),
        ErrorKind::Changed
    );
    assert!(!lease.is_current());
    drop(
        h.b.manager
            .steal_lease("y", "thief", 0, h.long(), other.index())
            .await
            .unwrap(),
    );
    assert_eq!(
        other.release().await.unwrap_err().kind(),
        ErrorKind::Changed
    );
    for name in ["x", "y"] {
        let status = h.a.manager.status(name).await.unwrap().unwrap();
        assert_eq!(status.machine_id(), Some("thief"), "{name}");
    }
    assert_eq!(
        h.a.manager.status("x").await.unwrap().unwrap().index(),
        thief.index()
    );
}
