//! The laws of index and fence, and belief, over random histories.

use std::time::Duration;

use leasehold_core::{Attempt, Displace, Lease, Request};

use crate::harness::{Client, Harness};

/// The index only grows: across renew, release, expiry, steal, break, and for tombstones too.
pub async fn index_only_grows_across_everything(h: Harness) {
    let mut last = 0;
    let mut grew = |index: u64, what: &str| {
        assert!(index > last, "{what}: {index} after {last}");
        assert!(index < 1 << 53);
        last = index;
    };
    let index = async || h.b.manager.status("x").await.unwrap().unwrap().index();
    for _ in 0..2 {
        let mut lease = h.a.take("x", h.long()).await;
        grew(lease.index(), "acquire");
        lease.renew(h.long()).await.unwrap();
        grew(lease.index(), "renew");
        lease.release().await.unwrap();
        grew(index().await, "release");
        let lease = h.b.take("x", h.short()).await;
        grew(lease.index(), "acquire after release");
        let thief =
            h.a.manager
                .steal_lease("x", "thief", 0, h.short(), lease.index())
                .await
                .unwrap();
        grew(thief.index(), "steal");
        h.a.manager
            .break_lease("x", Displace::index(thief.index()))
            .await
            .unwrap();
        grew(index().await, "break");
        h.until_vacant(&h.b.manager, "x").await;
        let lease = h.b.take("x", h.short()).await;
        grew(lease.index(), "acquire after break");
        h.until_vacant(&h.a.manager, "x").await;
        let lease = h.a.take("x", h.long()).await;
        grew(lease.index(), "acquire after expiry");
        lease.release().await.unwrap();
        grew(index().await, "release");
    }
}

/// The fence stays put during one term and is larger than every index and fence of all earlier terms.
pub async fn fence_is_constant_in_a_term_and_grows_between(h: Harness) {
    let mut most = 0;
    for round in 0..3 {
        let mut lease = h.a.take("x", h.long()).await;
        let fence = lease.fence();
        assert!(fence > most, "{fence} after {most}");
        assert_eq!(fence, lease.index(), "an acquire's fence is its own index");
        for _ in 0..3 {
            lease.renew(h.long()).await.unwrap();
            assert_eq!(lease.fence(), fence);
            assert_eq!(
                h.b.manager.get_lease("x").await.unwrap().unwrap().fence(),
                fence
            );
        }
        most = lease.index();
        // Assumed dead, so that nobody has to wait out a long term.
        let request = Request::new("x", h.long());
        let dead = Displace::index(most).assume_dead(format!("round {round}"));
        // A grant of another name, so that a counter of all names has moved on.
        drop(h.a.take(&format!("y{round}"), h.long()).await);
        let mut thief = h.b.manager.steal(request, dead).await.unwrap();
        assert_eq!(thief.fence(), most + 1, "a steal's fence is a new one");
        let fence = thief.fence();
        thief.renew(h.long()).await.unwrap();
        assert_eq!(thief.fence(), fence);
        most = thief.index();
        let dead = Displace::index(most).assume_dead(format!("round {round}"));
        h.a.manager.break_lease("x", dead).await.unwrap();
        most = most.max(h.b.manager.status("x").await.unwrap().unwrap().index());
    }
}

/// One step of a random history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client tries to acquire.
    Acquire(u8),
    /// A client renews its latest handle.
    Renew(u8),
    /// The same, for a tenth of the period.
    RenewShort(u8),
    /// A client releases its latest handle.
    Release(u8),
    /// A client fetches the lease and releases it.
    ReleaseProxy(u8),
    /// A client fetches the lease and renews it for a tenth of the period.
    RenewProxy(u8),
    /// A client steals what it sees.
    Steal(u8),
    /// The same, for a tenth of the period.
    StealShort(u8),
    /// A client breaks what it sees.
    Break(u8),
    /// A client forgets its latest handle, as a crash does.
    Forget(u8),
    /// A part of the period passes, in percent.
    Pass(u8),
}

impl Step {
    /// Any step, from two numbers.
    #[must_use]
    pub fn of(kind: u64, number: u64) -> Self {
        let n = u8::try_from(number % 100).unwrap_or_default();
        match kind % 13 {
            0 | 1 => Self::Acquire(n),
            2 => Self::Renew(n),
            3 => Self::RenewShort(n),
            4 => Self::Release(n),
            5 => Self::ReleaseProxy(n),
            6 => Self::RenewProxy(n),
            7 => Self::Steal(n),
            8 => Self::StealShort(n),
            9 => Self::Break(n),
            10 => Self::Forget(n),
            _ => Self::Pass(n),
        }
    }
}

/// What a history has shown so far, against which every law is checked.
#[derive(Debug, Default)]
struct Shown {
    index: u64,
    /// The fence of the latest term, and the largest number that earlier ones showed.
    fence: u64,
    earlier: u64,
    handles: Vec<Lease>,
}

impl Shown {
    fn grant(&mut self, index: u64, fence: u64, new_term: bool) {
        assert!(index > self.index, "index {index} after {}", self.index);
        if new_term {
            self.earlier = self.index.max(self.fence);
            assert!(
                fence > self.earlier,
                "fence {fence}, but earlier terms showed {}",
                self.earlier
            );
        } else {
            assert_eq!(fence, self.fence, "the fence moved within a term");
        }
        self.index = index;
        self.fence = fence;
    }

    fn one_lessee(&self) {
        let believing: Vec<_> = self
            .handles
            .iter()
            .filter(|lease| lease.is_current())
            .collect();
        assert!(
            believing.len() <= 1,
            "{} lessees at once: {believing:#?}",
            believing.len()
        );
    }

    fn latest(&mut self, client: &Client) -> Option<&mut Lease> {
        let id = client.manager.machine_id();
        self.handles
            .iter_mut()
            .rev()
            .find(|lease| lease.machine_id() == id)
    }
}

/// Runs a history against the registry and holds it to the laws of index, fence and belief after every step.
///
/// # Panics
/// Where one is broken.
pub async fn run_history(h: &Harness, name: &str, steps: &[Step]) {
    let clients = [h.a.clone(), h.b.clone()];
    let mut shown = Shown::default();
    let (period, tenth) = (
        h.short(),
        (h.short() / 10).max(h.capabilities().least_period),
    );
    for step in steps {
        match *step {
            Step::Acquire(n) => {
                let client = &clients[usize::from(n % 2)];
                match client
                    .manager
                    .try_acquire(Request::new(name, period))
                    .await
                    .unwrap()
                {
                    Attempt::Acquired(lease) => {
                        shown.grant(lease.index(), lease.fence(), true);
                        shown.handles.push(lease);
                    }
                    Attempt::Busy(busy) => assert!(busy.index() >= shown.index),
                    Attempt::Skipped(skipped) => panic!("nobody asked for once a slot: {skipped}"),
                }
            }
            Step::Renew(n) | Step::RenewShort(n) => {
                let client = &clients[usize::from(n % 2)];
                let length = if matches!(step, Step::Renew(_)) {
                    period
                } else {
                    tenth
                };
                if let Some(lease) = shown.latest(client)
                    && lease.renew(length).await.is_ok()
                {
                    let (index, fence) = (lease.index(), lease.fence());
                    shown.grant(index, fence, false);
                }
            }
            Step::Release(n) => {
                let client = &clients[usize::from(n % 2)];
                let id = client.manager.machine_id();
                if let Some(place) = shown
                    .handles
                    .iter()
                    .rposition(|lease| lease.machine_id() == id)
                {
                    let lease = shown.handles.remove(place);
                    let term = lease.term();
                    drop(lease.release().await);
                    assert!(!term.is_current());
                }
            }
            Step::ReleaseProxy(n) | Step::RenewProxy(n) => {
                let client = &clients[usize::from(n % 2)];
                if let Some(mut proxy) = client.manager.get_lease(name).await.unwrap() {
                    if matches!(step, Step::ReleaseProxy(_)) {
                        drop(proxy.release().await);
                    } else if proxy.renew(tenth).await.is_ok() {
                        shown.grant(proxy.index(), proxy.fence(), false);
                        assert!(!proxy.is_current());
                    }
                }
            }
            Step::Steal(n) | Step::StealShort(n) => {
                let client = &clients[usize::from(n % 2)];
                let length = if matches!(step, Step::Steal(_)) {
                    period * 2
                } else {
                    tenth
                };
                if let Some(proxy) = client.manager.get_lease(name).await.unwrap() {
                    let request = Request::new(name, length);
                    if let Ok(lease) = client
                        .manager
                        .steal(request, Displace::index(proxy.index()))
                        .await
                    {
                        shown.grant(lease.index(), lease.fence(), true);
                        shown.handles.push(lease);
                    }
                }
            }
            Step::Break(n) => {
                let client = &clients[usize::from(n % 2)];
                if let Some(proxy) = client.manager.get_lease(name).await.unwrap() {
                    drop(
                        client
                            .manager
                            .break_lease(name, Displace::index(proxy.index()))
                            .await,
                    );
                }
            }
            Step::Forget(n) => {
                // Still looked at: what a dropped lease's term believes must not overlap either.
                let client = &clients[usize::from(n % 2)];
                if let Some(lease) = shown.latest(client) {
                    drop(lease.term());
                }
            }
            Step::Pass(n) => {
                let mut left = period * u32::from(n) / 100;
                while !left.is_zero() {
                    let part = left.min(period / 50);
                    h.sleep(part).await;
                    shown.one_lessee();
                    left -= part;
                }
            }
        }
        shown.one_lessee();
        if let Some(status) = h.b.manager.status(name).await.unwrap() {
            assert!(
                status.index() >= shown.index,
                "index went back to {}",
                status.index()
            );
            shown.index = status.index();
        }
    }
}

/// Index, fence and belief laws over random histories of every operation.
pub async fn index_and_fence_laws_hold_over_random_histories(h: Harness) {
    let (histories, length) = if h.is_simulated() { (20, 120) } else { (2, 25) };
    for history in 0..histories {
        let steps: Vec<Step> = (0..length)
            .map(|_| Step::of(h.below(1 << 32), h.below(1 << 32)))
            .collect();
        run_history(&h, &format!("x/{history}"), &steps).await;
    }
}

/// The same, by an unreliable way to the registry: answers lost, late, twice, never.
pub async fn index_and_fence_laws_hold_over_an_unreliable_way(h: Harness) {
    let rounds = if h.is_simulated() { 150 } else { 10 };
    for client in [&h.a, &h.b] {
        client.faulty.by_chance(h.below(1 << 40), 300, h.short());
    }
    let (mut last_index, mut last_fence) = (0, 0);
    let mut handles: Vec<Lease> = Vec::new();
    for round in 0..rounds {
        let client = if h.below(2) == 0 { &h.a } else { &h.b };
        let manager = client.manager_with(h.short() / 2);
        let id = format!("m-{round}");
        let seen = h.client().await.manager.get_lease("x").await.unwrap();
        let lease = match (seen, h.below(3)) {
            (Some(seen), 0) => manager
                .steal_lease("x", id, 0, h.short(), seen.index())
                .await
                .ok(),
            (_, _) => manager
                .acquire_lease("x", id, 0, h.short())
                .await
                .ok()
                .flatten(),
        };
        if let Some(mut lease) = lease {
            assert!(lease.index() > last_index && lease.fence() > last_index.max(last_fence));
            for _ in 0..h.below(3) {
                drop(lease.renew(h.short()).await);
            }
            last_index = lease.index();
            last_fence = lease.fence();
            if h.below(3) == 0 {
                let term = lease.term();
                drop(lease.release().await);
                assert!(!term.is_current());
            } else {
                handles.push(lease);
            }
        }
        for _ in 0..h.below(30) {
            h.sleep(h.short() / 50).await;
            let believing = handles.iter().filter(|lease| lease.is_current()).count();
            assert!(believing <= 1, "{believing} lessees at once");
        }
    }
    assert!(last_index > 0);
    // Nothing is stuck, whatever was lost.
    for client in [&h.a, &h.b] {
        client.faulty.by_chance(0, 0, Duration::ZERO);
    }
    let lock = h.b.manager.lock("x").period(h.short());
    let held = h
        .within(
            h.short() * 6 + h.slack(),
            "acquired in the end",
            lock.acquire(),
        )
        .await
        .unwrap();
    assert!(handles.iter().all(|lease| !lease.is_current()));
    held.release().await.unwrap();
}
