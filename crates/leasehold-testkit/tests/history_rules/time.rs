//! The rules about time, and who believes when.

use leasehold_testkit::history::{Outcome, Rule, Standing};

use crate::story::*;

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

/// The newer grant counts, also where it ends sooner: from when its handle knew of it.
#[test]
fn lessee_stops_first_within_its_newest_grant() {
    let renewed = |standing, until| {
        one()
            .then(
                renew(1, (100, 110), 5)
                    .by(standing)
                    .granted(6, 5)
                    .lasting(100),
            )
            .believes(1, 5, (20, until))
    };
    renewed(Standing::Handle, 211).keeps();
    renewed(Standing::Handle, 212).breaks(Rule::StopsFirst, "had run out");
    renewed(Standing::Handle, 213).within(1).keeps();
    renewed(Standing::Handle, 214)
        .within(1)
        .breaks(Rule::StopsFirst, "had run out");
    // A proxy's is none of its handle's business.
    renewed(Standing::Proxy, 1010).keeps();
    // Nor is one of which nobody said whose it was.
    let mut somebodys = renewed(Standing::Handle, 1010);
    somebodys.operations[1] = somebodys.operations[1].by_somebody();
    somebodys.keeps();
    // The handle may know of it as late as when its outcome came back; it had ended by then.
    let late = |until| {
        let renewed = renew(1, (100, 700), 5).granted(6, 5).lasting(10);
        one().then(renewed).believes(1, 5, (20, until))
    };
    late(111).keeps();
    late(112).breaks(Rule::StopsFirst, "the smaller deadline");
}

#[test]
fn lessee_stops_first_by_the_smaller_deadline_while_a_renewal_is_unresolved() {
    let asked = |outcome, until| {
        one()
            .then(renew(1, (100, 110), 5).lasting(100).came(outcome))
            .believes(1, 5, (20, until))
    };
    let found = held(5, 5);
    for outcome in [
        Outcome::Unknown,
        Outcome::NotApplied,
        Outcome::Refused { found },
    ] {
        asked(outcome, 201).keeps();
        asked(outcome, 202).breaks(Rule::StopsFirst, "the smaller deadline");
    }
    asked(Outcome::Unknown, 204)
        .within(1)
        .breaks(Rule::StopsFirst, "the smaller deadline");
    asked(Outcome::Unknown, 203).within(1).keeps();
    // A later one that succeeds counts anew; a proxy's does not count.
    let again = |standing, until| {
        asked(Outcome::NotApplied, until).then(renew(1, (150, 160), 5).by(standing).granted(6, 5))
    };
    again(Standing::Handle, 1160).keeps();
    again(Standing::Proxy, 201).keeps();
    again(Standing::Proxy, 202).breaks(Rule::StopsFirst, "the smaller deadline");
    // What was granted is not what was asked for: nothing at all, where what carried it was gone by then.
    let nothing = Outcome::Granted {
        index: 6,
        fence: 5,
        period: 0,
        wait: 0,
    };
    one()
        .then(renew(1, (100, 900), 5).came(nothing))
        .believes(1, 5, (20, 890))
        .keeps();
    let proxys = renew(1, (100, 110), 5).by(Standing::Proxy).lasting(100);
    one().then(proxys).believes(1, 5, (20, 1010)).keeps();
}

#[test]
fn lessee_stops_first_between_two_grants() {
    let renewed = |at| {
        one()
            .then(renew(1, (at, at + 10), 5).granted(6, 5))
            .believes(1, 5, (20, at + 900))
    };
    renewed(500).keeps();
    renewed(1021).keeps();
    renewed(1022).breaks(Rule::StopsFirst, "had run out");
    renewed(48_000).breaks(Rule::StopsFirst, "had run out");
    renewed(1025).within(1).keeps();
    renewed(1026)
        .within(1)
        .breaks(Rule::StopsFirst, "had run out");
    renewed(1024)
        .drifting(1000)
        .breaks(Rule::StopsFirst, "had run out");
    renewed(1023).drifting(1000).keeps();
    // Its instant of beginning may lie between them as well.
    let mut killed = one().then(renew(1, (1100, 1110), 5).granted(6, 5));
    killed.beliefs.push((1, 1, 5, 1020, None));
    killed.keeps();
    killed.beliefs[0].3 = 1021;
    killed.breaks(Rule::StopsFirst, "had run out");
}

#[test]
fn lessee_stops_first_whatever_a_proxy_renews() {
    let renewed = |p, standing| {
        one()
            .then(renew(p, (500, 510), 5).by(standing).granted(6, 5))
            .believes(1, 5, (20, 1400))
    };
    renewed(1, Standing::Handle).keeps();
    renewed(2, Standing::Proxy).breaks(Rule::StopsFirst, "had run out");
    let mut shorter = renewed(2, Standing::Proxy);
    shorter.beliefs[0].4 = Some(1020);
    shorter.keeps();
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
        .clone()
        .then(renew(2, (32, 33), 6).waiting(7, 6, 900).lasting(10))
        .breaks(Rule::WaitedOut, "could be believed until 1010");
    // Of a grant of nothing, whose native lease is gone, nobody waits for the begin.
    short
        .then(renew(2, (32, 33), 6).waiting(7, 6, 0).lasting(0))
        .keeps();
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

/// A claim believes after its own renewal, and not by anybody else's grant.
#[test]
fn resuming_is_a_claim_until_its_own_renewal() {
    let claimed = |begin| {
        one()
            .then(renew(2, (600, 610), 5).by(Standing::Claim).granted(6, 5))
            .believes(1, 5, (20, 500))
            .believes(2, 5, (begin, 1500))
    };
    claimed(600).keeps();
    claimed(599).breaks(Rule::Claim, "can have been applied");
    claimed(598).within(1).keeps();
    claimed(597)
        .within(1)
        .breaks(Rule::Claim, "can have been applied");
    // Whose number nobody said may be anybody's of the process.
    let mut somebodys = claimed(600);
    somebodys.operations[1] = somebodys.operations[1].by_somebody();
    somebodys.keeps();
}
