//! The test kit's checker of histories and a general one, porcupine-rs, agree on many small histories. It is here and
//! not in the test kit because porcupine-rs depends on criterion, as this crate does.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../crates/leasehold-testkit/tests/agreement/mod.rs"]
mod agreement;

use agreement::{EMPTY, Slot, ends};
use leasehold_testkit::history::Operation;
use porcupine_rs::{Model, Operation as Event, check_operations};

#[derive(Clone, Debug)]
struct Register;

impl Model for Register {
    type State = Slot;
    type Op = Operation;
    type Metadata = ();

    fn init() -> Slot {
        EMPTY
    }

    fn step(slot: &Slot, operation: &Operation) -> (bool, Slot) {
        let next = slot.step(operation);
        (next.is_some(), next.unwrap_or(*slot))
    }
}

fn by_porcupine(operations: &[Operation]) -> bool {
    let event = |operation: &Operation| Event::<Register> {
        client_id: Some(operation.process),
        call_time: i64::try_from(operation.invoked).unwrap(),
        return_time: i64::try_from(ends(operation)).unwrap_or(i64::MAX),
        op: *operation,
        metadata: None,
    };
    check_operations(&operations.iter().map(event).collect::<Vec<_>>())
}

#[test]
fn porcupine_agrees_on_legal_and_illegal_histories() {
    agreement::agree(&[
        ("the search", agreement::by_search),
        ("porcupine-rs", by_porcupine),
    ]);
}
