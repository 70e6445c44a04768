//! Temporary folders for servers' data.

use std::fs;
use std::path::Path;
use std::sync::Once;

use tempfile::TempDir;

/// A temporary folder, deleted when it is dropped. What processes of before have left behind, because they were killed or
/// kept a server until their very end, is deleted now: a server's data may be large.
pub(super) fn new(kind: &str) -> TempDir {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| sweep(&std::env::temp_dir(), kind));
    tempfile::Builder::new()
        .prefix(&format!("{kind}-{}-", std::process::id()))
        .tempdir()
        .expect("a temporary folder")
}

fn sweep(folder: &Path, kind: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| {
            let rest = name.strip_prefix(kind)?.strip_prefix('-')?;
            rest.split_once('-')?.0.parse::<u32>().ok()
        });
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Another process may be sweeping, too.
            _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn what_dead_processes_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let alive = format!("kind-{}-x", std::process::id());
        // No process has this number: the kernel's greatest is 2^22.
        for name in [
            alive.as_str(),
            "kind-4194305-x",
            "kind-4194305",
            "other-4194305-x",
        ] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        super::sweep(folder.path(), "kind");
        let left: BTreeSet<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        // The order of names depends on this process's number.
        let stays = [alive.as_str(), "kind-4194305", "other-4194305-x"];
        assert_eq!(left, stays.map(str::to_owned).into());
    }
}
