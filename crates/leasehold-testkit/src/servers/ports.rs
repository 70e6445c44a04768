//! Ports for servers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range that the kernel takes the near ends of connections from. A client that dials a dead server's port in
/// that range over and over would connect to itself one day, and the server could not come back.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// An address on the loopback interface that nobody listens on, given out once by this process. Another process may
/// still be quicker: who starts a server on it tries again with another.
pub(super) fn free() -> SocketAddr {
    // Processes begin in different places.
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(7919)));
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = u16::try_from(port).expect("below 65536");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {FIRST} on, {COUNT} tried");
}
