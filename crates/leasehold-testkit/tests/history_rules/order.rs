//! Who followed whom: one lessee, index, fence.

use leasehold_testkit::history::{Operation, Rule, Standing};

use crate::story::*;

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

/// Belief belongs to handles, not to fences.
#[test]
fn one_lessee_belief_needs_a_grant_of_its_own() {
    let between = |p: u32, handle| {
        one()
            .then(renew(1, (500, 510), 5).granted(6, 5))
            .believes(1, 5, (20, 400))
            .believes_as((p, handle), 5, (420, 500))
    };
    // As if the first had claimed its own term.
    let renewal = renew(1, (410, 420), 6).by(Standing::Claim).granted(7, 5);
    let mut claimed = between(1, 9);
    claimed.operations[1] = Operation {
        handle: Some(9),
        names: Some(5),
        ..renewal
    };
    claimed.keeps();
    between(1, 9).breaks(Rule::OneLessee, "no grant of that term is its own");
    between(2, 2).breaks(Rule::OneLessee, "no grant of that term is its own");
    // Nobody said which handle of the process made the grants.
    let unsaid = |p| {
        let mut unsaid = between(p, 9);
        unsaid.operations = unsaid.operations.iter().map(|o| o.by_somebody()).collect();
        unsaid
    };
    unsaid(1).keeps();
    unsaid(2).breaks(Rule::OneLessee, "no grant of that term is its own");
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
