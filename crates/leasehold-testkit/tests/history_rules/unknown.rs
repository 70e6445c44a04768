//! Unknown outcomes, what reads show, and what a history may leave out or declare.

use leasehold_testkit::history::{Found, Header, History, Kind, Outcome, Rule, Standing, check};

use crate::story::*;

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

/// A refusal that shows that what was named still stands does not tell what becomes of a duplicate: a grant that had run
/// out may be one again where a registry that starts anew times it anew.
#[test]
fn unknown_a_refusal_while_the_named_record_stands_does_not_decide() {
    let later = |found| {
        one()
            .then(
                renew(1, (1100, 1200), 5)
                    .lasting(PERIOD)
                    .refused(found)
                    .id(7),
            )
            .then(get(2, (1500, 1600), record(6, Some(5), true, Some(7))))
    };
    later(held(5, 5)).keeps();
    later(Found::Unsaid).breaks(Rule::Unknown, "shows index 6");
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

/// The bounds of all readings count, not only those of neighbours.
#[test]
fn assumptions_of_clocks_are_declared_over_all_readings() {
    let readings = |own: fn(u64) -> u64| {
        let read = |n| get(1, (n * 1000, n * 1000 + 1), Found::Nothing).own(own(n));
        (0..200).map(read).fold(story().within(1000), Story::then)
    };
    readings(|n| n * 1000).keeps();
    // Wrong by the declared error, now so, now so.
    readings(|n| 7000 + n * 1000 + n % 2 * 2000).keeps();
    readings(|n| n * 2000).breaks(Rule::Assumptions, "0 ppm");
    readings(|n| n * 500).breaks(Rule::Assumptions, "0 ppm");
    // In whichever order they were recorded.
    let mut shuffled = readings(|n| n * 1000);
    shuffled.operations.reverse();
    shuffled.keeps();
    let mut shuffled = readings(|n| n * 2000);
    shuffled.operations.reverse();
    shuffled.breaks(Rule::Assumptions, "0 ppm");
    // Within the drift, however long.
    readings(|n| n * 1001).drifting(1000).keeps();
    readings(|n| n * 1020)
        .drifting(1000)
        .breaks(Rule::Assumptions, "1000 ppm");
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
    either
        .clone()
        .then(again(3, (70, 80), 7).granted(8, 8))
        .keeps();
    // Nor is anything certain of who may believe by it: the renewal's handle, or the thief.
    let either = one()
        .then(steal(2, (450, 510), 5).lasting(5000).unknown())
        .then(renew(1, (500, 510), 5).lasting(PERIOD).unknown())
        .then(get(3, (600, 700), record(7, None, true, None)));
    either.clone().believes(1, 5, (20, 1400)).keeps();
    either.clone().believes(2, 6, (1010, 1400)).keeps();
    // Unless what is shown tells them apart.
    let thief = either
        .believes(1, 5, (20, 1400))
        .then(get(3, (800, 900), held(7, 6)));
    thief.breaks(Rule::StopsFirst, "had run out");
    one()
        .then(renew(2, (25, 40), 5).by(Standing::Proxy).unknown())
        .then(renew(1, (30, 40), 5).unknown())
        .then(get(3, (50, 60), record(7, None, true, None)))
        .believes(1, 5, (20, 5000))
        .keeps();
    // One that somebody saw may be known to its handle; another handle's may not.
    let seen = |p| {
        let open = renew(p, (500, 510), 5).by(Standing::Claim);
        one()
            .then(open.lasting(PERIOD).unknown())
            .then(get(3, (600, 700), held(6, 5)))
            .believes(1, 5, (20, 1400))
    };
    seen(1).keeps();
    seen(2).breaks(Rule::StopsFirst, "had run out");
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
