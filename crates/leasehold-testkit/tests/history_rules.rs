//! Each rule has at least one least history that breaks it and is refused for that very reason, and a neighbour that
//! keeps it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use leasehold_testkit::history::{
    Attempt, Belief, Found, Header, History, Kind, Operation, Outcome, Report, Rule, Standing,
    State, Violations, check,
};

/// How long grants last here.
const PERIOD: u64 = 1000;

/// A history in the making: one name, an exact clock unless told otherwise.
#[derive(Clone)]
struct Story {
    header: Header,
    operations: Vec<Operation>,
    /// Process, handle, fence, begin, end.
    beliefs: Vec<(u32, u64, u64, u64, Option<u64>)>,
}

fn story() -> Story {
    Story {
        header: Header::exact("steps"),
        operations: Vec::new(),
        beliefs: Vec::new(),
    }
}

impl Story {
    fn check(&self) -> Result<Report, Violations> {
        let mut history = History::new(self.header.clone());
        let name = history.name("a/b");
        for operation in &self.operations {
            history.push(operation);
        }
        for (process, handle, fence, begin, end) in self.beliefs.iter().copied() {
            history.believe(Belief {
                process,
                handle,
                name,
                fence,
                begin,
                end,
            });
        }
        check(&history)
    }

    fn then(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Process `p`'s handle of the same number believes.
    fn believes(mut self, p: u32, fence: u64, (begin, end): (u64, u64)) -> Self {
        self.beliefs.push((p, p.into(), fence, begin, Some(end)));
        self
    }

    fn within(mut self, error: u64) -> Self {
        self.header = self.header.within(error);
        self
    }

    fn drifting(mut self, ppm: u32) -> Self {
        self.header = self.header.drifting(ppm);
        self
    }

    fn continuing(mut self) -> Self {
        self.header.continues = true;
        self
    }

    #[track_caller]
    fn keeps(&self) -> Report {
        match self.check() {
            Ok(report) => report,
            Err(violations) => panic!("it keeps the contract:\n{violations}"),
        }
    }

    /// Is refused for this reason alone; what is told contains these words.
    #[track_caller]
    fn breaks(&self, rule: Rule, words: &str) {
        let violations = self.check().expect_err("it breaks the contract");
        let told = violations.to_string();
        assert!(violations.first.iter().all(|v| v.rule == rule), "{told}");
        assert!(told.contains(words), "{told}");
        assert!(told.contains("a/b") || rule == Rule::Assumptions, "{told}");
    }
}

type At = (u64, u64);

fn operation(kind: Kind, p: u32, (invoked, returned): At) -> Operation {
    let name = History::new(Header::exact("")).name("a/b");
    let mut operation = Operation::new(p, name, kind, invoked);
    operation.returned = Some(returned);
    operation.handle = Some(p.into());
    operation
}

fn change(kind: Kind, p: u32, at: At, names: u64) -> Operation {
    Operation {
        names: Some(names),
        ..operation(kind, p, at)
    }
}

impl Say for Operation {}
trait Say: Sized + Into<Operation> {
    fn granted(self, index: u64, fence: u64) -> Operation {
        self.waiting(index, fence, 0)
    }
    fn waiting(self, index: u64, fence: u64, wait: u64) -> Operation {
        let outcome = Outcome::Granted {
            index,
            fence,
            period: PERIOD,
            wait,
        };
        self.came(outcome)
    }
    fn vacated(self, index: u64) -> Operation {
        self.came(Outcome::Vacated { index })
    }
    fn refused(self, found: Found) -> Operation {
        self.came(Outcome::Refused { found })
    }
    fn unknown(self) -> Operation {
        self.came(Outcome::Unknown)
    }
    fn came(self, outcome: Outcome) -> Operation {
        Operation {
            outcome,
            ..self.into()
        }
    }
    fn by(self, standing: Standing) -> Operation {
        Operation {
            standing,
            ..self.into()
        }
    }
    fn id(self, attempt: u128) -> Operation {
        Operation {
            attempt: Some(Attempt(attempt)),
            ..self.into()
        }
    }
    fn assuming_dead(self) -> Operation {
        Operation {
            assume_dead: true,
            ..self.into()
        }
    }
    fn counted(self, from: u64) -> Operation {
        Operation {
            counted: Some(from),
            ..self.into()
        }
    }
    fn own(self, own: u64) -> Operation {
        Operation {
            own: Some(own),
            ..self.into()
        }
    }
    fn lasting(self, period: u64) -> Operation {
        let mut operation = self.into();
        if let Outcome::Granted {
            period: granted, ..
        } = &mut operation.outcome
        {
            *granted = period;
        }
        operation.period = Some(period);
        operation
    }
}

fn acquire(p: u32, at: At) -> Operation {
    operation(Kind::Acquire, p, at)
}
fn again(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Acquire, p, at, names)
}
fn renew(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Renew, p, at, names)
}
fn steal(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Steal, p, at, names)
}
fn release(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Release, p, at, names)
}
fn break_it(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Break, p, at, names)
}
fn get(p: u32, at: At, found: Found) -> Operation {
    operation(Kind::Get, p, at).came(Outcome::Read { found })
}
fn held(index: u64, fence: u64) -> Found {
    record(index, Some(fence), true, None)
}
fn tombstone(index: u64) -> Found {
    record(index, None, false, None)
}
fn record(index: u64, fence: Option<u64>, held: bool, attempt: Option<u128>) -> Found {
    Found::Record(State {
        index,
        fence,
        held,
        attempt: attempt.map(Attempt),
    })
}

/// Granted to process 1 at some point in 10..20, with index and fence 5.
fn one() -> Story {
    story().then(acquire(1, (10, 20)).granted(5, 5))
}

#[test]
fn one_lessee_a_predecessor_is_replaced_once() {
    let second = |names, index| {
        one()
            .then(acquire(2, (1100, 1200)).granted(index, index))
            .clone_with(names)
    };
    second(Some(5), 6).keeps();
    second(None, 6).breaks(Rule::OneLessee, "both named that there is no record");
    let renewed = one().then(renew(1, (30, 40), 5).granted(6, 5));
    renewed.keeps();
    renewed
        .clone()
        .then(renew(1, (50, 60), 6).granted(7, 5))
        .keeps();
    renewed
        .then(renew(1, (50, 60), 5).granted(7, 5))
        .breaks(Rule::OneLessee, "both named index 5");
}

impl Story {
    /// The last operation names this.
    fn clone_with(mut self, names: Option<u64>) -> Self {
        self.operations.last_mut().unwrap().names = names;
        self
    }
}

#[test]
fn one_lessee_only_a_grant_is_renewed_stolen_broken_or_released() {
    let released = one().then(release(1, (30, 40), 5).vacated(6));
    released
        .clone()
        .then(again(2, (50, 60), 6).granted(7, 7))
        .keeps();
    for change in [
        renew(1, (50, 60), 6).granted(7, 5),
        steal(2, (50, 60), 6).granted(7, 7),
        break_it(2, (50, 60), 6).vacated(7),
        release(1, (50, 60), 6).vacated(7),
    ] {
        let violations = released.clone().then(change).check().unwrap_err();
        assert!(violations.breaks(Rule::OneLessee), "{violations}");
        assert!(
            violations.to_string().contains("not held by anybody"),
            "{violations}"
        );
    }
}

#[test]
fn one_lessee_beliefs_of_different_handles_do_not_overlap() {
    let stolen = one().then(steal(2, (30, 40), 5).waiting(6, 6, 2000));
    let stolen = stolen.then(renew(2, (500, 600), 6).waiting(7, 6, 2000).lasting(9000));
    let first = stolen.believes(1, 5, (20, 1010));
    first.clone().believes(2, 6, (1010, 3000)).keeps();
    // A term's beginning is looked at more closely elsewhere: it must wait until 1010 here.
    let claimed = one()
        .then(renew(2, (30, 40), 5).by(Standing::Claim).granted(6, 5))
        .believes(1, 5, (20, 35));
    claimed.clone().believes(2, 5, (35, 1000)).keeps();
    claimed
        .clone()
        .believes(2, 5, (34, 1000))
        .breaks(Rule::OneLessee, "believed at the same time");
    // Across machines an overlap within twice the error is none for certain.
    claimed.clone().within(3).believes(2, 5, (29, 1000)).keeps();
    claimed
        .within(3)
        .believes(2, 5, (28, 1000))
        .breaks(Rule::OneLessee, "at the same time");
}

#[test]
fn one_lessee_an_instant_of_belief_counts() {
    let claimed = one()
        .then(renew(2, (30, 40), 5).by(Standing::Claim).granted(6, 5))
        .believes(1, 5, (20, 50));
    let killed = |begin| {
        let mut story = claimed.clone();
        story.beliefs.push((2, 2, 5, begin, None));
        story
    };
    killed(50).keeps();
    killed(49).breaks(Rule::OneLessee, "at the same time");
}

#[test]
fn one_lessee_belief_needs_a_grant() {
    one().believes(1, 5, (20, 30)).keeps();
    one()
        .believes(1, 4, (20, 30))
        .breaks(Rule::OneLessee, "no grant has that fence");
    one().believes(1, 5, (10, 30)).keeps();
    one()
        .believes(1, 5, (9, 30))
        .breaks(Rule::OneLessee, "can have been applied");
}

#[test]
fn index_only_grows() {
    one().then(renew(1, (30, 40), 5).granted(9, 5)).keeps();
    one()
        .then(renew(1, (30, 40), 5).granted(4, 5))
        .breaks(Rule::IndexGrows, "no larger than the one it replaced");
    one()
        .then(renew(1, (30, 40), 5).granted(6, 5))
        .then(renew(1, (50, 60), 5).granted(6, 5))
        .breaks(Rule::IndexGrows, "both given index 6");
    // 7 replaced 5, and later 6 replaced 7's successor's predecessor: an index came between.
    one()
        .then(renew(1, (30, 40), 5).granted(8, 5))
        .then(renew(1, (50, 60), 8).granted(7, 5))
        .breaks(Rule::IndexGrows, "index 7");
}

#[test]
fn index_only_grows_in_real_time() {
    one().then(renew(1, (15, 16), 5).granted(6, 5)).keeps();
    one().then(renew(1, (9, 10), 5).granted(6, 5)).keeps();
    one()
        .then(renew(1, (8, 9), 5).granted(6, 5))
        .breaks(Rule::IndexGrows, "had returned with index 6 before");
    one()
        .within(1)
        .then(renew(1, (7, 8), 5).granted(6, 5))
        .keeps();
    one()
        .within(1)
        .then(renew(1, (6, 7), 5).granted(6, 5))
        .breaks(Rule::IndexGrows, "had returned with index 6 before");
}

#[test]
fn index_only_grows_one_record_an_index() {
    let read = |found| {
        one()
            .then(get(2, (30, 40), held(5, 5)))
            .then(get(3, (30, 40), found))
    };
    read(held(5, 5)).keeps();
    read(tombstone(5)).breaks(Rule::IndexGrows, "two different records of index 5");
    one()
        .then(get(2, (30, 40), tombstone(5)))
        .breaks(Rule::IndexGrows, "another record of index 5");
    let id = |attempt| {
        story()
            .then(acquire(1, (10, 20)).id(1).granted(5, 5))
            .then(get(2, (30, 40), record(5, None, true, Some(attempt))))
    };
    id(1).keeps();
    id(2).breaks(Rule::IndexGrows, "another record of index 5");
}

#[test]
fn fence_is_what_the_change_makes_it() {
    story()
        .then(acquire(1, (10, 20)).granted(5, 4))
        .breaks(Rule::Fence, "fence 4 where it should have been 5");
    one()
        .then(renew(1, (30, 40), 5).granted(7, 7))
        .breaks(Rule::Fence, "fence 7 where it should have been 5");
    one()
        .then(steal(2, (30, 40), 5).waiting(9, 6, 2000))
        .keeps();
    one()
        .then(steal(2, (30, 40), 5).waiting(9, 9, 2000))
        .breaks(Rule::Fence, "fence 9 where it should have been 6");
    one().then(get(2, (30, 40), held(5, 5))).keeps();
    one()
        .then(get(2, (30, 40), held(5, 4)))
        .breaks(Rule::Fence, "another fence of index 5");
}

#[test]
fn fence_is_larger_than_every_earlier_one() {
    // A foreign record, say, that had a large one.
    let before = |fence| {
        story()
            .continuing()
            .then(get(1, (1, 2), held(5, fence)))
            .then(again(1, (10, 20), 5).granted(7, 7))
    };
    before(6).keeps();
    before(7).breaks(Rule::Fence, "an earlier term had 7");
}

#[test]
fn fence_is_constant_for_a_belief() {
    let changed = |fence| {
        one()
            .then(renew(1, (30, 40), 5).granted(6, 5))
            .believes(1, 5, (20, 50))
            .believes(1, fence, (50, 60))
    };
    changed(5).keeps();
    let violations = changed(6).check().unwrap_err();
    assert!(violations.breaks(Rule::Fence), "{violations}");
}

#[test]
fn not_early() {
    let taken = |at| one().then(again(2, at, 5).granted(6, 6));
    taken((900, 1010)).keeps();
    taken((900, 1009)).breaks(Rule::NotEarly, "not vacant before 1010");
    // A renewal counts anew.
    let renewed = |back| {
        one()
            .then(renew(1, (500, 510), 5).granted(6, 5))
            .then(again(2, (900, back), 6).granted(7, 7))
    };
    renewed(1500).keeps();
    renewed(1499).breaks(Rule::NotEarly, "not vacant before 1500");
    // The registry's clock may run fast, and the recorded instants may be wrong.
    taken((900, 1009)).drifting(1000).keeps();
    taken((900, 1008))
        .drifting(1000)
        .breaks(Rule::NotEarly, "1009");
    taken((900, 1008)).within(1).keeps();
    taken((900, 1007)).within(1).breaks(Rule::NotEarly, "1009");
}

/// What carries a grant may have been renewed before the grant was applied, never after.
#[test]
fn not_early_counts_from_the_last_counted_renewal_of_what_carries_the_grant() {
    let renewed = |from, back| {
        one()
            .then(renew(1, (500, 510), 5).granted(6, 5).counted(from))
            .then(again(2, (900, back), 6).granted(7, 7))
    };
    renewed(300, 1300).keeps();
    renewed(300, 1299).breaks(Rule::NotEarly, "not vacant before 1300");
    renewed(300, 1299).within(1).keeps();
    renewed(505, 1499).breaks(Rule::NotEarly, "not vacant before 1500");
    // And nobody believes longer than from there.
    let believed = |until| renewed(300, 2000).believes(1, 5, (20, until));
    believed(1301).keeps();
    believed(1302).breaks(Rule::StopsFirst, "had run out");
}

#[test]
fn not_early_but_for_a_clean_release() {
    let released = |standing| {
        one()
            .then(release(1, (30, 40), 5).by(standing).vacated(6))
            .then(again(2, (41, 42), 6).granted(7, 7))
    };
    released(Standing::Handle).keeps();
    released(Standing::Claim).keeps();
    released(Standing::Proxy).breaks(Rule::WaitedOut, "not vacant before 1010");
}

#[test]
fn not_early_by_a_proxys_renewal() {
    let renewed = |standing, back| {
        one()
            .then(renew(1, (30, 40), 5).by(standing).granted(6, 5).lasting(10))
            .then(again(2, (50, back), 6).granted(7, 7))
    };
    renewed(Standing::Handle, 60).keeps();
    renewed(Standing::Proxy, 1010).keeps();
    renewed(Standing::Proxy, 1009).breaks(Rule::NotEarly, "not vacant before 1010");
}

#[test]
fn not_early_by_an_unknown_acquire_that_somebody_saw() {
    let seen = |at| {
        let open = again(2, (30, 40), 5).lasting(PERIOD).unknown();
        one().then(open).then(get(3, at, held(6, 6)))
    };
    seen((1000, 1010)).keeps();
    seen((1000, 1009)).breaks(Rule::NotEarly, "not vacant before 1010");
}

#[test]
fn lessee_stops_first_within_its_grants() {
    one().believes(1, 5, (20, 1020)).keeps();
    one()
        .believes(1, 5, (20, 1023))
        .breaks(Rule::StopsFirst, "had run out");
    let renewed = one().then(renew(1, (500, 510), 5).granted(6, 5));
    renewed.clone().believes(1, 5, (20, 1510)).keeps();
    renewed
        .believes(1, 5, (20, 1513))
        .breaks(Rule::StopsFirst, "had run out");
    one().drifting(1000).believes(1, 5, (20, 1023)).keeps();
    one().within(2).believes(1, 5, (20, 1023)).keeps();
    // A renewal of unknown outcome moves no deadline.
    one()
        .then(renew(1, (500, 510), 5).lasting(PERIOD).unknown())
        .believes(1, 5, (20, 1400))
        .breaks(Rule::StopsFirst, "had run out");
}

#[test]
fn lessee_stops_first_before_a_release_is_sent() {
    let released = |end, outcome| {
        one()
            .then(release(1, (30, 40), 5).came(outcome))
            .believes(1, 5, (20, end))
    };
    let vacated = Outcome::Vacated { index: 6 };
    for outcome in [vacated, Outcome::Unknown, Outcome::NotApplied] {
        released(30, outcome).keeps();
        released(31, outcome).breaks(Rule::StopsFirst, "still believed when process 1's release");
    }
    // Another handle's is none of its business.
    one()
        .then(release(2, (30, 40), 5).by(Standing::Claim).unknown())
        .believes(1, 5, (20, 31))
        .keeps();
}

#[test]
fn belief_never_resumes() {
    one()
        .believes(1, 5, (20, 50))
        .believes(1, 5, (50, 60))
        .keeps();
    one()
        .believes(1, 5, (50, 60))
        .believes(1, 5, (20, 50))
        .keeps();
    one()
        .believes(1, 5, (20, 50))
        .believes(1, 5, (51, 60))
        .breaks(Rule::NeverResumes, "believed again");
    // It began, and its end was told later.
    let mut told = one().believes(1, 5, (20, 60));
    told.beliefs.push((1, 1, 5, 20, None));
    assert_eq!(told.keeps().beliefs, 1);
}

#[test]
fn broken_term_is_waited_out_by_the_name() {
    let broken = one().then(break_it(2, (30, 40), 5).vacated(6));
    let taken = |back| broken.clone().then(again(3, (50, back), 6).granted(7, 7));
    taken(1010).keeps();
    taken(1009).breaks(Rule::WaitedOut, "not vacant before 1010");
    one()
        .then(break_it(2, (30, 40), 5).assuming_dead().vacated(6))
        .then(again(3, (50, 60), 6).granted(7, 7))
        .keeps();
}

#[test]
fn broken_term_is_waited_out_by_the_thief() {
    let stolen = |wait| one().then(steal(2, (30, 40), 5).waiting(6, 6, wait).lasting(5000));
    stolen(970).keeps();
    stolen(968).breaks(Rule::WaitedOut, "to wait until 1009");
    stolen(970).believes(2, 6, (1010, 1100)).keeps();
    stolen(970)
        .believes(2, 6, (1009, 1100))
        .breaks(Rule::WaitedOut, "believed before 1010");
    one()
        .then(steal(2, (30, 40), 5).assuming_dead().granted(6, 6))
        .believes(2, 6, (40, 100))
        .keeps();
}

/// The wait for the first grant (until 1010) stays in the record, whatever follows.
#[test]
fn broken_term_is_waited_out_through_whatever_follows() {
    let stolen = one().then(steal(2, (30, 31), 5).waiting(6, 6, 1000).lasting(10));
    let taken = |story: &Story, back, names| {
        let taken = again(3, (50, back), names).waiting(90, 90, 1000);
        story.clone().then(taken)
    };
    // Expiry of a shorter grant.
    taken(&stolen, 1010, 6).keeps();
    taken(&stolen, 1009, 6).breaks(Rule::WaitedOut, "not vacant before 1010");
    let renewed = stolen
        .clone()
        .then(renew(2, (32, 33), 6).waiting(7, 6, 1000).lasting(10));
    let released = stolen.clone().then(release(2, (32, 33), 6).vacated(7));
    let broken = stolen.clone().then(break_it(4, (32, 33), 6).vacated(7));
    let dead = stolen
        .clone()
        .then(break_it(4, (32, 33), 6).assuming_dead().vacated(7));
    let robbed = steal(4, (32, 33), 6)
        .assuming_dead()
        .waiting(7, 7, 1000)
        .lasting(10);
    let robbed = stolen.then(robbed);
    for story in [renewed.clone(), released, broken, dead, robbed] {
        taken(&story, 1010, 7).keeps();
        taken(&story, 1009, 7).breaks(Rule::WaitedOut, "not vacant before 1010");
    }
    // A renewal tells less of a wait than is left.
    let mut short = renewed;
    short.operations.pop();
    short
        .then(renew(2, (32, 33), 6).waiting(7, 6, 900).lasting(10))
        .breaks(Rule::WaitedOut, "could be believed until 1010");
}

#[test]
fn resuming_is_a_claim() {
    let by = |standing, after| {
        one()
            .then(renew(2, (30, 40), 5).by(standing).granted(6, 5))
            .then(renew(2, (50, 60), 6).by(after).granted(7, 5))
    };
    by(Standing::Claim, Standing::Handle).keeps();
    by(Standing::Proxy, Standing::Proxy).keeps();
    by(Standing::Handle, Standing::Proxy).breaks(Rule::Claim, "acted as the term's handle");
    by(Standing::Proxy, Standing::Handle).breaks(Rule::Claim, "acted as the term's handle");
    one()
        .then(release(2, (30, 40), 5).vacated(6))
        .breaks(Rule::Claim, "acted as the term's handle");
    // A process's other handle is another one.
    let mut other = renew(1, (30, 40), 5).granted(6, 5);
    other.handle = Some(9);
    one()
        .then(other)
        .breaks(Rule::Claim, "acted as the term's handle");
}

#[test]
fn unknown_is_not_failure() {
    let open = |names| one().then(renew(1, (30, 40), names).id(7).unknown());
    // It may be applied, long after it came back, or not.
    open(5).then(get(2, (500, 600), held(6, 5))).keeps();
    open(5).then(get(2, (500, 600), held(5, 5))).keeps();
    assert_eq!(
        open(5)
            .then(get(2, (500, 600), held(6, 5)))
            .keeps()
            .resolved,
        1
    );
    // Not before it was sent, not twice, not with another id, not in another's place.
    open(5)
        .then(get(2, (25, 29), held(6, 5)))
        .breaks(Rule::Reads, "before process 1's renew");
    open(5)
        .then(get(2, (500, 600), held(6, 5)))
        .then(get(2, (700, 800), held(7, 5)))
        .breaks(Rule::Unknown, "shows index 7, which no recorded change");
    let shows = |id| record(6, Some(5), true, Some(id));
    open(5).then(get(2, (500, 600), shows(7))).keeps();
    open(5)
        .then(get(2, (500, 600), shows(8)))
        .breaks(Rule::Unknown, "shows index 6");
    open(4)
        .then(get(2, (500, 600), held(6, 5)))
        .breaks(Rule::Unknown, "shows index 6");
    open(5)
        .then(get(2, (500, 600), tombstone(6)))
        .breaks(Rule::Unknown, "shows index 6");
    open(5)
        .then(get(2, (500, 600), held(6, 6)))
        .breaks(Rule::Unknown, "shows index 6");
}

#[test]
fn unknown_is_not_success() {
    let not_applied = renew(1, (30, 40), 5).came(Outcome::NotApplied);
    one()
        .then(not_applied)
        .then(get(2, (50, 60), held(5, 5)))
        .keeps();
    one()
        .then(not_applied)
        .then(get(2, (50, 60), held(6, 5)))
        .breaks(Rule::Unknown, "shows index 6");
    let refused = |id| {
        one().then(
            renew(1, (30, 40), 5)
                .id(7)
                .refused(record(6, Some(5), true, Some(id))),
        )
    };
    // A refusal that shows the operation's own id is a success.
    assert_eq!(refused(7).keeps().applied, 2);
    refused(8).breaks(Rule::Unknown, "shows index 6");
}

#[test]
fn unknown_changes_fork() {
    // An unseen tombstone was named by another unknown change, whose grant somebody saw.
    let unseen = |names| {
        one()
            .then(release(1, (30, 40), 5).unknown())
            .then(again(2, (50, 60), names).lasting(PERIOD).unknown())
            .then(get(3, (70, 80), held(9, 9)))
    };
    assert_eq!(unseen(7).keeps().resolved, 2);
    unseen(9).breaks(Rule::Unknown, "shows index 9");
    // Which of two it was is told by what follows: the theft, for the fence is 6.
    let either = |fence| {
        one()
            .then(renew(1, (30, 40), 5).lasting(PERIOD).unknown())
            .then(steal(2, (30, 40), 5).lasting(PERIOD).unknown())
            .then(get(3, (50, 60), record(7, None, true, None)))
            .then(
                renew(3, (70, 80), 7)
                    .by(Standing::Proxy)
                    .waiting(8, fence, 2000),
            )
    };
    either(5).keeps();
    either(6).keeps();
    either(7).breaks(Rule::Fence, "fence 7");
    // Known only by who named it.
    one()
        .then(renew(1, (30, 40), 5).lasting(PERIOD).unknown())
        .then(renew(1, (50, 60), 6).granted(7, 5))
        .keeps();
    one()
        .then(renew(1, (50, 60), 6).granted(7, 5))
        .breaks(Rule::Unknown, "shows index 6");
}

#[test]
fn reads_show_what_stood() {
    let renewed = one().then(renew(1, (30, 40), 5).granted(6, 5));
    let read = |at, found| renewed.clone().then(get(2, at, found));
    read((40, 50), held(5, 5)).keeps();
    read((41, 50), held(5, 5)).breaks(Rule::Reads, "what stood before process 1's renew");
    read((25, 30), held(6, 5)).keeps();
    read((25, 29), held(6, 5)).breaks(Rule::Reads, "before process 1's renew");
    read((20, 50), Found::Nothing).keeps();
    read((21, 50), Found::Nothing).breaks(Rule::Reads, "what stood before process 1's acquire");
    // Two reads agree on the order.
    read((30, 31), held(6, 5))
        .then(get(3, (31, 35), held(5, 5)))
        .keeps();
    read((30, 31), held(6, 5))
        .then(get(3, (32, 35), held(5, 5)))
        .breaks(Rule::Reads, "which showed an earlier one");
    read((41, 50), held(5, 5)).within(1).keeps();
    // What a watch told stood then, too.
    let mut observed = get(2, (41, 50), held(5, 5));
    observed.kind = Kind::Observed;
    renewed
        .then(observed)
        .breaks(Rule::Reads, "process 2's observed");
}

#[test]
fn refusals_show_what_stood() {
    let refused = |at, found| one().then(acquire(2, at).refused(found));
    refused((10, 15), held(5, 5)).keeps();
    refused((5, 9), held(5, 5)).breaks(Rule::Reads, "process 2's acquire");
    refused((10, 15), Found::Unsaid).keeps();
    refused((5, 9), Found::Unsaid).breaks(Rule::Reads, "before there can have been one");
    refused((5, 9), Found::Nothing).breaks(Rule::Reads, "and found none");
    let unsaid = acquire(2, (5, 9)).refused(Found::Unsaid);
    story()
        .then(unsaid)
        .breaks(Rule::Reads, "before there can have been one");
    story()
        .then(unsaid)
        .then(acquire(1, (8, 12)).unknown())
        .keeps();
}

#[test]
fn a_history_may_begin_with_a_record() {
    let read = || {
        story()
            .then(get(1, (1, 2), held(5, 3)))
            .then(renew(1, (3, 4), 5).granted(6, 3))
    };
    read().continuing().keeps();
    read().breaks(Rule::Unknown, "shows index 5");
    let nothing = story().then(get(1, (0, 0), Found::Nothing));
    nothing
        .continuing()
        .then(get(1, (1, 2), held(5, 3)))
        .breaks(Rule::Unknown, "shows index 5");
    // Named only; and its term's belief may go on.
    let named = story()
        .then(renew(1, (3, 4), 5).granted(6, 3))
        .believes(1, 3, (0, 50));
    let mut proxy = named.continuing();
    proxy.operations[0].standing = Standing::Handle;
    proxy.keeps();
}

/// An acquire of unknown outcome that named no record may have left the first index shown; where names may have had
/// records before, it need not, and nothing is certain of what was left.
#[test]
fn a_record_of_before_is_not_blamed_on_an_unknown_change() {
    let next = |shown| {
        story()
            .then(acquire(1, (10, 20)).lasting(PERIOD).unknown().id(7))
            .then(get(2, (30, 40), record(22, Some(22), true, shown)))
            .then(again(2, (50, 60), 22).granted(23, 23))
    };
    next(None).continuing().keeps();
    next(Some(8)).continuing().keeps();
    next(None).breaks(Rule::NotEarly, "was not vacant before 1010");
    next(Some(7))
        .continuing()
        .breaks(Rule::NotEarly, "was not vacant before 1010");
}

#[test]
fn assumptions_of_clocks_are_declared() {
    let apart = |own| {
        story()
            .then(get(1, (0, 1), Found::Nothing).own(5000))
            .then(get(2, (10, 11), Found::Nothing).own(1))
            .then(get(1, (1_000_000, 1_000_001), Found::Nothing).own(own))
    };
    apart(1_005_000).keeps();
    apart(1_005_200).drifting(200).keeps();
    apart(1_004_800).drifting(200).keeps();
    apart(1_005_300)
        .drifting(200)
        .breaks(Rule::Assumptions, "200 ppm");
    apart(1_004_700)
        .drifting(200)
        .breaks(Rule::Assumptions, "200 ppm");
    apart(1_004_700).drifting(200).within(50).keeps();
}

/// What is told names the records: by number in memory, by line from a file.
#[test]
fn records_are_named() {
    let story = one().then(renew(1, (30, 40), 4).granted(6, 5));
    story.breaks(
        Rule::IndexGrows,
        "process 1's renew of index 4 (operation 1)",
    );
    let mut history = History::new(Header::exact("steps"));
    history.name("a/b");
    for operation in &story.operations {
        history.push(operation);
    }
    let mut file = Vec::new();
    history.write(&mut file).unwrap();
    let read = History::read(file.as_slice()).unwrap();
    let told = check(&read).unwrap_err().to_string();
    assert!(
        told.contains("process 1's renew of index 4 (line 3)"),
        "{told}"
    );
}

/// Where one of several unknown changes left what was seen, nothing is certain of its times.
#[test]
fn unknown_changes_are_given_the_benefit_of_the_doubt() {
    // A renewal for 10, or a theft that waits until 1010.
    let either = one()
        .then(steal(2, (25, 40), 5).lasting(10).unknown())
        .then(renew(1, (30, 40), 5).lasting(10).unknown())
        .then(get(3, (50, 60), record(7, None, true, None)));
    either.then(again(3, (70, 80), 7).granted(8, 8)).keeps();
    // A break, or the clean release.
    let broken = one().then(break_it(2, (25, 40), 5).unknown());
    let taken = |story: Story| {
        story
            .then(get(3, (50, 60), tombstone(7)))
            .then(again(3, (70, 80), 7).granted(8, 8))
    };
    taken(broken.clone().then(release(1, (30, 40), 5).unknown())).keeps();
    taken(broken).breaks(Rule::WaitedOut, "not vacant before 1010");
}
