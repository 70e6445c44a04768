//! The list of cases is complete.
#![allow(clippy::unwrap_used, reason = "tests")]

/// Every case in the sources is in the macro's list: none is written and then never run.
#[test]
fn every_case_is_in_the_list() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance");
    let list = std::fs::read_to_string(format!("{folder}/mod.rs")).unwrap();
    let listed = |name: &str| list.lines().any(|line| line.trim() == name);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in source.lines() {
            if let Some(name) = line
                .strip_prefix("pub async fn ")
                .and_then(|rest| rest.strip_suffix("(h: Harness) {"))
            {
                assert!(listed(name), "{name} is not in the list of conformance!");
                count += 1;
            }
        }
    }
    assert!(count > 80, "{count}");
}
