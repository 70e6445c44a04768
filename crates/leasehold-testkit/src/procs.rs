//! Tests with several real processes: the test's own program, started again.
//!
//! A test that is run as a child does the child's work instead of its own:
//!
//! ```no_run
//! use leasehold_testkit::procs;
//!
//! #[test]
//! fn eight_processes_race() {
//!     if let Some(child) = procs::child() {
//!         // The child's work: `child.number`, `child.input`; what it says with `tell` reaches the parent.
//!         child.tell(&format!("{} of {}", child.number, child.input));
//!         return;
//!     }
//!     let told = procs::spawn("eight_processes_race", 8, "/path/of/the/file").wait();
//!     assert_eq!(told.len(), 8);
//! }
//! ```

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};

const NUMBER: &str = "LEASEHOLD_TESTKIT_CHILD";
const INPUT: &str = "LEASEHOLD_TESTKIT_INPUT";
const COUNT: &str = "LEASEHOLD_TESTKIT_CHILDREN";
const OUTPUT: &str = "LEASEHOLD_TESTKIT_OUTPUT";

/// A child process's view of itself.
#[derive(Clone, Debug)]
pub struct Me {
    /// Which of the children this is, from 0.
    pub number: usize,
    /// What the parent gave to all of them.
    pub input: String,
    count: usize,
    output: PathBuf,
}

/// This process as a child, or none in the parent.
#[must_use]
pub fn child() -> Option<Me> {
    Some(Me {
        number: std::env::var(NUMBER).ok()?.parse().ok()?,
        input: std::env::var(INPUT).ok()?,
        count: std::env::var(COUNT).ok()?.parse().ok()?,
        output: std::env::var(OUTPUT).ok()?.into(),
    })
}

impl Me {
    /// Tells the parent a line, which is kept even if this process is killed right after.
    ///
    /// # Panics
    /// Where the file that leads to the parent cannot be written.
    pub fn tell(&self, line: &str) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.output)
            .expect("the parent's folder");
        // One write a line, so that a kill leaves whole lines.
        let line = format!("{line}\n");
        file.write_all(line.as_bytes()).expect("written");
    }

    /// Stops this process as SIGSTOP does, in the midst of its work, until the parent lets it go on. Once a child.
    ///
    /// # Panics
    /// Where the kernel refuses.
    pub fn stop_here(&self) {
        kill_process(getpid(), Signal::STOP).expect("this process");
        // Another thread may take the signal, so that this one runs on for a moment: it does nothing then.
        let go = go(&self.output);
        while !go.exists() {
            std::thread::yield_now();
        }
    }

    /// Waits until all the children have come here, so that none begins before the last has been started.
    ///
    /// # Panics
    /// Where one does not come within a minute.
    pub async fn meet(&self, door: &dyn leasehold_core::Door) {
        let place = |number: usize| self.output.with_file_name(format!("ready-{number}"));
        std::fs::write(place(self.number), "").expect("the parent's folder");
        let end = door.now().plus(Duration::from_secs(60));
        while !(0..self.count).all(|number| place(number).exists()) {
            assert!(door.now() < end, "the other children did not come");
            door.sleep_until(door.now().plus(Duration::from_millis(1)))
                .await;
        }
    }
}

/// Child processes under way. Those that still run when this is dropped are killed.
#[derive(Debug)]
pub struct Children {
    children: Vec<Child>,
    folder: PathBuf,
}

/// Starts the test of this name (with its modules: `sqlite::race`) of this program in several processes, all with the
/// same input.
///
/// # Panics
/// Where a process cannot be started.
#[must_use]
pub fn spawn(test: &str, count: usize, input: &str) -> Children {
    let program = std::env::current_exe().expect("this program's path");
    static SPAWNED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let folder = std::env::temp_dir().join(format!(
        "leasehold-testkit-{}-{}",
        std::process::id(),
        SPAWNED.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    ));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let mut children = Children {
        children: Vec::with_capacity(count),
        folder,
    };
    for number in 0..count {
        let child = Command::new(&program)
            .args([
                test,
                "--exact",
                "--nocapture",
                "--include-ignored",
                "--test-threads=1",
            ])
            .env(NUMBER, number.to_string())
            .env(INPUT, input)
            .env(COUNT, count.to_string())
            .env(OUTPUT, output(&children.folder, number))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("started");
        children.children.push(child);
    }
    children
}

/// What is there when the child with this output may go on.
fn go(output: &Path) -> PathBuf {
    output.with_extension("go")
}

fn output(folder: &Path, number: usize) -> PathBuf {
    folder.join(number.to_string())
}

impl Children {
    /// What each child has told so far, line by line.
    #[must_use]
    pub fn told(&self) -> Vec<Vec<String>> {
        let read =
            |number| std::fs::read_to_string(output(&self.folder, number)).unwrap_or_default();
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        (0..self.children.len())
            .map(|number| lines(read(number)))
            .collect()
    }

    /// The process ids, for signals.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Waits until one of them has [stopped itself](Me::stop_here).
    ///
    /// # Panics
    /// Where it ends instead, or the kernel does not know.
    pub fn wait_stopped(&self, number: usize) {
        let what = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let pid = Pid::from_child(&self.children[number]);
        let status = waitid(WaitId::Pid(pid), what).expect("a child of ours");
        assert!(
            status.is_some_and(|status| status.stopped()),
            "child {number} ended before it stopped"
        );
    }

    /// Lets one of them go on.
    ///
    /// # Panics
    /// Where the kernel refuses.
    pub fn cont(&self, number: usize) {
        std::fs::write(go(&output(&self.folder, number)), "").expect("the children's folder");
        let pid = Pid::from_child(&self.children[number]);
        kill_process(pid, Signal::CONT).expect("a child of ours");
    }

    /// Kills one of them, as a crash does.
    ///
    /// # Panics
    /// Where there is no such child.
    pub fn kill(&mut self, number: usize) {
        let child = &mut self.children[number];
        // Already gone is fine.
        _ = child.kill();
        _ = child.wait();
    }

    /// Waits until all have ended well, and gives what they told.
    ///
    /// # Panics
    /// Where one failed.
    #[must_use]
    pub fn wait(mut self) -> Vec<Vec<String>> {
        for (number, child) in self.children.iter_mut().enumerate() {
            let status = child.wait().expect("waited for");
            assert!(status.success(), "child {number} failed: {status}");
        }
        self.told()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.children {
            _ = child.kill();
            _ = child.wait();
        }
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The race of several processes for one name: each child takes part by this, `open` making its manager.
///
/// All begin together, and each wins `rounds` times. It tells the parent of every term: fence, and from when to when
/// the child believed it, by the machine's boot clock.
///
/// # Panics
/// Where an operation fails.
pub async fn race(me: &Me, manager: &leasehold_core::Manager, name: &str, rounds: u32) {
    let period = Duration::from_secs(60);
    let door = manager.door();
    me.meet(&**door).await;
    for _ in 0..rounds {
        let lock = manager.lock(name).period(period);
        let held = lock.acquire().await.expect("acquired in the end");
        let from = door.now();
        assert!(held.is_current());
        let fence = held.fence();
        let to = door.now();
        held.release().await.expect("released");
        me.tell(&format!("{fence} {} {}", from.as_nanos(), to.as_nanos()));
    }
}

/// What the children of a [`race`] told, held to the contract: no two terms at once, every fence larger than those of
/// all earlier terms, each child's share of the rounds complete. And it must have been a race: at least every fiftieth
/// term follows one of another child. More cannot be asked of a busy machine, where whoever releases is awake and those who
/// wait are not; one after the other would be one change a child.
///
/// # Panics
/// Where it is broken.
pub fn check_race(told: &[Vec<String>], rounds: u32) {
    let mut terms: Vec<(u64, u64, u64, usize)> = Vec::new();
    for (number, lines) in told.iter().enumerate() {
        assert_eq!(
            lines.len(),
            usize::try_from(rounds).unwrap(),
            "child {number}"
        );
        for line in lines {
            let numbers: Vec<u64> = line
                .split(' ')
                .map(|n| n.parse().expect("a number"))
                .collect();
            terms.push((numbers[1], numbers[2], numbers[0], number));
        }
    }
    terms.sort_unstable();
    for pair in terms.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two lessees at once: {pair:?}");
        assert!(pair[0].2 < pair[1].2, "the fence went back: {pair:?}");
    }
    let changes = terms.windows(2).filter(|pair| pair[0].3 != pair[1].3);
    let changes = changes.count();
    assert!(
        told.len() < 2 || changes * 50 >= terms.len(),
        "no race: {changes} changes of the lessee in {} terms",
        terms.len()
    );
}

/// Work on a name of its own, for as long as said: acquire and release, again and again. Tells the parent how often.
///
/// # Panics
/// Where an operation fails.
pub async fn work_alone(me: &Me, manager: &leasehold_core::Manager, length: Duration) {
    let door = manager.door();
    me.meet(&**door).await;
    let end = door.now().plus(length);
    let name = format!("own/{}", me.number);
    let mut count = 0_u64;
    while door.now() < end {
        let lease = manager
            .acquire_lease(
                &name,
                format!("m-{}", me.number),
                0,
                Duration::from_secs(60),
            )
            .await
            .expect("reached")
            .expect("nobody else wants it");
        lease.release().await.expect("released");
        count += 1;
    }
    me.tell(&count.to_string());
}

/// What the children of [`work_alone`] told: each got at least a quarter of a fair share.
///
/// # Panics
/// Where one did not.
pub fn check_shares(told: &[Vec<String>]) {
    let counts: Vec<u64> = told
        .iter()
        .map(|lines| lines[0].parse().expect("a number"))
        .collect();
    assert!(counts.len() > 1, "shares of one");
    let fair = counts.iter().sum::<u64>() / counts.len() as u64;
    assert!(fair > 0, "nobody got anything");
    assert!(
        counts.iter().all(|count| *count >= fair / 4),
        "unfair: {counts:?}"
    );
}
