//! The command never outlives its lease, whatever becomes of leasehold, of its guardian, or of the registry; and the lease never
//! outlives what the command has left. Each case so many times, at random moments: `LEASEHOLD_RUNS`, 5 without it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_testkit::servers::{Etcd, EtcdVersion};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::support::{Registry, Running, eventually, is_at_work, json, parent, pid_in};

/// One case at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who writes where, in beacons.py.
const BEACONS: [&str; 6] = [
    "command",
    "child",
    "own_group",
    "own_session",
    "daemon",
    "leaderless",
];
const PERIOD: &str = "3s";

/// Milliseconds of the boot clock.
fn now() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Somewhere between the first and the last moment of a renewal's third.
fn at_random() -> Duration {
    Duration::from_millis(
        u64::try_from(clock_gettime(ClockId::Boottime).tv_nsec / 1000 % 1100).unwrap(),
    )
}

/// A holder whose command is beacons.py.
struct Holder {
    registry: Registry,
    store: Option<String>,
    running: Option<Running>,
    wrapper: Pid,
    guardian: Pid,
}

impl Holder {
    fn start(manner: &str, store: Option<String>) -> Self {
        Self::start_by(manner, store, |_, command| command)
    }

    /// Started by what is made of its command line.
    fn start_by(
        manner: &str,
        store: Option<String>,
        by: impl FnOnce(&Registry, Command) -> Command,
    ) -> Self {
        let registry = Registry::new();
        let mut command = registry.command(["run", "x", "--period", PERIOD, "--", "python3"]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/beacons.py");
        command.arg(script).arg(registry.folder.path()).arg(manner);
        if let Some(store) = &store {
            command.env("LEASEHOLD_STORE", store);
        }
        let running = Running::start(by(&registry, command));
        let pids = BEACONS.map(|kind| pid_in(&registry.path(&format!("{kind}.pid"))));
        let guardian = parent(pids[0]);
        let wrapper = parent(guardian);
        Self {
            registry,
            store,
            running: Some(running),
            wrapper,
            guardian,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.registry.command(words);
        if let Some(store) = &self.store {
            command.env("LEASEHOLD_STORE", store);
        }
        command
    }

    /// The end of the present grant, or a little later: when the registry gives the name to another.
    fn deadline(&self) -> i64 {
        let asked = crate::support::done(self.command(&["get", "x", "--json"]));
        now() + json(&asked.out)["left_ms"].as_i64().unwrap()
    }

    /// Whoever comes next: it prints when it began, by the boot clock.
    fn next(&self) -> Running {
        let clock = "import time; print(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000000)";
        Running::start(self.command(&["run", "x", "--wait", "60s", "--", "python3", "-c", clock]))
    }

    /// The last sign of life of each.
    fn last(&self) -> Vec<(&'static str, i64)> {
        BEACONS.map(|kind| (kind, self.last_of(kind))).to_vec()
    }

    fn last_of(&self, kind: &str) -> i64 {
        let text = std::fs::read_to_string(self.registry.path(kind)).unwrap();
        let whole = text.rsplit_once('\n').unwrap().0;
        whole.rsplit('\n').next().unwrap().parse().unwrap()
    }

    #[track_caller]
    fn all_ended_before(&self, what: &str, at: i64) {
        for (kind, last) in self.last() {
            assert!(
                last < at,
                "{kind} was at work {} ms after {what}",
                last - at
            );
        }
    }

    fn pids(&self) -> [Pid; 6] {
        BEACONS.map(|kind| pid_in(&self.registry.path(&format!("{kind}.pid"))))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Whatever a failure has left.
        for kind in BEACONS {
            let text = std::fs::read_to_string(self.registry.path(&format!("{kind}.pid")));
            let pid = text
                .ok()
                .and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
            if let Some(pid) = pid.filter(|pid| is_at_work(*pid)) {
                _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn count() -> usize {
    std::env::var("LEASEHOLD_RUNS").map_or(5, |runs| runs.parse().unwrap())
}

/// So many runs of a case, five at once.
fn runs(case: impl Fn() + Sync) {
    for batch in (0..count()).collect::<Vec<_>>().chunks(5) {
        std::thread::scope(|scope| {
            for _ in batch {
                scope.spawn(&case);
            }
        });
    }
}

/// One server for all runs of a case.
fn on_etcd(case: impl Fn(&Etcd, String) + Sync) {
    let etcd = Etcd::start(EtcdVersion::V3_7);
    let number = AtomicUsize::new(0);
    runs(|| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        case(&etcd, format!("etcd://{}/run{number}", etcd.address()));
    });
}

/// The wrapper is killed: the guardian ends all of the command, and then, not before, gives the lease back.
fn killed_wrapper(store: Option<String>) {
    let holder = Holder::start("obey", store);
    let next = holder.next();
    std::thread::sleep(at_random());
    let killed = now();
    kill_process(holder.wrapper, Signal::KILL).unwrap();
    let begun: i64 = next.done().exits(0).out.trim().parse().unwrap();
    holder.all_ended_before("the next one began", begun);
    let took = begun - killed;
    println!("taken over {took} ms after kill -9");
    assert!(
        took < 2000,
        "taken over only after {took} ms: nobody released it"
    );
}

#[test]
fn a_killed_wrapper_s_command_is_ended_and_its_lease_released() {
    let _alone = alone();
    runs(|| killed_wrapper(None));
}

#[test]
fn a_killed_wrapper_s_command_is_ended_and_its_lease_released_on_etcd() {
    let _alone = alone();
    on_etcd(|_, store| killed_wrapper(Some(store)));
}

/// The same with a command that ignores TERM: KILL comes before the deadline.
fn killed_wrapper_of_a_stubborn_command(store: Option<String>) {
    let holder = Holder::start("ignore", store);
    std::thread::sleep(at_random());
    kill_process(holder.wrapper, Signal::KILL).unwrap();
    let deadline = holder.deadline();
    let next = holder.next();
    let begun: i64 = next.done().exits(0).out.trim().parse().unwrap();
    holder.all_ended_before("the next one began", begun);
    holder.all_ended_before("the deadline", deadline);
}

#[test]
fn a_stubborn_command_of_a_killed_wrapper_is_killed_before_the_deadline() {
    let _alone = alone();
    runs(|| killed_wrapper_of_a_stubborn_command(None));
}

/// The wrapper is stopped: nobody renews, and the guardian ends the command in time.
fn stopped_wrapper(store: Option<String>) {
    let holder = Holder::start("ignore", store);
    std::thread::sleep(at_random());
    kill_process(holder.wrapper, Signal::STOP).unwrap();
    let deadline = holder.deadline();
    let next = holder.next();
    let begun: i64 = next.done().exits(0).out.trim().parse().unwrap();
    holder.all_ended_before("the next one began", begun);
    holder.all_ended_before("the deadline", deadline);
    kill_process(holder.wrapper, Signal::CONT).unwrap();
    end(holder).exits(76).says(&["x was lost", "signal 9"]);
}

fn end(mut holder: Holder) -> crate::support::Done {
    holder.running.take().unwrap().done()
}

#[test]
fn a_stopped_wrapper_s_command_is_killed_before_the_deadline() {
    let _alone = alone();
    runs(|| stopped_wrapper(None));
}

#[test]
fn a_stopped_wrapper_s_command_is_killed_before_the_deadline_on_etcd() {
    let _alone = alone();
    on_etcd(|_, store| stopped_wrapper(Some(store)));
}

/// The registry does not answer: no renewal succeeds.
#[test]
fn without_a_registry_all_of_the_command_is_dead_before_the_deadline() {
    let _alone = alone();
    runs(|| {
        let holder = Holder::start("ignore", None);
        std::thread::sleep(at_random());
        let deadline = holder.deadline();
        for file in ["leases.db", "leases.db-wal", "leases.db-shm"] {
            std::fs::remove_file(holder.registry.path(file)).unwrap();
        }
        // At the latest a renewal that was under way.
        let pids = holder.pids();
        let left = holder.running.as_ref().map(|running| running.pid).unwrap();
        eventually("ended", || !is_at_work(left));
        assert!(pids.into_iter().all(|pid| !is_at_work(pid)));
        holder.all_ended_before("the deadline of the last grant", deadline + 1100);
        end(holder).exits(76);
    });
}

/// The server stands still: a partition as its clients see it.
#[test]
fn cut_off_from_etcd_all_of_the_command_is_dead_before_the_deadline() {
    let _alone = alone();
    let mut etcd = Etcd::start(EtcdVersion::V3_7);
    for batch in (0..count()).collect::<Vec<_>>().chunks(5) {
        let start = |run: &usize| {
            let store = format!("etcd://{}/run{run}", etcd.address());
            Holder::start("ignore", Some(store))
        };
        let holders: Vec<Holder> = batch.iter().map(start).collect();
        std::thread::sleep(at_random());
        let deadlines: Vec<i64> = holders.iter().map(Holder::deadline).collect();
        etcd.stop();
        for (holder, deadline) in holders.into_iter().zip(deadlines) {
            let pids = holder.pids();
            eventually("dead", || pids.iter().all(|pid| !is_at_work(*pid)));
            // A renewal may have come between the question and the stop.
            holder.all_ended_before("the deadline", deadline + 1100);
            end(holder).exits(76).says(&["x was lost"]);
        }
        etcd.cont();
        etcd.wait_healthy();
    }
}

/// The guardian is killed: the command dies with it, the wrapper kills the rest, and then releases.
#[test]
fn a_killed_guardian_s_command_is_killed_by_the_kernel_and_the_wrapper() {
    let _alone = alone();
    runs(|| {
        let holder = Holder::start("ignore", None);
        let next = holder.next();
        std::thread::sleep(at_random());
        let killed = now();
        kill_process(holder.guardian, Signal::KILL).unwrap();
        let begun: i64 = next.done().exits(0).out.trim().parse().unwrap();
        holder.all_ended_before("the next one began", begun);
        assert!(begun - killed < 2000, "{} ms", begun - killed);
        end(holder).exits(125).says(&["guardian was killed"]);
    });
}

/// The guardian is stopped, and the registry gone: the wrapper is the second line.
#[test]
fn a_stopped_guardian_does_not_keep_a_command_at_work_after_the_deadline() {
    let _alone = alone();
    runs(|| {
        let holder = Holder::start("ignore", None);
        std::thread::sleep(at_random());
        kill_process(holder.guardian, Signal::STOP).unwrap();
        let deadline = holder.deadline();
        for file in ["leases.db", "leases.db-wal", "leases.db-shm"] {
            std::fs::remove_file(holder.registry.path(file)).unwrap();
        }
        let pids = holder.pids();
        eventually("dead", || pids.iter().all(|pid| !is_at_work(*pid)));
        holder.all_ended_before("the deadline", deadline + 1100);
        end(holder).exits(76).says(&["guardian does not answer"]);
    });
}

/// What is not covered, and named: both are killed. The command itself dies; what it left in the background does not.
#[test]
fn of_a_killed_wrapper_and_guardian_only_the_background_escapes() {
    let _alone = alone();
    runs(|| {
        let holder = Holder::start("obey", None);
        kill_process(holder.wrapper, Signal::STOP).unwrap();
        kill_process(holder.guardian, Signal::KILL).unwrap();
        kill_process(holder.wrapper, Signal::KILL).unwrap();
        let [command, background @ ..] = holder.pids();
        eventually("dead", || !is_at_work(command));
        std::thread::sleep(Duration::from_millis(300));
        assert!(
            background.into_iter().all(is_at_work),
            "documented as escaping"
        );
    });
}

/// A cgroup of the test's own.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts
            .lines()
            .find(|line| line.contains(" - cgroup2 "))
            .unwrap();
        let root = root.split(' ').nth(4).unwrap();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("leasehold-test-{name}-{}-{number}", std::process::id());
        let path = Path::new(root).join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, what: &str) {
        std::fs::write(self.0.join(file), what).unwrap();
    }

    /// The same command, in here from its beginning.
    fn enter(&self, command: &Command) -> Command {
        let procs = self.0.join("cgroup.procs");
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg("echo $$ > \"$0\" && exec \"$@\"")
            .arg(procs);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            shell.env(key, value.unwrap());
        }
        shell
            .current_dir(command.get_current_dir().unwrap())
            .stdin(Stdio::null());
        shell
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        _ = std::fs::write(self.0.join("cgroup.freeze"), "0");
        _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..100 {
            for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
                _ = std::fs::remove_dir(entry.path());
            }
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A container that was paused, a machine that slept: all of it goes on after the deadline, and the command is killed at once.
#[test]
fn what_was_frozen_past_its_deadline_is_killed_when_it_goes_on() {
    let _alone = alone();
    runs(|| {
        let cgroup = Cgroup::new("frozen");
        let holder = Holder::start_by("ignore", None, |_, command| cgroup.enter(&command));
        std::thread::sleep(at_random());
        cgroup.write("cgroup.freeze", "1");
        std::thread::sleep(Duration::from_secs(4));
        let frozen = now();
        let next = holder.next().done().exits(0);
        let begun: i64 = next.out.trim().parse().unwrap();
        assert!(
            holder
                .last()
                .into_iter()
                .all(|(_, last)| last < frozen && last < begun)
        );
        let thawed = now();
        cgroup.write("cgroup.freeze", "0");
        let pids = holder.pids();
        eventually("dead", || pids.iter().all(|pid| !is_at_work(*pid)));
        let late = holder
            .last()
            .into_iter()
            .map(|(_, last)| last - thawed)
            .max()
            .unwrap();
        println!("at work for {late} ms after it went on");
        holder.all_ended_before("half a second after it went on", thawed + 500);
        end(holder).exits(76);
    });
}

/// Without a cgroup, as a user who may not make one, and with a command that ignores TERM: everything below is found and killed.
#[test]
fn a_stubborn_tree_of_an_ordinary_user_is_killed_before_the_deadline() {
    use std::os::unix::fs::PermissionsExt;
    let _alone = alone();
    runs(|| {
        let holder = Holder::start_by("ignore", None, |registry, command| {
            let open = PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(registry.folder.path(), open).unwrap();
            let mut other = Command::new("setpriv");
            other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            other.arg(command.get_program()).args(command.get_args());
            other.env("LEASEHOLD_STORE", registry.file());
            other
                .current_dir(registry.folder.path())
                .stdin(Stdio::null());
            other
        });
        std::thread::sleep(at_random());
        kill_process(holder.wrapper, Signal::STOP).unwrap();
        let deadline = holder.deadline();
        let begun: i64 = holder.next().done().exits(0).out.trim().parse().unwrap();
        holder.all_ended_before("the next one began", begun);
        holder.all_ended_before("the deadline", deadline);
        kill_process(holder.wrapper, Signal::CONT).unwrap();
        end(holder).exits(76);
    });
}

/// A copy of a program that becomes root, owned by root; and the command line of a user who runs it.
struct Setuid {
    registry: Registry,
    program: PathBuf,
}

impl Setuid {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let registry = Registry::new();
        let program = registry.path("becomes-root");
        std::fs::copy("/usr/bin/setpriv", &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
        std::fs::set_permissions(registry.folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        Self { registry, program }
    }

    /// As nobody, a command of which one process has become root, wholly.
    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command
            .arg(env!("CARGO_BIN_EXE_leasehold"))
            .args(["run", "x", "--period", PERIOD]);
        command.args(options).args(["--", "sh", "-c"]);
        let script = format!(
            "{} --reuid=0 --regid=0 --clear-groups sh -c 'echo $$ > root; exec sleep 60 >/dev/null 2>&1' & echo $$ > pid; wait",
            self.program.display()
        );
        command
            .arg(script)
            .env("LEASEHOLD_STORE", self.registry.file());
        command
            .current_dir(self.registry.folder.path())
            .stdin(Stdio::null());
        command
    }
}

/// What has become another user is out of a user's reach, as a tree of processes: named, and refused by `--strict`.
#[test]
fn a_setuid_child_is_named_where_there_is_no_cgroup() {
    let _alone = alone();
    let setuid = Setuid::new();
    crate::support::done(setuid.command(&["--strict"]))
        .exits(78)
        .says(&["--strict", "another user"]);
    let running = Running::start(setuid.command(&["-v"]));
    let root = pid_in(&setuid.registry.path("root"));
    let command = pid_in(&setuid.registry.path("pid"));
    for file in ["leases.db", "leases.db-wal", "leases.db-shm"] {
        std::fs::remove_file(setuid.registry.path(file)).unwrap();
    }
    let done = running
        .done()
        .exits(76)
        .says(&["level process tree", "could not be killed"]);
    let named = done
        .err
        .contains(&format!("{} (sleep)", root.as_raw_nonzero()));
    let escaped = is_at_work(root);
    kill_process(root, Signal::KILL).unwrap();
    assert!(named && escaped && !is_at_work(command), "{done:?}");
}

/// A delegated cgroup, as systemd gives: what has become another user dies with the rest.
#[test]
fn a_setuid_child_dies_in_its_cgroup() {
    use std::os::unix::fs::chown;
    let _alone = alone();
    let setuid = Setuid::new();
    let cgroup = Cgroup::new("delegated");
    for file in [
        "",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
    ] {
        chown(cgroup.0.join(file), Some(65534), Some(65534)).unwrap();
    }
    let running = Running::start(cgroup.enter(&setuid.command(&["-v", "--strict"])));
    let root = pid_in(&setuid.registry.path("root"));
    let deadline = now() + 4200;
    for file in ["leases.db", "leases.db-wal", "leases.db-shm"] {
        std::fs::remove_file(setuid.registry.path(file)).unwrap();
    }
    eventually("dead", || !is_at_work(root));
    assert!(now() < deadline);
    running.done().exits(76).says(&["level cgroup"]);
}
