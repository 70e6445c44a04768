//! A cgroup of the command's own: whatever it starts is in it, and the kernel kills all of it at once.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    folder: File,
}

impl Cgroup {
    /// A new one below that of this process; an error says why there can be none.
    pub(super) fn create() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo");
        let own = fs::read_to_string("/proc/self/cgroup");
        let (mounts, own) = mounts
            .and_then(|mounts| Ok((mounts, own?)))
            .map_err(|error| format!("/proc cannot be read: {error}"))?;
        let parent = place(&mounts, &own)?;
        let path = parent.join(format!("leasehold-{}", std::process::id()));
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        // One that was left by a process of the same id that could not remove it is empty, or this fails.
        _ = fs::remove_dir(&path);
        fs::create_dir(&path).map_err(failed)?;
        let folder = File::open(&path).map_err(failed);
        let cgroup = folder.map(|folder| Self {
            path: path.clone(),
            folder,
        });
        match cgroup {
            Ok(cgroup) if path.join("cgroup.kill").exists() => Ok(cgroup),
            other => {
                _ = fs::remove_dir(&path);
                Err(other
                    .err()
                    .unwrap_or_else(|| "the kernel is older than 5.14".into()))
            }
        }
    }

    /// One that another process has made.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let folder = File::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            folder,
        })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Kills everything in it, whoever it belongs to by now.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Lets what was frozen go on: it would not hear that it is to end.
    pub(super) fn thaw(&self) {
        _ = fs::write(self.path.join("cgroup.freeze"), "0");
    }

    /// Removes it, with what its processes have made in it. Nothing happens while anything is in there.
    pub(crate) fn remove(&self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    _ = fs::remove_dir(path);
}

/// Where a process's cgroup is in the file system.
fn place(mounts: &str, own: &str) -> Result<PathBuf, String> {
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or("this process is in no cgroup v2")?;
    for mount in mounts.lines() {
        let Some((left, right)) = mount.split_once(" - ") else {
            continue;
        };
        if right.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let mut fields = left.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
            continue;
        };
        let Ok(below) = Path::new(own).strip_prefix(root) else {
            continue;
        };
        if below
            .components()
            .any(|part| part == std::path::Component::ParentDir)
        {
            continue;
        }
        return Ok(Path::new(&unescaped(point)).join(below));
    }
    Err("no cgroup v2 is mounted here".into())
}

/// Blanks and the like are octal there.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw";

    #[test]
    fn a_process_s_cgroup_is_found() {
        let of = |own: &str| place(MOUNTS, own);
        assert_eq!(of("9:x:/y\n0::/\n"), Ok("/sys/fs/cgroup/unified/".into()));
        assert_eq!(
            of("0::/a/b.scope"),
            Ok("/sys/fs/cgroup/unified/a/b.scope".into())
        );
        assert!(of("9:x:/y\n").is_err());
        assert!(of("0::/../outside").is_err());
        assert!(place("", "0::/").is_err());
        let bound = "41 31 0:38 /pod/one /sys/fs/c\\040g ro - cgroup2 cgroup2 rw";
        assert_eq!(place(bound, "0::/pod/one/x"), Ok("/sys/fs/c g/x".into()));
        assert!(place(bound, "0::/other").is_err());
    }
}
