//! What the machine tells: which boot this is, whose clock, which file system, whether the file is still the same.

use std::path::{Path, PathBuf};

use leasehold_core::ErrorKind;

use crate::fault::{Failure, replaced};

/// Which file a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// The file at a path, by stat alone: closing a descriptor of it would drop SQLite's locks on it.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> std::io::Result<Identity> {
    let stat = rustix::fs::stat(path)?;
    Ok(Identity {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
    })
}

#[cfg(not(unix))]
pub(crate) fn identity(_path: &Path) -> std::io::Result<Identity> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// An error unless the path still leads to the file that was opened.
pub(crate) fn check_identity(path: &Path, opened: Identity) -> Result<(), Failure> {
    match identity(path) {
        Ok(now) if now == opened => Ok(()),
        Ok(_) => Err(Failure::new(ErrorKind::Unavailable, replaced(path))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(ErrorKind::Unavailable, replaced(path)))
        }
        Err(error) => Err(Failure::of_file(path, &error, "cannot look at")),
    }
}

/// `name` + `suffix` beside the file.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Elsewhere than on Linux nobody has verified that the boot clock and the file system can be told apart from lesser
/// ones: leases are refused rather than guessed at.
#[cfg(not(target_os = "linux"))]
mod linux {
    use super::{Failure, Path};
    use leasehold_core::ErrorKind;

    fn refuse<T>() -> Result<T, Failure> {
        Err(Failure::new(
            ErrorKind::Unsupported,
            "the SQLite store knows the boot clock of Linux only: use another store on this system",
        ))
    }

    pub(crate) fn boot_id() -> Result<String, Failure> {
        refuse()
    }

    pub(crate) fn check_clock() -> Result<(), Failure> {
        refuse()
    }

    pub(crate) fn check_file_system(_path: &Path) -> Result<(), Failure> {
        refuse()
    }

    pub(crate) fn check_access(_path: &Path) -> Result<(), Failure> {
        refuse()
    }

    pub(crate) fn create(_path: &Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn create_beside(_path: &Path, _owner_of: &Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn touch(_path: &Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Failure, Path};
    use leasehold_core::ErrorKind;
    use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
    use std::io;

    fn unknowable(what: &str, error: &io::Error) -> Failure {
        Failure::new(
            ErrorKind::Unsupported,
            format!(
                "{what} cannot be read ({error}): without it nobody can tell when a lease ends; mount /proc"
            ),
        )
    }

    /// The kernel's name for this boot (a container may have one of its own).
    pub(crate) fn boot_id() -> Result<String, Failure> {
        let path = "/proc/sys/kernel/random/boot_id";
        let id = std::fs::read_to_string(path).map_err(|error| unknowable(path, &error))?;
        Ok(id.trim().to_owned())
    }

    /// A time namespace may shift the boot clock under an unchanged boot id: two processes would count a lease on
    /// two clocks.
    pub(crate) fn check_clock() -> Result<(), Failure> {
        let path = "/proc/self/timens_offsets";
        let offsets = match std::fs::read_to_string(path) {
            Ok(offsets) => offsets,
            // A kernel without time namespaces.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && Path::new("/proc/self/stat").exists() =>
            {
                return Ok(());
            }
            Err(error) => return Err(unknowable(path, &error)),
        };
        let refuse = |why: String| {
            Err(Failure::new(
                ErrorKind::Unsupported,
                format!("{why}: run it in the machine's own time namespace"),
            ))
        };
        if let Some(seconds) = judge_offsets(&offsets) {
            return refuse(format!(
                "this process runs in a time namespace whose boot clock is shifted by {seconds} s, so leases would \
                 end at other moments than for other processes"
            ));
        }
        // The offsets shown are those of the namespace that children get.
        let of = |which| std::fs::read_link(Path::new("/proc/self/ns").join(which)).ok();
        if of("time") != of("time_for_children") {
            return refuse(
                "this process and its children have different time namespaces, and only the children's shift of \
                 the boot clock is known"
                    .into(),
            );
        }
        Ok(())
    }

    /// By how many seconds the boot clock is shifted, where it is.
    pub(super) fn judge_offsets(offsets: &str) -> Option<&str> {
        offsets.lines().find_map(|line| {
            let mut fields = line.split_whitespace();
            let (clock, seconds, nanos) = (fields.next()?, fields.next()?, fields.next()?);
            let shifted = matches!(clock, "boottime" | "7") && (seconds, nanos) != ("0", "0");
            shifted.then_some(seconds)
        })
    }

    /// File systems whose locks and shared memory hold between the processes of one machine, and that keep what they
    /// were told to sync.
    const LOCAL: [(u32, &str); 13] = [
        (0xEF53, "ext2/3/4"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x8584_58F6, "ramfs"),
        (0xF2F5_2010, "f2fs"),
        (0x2FC1_2FC1, "zfs"),
        (0x794C_7630, "overlayfs"),
        (0xCA45_1A4E, "bcachefs"),
        (0x3153_464A, "jfs"),
        (0x5265_4973, "reiserfs"),
        (0x3434, "nilfs2"),
        (0x2405_1905, "ubifs"),
    ];
    const REMOTE: [(u32, &str); 16] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x6573_5546, "FUSE (sshfs, virtiofs and the like)"),
        (0x0102_1997, "9p"),
        (0x00C3_6400, "Ceph"),
        (0x5346_414F, "AFS"),
        (0x6B41_4653, "AFS"),
        (0x0BD0_0BD0, "Lustre"),
        (0x0116_1970, "GFS2"),
        (0x7461_636F, "OCFS2"),
        (0x786F_4256, "a VirtualBox shared folder"),
        (0x00C0_FFEE, "hostfs"),
        (0x7375_7245, "Coda"),
        (0x4750_4653, "GPFS"),
    ];

    /// Refuses network file systems, where locks may not hold and clocks differ, and those that nobody has verified.
    pub(crate) fn check_file_system(path: &Path) -> Result<(), Failure> {
        let stat = rustix::fs::statfs(path)
            .map_err(|error| Failure::of_file(path, &error.into(), "cannot look at"))?;
        // Their magics have 32 bits, in a field whose width and sign differ between platforms.
        let magic = stat.f_type as u32;
        match judge_file_system(magic) {
            None => Ok(()),
            Some(why) => Err(Failure::new(
                ErrorKind::Unsupported,
                format!("{} {why}", path.display()),
            )),
        }
    }

    /// Why a file system is refused, where it is.
    pub(super) fn judge_file_system(magic: u32) -> Option<String> {
        if LOCAL.iter().any(|(known, _)| *known == magic) {
            return None;
        }
        Some(match REMOTE.iter().find(|(known, _)| *known == magic) {
            Some((_, name)) => format!(
                "is on a network or user-space file system, {name}: locks and clocks may differ between its users; \
                 use a local disk, or a registry that is made for many machines (PostgreSQL, etcd)"
            ),
            None => format!(
                "is on a file system of a kind that leasehold does not know (type {magic:#x}): nobody has verified \
                 that locks hold there; use a local disk (ext4, xfs, btrfs, zfs, tmpfs, ...)"
            ),
        })
    }

    /// Whether the file can be read and written, and its companions created beside it.
    pub(crate) fn check_access(path: &Path) -> Result<(), Failure> {
        let folder = path.parent().unwrap_or(path);
        for (path, access, kind) in [
            (path, Access::READ_OK | Access::WRITE_OK, "file"),
            (folder, Access::WRITE_OK | Access::EXEC_OK, "folder"),
        ] {
            match rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS) {
                Ok(()) | Err(rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {}
                Err(rustix::io::Errno::ROFS) => {
                    return Err(Failure::new(
                        ErrorKind::Permission,
                        format!(
                            "{} is on a file system that is mounted read-only: leases need to write",
                            path.display()
                        ),
                    ));
                }
                Err(error @ (rustix::io::Errno::ACCESS | rustix::io::Errno::PERM)) => {
                    return Err(Failure::new(
                        ErrorKind::Permission,
                        format!(
                            "this user ({}) has no permission to read and write the {kind} {} ({error}): all \
                             processes that share leases run as one user, or as a group that may write the file and \
                             its folder",
                            rustix::process::geteuid().as_raw(),
                            path.display()
                        ),
                    ));
                }
                Err(error) => {
                    return Err(Failure::of_file(path, &error.into(), "cannot look at"));
                }
            }
        }
        Ok(())
    }

    /// Creates an empty file of mode 0600, and its missing folders with 0700. No descriptor of it is ever open.
    pub(crate) fn create(path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        match rustix::fs::mknodat(CWD, path, FileType::RegularFile, Mode::from(0o600), 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a companion with the file's own owner and mode, as SQLite does with its own.
    pub(crate) fn create_beside(path: &Path, owner_of: &Path) -> io::Result<()> {
        let like = rustix::fs::stat(owner_of)?;
        let mode = Mode::from_raw_mode(like.st_mode & 0o666);
        match rustix::fs::mknodat(CWD, path, FileType::RegularFile, mode, 0) {
            Ok(()) if rustix::process::geteuid().is_root() => {
                let (uid, gid) = (
                    rustix::fs::Uid::from_raw(like.st_uid),
                    rustix::fs::Gid::from_raw(like.st_gid),
                );
                Ok(rustix::fs::chownat(
                    CWD,
                    path,
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?)
            }
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the file and closes it again, which whoever watches it notices. Unlike a change of the file or its times
    /// this gives the file system nothing to write.
    pub(crate) fn knock(path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        rustix::fs::open(path, flags, Mode::empty())?;
        Ok(())
    }
}

pub(crate) use linux::{
    boot_id, check_access, check_clock, check_file_system, create, create_beside, knock,
};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{judge_file_system, judge_offsets};

    #[test]
    fn network_and_unknown_file_systems_are_refused_with_the_reason() {
        for magic in [0xEF53, 0x0102_1994, 0x9123_683E, 0x5846_5342, 0x794C_7630] {
            assert_eq!(judge_file_system(magic), None);
        }
        for (magic, word) in [
            (0x6969, "NFS"),
            (0xFE53_4D42, "SMB2"),
            (0xFF53_4D42, "CIFS"),
            (0x6573_5546, "FUSE"),
            (0x0102_1997, "9p"),
            (0x00C3_6400, "Ceph"),
            (0x1234, "0x1234"),
            (0x9FA0, "does not know"),
        ] {
            let why = judge_file_system(magic).unwrap();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn only_a_shift_of_the_boot_clock_matters() {
        let quiet = "monotonic           0         0\nboottime            0         0\n";
        assert_eq!(judge_offsets(quiet), None);
        assert_eq!(judge_offsets("monotonic 5 0\nboottime 0 0\n"), None);
        for shifted in [
            "boottime -1 0",
            "boottime 0 1",
            "boottime 100 0",
            "boottime soon 0",
        ] {
            assert!(judge_offsets(shifted).is_some(), "{shifted}");
        }
    }
}
