//! Puts the checker's locks in place of the real ones, for this package only.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(leasehold_shuttle)");
    println!("cargo:rustc-cfg=leasehold_shuttle");
}
