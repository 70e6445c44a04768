//! What the tests share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "each test binary uses a part"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use leasehold_core::store::{
    Applied, Believe, Change, Expect, Outcome, Reopen, Seen, Take, Vacate,
};
use leasehold_core::{
    AttemptId, Body, BootInstant, Door, LeaseName, RealDoor, Record, Result, Store,
};
use leasehold_sqlite::{Config, SqliteStore};

pub const PERIOD: Duration = Duration::from_secs(10);

pub fn name(text: &str) -> LeaseName {
    LeaseName::new(text).unwrap()
}

pub fn attempt() -> AttemptId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    id[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    AttemptId(id)
}

pub fn body(machine: &str) -> Arc<Body> {
    Arc::new(Body {
        machine_id: Some(machine.into()),
        needs: 1,
        ..Body::default()
    })
}

pub fn acquire_as(lease: &str, machine: &str, seen: Option<u64>, period: Duration) -> Change {
    let attempt = attempt();
    let mut record = Record::new(body(machine), attempt);
    record.period = Some(period);
    Change::Take(Take {
        name: name(lease),
        attempt,
        expect: Expect::Vacant(seen),
        record,
        same_body: false,
        believe: Believe::Now,
        durable: false,
        hold: period,
    })
}

pub fn acquire(lease: &str, seen: Option<u64>, period: Duration) -> Change {
    acquire_as(lease, "m1", seen, period)
}

pub fn renew(lease: &str, index: u64, fence: u64, period: Duration) -> Change {
    let mut change = acquire(lease, None, period);
    if let Change::Take(take) = &mut change {
        take.expect = Expect::Index(index);
        take.record.fence = Some(fence);
        take.same_body = true;
    }
    change
}

pub fn steal(lease: &str, index: u64, believe: Believe, period: Duration) -> Change {
    let mut change = acquire_as(lease, "thief", None, period);
    if let Change::Take(take) = &mut change {
        take.expect = Expect::Index(index);
        take.record.fence = Some(index + 1);
        take.believe = believe;
    }
    change
}

pub fn release(lease: &str, index: u64) -> Change {
    let attempt = attempt();
    let body = Arc::new(Body {
        needs: 1,
        ..Body::default()
    });
    Change::Vacate(Vacate {
        name: name(lease),
        attempt,
        index,
        record: Record::new(body, attempt),
        reopen: Reopen::Now,
    })
}

/// A store and the door it was opened with.
#[derive(Debug, Clone)]
pub struct Opened {
    pub store: SqliteStore,
    pub door: Arc<dyn Door>,
}

impl Opened {
    pub fn until(&self) -> BootInstant {
        self.door.now().plus(Duration::from_secs(20))
    }

    pub async fn one(&self, change: Change) -> Outcome {
        let mut outcomes = self.store.apply(vec![change], self.until()).await;
        assert_eq!(outcomes.len(), 1);
        outcomes.pop().unwrap()
    }

    pub async fn applied(&self, change: Change) -> Applied {
        match self.one(change).await {
            Outcome::Applied(applied) => applied,
            other => panic!("not applied: {other:?}"),
        }
    }

    pub async fn get(&self, lease: &str) -> Option<Seen> {
        self.store.get(&name(lease), self.until()).await.unwrap()
    }

    pub async fn close(&self) {
        self.store.close(self.until()).await.unwrap();
    }
}

pub fn open_with(config: Config) -> Result<Opened> {
    let door: Arc<dyn Door> = RealDoor::new()?;
    Ok(Opened {
        store: config.open(door.clone())?,
        door,
    })
}

pub fn open(path: &Path) -> Opened {
    open_with(Config::new(path)).unwrap()
}

/// A boot clock and a wall clock that a test sets; all else is real.
#[derive(Debug)]
pub struct SetClock {
    real: Arc<dyn Door>,
    pub boot: AtomicU64,
    pub wall: AtomicU64,
}

impl SetClock {
    pub fn new(boot: Duration) -> Arc<Self> {
        Arc::new(Self {
            real: RealDoor::new().unwrap(),
            boot: AtomicU64::new(boot.as_nanos() as u64),
            wall: AtomicU64::new(1_800_000_000),
        })
    }

    pub fn advance(&self, by: Duration) {
        self.boot.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }

    pub fn open(self: &Arc<Self>, config: Config) -> Opened {
        let door: Arc<dyn Door> = self.clone();
        Opened {
            store: config.open(door.clone()).unwrap(),
            door,
        }
    }
}

impl Door for SetClock {
    fn now(&self) -> BootInstant {
        BootInstant::from_nanos(self.boot.load(Ordering::SeqCst))
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.wall.load(Ordering::SeqCst))
    }
    fn sleep_until(&self, at: BootInstant) -> futures_util::future::BoxFuture<'static, ()> {
        let left = at.since(self.now());
        self.real.sleep_until(self.real.now().plus(left))
    }
    fn spawn(&self, task: futures_util::future::BoxFuture<'static, ()>) {
        self.real.spawn(task);
    }
    fn random(&self, buffer: &mut [u8]) {
        self.real.random(buffer);
    }
    fn process(&self) -> u32 {
        self.real.process()
    }
}

/// Runs one test of this binary again, in a process of its own: the test finds `ROLE` set and does its other part.
/// `wrapper` is what to run it with (`setpriv ...`).
pub fn part(wrapper: &[&str], test: &str, role: &str, path: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(&program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(&program);
            command
        }
    };
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("ROLE", role)
        .env("DB", path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn spawn(test: &str, role: &str, path: &Path) -> Child {
    part(&[], test, role, path).spawn().unwrap()
}

/// The part this process was started for, and the file.
pub fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var("ROLE").ok()?;
    Some((role, PathBuf::from(std::env::var_os("DB").unwrap())))
}

/// What the part printed after `marker`, on a line of its own.
pub fn said(output: &Output, marker: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| line.split_once(marker).map(|(_, rest)| rest.to_owned()))
        .collect()
}

pub fn succeeded(output: Output) -> Output {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Another program's view of the file.
pub fn raw(path: &Path) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(path).unwrap();
    // Else it would checkpoint, and delete the log, when it is the last to close.
    conn.set_db_config(
        rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        true,
    )
    .unwrap();
    conn
}
