//! Elections: one leads, the others follow, and again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold_core::{
    Displace, Door, Election, ErrorKind, Event, Manager, MemoryStore, Request, TakeOver, Term,
    TermState,
};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty, seeds};
use tokio::sync::watch;

const SECOND: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(12);
/// What the simulator's scheduling may add.
const MOMENT: Duration = Duration::from_millis(1);

/// Candidates in processes of their own, each with its own unreliable way to one registry.
struct World {
    sim: Sim,
    door: Arc<SimDoor>,
    memory: MemoryStore,
}

struct Candidate {
    way: Faulty,
    manager: Manager,
}

impl World {
    fn new(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let door = sim.door();
        let memory = MemoryStore::new(door.clone());
        Self { sim, door, memory }
    }

    fn candidate(&self, id: &str) -> Candidate {
        let way = Faulty::new(Arc::new(self.memory.clone()), self.door.clone());
        let manager = Manager::builder(Arc::new(way.clone()), self.door.clone())
            .machine_id(id)
            .timeout(SECOND * 5)
            .build()
            .unwrap();
        Candidate { way, manager }
    }

    async fn sleep(&self, length: Duration) {
        self.door.sleep_until(self.door.now().plus(length)).await;
    }
}

impl Candidate {
    fn election(&self) -> Election {
        self.manager.election("e").period(PERIOD)
    }

    async fn leader(&self) -> Option<String> {
        let lease = self.manager.get_lease("e").await.unwrap();
        lease.map(|lease| lease.machine_id())
    }
}

/// A signal to stop, for several tasks.
#[derive(Clone)]
struct Stop(watch::Sender<bool>);

impl Stop {
    fn new() -> Self {
        Self(watch::channel(false).0)
    }

    fn now(&self) {
        self.0.send_replace(true);
    }

    async fn told(self) {
        self.0.subscribe().wait_for(|stop| *stop).await.unwrap();
    }
}

/// Work that leads until it is told to stop.
async fn lead(term: Term) {
    term.check().unwrap();
    term.ending().await;
}

async fn within<T>(world: &World, length: Duration, future: impl Future<Output = T>) -> T {
    let (future, timer) = (pin!(future), pin!(world.sleep(length)));
    match select(future, timer).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("it has not ended after {length:?}"),
    }
}

/// Complaint 4: who has lost never campaigns again.
///
/// Three candidates, of whom one after the other is cut off, robbed or told to stop: never do two take themselves for the
/// leader, somebody leads again in time, and whoever lost campaigns again.
#[test]
fn complaint_04_one_leads_and_whoever_lost_campaigns_again() {
    for seed in seeds() {
        let world = World::new(seed);
        let stop = Stop::new();
        let candidates: Vec<Candidate> = ["a", "b", "c"].map(|id| world.candidate(id)).into();
        let elections: Vec<Election> = candidates.iter().map(Candidate::election).collect();
        let ended = Arc::new(AtomicUsize::new(0));
        for election in &elections {
            let (election, stop, ended) = (election.clone(), stop.clone(), ended.clone());
            world.door.spawn(Box::pin(async move {
                election.lead_until(stop.told(), lead).await.unwrap();
                ended.fetch_add(1, Ordering::SeqCst);
            }));
        }
        world.sim.block_on(async {
            let mut led = [0; 3];
            for round in 0..30 {
                let start = world.door.now();
                let leader = loop {
                    let leads = |number: &usize| elections[*number].is_leader();
                    let leaders: Vec<usize> = (0..3).filter(leads).collect();
                    assert!(leaders.len() < 2, "{leaders:?} lead at once");
                    if let [leader] = leaders[..] {
                        break leader;
                    }
                    let waited = world.door.now().since(start);
                    assert!(waited <= PERIOD * 3, "nobody leads after {waited:?}");
                    world.sleep(SECOND / 100).await;
                };
                led[leader] += 1;
                for candidate in &candidates {
                    candidate.way.always(None);
                }
                match round % 3 {
                    0 => {
                        candidates[leader].way.always(Some(Fault::Refuse));
                    }
                    1 => {
                        let term = elections[leader].term().unwrap();
                        let displace = Displace::index(term.index());
                        let broken = candidates[0].manager.break_lease("e", displace);
                        drop(broken.await);
                    }
                    _ => {}
                }
                world.sleep(PERIOD / 2).await;
            }
            assert!(led.iter().filter(|led| **led > 0).count() > 1, "{led:?}");
            for candidate in &candidates {
                candidate.way.always(None);
            }
            stop.now();
            world.sleep(SECOND).await;
            assert_eq!(ended.load(Ordering::SeqCst), 3);
            assert_eq!(candidates[0].leader().await, None);
        });
    }
}

/// A leader whose process stands still past its deadline, while another is elected, leads no more by its own account: from
/// its first instruction on, before anything of it has run that could tell it so.
#[test]
fn a_leader_that_stood_still_knows_that_it_leads_no_more() {
    for seed in seeds() {
        let world = World::new(seed);
        let process = world.sim.door();
        let way = Faulty::new(Arc::new(world.memory.clone()), process.clone());
        let manager = Manager::builder(Arc::new(way), process.clone()).machine_id("a");
        let first = manager.build().unwrap().election("e").period(PERIOD);
        let second = world.candidate("b").election();
        let stop = Stop::new();
        for (door, election) in [(&process, &first), (&world.door, &second)] {
            let (election, told) = (election.clone(), stop.clone().told());
            door.spawn(Box::pin(async move {
                election.lead_until(told, lead).await.unwrap();
            }));
            world.sim.advance(SECOND);
        }
        world.sim.advance(PERIOD * 2);
        assert!(first.is_leader() && !second.is_leader());
        process.freeze();
        world.sim.advance(PERIOD * 2);
        process.thaw();
        // None of its tasks has run yet.
        assert!(second.is_leader());
        assert!(!first.is_leader(), "two lead by their own accounts");
        world.sim.advance(PERIOD * 2);
        assert!(!first.is_leader() && second.is_leader(), "it follows");
        stop.now();
        world.sim.advance(SECOND);
        assert!(!first.is_leader() && !second.is_leader());
    }
}

/// Told to stop, the work is told so, and may take its time; then the lease is released, and the next one leads at once.
#[test]
fn a_leader_that_stops_makes_room_at_once() {
    for seed in seeds() {
        let world = World::new(seed);
        let (a, b) = (world.candidate("a"), world.candidate("b"));
        let (first, second) = (a.election(), b.election());
        let (stop, never) = (Stop::new(), Stop::new());
        let done = Arc::new(AtomicU64::new(0));
        world.sim.block_on(async {
            let (door, at, told) = (world.door.clone(), done.clone(), stop.clone());
            let election = first.clone();
            world.door.spawn(Box::pin(async move {
                let work = |term: Term| {
                    let (door, at) = (door.clone(), at.clone());
                    async move {
                        term.ending().await;
                        // Longer than a period: the lease is kept meanwhile.
                        door.sleep_until(door.now().plus(SECOND * 5)).await;
                        term.check().unwrap();
                        at.store(door.now().as_nanos(), Ordering::SeqCst);
                    }
                };
                election.lead_until(told.told(), work).await.unwrap();
            }));
            world.sleep(SECOND).await;
            assert!(first.is_leader());
            let (election, told) = (second.clone(), never.clone());
            world.door.spawn(Box::pin(async move {
                election.lead_until(told.told(), lead).await.unwrap();
            }));
            world.sleep(PERIOD).await;
            assert!(first.is_leader() && !second.is_leader());
            stop.now();
            world.sleep(SECOND * 4).await;
            assert!(first.is_leader() && !second.is_leader(), "it winds down");
            world.sleep(SECOND + MOMENT * 10).await;
            assert!(!first.is_leader() && second.is_leader());
            assert_ne!(done.load(Ordering::SeqCst), 0);
            // A candidate that waits stops at once, and leaves nothing.
            never.now();
            world.sleep(SECOND).await;
            assert_eq!(b.leader().await, None);
        });
    }
}

/// Work that does not end when it is told to is dropped after a while.
#[test]
fn work_that_does_not_stop_is_dropped() {
    let world = World::new(1);
    let a = world.candidate("a");
    world.sim.block_on(async {
        let election = a.election().wind_down(SECOND * 3);
        let stop = Stop::new();
        stop.now();
        // Told before it began: it never leads.
        let led = election.lead_until(stop.clone().told(), |_| async { panic!("it leads") });
        led.await.unwrap();
        let stop = Stop::new();
        let led = election.lead_until(stop.clone().told(), |_| std::future::pending::<()>());
        let stopped = async {
            world.sleep(PERIOD * 2).await;
            stop.now();
            world.door.now()
        };
        let (led, stopped) = futures_util::future::join(
            async {
                led.await.unwrap();
                assert!(!election.is_leader(), "its lease is still to be given back");
                world.door.now()
            },
            stopped,
        )
        .await;
        let took = led.since(stopped);
        assert!(
            took >= SECOND * 3 && took <= SECOND * 3 + MOMENT * 10,
            "{took:?}"
        );
        world.sleep(MOMENT).await;
        assert_eq!(a.leader().await, None);
    });
}

/// Complaint 18: nobody is preferred to who leads.
///
/// A candidate of a higher version takes over from a lower one of the same policy, waits its term out, and acts only then;
/// candidates of equal versions, lower ones and those of other policies follow.
#[test]
fn complaint_18_a_higher_version_takes_over_and_waits() {
    for seed in seeds() {
        let world = World::new(seed);
        let old = world.candidate("old");
        let higher = TakeOver::HigherVersion;
        let setting = |candidate: &Candidate, version, policy| {
            candidate.election().version(version).take_over(policy)
        };
        world.sim.block_on(async {
            let led = setting(&old, 2, higher).campaign().await.unwrap();
            let status = old.manager.status("e").await.unwrap().unwrap();
            assert_eq!(
                (status.version(), status.policy()),
                (2, Some("higher-version"))
            );
            for (version, policy) in [
                (2, higher),
                (1, higher),
                (3, TakeOver::Never),
                (3, TakeOver::LowerVersion),
                (1, TakeOver::LowerVersion),
            ] {
                let other = world.candidate("other");
                let campaign = setting(&other, version, policy);
                let (campaign, timer) = (pin!(campaign.campaign()), pin!(world.sleep(PERIOD * 2)));
                let won = matches!(select(campaign, timer).await, Either::Left(_));
                assert!(!won && led.is_current(), "{version} {policy:?}");
            }
            let new = world.candidate("new");
            let election = setting(&new, 3, higher);
            let held = within(&world, SECOND, election.campaign()).await.unwrap();
            assert_eq!(held.state(), TermState::Waiting);
            assert!(!election.is_leader());
            // The old one learns of it by its next renewal.
            let lost = within(&world, PERIOD, led.lost()).await;
            assert!(lost.to_string().contains("new"), "{lost}");
            let ended = lost.lost().unwrap().to_string();
            assert!(
                ended.starts_with("stolen by new (take-over by higher-version"),
                "{ended}"
            );
            let work = held.run(|term| async move {
                term.check().unwrap();
                term.begin()
            });
            let began = within(&world, PERIOD * 2, work).await.unwrap();
            assert!(began.unwrap() <= world.door.now());
        });
    }
}

/// The wait for the old term may be longer than the thief's own period: it is renewed meanwhile.
#[test]
fn a_thief_renews_during_its_wait() {
    let world = World::new(3);
    let (old, new) = (world.candidate("old"), world.candidate("new"));
    let higher = TakeOver::HigherVersion;
    world.sim.block_on(async {
        let request = Request::new("e", PERIOD * 10).version(1).take_over(higher);
        drop(old.manager.try_acquire(request).await.unwrap());
        let start = world.door.now();
        let election = new.election().version(2).take_over(higher);
        let held = election.campaign().await.unwrap();
        held.term().begun().await.unwrap();
        let waited = world.door.now().since(start);
        assert!(
            waited >= PERIOD * 10 - SECOND && waited <= PERIOD * 10 + SECOND,
            "{waited:?}"
        );
        assert!(election.is_leader());
    });
}

/// Complaint 24: requests find no way to the leader.
///
/// Whoever wants to know who leads is told, with what the leader tells of itself.
#[test]
fn complaint_24_everybody_may_know_who_leads() {
    let world = World::new(4);
    let (a, b) = (world.candidate("a"), world.candidate("b"));
    world.sim.block_on(async {
        let mut watch = b.election().observe().unwrap();
        let held = a.election().data("10.0.0.7:80").campaign().await.unwrap();
        let seen = loop {
            let event: Event = within(&world, SECOND * 40, watch.next()).await.unwrap();
            if let Some(status) = event.status.filter(|status| status.is_held()) {
                break (
                    status.machine_id().map(str::to_owned),
                    status.data().map(<[u8]>::to_vec),
                );
            }
        };
        assert_eq!(seen, (Some("a".into()), Some(b"10.0.0.7:80".to_vec())));
        held.release().await.unwrap();
        assert!(!a.election().is_leader());
    });
}

/// What no campaign can mend ends the election, with the reason.
#[test]
fn bad_input_ends_the_election() {
    let world = World::new(5);
    let a = world.candidate("a");
    world.sim.block_on(async {
        let election = a.manager.election("no//name");
        let error = election.lead_until(std::future::pending(), lead).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
        let election = a.election().period(Duration::ZERO);
        let error = election.lead_until(std::future::pending(), lead).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

/// Whoever has taken over and still waits for the old term's end stops at once: nobody is at work that could take time.
#[test]
fn a_thief_that_waits_stops_at_once() {
    let world = World::new(5);
    let (old, new) = (world.candidate("old"), world.candidate("new"));
    let higher = TakeOver::HigherVersion;
    world.sim.block_on(async {
        let request = Request::new("e", PERIOD * 2).version(1).take_over(higher);
        drop(old.manager.try_acquire(request).await.unwrap());
        let start = world.door.now();
        let election = new.election().version(2).take_over(higher);
        let stop = world.door.sleep_until(start.plus(SECOND));
        let led = election.lead_until(stop, async |_| panic!("it has not begun"));
        led.await.unwrap();
        let took = world.door.now().since(start);
        assert!(took >= SECOND && took < SECOND * 2, "{took:?}");
        let status = new.manager.status("e").await.unwrap().unwrap();
        assert_eq!(status.machine_id(), None, "given back");
        assert!(!status.is_vacant(), "and still waited out");
    });
}
