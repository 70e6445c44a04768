//! Which SQLite it is, and what is known to be wrong with it.

use leasehold_core::Server;

/// SQLite of a version, as text and as SQLite's own number of it.
pub(crate) fn library(version: &str, number: i32) -> Server {
    let server = Server::new("SQLite", version);
    match resets_soundly(number) {
        true => server,
        false => server.flawed(
            "can damage a file that several processes write, if rarely (sqlite.org/wal.html#walresetbug): 3.44.6, 3.50.7, \
             3.51.3 or later is needed",
        ),
    }
}

/// Whether it has the correction of the write-ahead log's reset, which all versions of before lack.
fn resets_soundly(number: i32) -> bool {
    match number / 1000 {
        3044 => number >= 3_044_006,
        3050 => number >= 3_050_007,
        _ => number >= 3_051_003,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_can_damage_a_file_are_told() {
        for (number, sound) in [
            (3_031_001, false),
            (3_044_005, false),
            (3_044_006, true),
            (3_046_000, false),
            (3_050_006, false),
            (3_050_007, true),
            (3_051_002, false),
            (3_051_003, true),
            (3_053_001, true),
            (4_000_000, true),
        ] {
            assert_eq!(library("x", number).flaw.is_none(), sound, "{number}");
        }
    }

    #[test]
    fn the_one_that_is_built_in_has_no_known_flaw() {
        let server = library(rusqlite::version(), rusqlite::version_number());
        assert_eq!((server.product, server.flaw), ("SQLite", None));
        assert!(server.version.starts_with("3."), "{}", server.version);
    }
}
