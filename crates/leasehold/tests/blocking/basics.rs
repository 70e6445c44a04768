//! The operations by themselves.

use leasehold::blocking::Attempt;
use leasehold::{Changes, Displace, ErrorKind, Request};

use crate::{LONG, SECOND, each, memory};

#[test]
fn a_lease_is_acquired_renewed_released_and_stolen() {
    each(|one, other| {
        let mut lease = one.acquire_lease("a", "m", 3, LONG).unwrap().unwrap();
        assert!(lease.is_current() && lease.left() <= LONG && lease.period() == LONG);
        assert_eq!((lease.machine_id().as_str(), lease.version()), ("m", 3));
        assert_eq!(lease.name().as_str(), "a");
        assert!(other.acquire_lease("a", "n", 0, LONG).unwrap().is_none());

        let (index, fence) = (lease.index(), lease.fence());
        let changes = Changes::none().note(Some("renewed".into()));
        lease.renew_with(LONG * 2, changes).unwrap();
        assert!(lease.index() > index && lease.fence() == fence);
        assert!(lease.left() > LONG && lease.deadline() > lease.begin());
        let fetched = other.get_lease("a").unwrap().unwrap();
        assert!(!fetched.is_current() && fetched.fence() == fence);
        assert_eq!(fetched.note().as_deref(), Some("renewed"));

        let stolen = other.steal_lease("a", "thief", 0, SECOND, fetched.index());
        let stolen = stolen.unwrap();
        assert!(stolen.fence() > fence && !stolen.is_current());
        let error = lease.renew(LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed);
        assert!(!lease.is_current() && lease.term().check().is_err());

        let lease = one.acquire_lease("b", "m", 0, LONG).unwrap().unwrap();
        lease.release().unwrap();
        assert!(other.get_lease("b").unwrap().is_none());
        let again = other.acquire_lease("b", "n", 0, LONG).unwrap().unwrap();
        assert_eq!(again.ended().unwrap().by.as_deref(), Some("m"));
        again.release().unwrap();
    });
}

#[test]
fn what_is_held_is_seen_and_can_be_broken() {
    each(|one, other| {
        let request = Request::new("x/1", LONG).note("at work").data("10.0.0.7");
        let Attempt::Acquired(lease) = one.try_acquire(request.clone()).unwrap() else {
            panic!("it is vacant");
        };
        let Attempt::Busy(busy) = other.try_acquire(request).unwrap() else {
            panic!("it is held");
        };
        assert_eq!(
            (busy.holder(), busy.index()),
            (Some(one.machine_id()), lease.index())
        );
        assert!(busy.to_string().ends_with("(at work)"), "{busy}");
        let _second = one.acquire_lease("x/2", "m", 0, LONG).unwrap().unwrap();

        let listed: Result<Vec<_>, _> = other.list("x").unwrap().collect();
        let names: Vec<_> = listed
            .unwrap()
            .iter()
            .map(|s| s.name().to_string())
            .collect();
        assert_eq!(names, ["x/1", "x/2"]);
        assert!(other.list("x//y").is_err());

        let mut watch = other.watch("x/1").unwrap();
        let event = watch.next_within(SECOND).unwrap().unwrap();
        assert_eq!(event.status.unwrap().data(), Some(&b"10.0.0.7"[..]));
        assert!(watch.next_within(crate::MS).unwrap().is_none());
        let displace = Displace::index(lease.index()).assume_dead("a test");
        let status = one.break_lease("x/1", displace).unwrap();
        assert!(status.is_vacant());
        let event = watch.next_within(SECOND * 5).unwrap().unwrap();
        assert!(!event.status.unwrap().is_held());
        let all: Vec<_> = other.list("x").unwrap().all().collect();
        assert_eq!(all.len(), 2);
        let mut watch = other.watch_prefix("x").unwrap();
        for name in ["x/1", "x/2"] {
            let event = watch.next_within(SECOND).unwrap().unwrap();
            assert_eq!(event.name.as_str(), name);
        }
    });
}

#[test]
fn a_term_is_resumed_and_many_leases_are_renewed_at_once() {
    each(|one, other| {
        let mut leases: Vec<_> = ["r/1", "r/2", "r/3"]
            .iter()
            .map(|name| one.acquire_lease(name, "m", 0, LONG).unwrap().unwrap())
            .collect();
        let displace = Displace::index(leases[1].index()).assume_dead("a test");
        other.break_lease("r/2", displace).unwrap();
        let renewed = one.renew_all(&mut leases, LONG * 2);
        let renewed: Vec<_> = renewed.iter().map(Result::is_ok).collect();
        assert_eq!(renewed, [true, false, true]);
        assert!(leases[0].left() > LONG);

        let fence = leases[0].fence();
        let mut claim = other.resume("r/1", fence).unwrap();
        assert!(!claim.is_current());
        claim.renew(LONG).unwrap();
        assert!(claim.is_current() && claim.fence() == fence);
        claim.release().unwrap();
        assert!(other.status("r/1").unwrap().unwrap().is_vacant());
        assert!(other.status("r/9").unwrap().is_none());
    });
}

#[test]
fn a_lease_is_kept_alive_and_given_back_as_it_is() {
    let leases = memory();
    let lease = leases.acquire_lease("k", "m", 0, SECOND).unwrap().unwrap();
    let (term, fence) = (lease.term(), lease.fence());
    drop(term);
    let held = lease.keep_alive(leasehold::KeepAlive::new().period(LONG));
    held.renew(LONG).unwrap();
    let changes = Changes::none().data(Some("new".into()));
    held.renew_with(LONG * 2, changes).unwrap();
    assert!(held.check().is_ok() && held.fence() == fence && held.name().as_str() == "k");
    assert!(held.lost_within(crate::MS).is_none());
    let lease = held.into_lease().unwrap();
    assert!(lease.is_current() && lease.data().as_deref() == Some(&b"new"[..]));
    lease.release().unwrap();
}

#[test]
fn a_listing_ends_after_an_error() {
    let leases = memory();
    leases.shutdown(SECOND).unwrap();
    let listed: Vec<_> = leases.list("").unwrap().take(3).collect();
    assert_eq!(listed.len(), 1);
    let error = listed[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn what_is_no_url_or_not_to_be_opened_is_an_error() {
    for (url, kind) in [
        ("nothing", ErrorKind::InvalidInput),
        ("sqlite:", ErrorKind::InvalidInput),
    ] {
        let error = leasehold::blocking::open(url).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}");
    }
    let builder = leasehold::blocking::connect("memory:").unwrap();
    let error = builder.machine_id("").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let leases = memory();
    assert!(leases.lock("bad//name").try_acquire().is_err());
    assert_eq!(leases.location(), "memory:");
    assert!(leases.capabilities().batch > 1);
}
