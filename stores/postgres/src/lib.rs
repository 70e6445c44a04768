#![doc = include_str!("../docs.md")]

pub mod fence;
