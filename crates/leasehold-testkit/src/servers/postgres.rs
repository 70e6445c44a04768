//! PostgreSQL.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;
use tempfile::TempDir;

use super::{PATIENCE, Process, folder, ports, tool, wait};

/// The one that `scripts/setup` installs, with data and a port of its own. Dropped, it is ended and its data are deleted.
///
/// It trusts whoever reaches it, as `postgres`, and does not wait for the disk. It refuses to be started by root: then it
/// runs as the system's user `postgres`.
#[derive(Debug)]
pub struct Postgres {
    // Before the folder: what is ended first writes there no more.
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

/// A port that seemed free is not.
struct InUse;

impl Postgres {
    /// Starts one, and waits until it serves. `LEASEHOLD_POSTGRES_15` names another folder of its programs.
    ///
    /// # Panics
    /// Where it does not; its log is shown. Where it is missing.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on(ports::free)
    }

    fn start_on(mut port: impl FnMut() -> SocketAddr) -> Self {
        let programs = tool("LEASEHOLD_POSTGRES_15", "postgres/15");
        for _ in 0..10 {
            if let Ok(server) = Self::try_start(&programs, port()) {
                return server;
            }
        }
        panic!("PostgreSQL: others took its ports ten times");
    }

    fn try_start(programs: &Path, address: SocketAddr) -> Result<Self, InUse> {
        let folder = folder::new("leasehold-postgres");
        let user = User::for_server();
        user.owns(folder.path());
        let data = folder.path().join("data");
        let made = Command::new("setpriv")
            .args(user.flags())
            .arg(programs.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(&data)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .current_dir(folder.path())
            .output()
            .expect("setpriv of util-linux");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "PostgreSQL's initdb: {said}");
        let args = [
            format!("-D{}", data.display()),
            format!("-p{}", address.port()),
            format!("-clisten_addresses={}", address.ip()),
            "-cunix_socket_directories=".to_owned(),
            "-cfsync=off".to_owned(),
        ];
        let log = folder.path().join("log");
        let program = programs.join("postgres");
        let mut server = Self {
            process: Process::start_with(&user.flags(), &program, args, &log),
            address,
            folder,
        };
        let ready = wait(PATIENCE, || {
            let log = server.log();
            if log.contains("database system is ready to accept connections") {
                return Some(true);
            }
            server.process.has_ended().then_some(false)
        });
        let log = server.log();
        match ready {
            Some(true) => Ok(server),
            Some(false) if log.contains("Address already in use") => Err(InUse),
            Some(false) => panic!("PostgreSQL ended; its log:\n{log}"),
            None => panic!("PostgreSQL does not answer; its log:\n{log}"),
        }
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, as clients of PostgreSQL read it: `host=127.0.0.1 port=... user=postgres`.
    #[must_use]
    pub fn config(&self) -> String {
        let (host, port) = (self.address.ip(), self.address.port());
        format!("host={host} port={port} user=postgres")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !self.process.has_ended() {
            self.process.quit();
        }
        // Else it is killed.
        _ = wait(PATIENCE, || self.process.has_ended().then_some(()));
    }
}

/// Whom the server runs as.
struct User(Option<[u32; 2]>);

impl User {
    fn for_server() -> Self {
        Self(geteuid().is_root().then(|| {
            let users = std::fs::read_to_string("/etc/passwd").expect("the list of users");
            let fields = users.lines().find_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                (fields.first() == Some(&"postgres")).then_some(fields)
            });
            let fields = fields.expect("a user `postgres`: run scripts/setup");
            [2, 3].map(|field| fields[field].parse().expect("a number of a user"))
        }))
    }

    /// For `setpriv`: as whom, and SIGQUIT when this process ends, at which a server takes its shared memory away.
    fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--pdeathsig=QUIT".to_owned()];
        if let Some([user, group]) = self.0 {
            flags.push(format!("--reuid={user}"));
            flags.push(format!("--regid={group}"));
            flags.push("--clear-groups".to_owned());
        }
        flags
    }

    fn owns(&self, folder: &Path) {
        if let Some([user, group]) = self.0 {
            std::os::unix::fs::chown(folder, Some(user), Some(group)).expect("root may");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_was_taken_is_replaced() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let mut ports = [taken].into_iter();
        let server = Postgres::start_on(|| ports.next().unwrap_or_else(ports::free));
        assert_ne!(server.address(), taken);
        // It leaves nothing behind, no process either.
        let (process, folder) = (server.process.id(), server.folder.path().to_path_buf());
        drop(server);
        assert!(!folder.exists());
        assert!(!Path::new(&format!("/proc/{process}")).exists());
    }
}
