//! A stand-in for a crate that links SQLite.
