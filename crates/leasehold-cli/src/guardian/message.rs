//! What a wrapper and its guardian say to each other: words separated by NUL, a packet each.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use leasehold::BootInstant;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// No packet is longer.
const LONGEST: usize = 64 * 1024;

/// What the wrapper wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// The lease is ours, by this fence: whoever is left releases it.
    Granted(u64),
    /// Start the command.
    Start(Start),
    /// The lease's deadline is another one now.
    Deadline(BootInstant),
    /// The lease is lost, or given up: end the command now.
    Lost,
    /// A signal for the command.
    Signal(i32),
    /// Nothing is left to be done, and nothing to be released.
    Bye,
}

/// What the guardian has to know before it lets the command begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) deadline: BootInstant,
    pub(crate) period: Duration,
    pub(crate) grace: Option<Duration>,
    /// When the command has run for too long.
    pub(crate) limit: Option<BootInstant>,
    /// What is added to the command's environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// What the guardian tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// It stands ready, with the means that it has: a cgroup, or why there is none.
    Ready(Result<String, String>),
    /// The command could not begin, by this error number.
    NotStarted(i32),
    /// The command itself was stopped.
    Stopped,
    /// And goes on.
    Continued,
    /// The command itself has ended, with this status.
    Ended(i32),
    /// All of it was told to end, or killed.
    Acted { kill: bool, cause: Cause },
    /// Nothing of it is left.
    Empty,
    /// It could not be killed before the deadline: these are left.
    Stuck(String),
}

/// Why the command is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The deadline is near, or past.
    Deadline,
    /// The wrapper has said so.
    Told,
    /// It ran for too long.
    Limit,
}

/// A pair of sockets: each packet arrives whole or not at all, and the other side's end is seen.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Sends a packet; not if the other side has fallen behind, which the answer tells. One that is gone needs no news.
pub(crate) fn send(socket: impl AsFd, words: &[u8]) -> bool {
    loop {
        match rustix::net::send(&socket, words, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return false,
            _ => return true,
        }
    }
}

/// What has arrived.
#[derive(Debug)]
pub(crate) enum Arrived {
    Packet(String),
    Nothing,
    /// The other side has closed its end, as all processes do when they die.
    End,
}

pub(crate) fn receive(socket: impl AsFd) -> Arrived {
    let mut buffer = vec![0; LONGEST];
    loop {
        match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => return Arrived::End,
            Ok((length, _)) => {
                buffer.truncate(length);
                return Arrived::Packet(String::from_utf8_lossy(&buffer).into_owned());
            }
            // What was said before the other side went is still there after a reset, which is told once.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Arrived::Nothing,
            Err(_) => return Arrived::End,
        }
    }
}

fn words(words: &[&dyn std::fmt::Display]) -> Vec<u8> {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    words.join("\0").into_bytes()
}

impl Order {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Granted(fence) => words(&[&"granted", fence]),
            Self::Start(start) => start.to_bytes(),
            Self::Deadline(at) => words(&[&"deadline", &at.as_nanos()]),
            Self::Lost => words(&[&"lost"]),
            Self::Signal(number) => words(&[&"signal", number]),
            Self::Bye => words(&[&"bye"]),
        }
    }

    pub(crate) fn parse(packet: &str) -> Option<Self> {
        let mut words = packet.split('\0');
        Some(match words.next()? {
            "granted" => Self::Granted(words.next()?.parse().ok()?),
            "start" => Self::Start(Start::parse(words)?),
            "deadline" => Self::Deadline(instant(words.next()?)?),
            "lost" => Self::Lost,
            "signal" => Self::Signal(words.next()?.parse().ok()?),
            "bye" => Self::Bye,
            _ => return None,
        })
    }
}

impl Start {
    fn to_bytes(&self) -> Vec<u8> {
        let grace = self.grace.map_or(0, nanos);
        let limit = self.limit.map_or(0, BootInstant::as_nanos);
        let mut packet = words(&[
            &"start",
            &self.deadline.as_nanos(),
            &nanos(self.period),
            &grace,
            &limit,
        ]);
        for (key, value) in &self.environment {
            packet.extend_from_slice(format!("\0{key}\0{value}").as_bytes());
        }
        packet
    }

    fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut number = || words.next()?.parse::<u64>().ok();
        let deadline = BootInstant::from_nanos(number()?);
        let (period, grace, limit) = (number()?, number()?, number()?);
        let mut environment = Vec::new();
        while let Some(key) = words.next() {
            environment.push((key.to_owned(), words.next()?.to_owned()));
        }
        Some(Self {
            deadline,
            period: Duration::from_nanos(period),
            grace: (grace > 0).then_some(Duration::from_nanos(grace)),
            limit: (limit > 0).then_some(BootInstant::from_nanos(limit)),
            environment,
        })
    }
}

impl Report {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ready(Ok(cgroup)) => words(&[&"ready", &"cgroup", cgroup]),
            Self::Ready(Err(why)) => words(&[&"ready", &"tree", why]),
            Self::NotStarted(error) => words(&[&"not started", error]),
            Self::Stopped => words(&[&"stopped"]),
            Self::Continued => words(&[&"continued"]),
            Self::Ended(status) => words(&[&"ended", status]),
            Self::Acted { kill, cause } => words(&[&"acted", kill, &cause.as_str()]),
            Self::Empty => words(&[&"empty"]),
            Self::Stuck(left) => words(&[&"stuck", left]),
        }
    }

    pub(crate) fn parse(packet: &str) -> Option<Self> {
        let mut words = packet.split('\0');
        Some(match words.next()? {
            "ready" => match (words.next()?, words.next()?.to_owned()) {
                ("cgroup", path) => Self::Ready(Ok(path)),
                (_, why) => Self::Ready(Err(why)),
            },
            "not started" => Self::NotStarted(words.next()?.parse().ok()?),
            "stopped" => Self::Stopped,
            "continued" => Self::Continued,
            "ended" => Self::Ended(words.next()?.parse().ok()?),
            "acted" => Self::Acted {
                kill: words.next()?.parse().ok()?,
                cause: Cause::parse(words.next()?)?,
            },
            "empty" => Self::Empty,
            "stuck" => Self::Stuck(words.next()?.to_owned()),
            _ => return None,
        })
    }
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Told => "told",
            Self::Limit => "limit",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Deadline, Self::Told, Self::Limit]
            .into_iter()
            .find(|cause| cause.as_str() == word)
    }
}

fn instant(word: &str) -> Option<BootInstant> {
    word.parse().ok().map(BootInstant::from_nanos)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let start = |grace, limit, environment: &[(&str, &str)]| {
            Order::Start(Start {
                deadline: BootInstant::from_nanos(77),
                period: Duration::from_secs(15),
                grace,
                limit,
                environment: environment
                    .iter()
                    .map(|(k, v)| ((*k).into(), (*v).into()))
                    .collect(),
            })
        };
        for order in [
            Order::Granted(u64::MAX),
            start(None, None, &[]),
            start(
                Some(Duration::from_secs(3)),
                Some(BootInstant::from_nanos(9)),
                &[("A", ""), ("B", "x y\n=")],
            ),
            Order::Deadline(BootInstant::from_nanos(5)),
            Order::Lost,
            Order::Signal(15),
            Order::Bye,
        ] {
            let bytes = order.to_bytes();
            let packet = std::str::from_utf8(&bytes).unwrap();
            assert_eq!(Order::parse(packet), Some(order));
        }
        for report in [
            Report::Ready(Ok("/a b".into())),
            Report::Ready(Err("no".into())),
            Report::NotStarted(2),
            Report::Stopped,
            Report::Continued,
            Report::Ended(256),
            Report::Acted {
                kill: true,
                cause: Cause::Deadline,
            },
            Report::Acted {
                kill: false,
                cause: Cause::Limit,
            },
            Report::Empty,
            Report::Stuck("7 (x)".into()),
        ] {
            let bytes = report.to_bytes();
            let packet = std::str::from_utf8(&bytes).unwrap();
            assert_eq!(Report::parse(packet), Some(report));
        }
        for odd in [
            "",
            "start",
            "start\x001\x00x",
            "signal\0",
            "ended",
            "acted\0true\0x",
        ] {
            assert_eq!(Order::parse(odd), None);
            assert_eq!(Report::parse(odd), None);
        }
    }

    #[test]
    fn packets_arrive_whole_and_an_end_is_seen() {
        let (one, other) = pair().unwrap();
        assert!(matches!(receive(&other), Arrived::Nothing));
        assert!(send(&one, &Order::Lost.to_bytes()));
        assert!(send(&one, &Order::Bye.to_bytes()));
        let mut packets = Vec::new();
        while let Arrived::Packet(packet) = receive(&other) {
            packets.push(Order::parse(&packet).unwrap());
        }
        assert_eq!(packets, [Order::Lost, Order::Bye]);
        drop(one);
        assert!(matches!(receive(&other), Arrived::End));
        assert!(send(&other, b"nobody listens"));
    }
}
