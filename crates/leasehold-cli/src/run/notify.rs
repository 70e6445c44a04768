//! What the command tells by systemd's protocol: READY, STATUS, WATCHDOG. The watchdog's is for us, if we were asked to be one; the
//! rest goes on to whoever started us.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use leasehold::Term;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{geteuid, getpid};
use tokio::io::Interest;

use crate::guardian::descendants;

/// Longer messages are cut off: nobody sends such.
const LONGEST: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Notify {
    socket: tokio::net::UnixDatagram,
    name: String,
    outer: Option<Outer>,
    watchdog: bool,
}

/// Where our own starter listens.
#[derive(Debug)]
pub(super) struct Outer {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notify {
    /// A socket for the command, where anybody wants to hear of it: we ourselves, or our starter.
    pub(super) fn open(machine_id: &str, watchdog: bool) -> io::Result<Option<Self>> {
        let outer = Outer::of_this_process()?;
        if outer.is_none() && !watchdog {
            return Ok(None);
        }
        let name = format!("leasehold/{}/{machine_id}", std::process::id());
        // An address of 108 bytes has room for this much.
        let name: String = name.chars().filter(char::is_ascii).take(100).collect();
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        set_socket_passcred(&socket, true)?;
        let socket = tokio::net::UnixDatagram::from_std(socket)?;
        Ok(Some(Self {
            socket,
            name,
            outer,
            watchdog,
        }))
    }

    pub(super) fn environment(&self, watchdog: Option<Duration>) -> Vec<(&'static str, String)> {
        let mut environment = vec![("NOTIFY_SOCKET", format!("@{}", self.name))];
        if let Some(watchdog) = watchdog {
            environment.push(("WATCHDOG_USEC", watchdog.as_micros().to_string()));
        }
        environment
    }

    /// Ends when a message was heard and has had its effect, with whether it fed the watchdog; never without a socket. Cancel-safe.
    pub(super) async fn heard(this: Option<&Self>, term: &Term) -> bool {
        let Some(this) = this else {
            return std::future::pending().await;
        };
        let heard = this.socket.async_io(Interest::READABLE, || this.receive());
        match heard.await {
            Ok(Some(message)) => this.obey(&message, term),
            // Somebody else's: not the command's affair.
            Ok(None) => false,
            // Nothing more can be heard; a watchdog then lets the lease run out.
            Err(_) => std::future::pending().await,
        }
    }

    /// A message, if it is from the command. The address has no permissions, so the kernel has to tell who sent it.
    fn receive(&self) -> io::Result<Option<String>> {
        let mut buffer = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let sender = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(sender) => Some(sender),
            _ => None,
        });
        let is_ours = sender.is_some_and(|sender| {
            sender.uid == geteuid()
                || descendants(getpid())
                    .iter()
                    .any(|process| process.is(sender.pid))
        });
        let message = buffer.get(..received.bytes).unwrap_or_default();
        Ok(is_ours.then(|| String::from_utf8_lossy(message).into_owned()))
    }

    fn obey(&self, message: &str, term: &Term) -> bool {
        let feeds = self.watchdog && message.lines().any(|line| line == "WATCHDOG=1");
        if feeds {
            term.progress();
        }
        if let Some(outer) = &self.outer {
            outer.pass_on(message);
        }
        feeds
    }
}

impl Outer {
    pub(super) fn of_this_process() -> io::Result<Option<Self>> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let address = match path.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Some(Self { socket, address }))
    }

    /// Tells it something of this process.
    pub(super) fn tell(&self, message: &str) {
        _ = self.socket.send_to_addr(message.as_bytes(), &self.address);
    }

    /// What our starter may know: not what means the command's process and would be taken to mean this one.
    fn pass_on(&self, message: &str) {
        let wanted = |line: &&str| {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let of_the_process = key.starts_with("MAINPID") || key.starts_with("FD");
            let of_the_service = ["STOPPING", "RELOADING", "BARRIER", "WATCHDOG_USEC"];
            !of_the_process
                && !of_the_service.contains(&key)
                && (key, value) != ("WATCHDOG", "trigger")
        };
        let lines: Vec<&str> = message.lines().filter(wanted).collect();
        if !lines.is_empty() {
            self.tell(&lines.join("\n"));
        }
    }
}
