//! `leasehold run` and `leasehold lead` where there is no Linux: refused, because nothing there could end a command in time whatever
//! becomes of leasehold.

use std::ffi::OsStr;

use crate::args::{Lead, Run};
use crate::exit::{CONFIGURATION, Failure};
use crate::verbs::Context;

/// Nothing begins here.
#[derive(Debug)]
pub(crate) enum Begun {}

fn refused() -> Failure {
    let message = "this needs Linux: elsewhere nothing ends a command in time whatever becomes of leasehold. Use the library, or \
                   `acquire`, `renew` and `release`";
    Failure::new(CONFIGURATION, message)
}

pub(crate) fn begin(_: &Run, _: Option<&OsStr>) -> Result<Begun, Failure> {
    Err(refused())
}

pub(crate) async fn run(_: &Context, _: Run, begun: Result<Begun, Failure>) -> Result<u8, Failure> {
    match begun? {}
}

pub(crate) async fn lead(_: &Context, _: Lead) -> Result<u8, Failure> {
    Err(refused())
}
