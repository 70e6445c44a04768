//! As much of HTTP as it takes to ask a server how it does.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than etcd takes to find that it is not healthy, which is a second.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The body of the answer to `GET path` by plain HTTP.
///
/// # Errors
/// Where there is no answer within seconds, or not the status 200.
pub fn get(server: SocketAddr, path: &str) -> io::Result<String> {
    ask(server, "GET", path, "")
}

/// The body of the answer to `POST path` with this body, by plain HTTP.
///
/// # Errors
/// As [`get`].
pub fn post(server: SocketAddr, path: &str, body: &str) -> io::Result<String> {
    ask(server, "POST", path, body)
}

fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // 1.0: the body ends with the connection, in one piece.
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {length}");
    write!(stream, "{head}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("{status}: {body}"))),
    }
}
