//! Simulated histories say which handle, claim or proxy sends a change: the rules that depend on it are alive in them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use leasehold_testkit::history::{
    Belief, History, Kind as Asked, Operation, Rule, Standing, check,
};
use leasehold_testkit::world::{Kind, Report, simulate};

/// Of a few worlds of a kind.
fn histories(kind: Kind) -> Vec<History> {
    let mut report = Report::default();
    let ran = (1..=50).map(|seed| simulate(kind, seed, None, false, &mut report));
    ran.flat_map(|ran| ran.histories).collect()
}

fn is_senders(operation: &Operation) -> bool {
    matches!(operation.kind, Asked::Renew | Asked::Release)
}

#[test]
fn most_changes_have_a_sender() {
    let (mut sent, mut known) = (0, 0);
    let mut standings = BTreeSet::new();
    for kind in [Kind::Boot, Kind::Wall] {
        for history in histories(kind) {
            for operation in history.operations() {
                let begins = matches!(operation.kind, Asked::Acquire | Asked::Steal);
                assert!(!begins || operation.handle.is_some(), "{operation:?}");
                if is_senders(&operation) {
                    sent += 1;
                    known += u32::from(operation.handle.is_some());
                    standings.insert((operation.kind, operation.standing));
                }
            }
        }
    }
    assert!(known * 10 > sent * 9 && known > 500, "{known} of {sent}");
    for standing in [Standing::Handle, Standing::Claim, Standing::Proxy] {
        assert!(
            standings.contains(&(Asked::Renew, standing)),
            "{standing:?}"
        );
    }
    // Who releases through a proxy breaks the term.
    assert!(!standings.contains(&(Asked::Release, Standing::Proxy)));
}

/// With one belief or sender changed, they are refused.
#[test]
fn whose_changes_they_are_matters() {
    let (mut moved, mut others, mut released) = (0, 0, 0);
    for history in histories(Kind::Boot) {
        let copy = |beliefs: &[Belief], operations: &[Operation]| {
            let mut copy = History::new(history.header().clone());
            for number in history.operations().map(|operation| operation.name) {
                copy.name(history.text(number));
            }
            operations.iter().for_each(|operation| copy.push(operation));
            beliefs.iter().for_each(|belief| copy.believe(*belief));
            check(&copy)
        };
        let operations: Vec<Operation> = history.operations().collect();
        let mut names = Vec::new();
        for operation in &operations {
            if !names.contains(&operation.name) {
                names.push(operation.name);
            }
        }
        // The copy numbers names as they come.
        if !names.is_sorted() {
            continue;
        }
        let beliefs = history.beliefs();
        check(&history).unwrap();
        copy(beliefs, &operations).unwrap();
        for place in 0..beliefs.len().min(3) {
            let mut spoilt = beliefs.to_vec();
            spoilt[place].process += 1000;
            let violations = copy(&spoilt, &operations).unwrap_err();
            assert!(violations.breaks(Rule::OneLessee), "{violations}");
            moved += 1;
        }
        for (place, operation) in operations.iter().enumerate() {
            let mine = |belief: &&Belief| {
                (belief.process, Some(belief.handle)) == (operation.process, operation.handle)
            };
            let Some(belief) = beliefs.iter().find(mine) else {
                continue;
            };
            let mut spoilt = operations.clone();
            if operation.kind == Asked::Renew
                && operation.standing == Standing::Handle
                && operation.applied().is_some()
            {
                spoilt[place].handle = Some(u64::MAX - 1);
                let violations = copy(beliefs, &spoilt).unwrap_err();
                assert!(violations.breaks(Rule::Claim), "{violations}");
                others += 1;
            } else if operation.kind == Asked::Release && belief.end > Some(belief.begin + 1) {
                spoilt[place].invoked = belief.begin + 1;
                let violations = copy(beliefs, &spoilt).unwrap_err();
                assert!(violations.breaks(Rule::StopsFirst), "{violations}");
                released += 1;
            }
        }
    }
    assert!(
        moved > 10 && others > 10 && released > 10,
        "{moved} {others} {released}"
    );
}
