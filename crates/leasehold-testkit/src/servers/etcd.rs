//! etcd.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Index, IndexMut};
use std::path::PathBuf;

use tempfile::TempDir;

use super::folder;
use super::turn::Turn;
use super::{PATIENCE, Process, Proxy, Way, get, ports, tool, wait};

/// The servers that `scripts/setup` installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdVersion {
    /// A 3.4 as Debian ships it; `LEASEHOLD_ETCD_3_4` names another program.
    V3_4,
    /// 3.5.1; `LEASEHOLD_ETCD_3_5` names another program.
    V3_5,
    /// What `scripts/etcd-server/go.mod` pins; `LEASEHOLD_ETCD_3_7` names another program.
    V3_7,
}

impl EtcdVersion {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::V3_4, Self::V3_5, Self::V3_7];

    /// Where its program is.
    ///
    /// # Panics
    /// Where it is missing.
    #[must_use]
    pub fn program(self) -> PathBuf {
        let (name, path) = match self {
            Self::V3_4 => ("LEASEHOLD_ETCD_3_4", "etcd/3.4/etcd"),
            Self::V3_5 => ("LEASEHOLD_ETCD_3_5", "etcd/3.5/etcd"),
            Self::V3_7 => ("LEASEHOLD_ETCD_3_7", "etcd/3.7/etcd"),
        };
        tool(name, path)
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_4 => "etcd 3.4",
            Self::V3_5 => "etcd 3.5",
            Self::V3_7 => "etcd 3.7",
        })
    }
}

/// How to start etcd. A mere [`EtcdVersion`] will do where nothing else is asked for.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    version: EtcdVersion,
    default_timing: bool,
    https: bool,
    peers_by_proxies: bool,
    args: Vec<String>,
}

impl From<EtcdVersion> for EtcdOptions {
    fn from(version: EtcdVersion) -> Self {
        Self {
            version,
            default_timing: false,
            https: false,
            peers_by_proxies: false,
            args: Vec::new(),
        }
    }
}

impl EtcdOptions {
    /// The options that tests begin with: heartbeats every 20 ms and elections after 200 ms, so that the least TTL is
    /// one second.
    #[must_use]
    pub fn new(version: EtcdVersion) -> Self {
        version.into()
    }

    /// etcd's own timing: heartbeats every 100 ms, elections after 1 s. The least TTL is two seconds.
    #[must_use]
    pub fn default_timing(mut self) -> Self {
        self.default_timing = true;
        self
    }

    /// Clients speak TLS. The certificates are told by [`args`](Self::args): `--cert-file`, `--auto-tls` and the like.
    #[must_use]
    pub fn https(mut self) -> Self {
        self.https = true;
        self
    }

    /// Members reach each other through proxies, so that one can be kept from the others: [`EtcdCluster::isolate`].
    #[must_use]
    pub fn peers_by_proxies(mut self) -> Self {
        self.peers_by_proxies = true;
        self
    }

    /// Further flags for each member: `--max-txn-ops=4`, `--quota-backend-bytes=...`, `--auth-token=...`.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item: Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// One member, with data and ports of its own. Dropped, it is killed and its data are deleted.
#[derive(Debug)]
pub struct Etcd {
    // Before the folder: what is killed first writes there no more.
    process: Option<Process>,
    stopped: bool,
    options: EtcdOptions,
    name: String,
    addresses: Addresses,
    initial_cluster: String,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    client: SocketAddr,
    peer: SocketAddr,
    // What it tells its peers to reach it by.
    advertised: SocketAddr,
    // Plain HTTP whatever clients speak, and served without a quorum.
    metrics: SocketAddr,
}

/// A port that seemed free is not.
struct InUse;

impl Etcd {
    /// Starts a cluster of one, and waits until it serves.
    ///
    /// # Panics
    /// Where it does not; its log is shown.
    #[must_use]
    pub fn start(options: impl Into<EtcdOptions>) -> Self {
        let mut members = EtcdCluster::start(options, 1).members;
        members.remove(0)
    }

    /// Where clients reach it: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.options.https { "https" } else { "http" };
        format!("{scheme}://{}", self.addresses.client)
    }

    /// The same as an address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses.client
    }

    /// The process id, while it is not killed.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The folder of its data, `--data-dir`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it has logged since the first start.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// SIGKILL. Already killed is fine.
    pub fn kill(&mut self) {
        self.process = None;
        self.stopped = false;
    }

    /// SIGSTOP. Once this returns it runs no more.
    ///
    /// # Panics
    /// Where it is killed.
    pub fn stop(&mut self) {
        self.process.as_ref().expect("a member that runs").stop();
        self.stopped = true;
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// Where it is killed.
    pub fn cont(&mut self) {
        self.process.as_ref().expect("a member that runs").cont();
        self.stopped = false;
    }

    /// Kills it, where it is not yet, and starts it on the same data and ports. Waits until it runs, not for a quorum:
    /// that is [`wait_healthy`](Self::wait_healthy).
    ///
    /// # Panics
    /// Where it does not start; its log is shown.
    pub fn restart(&mut self) {
        // Somebody else may have taken a port meanwhile, and may give it back.
        let started = wait(PATIENCE, || {
            self.launch();
            self.wait_running().ok()
        });
        assert!(
            started.is_some(),
            "{}",
            self.trouble("found its port in use")
        );
    }

    /// Whether it serves: it answers a linearizable read.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        // A member that has run out of space still serves reads.
        self.ask("/health?exclude=NOSPACE")
            .is_some_and(|body| body.contains(r#""health":"true""#))
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// Where it does not within 20 s; its log is shown.
    pub fn wait_healthy(&self) {
        let healthy = wait(PATIENCE, || self.is_healthy().then_some(()));
        assert!(healthy.is_some(), "{}", self.trouble("is not healthy"));
    }

    /// Whether it leads, and could confirm that: a leader that was deposed without noticing is none.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.metric("etcd_server_is_leader").as_deref() == Some("1") && self.is_healthy()
    }

    /// A value that it reports at `/metrics`, named with its labels; none where it does not answer, or has no such.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<String> {
        let metrics = self.ask("/metrics")?;
        let mut values = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().map(str::to_owned)
    }

    /// Runs `etcdctl` against it alone, and gives what that prints. The one of 3.7 speaks to all versions;
    /// `LEASEHOLD_ETCDCTL` names another program.
    ///
    /// # Errors
    /// What it says where it fails.
    ///
    /// # Panics
    /// Where the program is missing or cannot be started.
    pub fn ctl(&self, args: &[&str]) -> Result<String, String> {
        let program = tool("LEASEHOLD_ETCDCTL", "etcd/3.7/etcdctl");
        let mut command = std::process::Command::new(program);
        command.arg(format!("--endpoints={}", self.endpoint()));
        // Its own limit of five seconds is one that a busy machine exceeds.
        command.arg("--command-timeout=60s");
        let output = command.args(args).env_clear().output().expect("etcdctl");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn ask(&self, path: &str) -> Option<String> {
        // One that is stopped would be waited for.
        if self.process.is_none() || self.stopped {
            return None;
        }
        get(self.addresses.metrics, path).ok()
    }

    fn launch(&mut self) {
        self.kill();
        let program = self.options.version.program();
        self.process = Some(Process::start(&program, self.args(), &self.log_file()));
    }

    /// Waits until the process answers, with or without a quorum.
    fn wait_running(&mut self) -> Result<(), InUse> {
        let running = wait(PATIENCE, || {
            let process = self.process.as_mut().expect("launched");
            if process.has_ended() {
                return Some(false);
            }
            self.ask("/metrics").map(|_| true)
        });
        match running {
            Some(true) => Ok(()),
            Some(false) if self.log_tail().contains("address already in use") => Err(InUse),
            Some(false) => panic!("{}", self.trouble("ended")),
            None => panic!("{}", self.trouble("does not answer")),
        }
    }

    fn args(&self) -> Vec<String> {
        let Addresses {
            peer,
            advertised,
            metrics,
            ..
        } = self.addresses;
        let client = self.endpoint();
        let mut args: Vec<String> = [
            ("name", self.name.as_str()),
            ("data-dir", &self.data().to_string_lossy()),
            ("listen-client-urls", &client),
            ("advertise-client-urls", &client),
            ("listen-peer-urls", &format!("http://{peer}")),
            (
                "initial-advertise-peer-urls",
                &format!("http://{advertised}"),
            ),
            ("initial-cluster", &self.initial_cluster),
            ("listen-metrics-urls", &format!("http://{metrics}")),
            // 3.4 would log in two ways.
            ("logger", "zap"),
            ("log-outputs", "stderr"),
        ]
        .map(|(flag, value)| format!("--{flag}={value}"))
        .into();
        if !self.options.default_timing {
            args.extend(["--heartbeat-interval=20", "--election-timeout=200"].map(str::to_owned));
        }
        args.extend(self.options.args.iter().cloned());
        args
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn trouble(&self, what: &str) -> String {
        let Self { options, name, .. } = self;
        format!(
            "{} {name} {what}; its log ends:\n{}",
            options.version,
            self.log_tail()
        )
    }
}

/// Several members that make one cluster. Its members are reached by their number, from 0.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Etcd>,
    /// In front of each member, for its peers; none where they reach it by themselves.
    proxies: Vec<Proxy>,
    /// Last: the next cluster starts when this one has ended.
    turn: Option<Turn>,
}

impl EtcdCluster {
    /// Starts a cluster of `count` members, and waits until all of them serve; and before that, where a few clusters of more
    /// than one member run in this process already, until one of them has ended.
    ///
    /// # Panics
    /// Where they do not; the log of one that does not is shown.
    #[must_use]
    pub fn start(options: impl Into<EtcdOptions>, count: usize) -> Self {
        let turn = (count > 1).then(Turn::wait);
        let mut cluster = Self::start_on(&options.into(), count, ports::free);
        cluster.turn = turn;
        cluster
    }

    fn start_on(options: &EtcdOptions, count: usize, mut port: impl FnMut() -> SocketAddr) -> Self {
        for _ in 0..10 {
            let mut proxies = Vec::new();
            let addresses = (0..count).map(|_| {
                let peer = port();
                let mut advertised = peer;
                if options.peers_by_proxies {
                    let proxy = Proxy::start(peer);
                    advertised = proxy.address();
                    proxies.push(proxy);
                }
                Addresses {
                    client: port(),
                    peer,
                    advertised,
                    metrics: port(),
                }
            });
            let addresses: Vec<Addresses> = addresses.collect();
            if let Ok(mut cluster) = Self::try_start(options, &addresses) {
                cluster.proxies = proxies;
                return cluster;
            }
        }
        panic!("{}: others took its ports ten times", options.version);
    }

    fn try_start(options: &EtcdOptions, addresses: &[Addresses]) -> Result<Self, InUse> {
        let names = addresses
            .iter()
            .enumerate()
            .map(|(number, a)| format!("m{number}=http://{}", a.advertised));
        let initial_cluster = names.collect::<Vec<_>>().join(",");
        let member = |(number, &addresses)| Etcd {
            process: None,
            stopped: false,
            options: options.clone(),
            name: format!("m{number}"),
            addresses,
            initial_cluster: initial_cluster.clone(),
            folder: folder::new("leasehold-etcd"),
        };
        let mut members: Vec<Etcd> = addresses.iter().enumerate().map(member).collect();
        members.iter_mut().for_each(Etcd::launch);
        members.iter_mut().try_for_each(Etcd::wait_running)?;
        members.iter().for_each(Etcd::wait_healthy);
        let proxies = Vec::new();
        Ok(Self {
            members,
            proxies,
            turn: None,
        })
    }

    /// The number of members, dead ones included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Where clients reach each member.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    /// The number of the member that leads; none while nobody does.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().position(Etcd::is_leader)
    }

    /// Waits until a member leads.
    ///
    /// # Panics
    /// Where none does within 20 s.
    #[must_use]
    pub fn wait_leader(&self) -> usize {
        wait(PATIENCE, || self.leader()).expect("a leader within 20 s")
    }

    /// Waits until every member serves that is neither killed nor stopped.
    ///
    /// # Panics
    /// Where one does not within 20 s; its log is shown.
    pub fn wait_healthy(&self) {
        let alive = |member: &&Etcd| member.process.is_some() && !member.stopped;
        self.members
            .iter()
            .filter(alive)
            .for_each(Etcd::wait_healthy);
    }

    /// Keeps a member from its peers, and them from it: what they say to each other waits.
    ///
    /// # Panics
    /// Where it is killed, or members reach each other without [proxies](EtcdOptions::peers_by_proxies).
    pub fn isolate(&self, member: usize) {
        let process = self.members[member].id().expect("a member that runs");
        assert!(!self.proxies.is_empty(), "started without proxies");
        for (number, proxy) in self.proxies.iter().enumerate() {
            match number == member {
                true => proxy.stall(Way::Both),
                false => proxy.stall_from(process),
            }
        }
    }

    /// All members reach each other again, and hear what waited.
    pub fn rejoin(&self) {
        self.proxies.iter().for_each(Proxy::heal);
    }

    /// All members, to be killed together, say.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Etcd> {
        self.members.iter_mut()
    }
}

impl Index<usize> for EtcdCluster {
    type Output = Etcd;

    fn index(&self, member: usize) -> &Etcd {
        &self.members[member]
    }
}

impl IndexMut<usize> for EtcdCluster {
    fn index_mut(&mut self, member: usize) -> &mut Etcd {
        &mut self.members[member]
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_was_taken_is_replaced() {
        for version in EtcdVersion::ALL {
            let other = TcpListener::bind("127.0.0.1:0").unwrap();
            let taken = other.local_addr().unwrap();
            let mut ports = [taken].into_iter();
            let etcd = EtcdCluster::start_on(&version.into(), 1, || {
                ports.next().unwrap_or_else(ports::free)
            });
            assert_ne!(etcd[0].address(), taken);
        }
    }
}
