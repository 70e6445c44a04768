//! One of many leads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use leasehold::Displace;
use leasehold::blocking::{Stop, Term};

use crate::{LONG, MS, SECOND, each, memory, sleep, soon};

fn until_told(term: &Term) {
    while !term.ending_within(MS * 20) {
        term.check().unwrap();
    }
}

#[test]
fn who_is_told_to_stop_releases_at_once_and_the_next_leads() {
    each(|one, other| {
        let (stop_one, stop_other) = (Stop::new(), Stop::new());
        let (first, second) = (
            one.election("a").period(LONG).data("one"),
            other.election("a").period(LONG).data("other"),
        );
        assert!(!first.is_leader() && first.term().is_none());
        let mut watch = other.election("a").observe().unwrap();
        std::thread::scope(|scope| {
            let one = scope.spawn(|| first.lead_until(&stop_one, |term| until_told(&term)));
            soon("it leads", || first.is_leader());
            let other = scope.spawn(|| second.lead_until(&stop_other, |term| until_told(&term)));
            sleep(MS * 100);
            assert!(first.is_leader() && !second.is_leader());
            stop_one.stop();
            one.join().unwrap().unwrap();
            assert!(!first.is_leader());
            soon("the other leads", || second.is_leader());
            assert!(second.term().unwrap().fence() > first.term().unwrap().fence());
            soon("it is seen", || {
                let event = watch.next_within(SECOND).unwrap();
                let status = event.and_then(|event| event.status);
                status.is_some_and(|status| status.data() == Some(b"other"))
            });
            stop_other.stop();
            other.join().unwrap().unwrap();
        });
        let resigned = one.election("a").period(LONG).campaign().unwrap();
        resigned.release().unwrap();
    });
}

#[test]
fn work_that_has_returned_leads_again() {
    let leases = memory();
    let (stop, mut fences) = (Stop::new(), Vec::new());
    let election = leases.election("a").period(LONG);
    election
        .lead_until(&stop, |term| {
            fences.push(term.fence());
            if fences.len() == 3 {
                stop.stop();
            }
        })
        .unwrap();
    assert!(fences.len() == 3 && fences.is_sorted());
    // Who was told before does not lead.
    election
        .lead_until(&stop, |_| panic!("it was told to stop"))
        .unwrap();
    assert!(leases.status("a").unwrap().unwrap().is_vacant());
}

#[test]
fn no_campaign_begins_while_the_work_of_a_lost_term_goes_on() {
    each(|one, other| {
        let (stop, mut terms) = (Stop::new(), 0);
        let election = one.election("a").period(SECOND);
        election
            .lead_until(&stop, |term| {
                terms += 1;
                if terms == 2 {
                    return stop.stop();
                }
                soon("broken", || {
                    let index = term.index();
                    other.break_lease("a", Displace::index(index)).is_ok()
                });
                assert!(term.lost_within(SECOND * 10).is_some());
                soon("vacant", || other.status("a").unwrap().unwrap().is_vacant());
                sleep(SECOND);
                let status = other.status("a").unwrap().unwrap();
                assert!(status.is_vacant() && !election.is_leader());
            })
            .unwrap();
        assert_eq!(terms, 2);
    });
}

#[test]
fn the_lease_of_work_that_does_not_stop_in_time_runs_out() {
    let leases = memory();
    let stop = Stop::new();
    let election = leases.election("a").period(SECOND * 2).wind_down(MS * 200);
    let led = election.lead_until(&stop, |term| {
        stop.stop();
        assert!(term.ending_within(SECOND * 10) && term.is_current());
        // Renewed until its time to stop is over, and never released.
        assert!(term.lost_within(SECOND * 10).is_some());
        sleep(MS * 100);
        let status = leases.status("a").unwrap().unwrap();
        assert!(status.machine_id().is_some() && status.is_vacant());
    });
    led.unwrap();
}

#[test]
fn work_that_panics_leads_no_more() {
    each(|one, other| {
        let (tell, told) = mpsc::channel();
        let election = one.election("a").period(LONG);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            election.lead_until(&Stop::new(), |term| {
                tell.send(term.fence()).unwrap();
                std::panic::resume_unwind(Box::new("as intended"));
            })
        }));
        assert!(panicked.is_err());
        let next = other.lock("a").period(LONG).acquire_within(SECOND * 10);
        let next = crate::held(next.unwrap());
        assert!(next.fence() > told.recv().unwrap() && !election.is_leader());
        next.release().unwrap();
    });
}
