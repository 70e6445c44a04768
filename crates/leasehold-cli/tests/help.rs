//! Help texts and answers to bad input, to the letter: `tests/cmd`.
//!
//! `TRYCMD=overwrite cargo test -p leasehold-cli --test help` writes them anew.
#![cfg(feature = "sqlite")]

#[test]
fn help_and_bad_input_are_as_written() {
    trycmd::TestCases::new()
        .case("tests/cmd/help/*.trycmd")
        .case("tests/cmd/*.trycmd")
        // As wide as where there is no terminal, and nothing of the machine.
        .env("COLUMNS", "100")
        .env("LEASEHOLD_STORE", "memory:")
        .env("LEASEHOLD_ETCD_PASSWORD", "");
}
