//! Not early, and vacancy is prompt.

use std::time::Duration;

use leasehold_core::{Attempt, Displace, ErrorKind, KeepAlive, LockAttempt, Request};

use crate::faulty::Fault;
use crate::harness::{Client, Harness};

/// Acquires as soon as it can be had; by that client's clock.
async fn first_chance(
    client: &Client,
    name: &str,
    period: Duration,
    every: Duration,
) -> leasehold_core::Lease {
    loop {
        let id = client.manager.machine_id().to_owned();
        if let Some(lease) = client
            .manager
            .acquire_lease(name, id, 0, period)
            .await
            .unwrap()
        {
            return lease;
        }
        client.door.sleep_until(client.door.now().plus(every)).await;
    }
}

/// A name is not vacant sooner than the granted period after the registry applied the last grant.
pub async fn not_early_after_a_grant_or_renewal(h: Harness) {
    for renewals in 0..2 {
        let name = format!("x{renewals}");
        let mut lease = h.a.take(&name, h.short()).await;
        for _ in 0..renewals {
            h.sleep(h.short() / 3).await;
            lease.renew(h.short()).await.unwrap();
        }
        // Applied no later than now; the other's clock decides where expiry is observed.
        let (applied, applied_b) = (h.now(), h.b.door.now());
        let next = first_chance(&h.b, &name, h.long(), h.short() / 200).await;
        assert!(!lease.is_current());
        let took = h.now().since(applied) + h.apart(h.short());
        let took_b = h.b.door.now().since(applied_b) + h.apart(h.short());
        // One round trip may have passed between the application and this reading.
        assert!(took + h.slack().min(h.short() / 4) >= h.short(), "{took:?}");
        assert!(
            took_b + h.slack().min(h.short() / 4) >= h.short(),
            "{took_b:?}"
        );
        drop(next);
    }
}

/// A fetched lease that is renewed for a shorter while does not cut the granting handle's term short.
pub async fn not_early_by_a_proxys_shorter_renewal(h: Harness) {
    let lease = h.a.take("x", h.short() * 4).await;
    let mut proxy = h.b.manager.get_lease("x").await.unwrap().expect("held");
    proxy.renew(h.short() / 2).await.unwrap();
    proxy.renew(h.short() / 2).await.unwrap();
    let next = first_chance(&h.b, "x", h.long(), h.short() / 100).await;
    assert!(!lease.is_current(), "two lessees at once");
    drop(next);
}

/// After an end that was not clean the name stays taken for the delay, too: after the expiry of a grant or a renewal, after a
/// break, and after a release through a fetched lease. Nobody believes meanwhile, a thief neither.
pub async fn not_early_a_delay_follows_an_end_that_was_not_clean(h: Harness) {
    let delay = h.short();
    for how in ["expired", "renewed", "broken", "by a proxy", "stolen"] {
        let name = how.replace(' ', "-");
        let request = Request::new(&*name, h.short()).delay(delay);
        let Attempt::Acquired(mut lease) = h.a.manager.try_acquire(request).await.unwrap() else {
            panic!("nobody holds it");
        };
        if how == "renewed" {
            h.sleep(h.short() / 3).await;
            lease.renew(h.short()).await.unwrap();
        }
        let (applied, applied_b) = (h.now(), h.b.door.now());
        let deadline = lease.deadline().unwrap();
        assert!(
            deadline.since(applied) <= h.short(),
            "the delay is no part of the grant"
        );
        match how {
            "broken" => {
                let displace = Displace::index(lease.index());
                drop(h.b.manager.break_lease(&*name, displace).await.unwrap());
            }
            "by a proxy" => {
                let proxy = h.b.manager.get_lease(&*name).await.unwrap();
                proxy.unwrap().release().await.unwrap();
            }
            _ => {}
        }
        let next = if how == "stolen" {
            let period = h.long();
            let thief =
                h.b.manager
                    .steal_lease(&*name, "b", 0, period, lease.index());
            let thief = thief.await.unwrap();
            h.b.door.sleep_until(thief.begin().unwrap()).await;
            thief
        } else {
            first_chance(&h.b, &name, h.long(), h.short() / 200).await
        };
        assert!(!lease.is_current());
        let least = h.short() + delay;
        let took = h.now().since(applied) + h.apart(least);
        let took_b = h.b.door.now().since(applied_b) + h.apart(least);
        let trip = h.slack().min(h.short() / 4);
        assert!(took + trip >= least, "{how}: {took:?}");
        assert!(took_b + trip >= least, "{how}: {took_b:?}");
        assert!(next.is_current(), "{how}");
    }
}

/// A clean release makes the name vacant at once, whatever the delay after other ends; also one that was renewed, or claimed.
pub async fn vacancy_is_prompt_after_a_release_whatever_the_delay(h: Harness) {
    let request = Request::new("x", h.long()).delay(h.long());
    for how in 0..3 {
        let attempt = h.a.manager.try_acquire(request.clone()).await.unwrap();
        let Attempt::Acquired(mut lease) = attempt else {
            panic!("nobody holds it");
        };
        match how {
            0 => {}
            1 => lease.renew(h.long()).await.unwrap(),
            _ => {
                let fence = lease.fence();
                lease = h.a.manager.resume("x", fence).await.unwrap();
                lease.renew(h.long()).await.unwrap();
            }
        }
        lease.release().await.unwrap();
        let next = h.b.take("x", h.long()).await;
        next.release().await.unwrap();
    }
}

/// After a crash the name is vacant within what was left and the declared granularity; on an observed clock within one
/// full period from the waiter's first sight.
pub async fn vacancy_is_prompt_after_a_crash(h: Harness) {
    drop(h.a.take("x", h.short()).await);
    let start = h.b.door.now();
    let next = first_chance(&h.b, "x", h.long(), h.short() / 200).await;
    let took = h.b.door.now().since(start);
    let most =
        h.short() + h.capabilities().granularity + h.short() / 100 + h.slack() + h.apart(h.short());
    assert!(took <= most, "{took:?} > {most:?}");
    drop(next);
}

/// After a release the name is vacant at once.
pub async fn vacancy_is_prompt_after_a_release(h: Harness) {
    for _ in 0..10 {
        let lease = h.a.take("x", h.long()).await;
        lease.release().await.unwrap();
        let lease = h.b.take("x", h.long()).await;
        lease.release().await.unwrap();
    }
}

/// After a release waiters know within the notification time.
pub async fn vacancy_is_prompt_for_a_waiting_lock(h: Harness) {
    let lease = h.a.take("x", h.long()).await;
    let lock = h.b.manager.lock("x").period(h.long());
    let wait = async {
        let held = lock.acquire().await.unwrap();
        (h.b.door.now(), held)
    };
    let release = async {
        h.sleep(h.short() / 10).await;
        lease.release().await.unwrap();
        h.b.door.now()
    };
    let ((acquired, held), released) = h
        .within(
            h.notification() * 2 + h.short(),
            "woken",
            futures_util::future::join(wait, release),
        )
        .await;
    assert!(held.is_current());
    assert!(acquired.since(released) <= h.notification() + h.apart(h.notification()));
    held.release().await.unwrap();
}

/// A waiter gets a crashed holder's name when it has run out, without anybody telling it.
pub async fn vacancy_is_prompt_for_a_lock_after_a_crash(h: Harness) {
    drop(h.a.take("x", h.short()).await);
    let start = h.b.door.now();
    let lock = h.b.manager.lock("x").period(h.long());
    let held = h
        .within(h.short() * 2 + h.slack(), "acquired", lock.acquire())
        .await
        .unwrap();
    let took = h.b.door.now().since(start);
    assert!(
        took <= h.short() + h.capabilities().granularity + h.slack() + h.apart(h.short()),
        "{took:?}"
    );
    held.release().await.unwrap();
}

/// A lock that cannot be had within the limit says who holds it.
pub async fn vacancy_lock_times_out_with_who_holds_it(h: Harness) {
    let lease = h.a.take("x", h.long()).await;
    let lock = h.b.manager.lock("x").period(h.long());
    let start = h.b.door.now();
    let limit = h.short() / 4;
    let LockAttempt::Busy(busy) = lock.acquire_within(limit).await.unwrap() else {
        panic!("it is held");
    };
    let took = h.b.door.now().since(start);
    assert!(took >= limit && took <= limit + h.slack(), "{took:?}");
    assert_eq!(busy.holder(), Some(&*lease.machine_id()));
}

/// A held lease is renewed in the background for longer than its period.
pub async fn keep_alive_renews(h: Harness) {
    let held = h.a.take("x", h.short()).await.keep_alive(KeepAlive::new());
    let fence = held.fence();
    for _ in 0..10 {
        h.sleep(h.short() * 3 / 10).await;
        assert!(held.is_current());
        held.check().unwrap();
        assert_eq!(held.fence(), fence);
    }
    assert!(
        h.b.manager
            .acquire_lease("x", "m", 0, h.long())
            .await
            .unwrap()
            .is_none()
    );
    held.release().await.unwrap();
    drop(h.b.take("x", h.long()).await);
}

/// Another period than the lease was granted with, however long, does not lose it before the first renewal.
pub async fn keep_alive_renews_in_time_to_a_longer_period(h: Harness) {
    let held =
        h.a.take("x", h.short())
            .await
            .keep_alive(KeepAlive::new().period(h.short() * 20));
    h.sleep(h.short() * 2).await;
    held.check().unwrap();
    held.release().await.unwrap();
}

/// One failed renewal ends nothing: it is tried again before the deadline.
pub async fn keep_alive_tries_again_after_failures(h: Harness) {
    let held = h.a.take("x", h.short()).await.keep_alive(KeepAlive::new());
    for fault in [Fault::Refuse, Fault::Lose, Fault::LoseReply, Fault::Refuse] {
        h.a.faulty.then(fault);
    }
    for _ in 0..10 {
        h.sleep(h.short() * 3 / 10).await;
        held.check().unwrap();
    }
    held.release().await.unwrap();
}

/// Loss is signalled at once when the registry says so.
pub async fn keep_alive_loss_is_signalled_when_stolen(h: Harness) {
    let held = h.a.take("x", h.short()).await.keep_alive(KeepAlive::new());
    let index =
        h.b.manager
            .get_lease("x")
            .await
            .unwrap()
            .expect("held")
            .index();
    drop(
        h.b.manager
            .steal_lease("x", "thief", 0, h.long(), index)
            .await
            .unwrap(),
    );
    let deadline = held.deadline().unwrap();
    let error = h.within(h.short() + h.slack(), "lost", held.lost()).await;
    assert_eq!(error.kind(), ErrorKind::Changed);
    assert!(
        h.now() < deadline,
        "at the next renewal, not at the deadline"
    );
    assert!(!held.is_current());
    assert_eq!(held.check().unwrap_err().kind(), ErrorKind::Changed);
    assert!(held.release().await.is_err());
}

/// Loss is signalled by the deadline when the registry hangs: a hung call never leaves a lease current.
pub async fn keep_alive_loss_is_signalled_at_the_deadline(h: Harness) {
    let held = h.a.take("x", h.short()).await.keep_alive(KeepAlive::new());
    h.a.faulty.always(Some(Fault::Hang));
    let error = h
        .within(h.short() * 2 + h.slack(), "lost", held.lost())
        .await;
    assert!(error.is_lost());
    let deadline = held.deadline().unwrap();
    assert!(h.now() >= deadline && h.now() <= deadline.plus(h.slack()));
    assert!(!held.is_current());
    h.a.faulty.always(None);
}

/// A dropped guard gives the lease back, and nothing renews it afterwards.
pub async fn keep_alive_dropped_guard_releases(h: Harness) {
    let held = h.a.take("x", h.long()).await.keep_alive(KeepAlive::new());
    drop(held);
    h.within(h.notification() + h.short(), "released", async {
        while h.b.manager.get_lease("x").await.unwrap().is_some() {
            h.sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A guard dropped while somebody still works under its term does not release under their feet: it runs out.
pub async fn keep_alive_dropped_guard_waits_for_its_term(h: Harness) {
    let held = h.a.take("x", h.short()).await.keep_alive(KeepAlive::new());
    let term = held.term();
    drop(held);
    h.sleep(h.short() / 10).await;
    assert!(term.is_current());
    assert!(h.b.manager.get_lease("x").await.unwrap().is_some());
    let next = first_chance(&h.b, "x", h.long(), h.short() / 100).await;
    assert!(!term.is_current());
    drop(next);
}

/// After its release nothing of a lease is renewed any more.
pub async fn keep_alive_ends_with_the_release(h: Harness) {
    let held = h.a.take("x", h.short()).await.keep_alive(KeepAlive::new());
    h.sleep(h.short()).await;
    held.release().await.unwrap();
    let count = h.a.faulty.sent().len();
    h.sleep(h.short() * 2).await;
    assert_eq!(h.a.faulty.sent().len(), count);
}
