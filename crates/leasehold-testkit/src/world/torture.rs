//! Processes that do everything that can be done with leases, in an order of the seed's choice.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold_core::{
    Attempt, Changes, Displace, Held, KeepAlive, Lease, LockAttempt, Request, Status, TakeOver,
    Term,
};

use crate::world::ledger::Broken;
use crate::world::process::Process;

/// The names that they fight for.
pub(crate) const NAMES: [&str; 2] = ["x", "x/y"];

/// One task of a process.
pub(crate) struct Actor {
    me: Process,
    task: u64,
    period: Duration,
    cancels: bool,
    leases: Vec<(Lease, u64)>,
    held: Vec<(Held, u64)>,
}

/// What a call came to, if its caller did not drop it.
type Called<T> = Option<leasehold_core::Result<T>>;

impl Actor {
    pub(crate) fn new(me: Process, task: u64, period: Duration, cancels: bool) -> Self {
        Self {
            me,
            task,
            period,
            cancels,
            leases: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Acts until the world asks everybody to finish.
    pub(crate) async fn run(mut self) {
        let _at_work = self.me.at_work(self.task);
        while !self.me.is_stopping() {
            self.me.sleep(self.me.duration(self.period / 3)).await;
            self.act().await;
        }
        // Some go tidily, some do not.
        if self.me.below(2) == 0 {
            for (lease, _) in std::mem::take(&mut self.leases) {
                drop(lease.release().await);
            }
            for (held, _) in std::mem::take(&mut self.held) {
                drop(held.release().await);
            }
        }
        for (_, key) in &self.held {
            self.me.forget(*key);
        }
        self.held.clear();
        if self.task == 0 && self.me.below(4) == 0 {
            let manager = self.me.manager().clone();
            drop(manager.shutdown(self.period * 2).await);
        }
    }

    fn name(&self) -> &'static str {
        NAMES[usize::from(self.me.below(4) == 0)]
    }

    fn a_period(&self) -> Duration {
        match self.me.below(4) {
            0 => self.period / 3,
            1 => self.period * 2,
            _ => self.period,
        }
    }

    fn request(&self, name: &str) -> Request {
        // Whoever looks at the record learns which life made the grant.
        let request = Request::new(name, self.a_period()).note(self.me.life());
        match self.me.below(4) {
            0 => request.delay(self.me.duration(self.period)),
            _ => request,
        }
    }

    /// The slot of what runs once in a while, the same to all.
    fn slot(&self) -> Duration {
        self.period * 5
    }

    async fn act(&mut self) {
        let name = self.name();
        match self.me.below(23) {
            0..=3 => self.acquire(name).await,
            4 | 5 => self.wait_for(name).await,
            6 | 7 => self.steal(name).await,
            8 => self.break_it(name).await,
            9 | 10 => self.renew().await,
            11 => self.renew_all().await,
            12 | 13 => self.release().await,
            14 => self.keep().await,
            15 | 16 => self.let_go().await,
            17 => self.proxy(name).await,
            18 => self.resume(name).await,
            19 => self.work().await,
            20 => self.list().await,
            21 => self.lead(name).await,
            _ => self.look(name).await,
        }
    }

    /// The call's answer; where cancellations are on, some are dropped half-way.
    async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = leasehold_core::Result<T>>,
    ) -> Called<T> {
        self.me.say(|| format!("{what}..."));
        let call = pin!(call);
        let cancel = match self.cancels {
            true => self.me.below(10),
            false => u64::MAX,
        };
        let answer = match cancel {
            0 => up_to(call, 1 + self.me.below(6)).await,
            // At any moment, also between a wake-up and the poll that it asks for.
            1 => {
                let given_up = self.me.sleep(self.me.duration(self.period));
                match select(pin!(given_up), call).await {
                    Either::Left(_) => None,
                    Either::Right((answer, _)) => Some(answer),
                }
            }
            _ => Some(call.await),
        };
        if answer.is_none() {
            self.me.fault("call dropped");
        }
        self.me.say(|| match &answer {
            None => format!("{what}: dropped"),
            Some(Ok(_)) => format!("{what}: ok"),
            Some(Err(error)) => format!("{what}: {:?}: {error}", error.kind()),
        });
        answer
    }

    fn granted(&mut self, lease: Lease) {
        let key = self.me.believes(lease.term());
        self.me
            .say(|| format!("holds {} by fence {}", lease.name(), lease.fence()));
        self.leases.push((lease, key));
    }

    async fn acquire(&mut self, name: &str) {
        let request = self.request(name);
        let manager = self.me.manager().clone();
        let called = self.call("acquire", manager.try_acquire(request)).await;
        if let Some(Ok(Attempt::Acquired(lease))) = called {
            self.granted(lease);
        }
    }

    async fn wait_for(&mut self, name: &str) {
        let lock = self.me.manager().lock(name);
        let lock = lock.period(self.a_period()).note(self.me.life());
        let lock = match self.me.below(4) {
            0 => lock.once_per(self.slot()),
            1 => lock.delay(self.me.duration(self.period)),
            _ => lock,
        };
        let limit = self.me.duration(self.period * 2);
        match self.call("lock", lock.acquire_within(limit)).await {
            Some(Ok(LockAttempt::Held(held))) => {
                let key = self.me.believes(held.term());
                self.held.push((held, key));
            }
            Some(Ok(LockAttempt::Skipped(skipped))) => self.me.say(|| skipped.to_string()),
            _ => {}
        }
    }

    /// What stands under a name, and whether the life that made the grant is known to be over.
    async fn standing(&self, name: &str) -> Option<(Status, bool)> {
        let manager = self.me.manager().clone();
        let status = self.call("status", manager.status(name)).await;
        let status = status?.ok()??;
        let dead = status.note().is_some_and(|life| self.me.is_dead(life));
        Some((status, dead))
    }

    /// What a steal or a break names: mostly what was seen, sometimes what is long past; and whether it asserts that the
    /// lessee is dead.
    fn displaced(&self, status: &Status, dead: bool) -> (Displace, bool) {
        let index = match self.me.below(8) {
            0 => status.index() - 1,
            _ => status.index(),
        };
        match dead && index == status.index() && self.me.below(2) == 0 {
            true => (self.me.assume_dead(status.name(), index), true),
            false => (Displace::index(index), false),
        }
    }

    async fn steal(&mut self, name: &str) {
        let Some((status, dead)) = self.standing(name).await else {
            return;
        };
        let (displace, _) = self.displaced(&status, dead);
        let request = self.request(name);
        let manager = self.me.manager().clone();
        if let Some(Ok(lease)) = self.call("steal", manager.steal(request, displace)).await {
            self.granted(lease);
        }
    }

    async fn break_it(&mut self, name: &str) {
        let Some((status, dead)) = self.standing(name).await else {
            return;
        };
        let (displace, asserts) = self.displaced(&status, dead);
        let manager = self.me.manager().clone();
        let broken = self.call("break", manager.break_lease(name, displace));
        if !matches!(broken.await, Some(Ok(_))) && asserts {
            // An assertion that came to nothing helps no later change.
            let plain = Displace::index(status.index());
            drop(self.call("break", manager.break_lease(name, plain)).await);
        }
    }

    /// One of the leases, no longer in its place.
    fn some_lease(&mut self) -> Option<(Lease, u64)> {
        let place = self.me.below(self.leases.len() as u64);
        let place = usize::try_from(place).unwrap_or_default();
        (!self.leases.is_empty()).then(|| self.leases.swap_remove(place))
    }

    fn some_held(&mut self) -> Option<(Held, u64)> {
        let place = self.me.below(self.held.len() as u64);
        let place = usize::try_from(place).unwrap_or_default();
        (!self.held.is_empty()).then(|| self.held.swap_remove(place))
    }

    async fn renew(&mut self) {
        let Some((mut lease, key)) = self.some_lease() else {
            return;
        };
        let (period, life) = (self.a_period(), self.me.life());
        let changes = match self.me.below(4) {
            0 => Changes::none().note(Some(life)),
            _ => Changes::none(),
        };
        let called = self.call("renew", lease.renew_with(period, changes)).await;
        let lost = matches!(&called, Some(Err(error)) if error.is_lost());
        if !lost || self.me.below(4) == 0 {
            self.leases.push((lease, key));
        }
    }

    async fn renew_all(&mut self) {
        let mut leases = std::mem::take(&mut self.leases);
        let (manager, period) = (self.me.manager().clone(), self.a_period());
        let all = async {
            let leases = leases.iter_mut().map(|(lease, _)| lease);
            Ok(manager.renew_all(leases, period).await)
        };
        drop(self.call("renew all", all).await);
        self.leases = leases;
    }

    async fn release(&mut self) {
        if let Some((lease, _)) = self.some_lease() {
            drop(self.call("release", lease.release()).await);
        }
    }

    async fn keep(&mut self) {
        if let Some((lease, key)) = self.some_lease() {
            self.me.say(|| format!("keeps {} alive", lease.name()));
            let options = match self.me.below(6) {
                0 | 1 => KeepAlive::new().period(self.a_period()),
                2 => KeepAlive::new().max_hold(self.me.duration(self.period * 4)),
                3 => KeepAlive::new().progress_within(self.me.duration(self.period)),
                _ => KeepAlive::new(),
            };
            self.held.push((lease.keep_alive(options), key));
        }
    }

    async fn let_go(&mut self) {
        let Some((held, key)) = self.some_held() else {
            return;
        };
        match self.me.below(4) {
            0 => {
                // A view that lives on would keep the guard's drop from releasing.
                self.me.say(|| format!("drops {}", held.name()));
                self.me.forget(key);
                drop(held);
            }
            1 => {
                if let Ok(lease) = held.into_lease() {
                    self.leases.push((lease, key));
                }
            }
            _ => drop(self.call("release", held.release()).await),
        }
    }

    async fn proxy(&mut self, name: &str) {
        let manager = self.me.manager().clone();
        let Some(Ok(Some(mut proxy))) = self.call("get", manager.get_lease(name)).await else {
            return;
        };
        // A proxy never believes: the world would see it.
        let key = self.me.fetched(proxy.term());
        if self.me.below(2) == 0 {
            let period = self.a_period();
            drop(self.call("proxy renew", proxy.renew(period)).await);
        } else {
            drop(self.call("proxy release", proxy.release()).await);
        }
        self.me.forget(key);
    }

    /// Claims a term of an earlier life of this process: that it is dead is true, and nobody else claims it.
    async fn resume(&mut self, name: &str) {
        let Some((status, true)) = self.standing(name).await else {
            return;
        };
        let claim = format!("claimed {name} {}", status.fence());
        if status.machine_id() != Some(self.me.id()) || self.me.saved(&claim).is_some() {
            return;
        }
        self.me.save(&claim, self.me.life());
        let manager = self.me.manager().clone();
        let called = self.call("resume", manager.resume(name, status.fence()));
        let Some(Ok(mut lease)) = called.await else {
            return;
        };
        let key = self.me.claims(lease.term());
        if self.me.below(4) == 0 {
            return drop(self.call("release of a claim", lease.release()).await);
        }
        let changes = Changes::none().note(Some(self.me.life()));
        let renew = lease.renew_with(self.a_period(), changes);
        if let Some(Ok(())) = self.call("renew of a claim", renew).await {
            self.leases.push((lease, key));
        }
    }

    async fn look(&mut self, name: &str) {
        drop(self.standing(name).await);
    }

    async fn list(&mut self) {
        let manager = self.me.manager().clone();
        let all = async {
            let mut listing = manager.list("")?.all();
            while listing.next().await?.is_some() {}
            Ok(())
        };
        drop(self.call("list", all).await);
    }

    /// Works under a lease that is kept alive, until it is told that it has lost it or the work is done: it is told when
    /// it believes no longer, and not while it does.
    async fn work(&mut self) {
        let Some((held, key)) = self.some_held() else {
            return;
        };
        if self.me.below(3) == 0 {
            // A view that lives on would keep the lease from being released after the work.
            self.me.forget(key);
            let work = held.run(|term| at_work(self.me.clone(), term, self.period));
            return drop(self.call("work", work).await);
        }
        if held.term().is_current() {
            self.me.say(|| format!("works under {}", held.name()));
            let done = self.me.sleep(self.me.duration(self.period * 2));
            let lost = matches!(select(pin!(held.lost()), pin!(done)).await, Either::Left(_));
            if lost == held.term().is_current() {
                let what = if lost {
                    "told, but current"
                } else {
                    "not told"
                };
                self.me.ledger().breach(Broken {
                    law: "a loss is signalled when belief ends",
                    seen: format!("{}: {} was {what}", held.name(), self.me.id()),
                });
            }
        }
        self.held.push((held, key));
    }
}

impl Actor {
    /// Stands for election for a while: of any version, and perhaps to take over.
    async fn lead(&mut self, name: &str) {
        let policy = match self.me.below(3) {
            0 => TakeOver::Never,
            1 => TakeOver::HigherVersion,
            _ => TakeOver::LowerVersion,
        };
        let version = i64::try_from(self.me.below(3)).unwrap_or_default();
        let election = self.me.manager().election(name);
        let election = election
            .period(self.a_period())
            .note(self.me.life())
            .version(version)
            .take_over(policy)
            .wind_down(self.period);
        let told = self.me.sleep(self.me.duration(self.period * 2));
        let work = |term| at_work(self.me.clone(), term, self.period);
        self.me.stands(name, &election);
        drop(self.call("lead", election.lead_until(told, work)).await);
        self.me.stands_no_more(name);
        // Whoever drops the call leads no longer, though his lease may still be given back.
        if election.is_leader() && !self.cancels {
            self.me.ledger().breach(Broken {
                law: "work ends with its lease",
                seen: format!("{name}: {} leads after its election", self.me.id()),
            });
        }
    }
}

/// Works step by step. It is never awake before its term has begun, nor after it is over.
async fn at_work(me: Process, term: Term, period: Duration) {
    for _ in 0..=me.below(12) {
        let now = me.manager().door().now();
        let begun = term.begin().is_some_and(|begin| begin <= now);
        // The moment between the question whether it is lost and this one.
        let moment = Duration::from_millis(1);
        let over = term.deadline().is_some_and(|end| now.since(end) > moment);
        if over || !begun {
            let what = if over {
                "after its end"
            } else {
                "before its begin"
            };
            me.ledger().breach(Broken {
                law: "work ends with its lease",
                seen: format!("{}: {} works {what}", term.name(), me.id()),
            });
        }
        match me.below(3) {
            0 => drop(me.write(&term)),
            1 => term.progress(),
            _ => {}
        }
        me.sleep(me.duration(period / 2)).await;
    }
}

/// The call's answer, unless it takes more polls than these.
async fn up_to<T>(mut call: Pin<&mut impl Future<Output = T>>, polls: u64) -> Option<T> {
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        let answer = call.as_mut().poll(context).map(Some);
        if answer.is_pending() && left == 0 {
            return Poll::Ready(None);
        }
        answer
    })
    .await
}

/// Writes to what the leases of a process protect, as people do: it checks, and some time later it acts.
pub(crate) async fn write(me: Process, period: Duration) {
    while !me.is_stopping() {
        me.sleep(me.duration(period / 2)).await;
        let terms = me.terms();
        let place = usize::try_from(me.below(terms.len() as u64)).unwrap_or_default();
        let Some(term) = terms.get(place).filter(|term| term.is_current()) else {
            continue;
        };
        if me.below(4) == 0 {
            me.sleep(me.duration(period * 2)).await;
        }
        let written = me.write(term);
        me.say(|| {
            let what = if written { "wrote" } else { "was refused" };
            format!("{what} under {} by fence {}", term.name(), term.fence())
        });
    }
}
