//! The world itself: starts processes, lets things go wrong, and looks on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use leasehold_core::{Door, Manager, Store};

use crate::chance::Chance;
use crate::history::{self, Header, History, Recorder};
use crate::recorded::{Carried, Recorded};
use crate::sim::{Sim, SimDoor};
use crate::world::assumption::Assumption;
use crate::world::chaos::{Chaos, Mishap};
use crate::world::kinds::Kind;
use crate::world::ledger::{Broken, Ledger};
use crate::world::log::Log;
use crate::world::net::{Net, Weather};
use crate::world::process::{Common, Process, Service, State};
use crate::world::registry::{Registry, Scene};
use crate::world::senders::OfProcess;
use crate::world::witness::Witness;

/// A simulated world: processes and a registry, driven by one seed.
pub struct World {
    sim: Sim,
    kind: Kind,
    chaos: Chaos,
    net: Arc<Net>,
    scene: Scene,
    registry: Arc<dyn Registry>,
    common: Arc<Common>,
    citizens: Arc<Mutex<Citizens>>,
    laws: Vec<Law>,
    broken: Option<Assumption>,
    recorder: Mutex<Recorder>,
    situations: BTreeSet<u64>,
}

type Law = Box<dyn FnMut() -> Result<(), String>>;

/// The processes of a world.
struct Citizens {
    chance: Chance,
    /// The clock of the machine, where there is only one.
    machine: (i32, Duration),
    all: BTreeMap<String, Citizen>,
}

struct Citizen {
    service: Service,
    life: u64,
    door: Arc<SimDoor>,
}

/// The laws that were broken in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The laws that did not hold.
    pub broken: Vec<Broken>,
}

impl World {
    /// A world with a registry of a kind; what goes wrong follows from the seed too.
    #[must_use]
    pub fn new(kind: Kind, seed: u64) -> Self {
        Self::with(kind, Chaos::of(kind, seed), seed, false)
    }

    /// A world in which other things go wrong. If `told`, everything that happens is written down.
    #[must_use]
    pub fn with(kind: Kind, chaos: Chaos, seed: u64, told: bool) -> Self {
        let sim = Sim::new(seed);
        let wire = sim.door();
        let log = Log::new(wire.clone(), told);
        let ledger = Ledger::new(log.clone());
        let usual = Duration::from_millis(2);
        let net = Net::new(wire.clone(), log.clone(), seed, usual);
        let clock = match kind.has_clock() {
            true => {
                let (rate, offset) = machine(kind, &mut Chance::new(seed ^ 0x636c_6f63));
                sim.door_with(rate, offset)
            }
            false => wire.clone(),
        };
        let scene = Scene {
            wire,
            clock,
            ledger: ledger.clone(),
            log: log.clone(),
            seed,
        };
        let registry = kind.open(scene.clone());
        let common = Common {
            ledger,
            witness: Mutex::new(Witness::new(log.clone())),
            log,
            state: Mutex::new(State::default()),
        };
        let mut chance = Chance::new(seed ^ 0x776f_726c);
        let machine = machine(kind, &mut chance);
        let citizens = Citizens {
            chance,
            machine,
            all: BTreeMap::new(),
        };
        Self {
            sim,
            kind,
            chaos,
            net,
            scene,
            registry,
            common: Arc::new(common),
            citizens: Arc::new(Mutex::new(citizens)),
            laws: Vec::new(),
            broken: None,
            recorder: Mutex::new(recorder(kind, false)),
            situations: BTreeSet::new(),
        }
    }

    /// Breaks an assumption in this world, again and again, and goes on when laws fail because of it.
    #[must_use]
    pub fn without(mut self, assumption: Assumption) -> Self {
        self.broken = Some(assumption);
        self.common.state().liars = assumption == Assumption::TrueClaims;
        self
    }

    /// The simulator underneath.
    #[must_use]
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// What happened so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.common.log
    }

    /// The kind of its registry.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What goes wrong in it.
    #[must_use]
    pub fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }

    /// What is really written in the registry.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.common.ledger
    }

    /// A law of one's own: looked at after every step.
    pub fn law(&mut self, law: impl FnMut() -> Result<(), String> + 'static) {
        self.laws.push(Box::new(law));
    }

    /// Starts a process. What runs in it is started again after each crash.
    pub fn start<F>(&self, id: &str, service: impl Fn(Process) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let service: Service = Arc::new(move |process| service(process).boxed());
        self.citizens().all.remove(id);
        self.live(id, service);
    }

    /// A process of its own in which nothing runs: for what a test does itself.
    #[must_use]
    pub fn process(&self, id: &str) -> Process {
        let service: Service = Arc::new(|_| futures_util::future::ready(()).boxed());
        self.live(id, service)
    }

    /// Kills a process; nothing starts it again.
    pub fn kill(&self, id: &str) {
        if let Some(citizen) = self.citizens().all.remove(id) {
            self.bury(id, &citizen);
        }
    }

    /// Kills everybody, and lets a while of true time pass.
    pub(crate) async fn deserted(&self, length: Duration) {
        let ids: Vec<String> = self.citizens().all.keys().cloned().collect();
        ids.iter().for_each(|id| self.kill(id));
        let wire = &self.scene.wire;
        wire.sleep_until(wire.now().plus(length)).await;
    }

    fn bury(&self, id: &str, citizen: &Citizen) {
        let mut state = self.common.state();
        state.dead.insert(format!("{id}#{}", citizen.life));
        drop(state);
        citizen.door.kill();
        let door = citizen.door.id();
        self.common.witness().died(self.sim.now(), door);
    }

    fn live(&self, id: &str, service: Service) -> Process {
        let (process, service) = {
            let mut citizens = self.citizens();
            let citizens = &mut *citizens;
            let (mut rate, offset) = match self.kind.one_machine() {
                true => citizens.machine,
                false => machine(self.kind, &mut citizens.chance),
            };
            if self.broken == Some(Assumption::BoundedDrift) {
                rate *= 5;
            }
            let door = self.sim.door_with(rate, offset);
            let store = self.registry.open(self.net.link(door.clone()));
            let wire = self.scene.wire.clone();
            let number = u32::try_from(door.id()).unwrap_or(u32::MAX);
            let mut recorded = Recorded::new(store, self.recorder(), number, move || {
                nanos(wire.truth_now())
            });
            recorded = recorded.sent_by(Arc::new(OfProcess {
                common: self.common.clone(),
                process: door.id(),
            }));
            if self.kind.carries() {
                let (door, ledger) = (door.clone(), self.common.ledger.clone());
                recorded = recorded.carried(Carried {
                    at: Box::new(move |at| nanos(door.truth_of(at))),
                    stood: Box::new(move |name, seen| ledger.stood(name, seen)),
                });
            }
            let store: Arc<dyn Store> = Arc::new(recorded);
            let life = citizens.all.get(id).map_or(0, |old| old.life) + 1;
            let manager = Manager::builder(store, door.clone())
                .machine_id(id)
                .timeout(self.kind.period() * 2)
                .build()
                .unwrap();
            let seed = citizens.chance.number();
            let process = Process::new(
                (id.to_owned(), life),
                door.clone(),
                manager,
                self.common.clone(),
                seed,
            );
            let citizen = Citizen {
                service: service.clone(),
                life,
                door,
            };
            citizens.all.insert(id.to_owned(), citizen);
            (process, service)
        };
        let door = process.door().clone();
        door.spawn(service(process.clone()));
        process
    }

    /// Runs the world for a while with everything that goes wrong in it, and then what `after` does while nothing does
    /// any more.
    ///
    /// # Errors
    /// The laws that were broken.
    pub fn run<T>(
        &mut self,
        length: Duration,
        after: impl AsyncFnOnce(&Self) -> Result<T, Broken>,
    ) -> Result<T, Failure> {
        let mut laws = std::mem::take(&mut self.laws);
        let mut situations = std::mem::take(&mut self.situations);
        let mut broken = Vec::new();
        let this = &*self;
        let tolerant = this.broken.is_some();
        let story = async {
            this.disturb_for(length).await;
            this.calm();
            after(this).await
        };
        let told = this.sim.block_on_while(story, |process| {
            let now = this.sim.now();
            let mut witness = this.common.witness();
            let mut moved = witness.look(&this.sim, now, process);
            if let Some((turns, news)) = this.common.ledger.news() {
                turns.iter().for_each(|turn| witness.turn(now, turn));
                broken.extend(news);
                moved = true;
            }
            broken.append(&mut witness.broken);
            let believing = moved.then(|| witness.situation(now));
            drop(witness);
            if let Some(believing) = believing {
                situations.insert(believing.wrapping_add(this.common.ledger.situation()));
            }
            for law in &mut laws {
                if let Err(seen) = law() {
                    let law = "a law of one's own";
                    broken.push(Broken { law, seen });
                }
            }
            broken.is_empty() || tolerant
        });
        self.laws = laws;
        self.situations = situations;
        match told {
            Some(Ok(told)) if broken.is_empty() => return Ok(told),
            Some(Err(last)) => broken.push(last),
            _ => {}
        }
        Err(self.failures(broken))
    }

    /// The failure of a law that was looked at only after the end.
    #[must_use]
    pub fn failure(&self, broken: Broken) -> Failure {
        self.failures(vec![broken])
    }

    fn failures(&self, broken: Vec<Broken>) -> Failure {
        for broken in &broken {
            self.log().say(|| format!("! {broken}"));
        }
        Failure {
            seed: self.sim.seed(),
            broken,
        }
    }

    /// Everything that was asked of the registry and what was answered, and who believed when: for
    /// [`history::check`](crate::history::check), which knows nothing of leasehold's code. One for each boot of the
    /// machine, where there is but one.
    #[must_use]
    pub fn histories(&self) -> Vec<History> {
        let mut all = std::mem::take(&mut self.common.state().histories);
        all.push(self.history());
        all
    }

    /// What was recorded since the last time.
    fn history(&self) -> History {
        let recorder = self.recorder();
        for belief in self.common.witness().take(self.sim.now()) {
            recorder.belief(history::Belief {
                process: u32::try_from(belief.process).unwrap_or(u32::MAX),
                handle: belief.handle,
                name: recorder.name(belief.name.as_str()),
                fence: belief.fence,
                begin: nanos(belief.from),
                end: Some(nanos(belief.until)),
            });
        }
        recorder.take()
    }

    /// The different situations that there were: who believed, and what stood in the registry.
    #[must_use]
    pub fn situations(&self) -> &BTreeSet<u64> {
        &self.situations
    }

    /// Writes to what the leases protect: accepted, refused by their fence, accepted although a later term had written.
    #[must_use]
    pub fn writes(&self) -> (u64, u64, u64) {
        let state = self.common.state();
        let resource = &state.resource;
        (resource.accepted, resource.refused, resource.stale)
    }

    /// The tasks that said that they are at work.
    #[must_use]
    pub fn at_work(&self) -> Vec<String> {
        let state = self.common.state();
        let names = state.busy.iter();
        names.map(|(life, task)| format!("{life}/{task}")).collect()
    }

    /// Lets things go wrong for a while.
    async fn disturb_for(&self, length: Duration) {
        let wire = &self.scene.wire;
        let end = wire.now().plus(length);
        self.net.weather(self.chaos.weather.clone());
        let mut chance = Chance::new(self.sim.seed() ^ 0x6d69_7368);
        while wire.now() < end {
            let pause = self.chaos.pace / 4 + chance.duration(self.chaos.pace * 3 / 4);
            wire.sleep_until(wire.now().plus(pause).min(end)).await;
            if let Some(assumption) = self.broken
                && let Some(what) = self.registry.break_assumption(assumption, &mut chance)
            {
                self.log().fault(what);
            }
            if let Some(mishap) = self.chaos.next(self.kind, &mut chance) {
                self.happen(mishap, &mut chance);
            }
        }
    }

    fn happen(&self, mishap: Mishap, chance: &mut Chance) {
        let log = self.log();
        let (id, door) = {
            let citizens = self.citizens();
            let count = citizens.all.len() as u64;
            let place = usize::try_from(chance.below(count)).unwrap_or_default();
            let Some((id, citizen)) = citizens.all.iter().nth(place) else {
                return;
            };
            (id.clone(), citizen.door.clone())
        };
        let all = |act: &dyn Fn(&Citizen)| self.citizens().all.values().for_each(act);
        match mishap {
            Mishap::Cut => {
                log.say(|| format!("~ {id} is cut off"));
                log.fault("process cut off");
                self.net.cut(door.id());
            }
            Mishap::Mend => all(&|citizen| self.net.mend(citizen.door.id())),
            Mishap::Pause => {
                log.say(|| format!("~ {id} is stopped"));
                log.fault("process stopped");
                door.freeze();
            }
            Mishap::Resume => all(&|citizen| citizen.door.thaw()),
            Mishap::Sleep => {
                log.fault("machine asleep");
                all(&|citizen| citizen.door.freeze());
            }
            Mishap::Wake => all(&|citizen| citizen.door.thaw()),
            Mishap::Crash => {
                log.say(|| format!("~ {id} crashes"));
                log.fault("process crashed");
                self.crash(&id);
            }
            Mishap::Disturb => {
                if let Some(kind) = self.registry.disturb(chance) {
                    log.fault(kind);
                }
            }
            Mishap::Reboot => {
                log.fault("machine rebooted");
                let ids: Vec<String> = self.citizens().all.keys().cloned().collect();
                {
                    let mut citizens = self.citizens();
                    citizens.machine = machine(self.kind, chance);
                }
                // All die before the registry comes up again.
                let lives: Vec<_> = ids.iter().filter_map(|id| self.die(id)).collect();
                self.net.clear();
                self.registry.rebooted();
                // Nobody waits for the dead: what the histories before and after say of waiting is apart.
                let history = self.history();
                self.common.state().histories.push(history);
                *self.recorder.lock().unwrap_or_else(PoisonError::into_inner) =
                    recorder(self.kind, true);
                for (id, service) in lives {
                    drop(self.live(&id, service));
                }
            }
            Mishap::Weather => {
                let calm = chance.below(2) == 0;
                let weather = if calm {
                    Weather::default()
                } else {
                    self.chaos.weather.clone()
                };
                self.net.weather(weather);
            }
        }
    }

    /// Kills a process and starts it again.
    fn crash(&self, id: &str) {
        if let Some((id, service)) = self.die(id) {
            drop(self.live(&id, service));
        }
    }

    fn die(&self, id: &str) -> Option<(String, Service)> {
        let citizens = self.citizens();
        let citizen = citizens.all.get(id)?;
        let citizen = Citizen {
            service: citizen.service.clone(),
            life: citizen.life,
            door: citizen.door.clone(),
        };
        drop(citizens);
        self.bury(id, &citizen);
        Some((id.to_owned(), citizen.service))
    }

    /// From here on nothing goes wrong.
    fn calm(&self) {
        self.log().say(|| "~ calm".into());
        self.net.weather(Weather::default());
        for citizen in self.citizens().all.values() {
            self.net.mend(citizen.door.id());
            citizen.door.thaw();
        }
        self.registry.heal();
        self.common.state().stopping = true;
    }

    /// In calm weather but for one thing: no notification arrives any more, or all do again.
    pub(crate) fn lose_notices(&self, lose: bool) {
        self.net.weather(Weather {
            lose_notice: if lose { 1000 } else { 0 },
            ..Weather::default()
        });
    }

    fn recorder(&self) -> Recorder {
        let recorder = self.recorder.lock();
        recorder.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn citizens(&self) -> MutexGuard<'_, Citizens> {
        self.citizens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}", self.seed)?;
        self.broken
            .iter()
            .try_for_each(|broken| write!(f, "\n  {broken}"))
    }
}

impl std::error::Error for Failure {}

/// Records what happens in true time; from the beginning of the registry, or when it has records already.
fn recorder(kind: Kind, continues: bool) -> Recorder {
    let mut header = Header::exact("true time").drifting(kind.drift().unsigned_abs());
    header.continues = continues;
    Recorder::new(header)
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// A machine's clock: its rate and where it begins. The bounds are the likeliest: there the margins are needed in full.
fn machine(kind: Kind, chance: &mut Chance) -> (i32, Duration) {
    let most = kind.drift();
    let rate = match chance.below(4) {
        0 => -most,
        1 => most,
        2 => 0,
        _ => {
            i32::try_from(chance.below(u64::from(most.unsigned_abs()) * 2 + 1)).unwrap_or_default()
                - most
        }
    };
    (rate, Duration::from_secs(chance.below(100_000)))
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("kind", &self.kind)
            .field("seed", &self.sim.seed())
            .finish_non_exhaustive()
    }
}
