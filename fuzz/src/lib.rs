//! What must hold for every input. Each module's `check` panics where it does not; the targets hand it libFuzzer's
//! bytes.

pub mod duration;
pub mod fields;
pub mod name;
pub mod record;
pub mod url;

mod door;
mod etcd;
