//! Histories of any length that keep the contract: clients of a simulated registry that keeps it.
//!
//! It shares no code with the library or with the checker.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use leasehold_testkit::Chance;
use leasehold_testkit::history::{
    Attempt, Belief, Found, Header, History, Kind, Name, Operation, Outcome, Standing, State,
};

/// How long every grant lasts.
const PERIOD: u64 = 50_000_000;

/// What the registry keeps of a name.
#[derive(Clone, Copy, Default)]
struct Slot {
    index: Option<u64>,
    held: bool,
    fence: u64,
    attempt: Option<Attempt>,
    believe_from: u64,
    vacant_from: u64,
}

/// What a client knows of a name.
#[derive(Clone, Copy, Default)]
struct Known {
    seen: Option<State>,
    /// When it was seen.
    at: u64,
    handle: Option<Handle>,
}

#[derive(Clone, Copy)]
struct Handle {
    number: u64,
    index: u64,
    fence: u64,
    begin: u64,
    deadline: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Invoke(u32),
    Apply(u32),
    Return(u32),
}

/// A request on its way.
#[derive(Clone, Copy)]
struct Request {
    place: usize,
    client: u32,
    name: usize,
    operation: Operation,
    answer: Outcome,
    /// Of those still to come: the application, the return.
    events: u8,
}

struct World {
    chance: Chance,
    history: History,
    names: Vec<Name>,
    slots: Vec<Slot>,
    known: Vec<Known>,
    /// The name that each client was granted last.
    favourites: Vec<usize>,
    requests: Vec<Option<Request>>,
    free: Vec<u32>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    handles: u64,
}

/// A history of this many operations by clients that share some names.
pub(crate) fn generate(seed: u64, operations: usize, clients: u32, names: u32) -> History {
    let mut history = History::new(Header::exact("true time"));
    history.reserve(operations);
    let names: Vec<Name> = (0..names)
        .map(|name| history.name(&format!("generated/{name}")))
        .collect();
    let mut world = World {
        chance: Chance::new(seed),
        slots: vec![Slot::default(); names.len()],
        known: vec![Known::default(); names.len() * clients as usize],
        favourites: vec![0; clients as usize],
        requests: Vec::new(),
        free: Vec::new(),
        events: BinaryHeap::new(),
        order: 0,
        handles: 0,
        history,
        names,
    };
    for client in 0..clients {
        let at = world.chance.below(1_000_000);
        world.schedule(at, Event::Invoke(client));
    }
    while let Some(Reverse((now, _, event))) = world.events.pop() {
        match event {
            Event::Invoke(client) if world.history.len() < operations => world.invoke(now, client),
            Event::Invoke(_) => {}
            Event::Apply(request) => world.apply(now, request),
            Event::Return(request) => world.answer(now, request),
        }
    }
    world.finish()
}

impl World {
    fn schedule(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn place(&self, client: u32, name: usize) -> usize {
        client as usize * self.names.len() + name
    }

    fn invoke(&mut self, now: u64, client: u32) {
        let mut name = usize::try_from(self.chance.below(self.names.len() as u64)).unwrap_or(0);
        let held = self.favourites[client as usize];
        if self.known[self.place(client, held)].handle.is_some() && self.chance.below(10) < 8 {
            name = held;
        }
        let place = self.place(client, name);
        self.lapse(now, client, name);
        let known = self.known[place];
        let mut operation = Operation::new(client, self.names[name], Kind::Get, now);
        let draw = self.chance.below(100);
        match (known.handle, known.seen) {
            (Some(handle), _) if draw < 80 => {
                operation.kind = match draw < 60 {
                    true => Kind::Renew,
                    false => Kind::Release,
                };
                operation.handle = Some(handle.number);
                operation.names = Some(handle.index);
                if operation.kind == Kind::Release {
                    self.end(now, client, name);
                }
            }
            (None, Some(seen)) if seen.held && draw < 8 => {
                operation.kind = match draw < 6 {
                    true => Kind::Steal,
                    false => Kind::Break,
                };
                operation.names = Some(seen.index);
            }
            (None, Some(seen)) if draw < 60 && (!seen.held || known.at + PERIOD < now) => {
                operation.kind = Kind::Acquire;
                operation.names = Some(seen.index);
            }
            (None, None) if draw < 50 => operation.kind = Kind::Acquire,
            _ => {}
        }
        if operation.kind.is_change() {
            operation.attempt = Some(Attempt(self.chance.number().into()));
            operation.outcome = Outcome::Unknown;
        }
        if operation.kind.grants() {
            operation.period = Some(PERIOD);
        }
        if matches!(operation.kind, Kind::Acquire | Kind::Steal) {
            self.handles += 1;
            operation.handle = Some(self.handles);
        }
        let request = Request {
            place: self.history.len(),
            client,
            name,
            operation,
            answer: operation.outcome,
            events: 2,
        };
        self.history.push(&operation);
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.requests.push(None);
                u32::try_from(self.requests.len() - 1).unwrap_or(0)
            }
        };
        self.requests[number as usize] = Some(request);
        let applied = now + 1 + self.chance.below(1_000_000);
        let returned = applied + 1 + self.chance.below(1_000_000);
        let fate = match operation.kind.is_change() {
            true => self.chance.below(100),
            false => 99,
        };
        match fate {
            // The answer is lost, after it was applied, or long before.
            0 => {
                self.schedule(applied, Event::Apply(number));
                self.give_up(number, returned);
            }
            1 => {
                let late = returned + self.chance.below(20_000_000);
                self.schedule(late, Event::Apply(number));
                self.give_up(number, returned);
            }
            // The request is lost.
            2 => {
                self.give_up(number, returned);
                self.done(number);
            }
            _ => {
                self.schedule(applied, Event::Apply(number));
                self.schedule(returned, Event::Return(number));
            }
        }
    }

    /// Nothing will be known of a request.
    fn give_up(&mut self, number: u32, at: u64) {
        let Some(request) = self.requests[number as usize] else {
            return;
        };
        let place = self.place(request.client, request.name);
        if request.operation.kind == Kind::Renew {
            self.lose(request.client, request.name);
        }
        self.known[place].handle = None;
        let operation = Operation {
            returned: Some(at),
            ..request.operation
        };
        self.history.replace(request.place, &operation);
        self.done(number);
        let next = at + self.chance.below(2_000_000);
        self.schedule(next, Event::Invoke(request.client));
    }

    fn done(&mut self, number: u32) {
        let slot = &mut self.requests[number as usize];
        if let Some(request) = slot {
            request.events -= 1;
            if request.events == 0 {
                *slot = None;
                self.free.push(number);
            }
        }
    }

    fn apply(&mut self, now: u64, number: u32) {
        let Some(mut request) = self.requests[number as usize] else {
            return;
        };
        request.answer = self.slots[request.name].step(now, &request.operation);
        self.requests[number as usize] = Some(request);
        self.done(number);
    }

    fn answer(&mut self, now: u64, number: u32) {
        let Some(request) = self.requests[number as usize] else {
            return;
        };
        let operation = Operation {
            returned: Some(now),
            outcome: request.answer,
            ..request.operation
        };
        self.history.replace(request.place, &operation);
        self.learn(now, request.client, request.name, &operation);
        self.done(number);
        let next = now + self.chance.below(2_000_000);
        self.schedule(next, Event::Invoke(request.client));
    }

    fn learn(&mut self, now: u64, client: u32, name: usize, operation: &Operation) {
        self.lapse(now, client, name);
        let place = self.place(client, name);
        let mut known = self.known[place];
        known.at = now;
        match operation.outcome {
            Outcome::Granted {
                index,
                fence,
                period,
                wait,
            } => {
                let deadline = operation.invoked + period;
                match &mut known.handle {
                    Some(handle) if operation.kind == Kind::Renew => {
                        handle.index = index;
                        handle.deadline = deadline;
                    }
                    // A renewal that was learnt after the deadline.
                    None if operation.kind == Kind::Renew => {}
                    _ if now + wait < deadline => {
                        self.favourites[client as usize] = name;
                        known.handle = Some(Handle {
                            number: operation.handle.unwrap_or_default(),
                            index,
                            fence,
                            begin: now + wait,
                            deadline,
                        });
                    }
                    _ => {}
                }
                let (held, attempt, fence) = (true, operation.attempt, Some(fence));
                known.seen = Some(State {
                    index,
                    fence,
                    held,
                    attempt,
                });
            }
            Outcome::Vacated { index } => {
                let (held, attempt, fence) = (false, operation.attempt, None);
                known.seen = Some(State {
                    index,
                    fence,
                    held,
                    attempt,
                });
            }
            Outcome::Refused { found } | Outcome::Read { found } => {
                if operation.kind == Kind::Renew {
                    self.lose(client, name);
                    known.handle = None;
                }
                if let Found::Record(state) = found {
                    if known.seen.is_some_and(|seen| seen.index == state.index) {
                        known.at = self.known[place].at;
                    }
                    known.seen = Some(state);
                } else {
                    known.seen = None;
                }
            }
            _ => {}
        }
        self.known[place] = known;
    }

    /// A handle whose deadline has passed is none.
    fn lapse(&mut self, now: u64, client: u32, name: usize) {
        let place = self.place(client, name);
        if self.known[place]
            .handle
            .is_some_and(|handle| handle.deadline <= now)
        {
            self.lose(client, name);
        }
    }

    fn lose(&mut self, client: u32, name: usize) {
        self.end(u64::MAX, client, name);
    }

    /// Belief is over at this moment, or at the deadline.
    fn end(&mut self, now: u64, client: u32, name: usize) {
        let place = self.place(client, name);
        let Some(handle) = self.known[place].handle.take() else {
            return;
        };
        let end = handle.deadline.min(now);
        if handle.begin < end {
            self.history.believe(Belief {
                process: client,
                handle: handle.number,
                name: self.names[name],
                fence: handle.fence,
                begin: handle.begin,
                end: Some(end),
            });
        }
    }

    fn finish(mut self) -> History {
        for place in 0..self.known.len() {
            let client = u32::try_from(place / self.names.len()).unwrap_or(0);
            self.lose(client, place % self.names.len());
        }
        self.history
    }
}

impl Slot {
    fn shown(&self) -> Found {
        match self.index {
            None => Found::Nothing,
            Some(index) => Found::Record(State {
                index,
                fence: self.held.then_some(self.fence),
                held: self.held,
                attempt: self.attempt,
            }),
        }
    }

    /// The atomic step.
    fn step(&mut self, now: u64, change: &Operation) -> Outcome {
        let found = self.shown();
        let vacant = self.vacant_from <= now;
        let in_place = match change.kind {
            Kind::Get | Kind::Observed => return Outcome::Read { found },
            Kind::Acquire => self.index == change.names && vacant,
            _ => self.index == change.names && self.held && !vacant,
        };
        if !in_place {
            return Outcome::Refused { found };
        }
        let index = self.index.unwrap_or_default() + 1 + (now & 1);
        let clean = change.kind == Kind::Release && change.standing != Standing::Proxy;
        match change.kind {
            Kind::Acquire => self.fence = index,
            Kind::Steal => {
                self.fence = self.index.unwrap_or_default() + 1;
                self.believe_from = self.believe_from.max(self.vacant_from);
            }
            _ => {}
        }
        self.index = Some(index);
        self.attempt = change.attempt;
        self.held = change.kind.grants();
        if self.held {
            self.vacant_from = (now + PERIOD).max(self.believe_from);
            return Outcome::Granted {
                index,
                fence: self.fence,
                period: PERIOD,
                wait: self.believe_from.saturating_sub(now),
            };
        }
        if clean {
            self.vacant_from = now.max(self.believe_from);
        }
        Outcome::Vacated { index }
    }
}
