//! The file of a registry on this machine: who may use it, and on what it lies.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::report::Finding;

/// A registry's file, and whether it was there before it was opened.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    existed: bool,
}

impl File {
    /// The file of a store's URL, where it has one.
    pub(super) fn of(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("sqlite:")?;
        let path = PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
        let existed = path.exists();
        Some(Self { path, existed })
    }

    /// What is to be said of it once it has been opened.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let (Ok(file), Ok(about)) = (self.path.metadata(), folder.metadata()) else {
            return vec![Finding::warning("file", "it was taken away just now")];
        };
        let mut findings = Vec::new();
        let kind = file_system(&self.path);
        let told = format!(
            "mode {:03o} of user {}, its folder {:03o} of user {}, on {}",
            file.permissions().mode() & 0o777,
            file.uid(),
            about.permissions().mode() & 0o777,
            about.uid(),
            kind.as_deref().unwrap_or("a local file system"),
        );
        findings.push(match self.existed {
            true => Finding::ok("file", told),
            false => Finding::warning("file", format!("there was none, and now there is: {told}"))
                .fix("see that all who share leases name this very path"),
        });
        for (what, about, path) in [
            ("file", &file, self.path.as_path()),
            ("folder", &about, folder),
        ] {
            if let Some(finding) = open_to_all(what, about, path) {
                findings.push(finding);
            }
        }
        findings.extend(kind.as_deref().and_then(passing));
        findings
    }
}

/// Whoever may write the file may end every lease; whoever may write its folder may replace it.
fn open_to_all(what: &str, about: &Metadata, path: &Path) -> Option<Finding> {
    let mode = about.permissions().mode();
    // In a folder with the sticky bit nobody replaces the files of others.
    let guarded = about.is_dir() && mode & 0o1000 != 0;
    (mode & 0o002 != 0 && !guarded).then(|| {
        Finding::warning(
            "file",
            format!(
                "every user of this machine may write the {what} {}",
                path.display()
            ),
        )
        .fix(format!("chmod o-w {}; share it by a group", path.display()))
    })
}

/// A file system that does not outlive what runs on it.
fn passing(kind: &str) -> Option<Finding> {
    match kind {
        "tmpfs" | "ramfs" => Some(
            Finding::warning(
                "file",
                format!("on {kind} it is gone after a reboot, and with it which slots of --once-per have had their run"),
            )
            .fix("put it on a disk, unless nobody uses --once-per"),
        ),
        "overlay" => Some(
            Finding::warning("file", "it lies in a container's own layer: other containers do not see it")
                .fix("put it on a volume that all who share leases mount"),
        ),
        _ => None,
    }
}

/// The kind of the file system a path lies on, by the kernel's list of mounts.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    kind_of(&mounts, &path)
}

fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let (fields, kind) = line.split_once(" - ")?;
        let point = unescaped(fields.split(' ').nth(4)?);
        // The last of those that are mounted one over another is the one that is seen.
        if path.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), kind.split(' ').next()?));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// Spaces and the like are written as `\040` there.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (code, c) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        out = out.replace(code, c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /dev rw - devtmpfs udev rw
23 21 0:6 / /var/lib rw - xfs /dev/sdb rw
24 23 0:7 / /var/lib/my\\040app rw shared:2 master:1 - tmpfs none rw
25 23 0:8 / /var/lib/my\\040app rw - btrfs none rw
";

    #[test]
    fn the_mount_that_is_seen_is_the_one() {
        let kind = |path: &str| kind_of(MOUNTS, Path::new(path)).unwrap();
        assert_eq!(kind("/etc/x"), "ext4");
        assert_eq!(kind("/var/library/x"), "ext4");
        assert_eq!(kind("/var/lib/x"), "xfs");
        assert_eq!(kind("/var/lib/my app/x"), "btrfs");
    }

    #[test]
    fn what_does_not_last_or_is_open_to_all_is_told() {
        assert!(passing("tmpfs").is_some() && passing("overlay").is_some());
        assert!(passing("ext4").is_none());
        let folder = tempfile::tempdir().unwrap();
        let told = |mode| {
            let open = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path(), open).unwrap();
            let about = folder.path().metadata().unwrap();
            open_to_all("folder", &about, folder.path()).is_some()
        };
        assert!(told(0o777));
        assert!(!told(0o1777));
        assert!(!told(0o775));
    }
}
