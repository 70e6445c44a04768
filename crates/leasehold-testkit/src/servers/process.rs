//! A server's process.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// A server's process. It is killed when this is dropped, and dies with this process, however that ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program. What it prints is added to the file `log`. Its environment has `PATH` and no more: settings of
    /// the user's would change what is tested.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(program: &Path, args: impl IntoIterator<Item: AsRef<OsStr>>, log: &Path) -> Self {
        let flags = ["--pdeathsig".to_owned(), "KILL".to_owned()];
        Self::start_with(&flags, program, args, log)
    }

    /// The same with other flags of `setpriv`: as which user, and what signal it gets when this process ends.
    pub(super) fn start_with(
        flags: &[String],
        program: &Path,
        args: impl IntoIterator<Item: AsRef<OsStr>>,
        log: &Path,
    ) -> Self {
        let log = File::options().create(true).append(true).open(log);
        let log = log.expect("the server's log");
        let mut command = Command::new("setpriv");
        command
            .args(flags)
            .arg(program)
            .args(args)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log, twice"))
            .stderr(log);
        let child = spawn(command).expect("setpriv of util-linux");
        Self { child }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    ///
    /// # Panics
    /// Where the kernel does not know.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// SIGQUIT, which ends a PostgreSQL at once and lets it take its shared memory away.
    pub(super) fn quit(&self) {
        self.signal(Signal::QUIT);
    }

    /// SIGSTOP. Once this returns it has stopped, or has ended.
    ///
    /// # Panics
    /// Where the kernel refuses.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        // Looks without taking: the end of a child is `Child`'s to take.
        let what = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(error) = waitid(WaitId::Pid(self.pid()), what) {
            assert_eq!(error, rustix::io::Errno::INTR, "a child of ours");
        }
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// Where the kernel refuses.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a child that has not been waited for");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is fine. SIGKILL ends a stopped one, too.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Spawns from a thread that lives as long as this process. The kernel tells a child of its parent's death when the
/// *thread* that spawned it ends, and the thread of a test may end before a server that it has handed on.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        let work = move || {
            for (mut command, reply) in orders {
                _ = reply.send(command.spawn());
            }
        };
        let thread = std::thread::Builder::new().name("spawner of servers".to_owned());
        thread.spawn(work).expect("a thread");
        sender
    });
    let (reply, child) = mpsc::channel();
    SPAWNER.send((command, reply)).expect("it never ends");
    child.recv().expect("it replies")
}
