//! The way between processes and a registry: messages that are lost, late, doubled, and overtake each other.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, ready, select};
use futures_util::stream::{BoxStream, StreamExt};
use leasehold_core::{BootInstant, Door};
use tokio::sync::oneshot;

use crate::chance::Chance;
use crate::sim::SimDoor;
use crate::world::log::Log;

/// What the way does to messages, each in so many of a thousand cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// The request never arrives, and nobody is told.
    pub lose_request: u64,
    /// The request never leaves, and the sender is told.
    pub refuse: u64,
    /// The answer never arrives.
    pub lose_reply: u64,
    /// The request arrives twice: a proxy, or a driver that sends again. Never where the real way cannot do that.
    pub twice: u64,
    /// A message takes much longer than usual, up to [`Weather::longest`].
    pub slow: u64,
    /// The longest that a slow message takes.
    pub longest: Duration,
    /// A notification never arrives.
    pub lose_notice: u64,
    /// A change that travels with others cannot be taken by the registry, in a thousand.
    pub spoil: u64,
}

/// The network of one world.
#[derive(Debug)]
pub struct Net {
    /// True time; its tasks outlive every process, as messages do.
    wire: Arc<SimDoor>,
    usual: Duration,
    state: Mutex<State>,
    log: Log,
}

#[derive(Debug)]
struct State {
    chance: Chance,
    weather: Weather,
    cut: BTreeSet<u64>,
    /// Messages of an earlier age are gone.
    age: u64,
}

/// One process's way to the registry.
#[derive(Clone)]
pub struct Link {
    net: Arc<Net>,
    door: Arc<SimDoor>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// The request never left: it was not served and never will be.
    NotSent,
    /// Nobody knows: it may have been served, or be served later.
    NoAnswer,
}

/// What becomes of one request.
struct Fate {
    there: Option<Duration>,
    again: Option<Duration>,
    back: Option<Duration>,
}

impl Net {
    /// A network in calm weather, whose messages usually take up to `usual`.
    #[must_use]
    pub fn new(wire: Arc<SimDoor>, log: Log, seed: u64, usual: Duration) -> Arc<Self> {
        Arc::new(Self {
            wire,
            usual,
            log,
            state: Mutex::new(State {
                chance: Chance::new(seed ^ 0x006e_6574),
                weather: Weather::default(),
                cut: BTreeSet::new(),
                age: 0,
            }),
        })
    }

    /// The way of a process.
    #[must_use]
    pub fn link(self: &Arc<Self>, door: Arc<SimDoor>) -> Link {
        Link {
            net: self.clone(),
            door,
        }
    }

    /// Other weather from now on.
    pub fn weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Cuts a process off: nothing gets through in either direction, and nobody is told.
    pub fn cut(&self, process: u64) {
        self.state().cut.insert(process);
    }

    /// Lets a process through again.
    pub fn mend(&self, process: u64) {
        self.state().cut.remove(&process);
    }

    /// Everything that is under way is gone: the machine that it was under way in was started anew.
    pub fn clear(&self) {
        self.state().age += 1;
    }

    fn age(&self) -> u64 {
        self.state().age
    }

    fn is_cut(&self, process: u64) -> bool {
        self.state().cut.contains(&process)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        self.wire.sleep_until(self.wire.now().plus(length))
    }

    /// What becomes of the next request; none: it never leaves.
    fn fate(&self) -> Option<Fate> {
        let mut state = self.state();
        let state = &mut *state;
        let (chance, weather) = (&mut state.chance, &state.weather);
        if chance.per_mille(weather.refuse) {
            return None;
        }
        let mut takes = |lost: u64| {
            let slow = chance.per_mille(weather.slow);
            let longest = if slow { weather.longest } else { self.usual };
            let length = chance.duration(longest);
            let arrives = !chance.per_mille(lost);
            if slow && arrives {
                self.log.fault("message late");
            }
            arrives.then_some(length)
        };
        let (there, back) = (takes(weather.lose_request), takes(weather.lose_reply));
        let again = takes(1000 - weather.twice.min(1000));
        Some(Fate { there, again, back })
    }
}

impl Link {
    /// The process's door.
    #[must_use]
    pub fn door(&self) -> &Arc<SimDoor> {
        &self.door
    }

    /// Sends a request. `serve` runs when it arrives at the registry: never, once, or twice; it answers none where the
    /// registry does not answer (it is down). Waits for the answer until an instant on the process's clock.
    ///
    /// Dropping the call does not call the request back.
    ///
    /// # Errors
    /// [`Missed`]: there is no answer.
    pub async fn call<T: Send + 'static>(
        &self,
        until: BootInstant,
        serve: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Result<T, Missed> {
        self.call_when(until, || ready(()).boxed(), serve).await
    }

    /// The same of a registry that does not serve at once what has arrived, but when `arrived` is over.
    pub(crate) async fn call_when<T: Send + 'static>(
        &self,
        until: BootInstant,
        mut arrived: impl FnMut() -> BoxFuture<'static, ()> + Send + 'static,
        mut serve: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Result<T, Missed> {
        let process = self.door.id();
        let Some(fate) = self.net.fate() else {
            self.net.log.fault("request refused");
            return Err(Missed::NotSent);
        };
        let (sender, receiver) = oneshot::channel();
        let net = self.net.clone();
        let age = net.age();
        self.net.wire.spawn(Box::pin(async move {
            match fate.there {
                Some(there) if !net.is_cut(process) => net.sleep(there).await,
                _ => return net.log.fault("request lost"),
            }
            arrived().await;
            if net.age() != age {
                return;
            }
            if let Some(answer) = serve() {
                match fate.back {
                    Some(back) if !net.is_cut(process) => {
                        net.sleep(back).await;
                        drop(sender.send(answer));
                    }
                    _ => net.log.fault("answer lost"),
                }
            }
            if let Some(again) = fate.again {
                net.sleep(again).await;
                arrived().await;
                if net.age() != age {
                    return;
                }
                net.log.fault("request doubled");
                drop(serve());
            }
        }));
        match select(pin!(receiver), self.door.sleep_until(until)).await {
            Either::Left((Ok(answer), _)) => Ok(answer),
            // Whoever waits for an answer that never comes learns it from its own clock.
            Either::Left((Err(_), timer)) => {
                timer.await;
                Err(Missed::NoAnswer)
            }
            Either::Right(_) => Err(Missed::NoAnswer),
        }
    }

    /// Whether one change of a batch is the one that the registry cannot take, by the weather.
    pub(crate) fn spoils(&self) -> bool {
        let mut state = self.net.state();
        let state = &mut *state;
        let spoilt = state.chance.per_mille(state.weather.spoil);
        if spoilt {
            self.net.log.fault("change spoilt in its batch");
        }
        spoilt
    }

    /// The registry's notifications as they reach the process, in their order: some are lost, all while it is cut off,
    /// and some are late.
    #[must_use]
    pub fn notices<T: Send + 'static>(
        &self,
        signals: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        let (link, late) = (self.clone(), self.clone());
        signals
            .filter(move |_| {
                let lost = {
                    let mut state = link.net.state();
                    let state = &mut *state;
                    state.cut.contains(&link.door.id())
                        || state.chance.per_mille(state.weather.lose_notice)
                };
                if lost {
                    link.net.log.fault("notification lost");
                }
                ready(!lost)
            })
            .then(move |signal| {
                let late = late.delay();
                async move {
                    if let Some(late) = late {
                        late.await;
                    }
                    signal
                }
            })
            .boxed()
    }
}

impl Link {
    /// How long the next notification is under way, if it is late.
    fn delay(&self) -> Option<BoxFuture<'static, ()>> {
        let length = {
            let mut state = self.net.state();
            let State {
                chance, weather, ..
            } = &mut *state;
            chance
                .per_mille(weather.slow)
                .then(|| chance.duration(weather.longest))?
        };
        self.net.log.fault("notification late");
        Some(self.net.sleep(length))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}
