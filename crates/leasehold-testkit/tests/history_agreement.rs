//! The checker and an exhaustive search agree on many small histories.
#![allow(clippy::unwrap_used, reason = "a test")]

mod agreement;

#[test]
fn an_exhaustive_search_agrees_on_legal_and_illegal_histories() {
    agreement::agree(&[("the search", agreement::by_search)]);
}
