//! The subcommands, one a file.

mod progress;
pub(crate) mod simulate;
