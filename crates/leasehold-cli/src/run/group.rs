//! Whether anything of a process group is still at work.

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, test_kill_process_group, waitpgid};

/// Whether the group has a member that has not ended. Its leader must have been waited for.
pub(super) fn is_alive(group: Pid) -> bool {
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return false;
    }
    // The first process of a container inherits the command's orphans.
    while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
    match test_kill_process_group(group) {
        Err(Errno::SRCH) => false,
        _ => !only_zombies(group),
    }
}

/// Whether the group's members have all ended, and only were not waited for by whoever inherited them.
#[cfg(target_os = "linux")]
fn only_zombies(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    let mut zombies = 0;
    for process in processes.flatten() {
        let is_process = process
            .file_name()
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process {
            continue;
        }
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else {
            continue;
        };
        match member(&stat, group) {
            Some(true) => zombies += 1,
            Some(false) => return false,
            None => {}
        }
    }
    // Members that cannot be seen are alive for all that is known.
    zombies > 0
}

#[cfg(not(target_os = "linux"))]
fn only_zombies(_: Pid) -> bool {
    false
}

/// Whether a process is a zombie; none where it is of another group.
#[cfg(target_os = "linux")]
fn member(stat: &str, group: Pid) -> Option<bool> {
    // The name, in parentheses, may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let of: i32 = fields.nth(1)?.parse().ok()?;
    (of == group.as_raw_nonzero().get()).then_some(matches!(state, "Z" | "X"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn members_and_zombies_are_told_apart() {
        let group = Pid::from_raw(77).unwrap();
        assert_eq!(member("80 (a) b) S 1 77 77 0", group), Some(false));
        assert_eq!(member("80 (x) Z 1 77 77 0", group), Some(true));
        assert_eq!(member("80 (x) R 1 78 77 0", group), None);
        assert_eq!(member("", group), None);
    }
}
