//! A way to a server that can be blocked.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ports;

/// How long a connection to the server may take to be made.
const CONNECT: Duration = Duration::from_secs(1);

/// A TCP proxy in front of a server: who comes this way to the server can be kept from it.
///
/// What it was given is never lost while its connection lasts: stalled bytes arrive when the way is open again, as late
/// as that is.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    at: SocketAddr,
    to: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes to the server wait; those from it.
    stalled: [bool; 2],
    /// The processes whose bytes wait, there and back.
    kept_off: BTreeSet<u32>,
    refuses: bool,
    over: bool,
    /// How often connections were cut: those made before are no more.
    cuts: u64,
    open: Vec<TcpStream>,
}

/// Which bytes are stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those to the server: nothing that is asked arrives.
    There,
    /// Those from the server: what is asked is done, and nobody is answered.
    Back,
    /// All.
    Both,
}

impl Proxy {
    /// Listens on a port of its own, and passes on to a server what arrives there.
    ///
    /// # Panics
    /// Where it cannot listen.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(ports::free()).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            at: address,
            to,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.state().over {
                    return;
                }
                accepting.pass_on(client);
            }
        });
        Self { address, shared }
    }

    /// Where to connect to instead of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes of open and of new connections wait from now on.
    pub fn stall(&self, way: Way) {
        let mut state = self.shared.state();
        state.stalled = [way != Way::Back, way != Way::There];
    }

    /// Bytes of one process's connections wait from now on, there and back.
    pub fn stall_from(&self, process: u32) {
        self.shared.state().kept_off.insert(process);
    }

    /// Closes all connections, with whatever waits in them, and refuses new ones.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        state.refuses = true;
        state.close();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Everything passes again, that which waited first.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.refuses = false;
        state.stalled = [false; 2];
        state.kept_off.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.cut();
        // It hears of its end by one more connection.
        _ = TcpStream::connect_timeout(&self.address, CONNECT);
    }
}

impl State {
    fn close(&mut self) {
        self.cuts += 1;
        for stream in self.open.drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection. Where the server takes none, nor does its proxy.
    fn pass_on(self: &Arc<Self>, client: TcpStream) {
        let cuts = {
            let state = self.state();
            if state.refuses {
                return;
            }
            state.cuts
        };
        let process = client.peer_addr().ok().and_then(|end| self.owner(end));
        let Ok(server) = TcpStream::connect_timeout(&self.to, CONNECT) else {
            return;
        };
        _ = client.set_nodelay(true);
        _ = server.set_nodelay(true);
        let (Ok(own_client), Ok(own_server)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        {
            let mut state = self.state();
            if state.cuts != cuts {
                return;
            }
            state.open.retain(|stream| stream.peer_addr().is_ok());
            state.open.extend([own_client, own_server]);
        }
        for (way, from, to) in [(0, client, to_server), (1, server, to_client)] {
            let shared = self.clone();
            std::thread::spawn(move || shared.pump((way, process), from, to, cuts));
        }
    }

    /// The process of this machine that has the other end of a connection.
    fn owner(&self, end: SocketAddr) -> Option<u32> {
        let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let [from, to] = [end, self.at].map(|address| format!(":{:04X}", address.port()));
        let inode = sockets.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = fields.get(1)?.ends_with(&from) && fields.get(2)?.ends_with(&to);
            is_it.then_some(*fields.get(9)?)
        })?;
        let socket = format!("socket:[{inode}]");
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.find(|id: &u32| {
            let files = std::fs::read_dir(format!("/proc/{id}/fd"));
            let mut files = files.into_iter().flatten().flatten();
            files.any(|file| {
                std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == &*socket)
            })
        })
    }

    /// Whether a connection is cut, once its bytes need not wait any more.
    fn is_cut(&self, (way, process): (usize, Option<u32>), cuts: u64) -> bool {
        let waits = |state: &mut State| {
            let kept_off = process.is_some_and(|process| state.kept_off.contains(&process));
            (state.stalled[way] || kept_off) && state.cuts == cuts
        };
        let state = self.changed.wait_while(self.state(), waits);
        state.unwrap_or_else(PoisonError::into_inner).cuts != cuts
    }

    fn pump(&self, way: (usize, Option<u32>), mut from: TcpStream, mut to: TcpStream, cuts: u64) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if self.is_cut(way, cuts) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        _ = from.shutdown(Shutdown::Both);
        _ = to.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_secs(20);

    /// A server that answers each byte by the next one.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while client.read_exact(&mut byte).is_ok() {
                        client.write_all(&[byte[0] + 1]).unwrap();
                    }
                });
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream, byte: u8) {
        stream.write_all(&[byte]).unwrap();
    }

    fn answer(stream: &mut TcpStream, within: Duration) -> Option<u8> {
        stream.set_read_timeout(Some(within)).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn what_waits_arrives_later() {
        let proxy = Proxy::start(server());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        ask(&mut stream, 1);
        assert_eq!(answer(&mut stream, LATE), Some(2));
        for way in [Way::There, Way::Back, Way::Both] {
            proxy.stall(way);
            ask(&mut stream, 3);
            assert_eq!(answer(&mut stream, SOON), None, "{way:?}");
            proxy.heal();
            assert_eq!(answer(&mut stream, LATE), Some(4), "{way:?}");
        }
    }

    #[test]
    fn one_process_waits() {
        let proxy = Proxy::start(server());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        proxy.stall_from(1);
        ask(&mut stream, 1);
        assert_eq!(answer(&mut stream, LATE), Some(2));
        proxy.stall_from(std::process::id());
        ask(&mut stream, 3);
        assert_eq!(answer(&mut stream, SOON), None);
        proxy.heal();
        assert_eq!(answer(&mut stream, LATE), Some(4));
    }

    #[test]
    fn what_waits_in_a_cut_connection_is_lost() {
        let proxy = Proxy::start(server());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        proxy.stall(Way::Back);
        ask(&mut stream, 1);
        proxy.cut();
        assert_eq!(answer(&mut stream, LATE), None);
        // The kernel takes it, nobody else does.
        let mut refused = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(answer(&mut refused, LATE), None);
        proxy.heal();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        ask(&mut stream, 5);
        assert_eq!(answer(&mut stream, LATE), Some(6));
    }
}
