//! Belief intervals of different handles never overlap on native leases: processes that acquire, renew, steal, break,
//! release, stall and crash, on clocks that run apart as far as is declared, by a bad way, while the cluster changes
//! leaders, restarts, compacts, and a deposed leader goes on answering keep-alives.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::{Attempt, Displace, Door, KeepAlive, Lease, Manager, Request, Term};
use leasehold_testkit::Chance;
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::world::native::{NativeRegistry, PPM};
use leasehold_testkit::world::{Ledger, Log, Net, Registry, Scene, Weather};

const PERIOD: Duration = Duration::from_secs(4);

/// Every term that any process was ever granted.
type Terms = Arc<Mutex<Vec<Term>>>;

/// One process: what it does until the end.
struct Process {
    manager: Manager,
    chance: Chance,
    terms: Terms,
    leases: Vec<Lease>,
    held: Vec<leasehold_core::Held>,
}

impl Process {
    async fn run(mut self, door: Arc<SimDoor>) {
        loop {
            let pause = self.chance.duration(PERIOD / 4);
            door.sleep_until(door.now().plus(pause)).await;
            self.step().await;
        }
    }

    fn granted(&mut self, lease: Lease) {
        self.terms.lock().unwrap().push(lease.term());
        self.leases.push(lease);
    }

    async fn step(&mut self) {
        let manager = self.manager.clone();
        let period = match self.chance.below(4) {
            0 => PERIOD / 4,
            1 => PERIOD * 2,
            _ => PERIOD,
        };
        let name = if self.chance.below(8) == 0 { "y" } else { "x" };
        let request = Request::new(name, period);
        match self.chance.below(14) {
            0..=3 => {
                if let Ok(Attempt::Acquired(lease)) = manager.try_acquire(request).await {
                    self.granted(lease);
                }
            }
            4 | 5 => {
                if let Ok(Some(proxy)) = manager.get_lease(name).await {
                    let displace = Displace::index(proxy.index());
                    if let Ok(lease) = manager.steal(request, displace).await {
                        self.granted(lease);
                    }
                }
            }
            6 => {
                if let Ok(Some(proxy)) = manager.get_lease(name).await {
                    let displace = Displace::index(proxy.index());
                    drop(manager.break_lease(name, displace).await);
                }
            }
            7..=9 => {
                // Several at once travel together.
                drop(manager.renew_all(self.leases.iter_mut(), period).await);
            }
            10 => {
                if let Some(lease) = self.leases.pop() {
                    drop(lease.release().await);
                }
            }
            11 => {
                if let Some(lease) = self.leases.pop() {
                    self.held.push(lease.keep_alive(KeepAlive::new()));
                }
            }
            12 => {
                if let Some(lease) = self.held.pop() {
                    drop(lease.release().await);
                }
            }
            _ => {
                if let Ok(Some(mut proxy)) = manager.get_lease(name).await {
                    if self.chance.below(2) == 0 {
                        drop(proxy.renew(period).await);
                    } else {
                        drop(proxy.release().await);
                    }
                }
            }
        }
        self.leases.retain(|lease| {
            lease.left() > Duration::ZERO || lease.begin() > Some(self.manager.door().now())
        });
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Default)]
struct Trouble {
    weather: bool,
    twice: bool,
    disturbed: bool,
}

/// How many terms somebody believed, and the faults there were; an error says who overlapped.
fn run(seed: u64, trouble: Trouble, rounds: u64) -> Result<(usize, Log), String> {
    let sim = Sim::new(seed);
    sim.longest_jump(PERIOD / 100);
    let wire = sim.door();
    let told = std::env::var("LEASEHOLD_TOLD").is_ok();
    let log = Log::new(wire.clone(), told);
    let net = Net::new(wire.clone(), log.clone(), seed, Duration::from_millis(4));
    let mut chaos = Chance::new(seed ^ 0xc4a0);
    let ppm = i32::try_from(PPM).unwrap();
    let rates = [ppm, -ppm, 0];
    let rate = |chance: &mut Chance| rates[usize::try_from(chance.below(3)).unwrap()];
    let clock = sim.door_with(rate(&mut chaos), Duration::from_secs(chaos.below(100)));
    let scene = Scene {
        wire: wire.clone(),
        ledger: Ledger::default(),
        log: log.clone(),
        seed,
    };
    let registry = NativeRegistry::new(scene, clock);
    if trouble.weather {
        net.weather(Weather {
            lose_request: 60,
            refuse: 20,
            lose_reply: 60,
            twice: if trouble.twice { 40 } else { 0 },
            slow: 60,
            longest: PERIOD,
            lose_notice: 100,
        });
    }
    let terms = Terms::default();
    let mut chance = Chance::new(seed);
    let mut start = |number: u64| {
        let door = sim.door_with(rate(&mut chance), Duration::from_secs(chance.below(100)));
        let store = registry.open(net.link(door.clone()));
        let manager = Manager::builder(store, door.clone())
            .machine_id(format!("p{number}"))
            .timeout(PERIOD * 2)
            .build()
            .unwrap();
        let process = Process {
            manager,
            chance: Chance::new(chance.number()),
            terms: terms.clone(),
            leases: Vec::new(),
            held: Vec::new(),
        };
        sim.spawn(&door, process.run(door.clone()));
        door
    };
    let mut doors: Vec<Arc<SimDoor>> = (0..4).map(&mut start).collect();
    let mut believed = BTreeSet::new();
    let mut overlap = None;
    sim.block_on_watching(
        async {
            for number in 4..rounds {
                let pause = PERIOD / 4 + chaos.duration(PERIOD / 2);
                wire.sleep_until(wire.now().plus(pause)).await;
                if trouble.disturbed && chaos.below(2) == 0 {
                    registry.disturb(&mut chaos);
                }
                let place = usize::try_from(chaos.below(4)).unwrap();
                match chaos.below(8) {
                    0 => {
                        // What its terms answer still counts: nobody may believe longer because of it.
                        doors[place].kill();
                        doors[place] = start(number);
                    }
                    1 => doors[place].freeze(),
                    2 if trouble.weather => net.cut(doors[place].id()),
                    3 => registry.heal(),
                    _ => doors.iter().for_each(|door| {
                        door.thaw();
                        net.mend(door.id());
                    }),
                }
            }
        },
        |_| {
            let mut terms = terms.lock().unwrap();
            let mut now: Vec<&Term> = terms.iter().filter(|term| term.is_current()).collect();
            now.sort_by_key(|term| term.name().clone());
            if now.windows(2).any(|pair| pair[0].name() == pair[1].name()) && overlap.is_none() {
                overlap = Some(format!("seed {seed}: several lessees at once: {now:#?}"));
            }
            for term in now {
                believed.insert((term.name().clone(), term.fence()));
            }
            if terms.len() > 40 {
                // A term that is over stays over.
                terms.retain(|term| term.left() > Duration::ZERO);
            }
        },
    );
    if let Some(overlap) = overlap {
        return Err(format!("{overlap}\n{}", log.lines().join("\n")));
    }
    // Nothing leaks: when everybody is gone, so is everything that was theirs.
    doors.iter().for_each(|door| door.kill());
    registry.heal();
    sim.advance(PERIOD * 20);
    let counts = registry.server().counts();
    assert_eq!(counts, (0, 0), "seed {seed}: native leases and names left");
    Ok((believed.len(), log))
}

fn many(trouble: Trouble) {
    let mut believed = 0;
    for seed in leasehold_testkit::seeds() {
        for part in 0..2 {
            match run(seed * 1000 + part, trouble, 60) {
                Ok((terms, _)) => believed += terms,
                Err(overlap) => panic!("{overlap}"),
            }
        }
    }
    assert!(believed > 10, "hardly anything happened: {believed} terms");
}

#[test]
fn one_lessee_on_native_leases() {
    many(Trouble::default());
}

#[test]
fn one_lessee_on_native_leases_by_an_unreliable_way() {
    many(Trouble {
        weather: true,
        ..Trouble::default()
    });
}

#[test]
fn one_lessee_on_native_leases_of_a_disturbed_cluster() {
    many(Trouble {
        disturbed: true,
        ..Trouble::default()
    });
}

#[test]
fn one_lessee_on_native_leases_when_everything_goes_wrong() {
    many(Trouble {
        weather: true,
        twice: true,
        disturbed: true,
    });
}
