//! In which order those who lead are told what.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold_core::{Displace, Door, Manager, MemoryStore, TakeOver, Term};
use leasehold_testkit::sim::{Sim, SimDoor};
use leasehold_testkit::{Fault, Faulty, seeds};

const PERIOD: Duration = Duration::from_secs(12);
const SECOND: Duration = Duration::from_secs(1);
/// What the simulator's scheduling may add.
const MOMENT: Duration = Duration::from_millis(1);

/// What happened in a term, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// The work was called.
    Started,
    /// It was told to stop.
    Ending,
    /// The loss was told.
    Lost,
    /// The work's future has ended or was dropped.
    Ended,
}

/// What was told in each term, by its fence, at which true time. All candidates write into one.
type Terms = BTreeMap<u64, Vec<(Told, Duration)>>;

#[derive(Clone, Debug)]
struct Log {
    door: Arc<SimDoor>,
    terms: Arc<Mutex<Terms>>,
}

impl Log {
    fn tell(&self, term: &Term, told: Told) {
        let mut terms = self.terms.lock().unwrap();
        let term = terms.entry(term.fence()).or_default();
        term.push((told, self.door.truth_now()));
    }
}

/// Tells the end of the work, however it comes.
struct AtWork(Log, Term);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.tell(&self.1, Told::Ended);
    }
}

/// Leads, for so long or for ever, and tells the log all that is told.
async fn work(log: Log, term: Term, length: Option<Duration>) {
    let begin = term.begin().unwrap();
    assert!(log.door.now() >= begin, "before its begin");
    term.check().unwrap();
    log.tell(&term, Told::Started);
    let at_work = AtWork(log, term);
    let AtWork(log, term) = &at_work;
    // Beside it: what those who watch the term from outside are told. Its clone is done with when the term is lost.
    if length.is_none() {
        let (log, term) = (log.clone(), term.clone());
        let watch = async move {
            term.lost().await;
            log.tell(&term, Told::Lost);
        };
        at_work.0.door.spawn(Box::pin(watch));
    }
    let ends = async {
        match length {
            Some(length) => log.door.sleep_until(log.door.now().plus(length)).await,
            None => std::future::pending().await,
        }
    };
    if let Either::Left(_) = select(pin!(term.ending()), pin!(ends)).await {
        log.tell(term, Told::Ending);
        match length {
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// What must hold of what was told in a term, and when its work had ended.
fn check(fence: u64, told: &[(Told, Duration)], before: Duration) -> Duration {
    let at = |what| {
        let mut times = told.iter().filter(|(told, _)| *told == what);
        let first = times.next().map(|(_, at)| *at);
        assert!(times.next().is_none(), "{fence}: {what:?} twice: {told:?}");
        first
    };
    let [started, ending, lost, ended] =
        [Told::Started, Told::Ending, Told::Lost, Told::Ended].map(at);
    assert_eq!(told[0].0, Told::Started, "{fence}: {told:?}");
    let (started, ended) = (started.unwrap(), ended.unwrap());
    assert!(
        before <= started + MOMENT,
        "{fence}: its predecessor is at work for {:?}",
        before - started
    );
    // Tasks that hear of the same thing run one after the other, in no order.
    let lost = lost.map_or(ended, |lost| lost + MOMENT);
    assert!(ended <= lost, "{fence}: {told:?}");
    if let Some(ending) = ending {
        assert!(ending <= ended && ending <= lost, "{fence}: {told:?}");
    }
    ended
}

/// Three candidates, of whom one is cut off, or robbed, or the way is clear again, every few seconds.
fn elect(seed: u64) -> Terms {
    let sim = Sim::new(seed);
    let memory = MemoryStore::new(sim.door());
    let terms: Arc<Mutex<Terms>> = Arc::default();
    let candidate = |version: i64| {
        let door = sim.door();
        let way = Faulty::new(Arc::new(memory.clone()), door.clone());
        let manager = Manager::builder(Arc::new(way.clone()), door.clone())
            .timeout(SECOND * 5)
            .build()
            .unwrap();
        let log = Log {
            door: door.clone(),
            terms: terms.clone(),
        };
        let election = manager
            .election("e")
            .period(PERIOD)
            .version(version)
            .take_over(TakeOver::HigherVersion);
        let mut rounds = [None, Some(SECOND * 7), None].into_iter().cycle();
        sim.spawn(&door, async move {
            let lead = |term| work(log.clone(), term, rounds.next().unwrap());
            let led = election.lead_until(std::future::pending(), lead);
            led.await.unwrap();
        });
        way
    };
    let ways = [0, 1, 2].map(candidate);
    let door = sim.door();
    let other = Manager::builder(Arc::new(memory.clone()), door.clone())
        .build()
        .unwrap();
    sim.block_on(async {
        for _ in 0..100 {
            let pause = Duration::from_millis(500 + sim.below(12_000));
            door.sleep_until(door.now().plus(pause)).await;
            match (sim.below(4), sim.below(3)) {
                (0, 0) => _ = ways[0].always(Some(Fault::Refuse)),
                (0, 1) => _ = ways[1].always(Some(Fault::Refuse)),
                (0, _) => _ = ways[2].always(Some(Fault::Refuse)),
                // Also from who has not begun yet.
                (1, _) => {
                    if let Some(status) = other.status("e").await.unwrap() {
                        let displace = Displace::index(status.index());
                        drop(other.break_lease("e", displace).await);
                    }
                }
                _ => {
                    for way in &ways {
                        way.always(None);
                    }
                }
            }
        }
    });
    terms.lock().unwrap().clone()
}

/// Complaint 23: callbacks in a confusing order, "stopped" for who never started. Candidates who overtake each other, are
/// robbed before they began, cut off, or end by themselves: the work is called at its term's begin or not at all, when that
/// of the term before has ended; it is told to stop before it ends and ends as the loss is told, all of it once a term.
#[test]
fn complaint_23_work_starts_is_told_to_stop_and_ends_in_this_order_and_once_a_term() {
    let mut counts = BTreeMap::new();
    for seed in seeds() {
        let mut before = Duration::ZERO;
        let mut terms = elect(seed);
        // The last one may be under way.
        terms.pop_last();
        for (fence, told) in &terms {
            before = check(*fence, told, before);
            for (what, _) in told {
                *counts.entry(format!("{what:?}")).or_insert(0) += 1;
            }
        }
    }
    // All of it happened.
    assert!(
        counts.len() == 4 && counts.values().all(|count| *count > 10),
        "{counts:?}"
    );
    eprintln!("{counts:?}");
}
