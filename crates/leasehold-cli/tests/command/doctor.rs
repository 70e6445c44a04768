//! `leasehold doctor`: healthy registries, and each trouble by itself.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Done, Registry, Running, done, json};

impl Done {
    /// The line of a check, which must have this grade.
    #[track_caller]
    pub(crate) fn tells(&self, grade: &str, check: &str) -> &str {
        let begin = format!("{grade:<8} {check:<11} ");
        let mut lines = self.out.lines();
        lines
            .find(|line| line.starts_with(&begin))
            .unwrap_or_else(|| panic!("no {begin:?}: {self:?}"))
    }
}

/// The doctor as another user, or in other mounts.
fn wrapped(registry: &Registry, wrapper: &[&str]) -> Done {
    let plain = registry.command(["doctor"]);
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env("LEASEHOLD_STORE", registry.file())
        .current_dir("/");
    done(command)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

const NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

#[test]
fn a_healthy_file_is_well_and_nothing_else_is_touched() {
    let registry = Registry::new();
    registry.line("acquire jobs/x --period 1h").exits(0);
    let before = registry.status("jobs/x");
    let doctor = registry.line("doctor").exits(0);
    assert_eq!(doctor.err, "");
    for check in [
        "store",
        "wall clock",
        "boot clock",
        "open",
        "version",
        "clocks",
        "read",
        "write",
        "latency",
        "timing",
        "push",
        "contract",
    ] {
        doctor.tells("ok", check);
    }
    assert!(!doctor.out.contains("FAIL"), "{doctor:?}");
    let store = doctor.tells("ok", "store");
    let file = registry.file().display().to_string();
    assert!(store.contains(&file) && store.ends_with("from LEASEHOLD_STORE"));
    assert!(doctor.tells("ok", "version").contains("SQLite 3."));
    let latency = doctor.tells("ok", "latency");
    assert_eq!(latency.matches("(n = 50)").count(), 2, "{latency}");
    assert_eq!(registry.status("jobs/x")["index"], before["index"]);
    let all = registry.line("list --all --json").exits(0);
    for status in all.out.lines().map(json) {
        let name = status["name"].as_str().unwrap();
        let ours = name.starts_with("leasehold-doctor/") && status["vacant"] == true;
        assert!(ours || name == "jobs/x", "{status}");
    }
}

#[test]
fn programs_get_one_object_and_cron_only_what_is_not_well() {
    let registry = Registry::new();
    let first = json(&registry.line("doctor --json").exits(0).out);
    // The file was not there.
    assert_eq!(
        (&first["grade"], &first["status"]),
        (&"warning".into(), &0.into())
    );
    let checks = first["checks"].as_array().unwrap();
    let of = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap();
    assert_eq!(of("file")["grade"], "warning");
    assert!(of("file")["fix"].as_str().unwrap().contains("path"));
    for samples in ["renewals", "reads"] {
        let figures = &of("latency")["figures"][samples];
        assert_eq!(figures["n"], 50);
        assert!(figures["p50_us"].as_u64() <= figures["p99_us"].as_u64());
    }
    assert!(of("timing")["figures"]["tolerated_outage_ms"].as_u64() > Some(5_000));
    let quiet = registry.line("doctor -q").exits(0);
    assert!(
        quiet.out.lines().all(|line| line.starts_with("warning")),
        "{quiet:?}"
    );
    let none = registry.line("--store memory: doctor -q").exits(0);
    assert!(none.tells("warning", "open").contains("this process only"));
}

#[test]
fn doctors_do_not_disturb_each_other() {
    let registry = Registry::new();
    registry.line("list").exits(0);
    let doctors: Vec<Running> = (0..6)
        .map(|_| Running::start(registry.command(["doctor"])))
        .collect();
    for doctor in doctors {
        doctor.done().exits(0).tells("ok", "contract");
    }
}

#[test]
fn who_may_not_is_told_with_77() {
    let registry = Registry::new();
    registry.line("list").exits(0);
    set_mode(registry.folder.path(), 0o700);
    let closed = wrapped(&registry, &NOBODY).exits(77);
    assert!(closed.tells("FAIL", "open").contains(" -> see who may"));
    set_mode(registry.folder.path(), 0o755);
    let shown = wrapped(&registry, &NOBODY).exits(77);
    assert!(shown.tells("FAIL", "open").contains("65534"));
    for suffix in ["", "-wal", "-shm", "-notify"] {
        let mut path = registry.file().into_os_string();
        path.push(suffix);
        // Nothing has been told yet, so that there may be no `-notify`.
        if Path::new(&path).exists() {
            set_mode(Path::new(&path), 0o666);
        }
    }
    set_mode(registry.folder.path(), 0o777);
    let open = wrapped(&registry, &NOBODY).exits(0);
    assert_eq!(
        open.out.matches("every user of this machine").count(),
        2,
        "{open:?}"
    );
    assert!(open.out.contains(" -> chmod o-w"), "{open:?}");
}

#[test]
fn a_read_only_file_system_is_told_with_77() {
    let registry = Registry::new();
    registry.line("list").exits(0);
    let folder = registry.folder.path().display();
    let script = format!(
        "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec \"$@\""
    );
    let done = wrapped(&registry, &["unshare", "-m", "sh", "-c", &script, "sh"]).exits(77);
    let line = done.tells("FAIL", "open").to_lowercase();
    assert!(line.contains("read-only"), "{line}");
}

#[test]
fn a_file_system_is_told_that_does_not_last_or_cannot_be_trusted() {
    let mounted = |mount: &str| {
        let registry = Registry::new();
        let folder = registry.folder.path().display();
        let script = format!("mount -t {mount} none {folder} && exec \"$@\"");
        wrapped(&registry, &["unshare", "-m", "sh", "-c", &script, "sh"])
    };
    let passing = mounted("tmpfs").exits(0);
    assert!(passing.out.contains("gone after a reboot"), "{passing:?}");
    let unknown = mounted("hugetlbfs").exits(78);
    assert!(unknown.tells("FAIL", "open").contains("local disk"));
}

#[test]
fn a_shifted_boot_clock_is_told_with_78() {
    let registry = Registry::new();
    let shifted = ["unshare", "--time", "--fork", "--boottime", "1000"];
    let done = wrapped(&registry, &shifted).exits(78);
    assert!(done.tells("FAIL", "open").contains("time namespace"));
}

#[test]
fn what_is_no_registry_is_told_with_78_and_left_alone() {
    let registry = Registry::new();
    let junk = [b'x'; 8192];
    std::fs::write(registry.file(), junk).unwrap();
    let done = registry.line("doctor").exits(78);
    assert!(done.tells("FAIL", "open").contains("leases.db"), "{done:?}");
    assert!(!done.out.contains("contract"), "{done:?}");
    assert_eq!(std::fs::read(registry.file()).unwrap(), junk);
    // Its folder is none.
    let inside = registry.file().join("leases.db");
    let mut command = registry.command(["doctor"]);
    command.env("LEASEHOLD_STORE", inside);
    done_with(command, 78).tells("FAIL", "open");
    let unknown = registry.line("doctor --store postgres://me:s3cret@host/x");
    unknown.exits(78).tells("FAIL", "open");
}

#[track_caller]
fn done_with(command: Command, code: i32) -> Done {
    done(command).exits(code)
}

#[test]
fn a_damaged_file_is_told_and_left_alone() {
    let registry = Registry::new();
    registry.line("acquire x").exits(0);
    let mut bytes = std::fs::read(registry.file()).unwrap();
    for byte in bytes.iter_mut().skip(100) {
        *byte = 0xff;
    }
    for suffix in ["-wal", "-shm"] {
        let mut path = registry.file().into_os_string();
        path.push(suffix);
        _ = std::fs::remove_file(path);
    }
    std::fs::write(registry.file(), &bytes).unwrap();
    registry.line("doctor").exits(78).tells("FAIL", "open");
    assert_eq!(std::fs::read(registry.file()).unwrap(), bytes);
}

#[test]
fn the_default_file_in_a_container_is_told_with_78_and_not_created() {
    let registry = Registry::new();
    let mut command = registry.command(["doctor", "--json"]);
    command
        .env_remove("LEASEHOLD_STORE")
        .env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let report = json(&done_with(command, 78).out);
    let checks = report["checks"].as_array().unwrap();
    let found = |name: &str| checks.iter().find(|check| check["check"] == name);
    assert_eq!(found("container").unwrap()["grade"], "FAIL");
    assert_eq!(found("store").unwrap()["figures"]["from"], "the default");
    assert_eq!(found("open"), None::<&Value>);
}

/// A file that another process keeps locked.
#[test]
fn a_locked_file_does_not_hang_it() {
    let registry = Registry::new();
    registry.line("list").exits(0);
    let script = "import sqlite3, sys, time\n\
        c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        c.execute('begin exclusive')\n\
        print('locked', flush=True)\n\
        time.sleep(120)\n";
    let mut locker = Command::new("python3")
        .args(["-c", script])
        .arg(registry.file())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = locker.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let done = registry.line("doctor");
    locker.kill().unwrap();
    locker.wait().unwrap();
    assert!(done.took < Duration::from_secs(45), "{done:?}");
    let done = done.exits(69);
    assert!(done.out.contains("FAIL"), "{done:?}");
}
