//! Why there is no connection, or no longer one: in words of the system's, with what can be done.

use std::error::Error;
use std::fmt::Write as _;

use tonic::{ConnectError, Status};

/// What a connection was to be, as far as it explains failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted<'a> {
    /// The member's address.
    pub(super) member: &'a str,
    /// Whether it was to be encrypted.
    pub(super) encrypted: bool,
    /// Whether there is a client's certificate.
    pub(super) identified: bool,
    /// Whether the cluster has answered anything before.
    pub(super) answered: bool,
    /// Whether the request itself had left the client's hands.
    pub(super) sent: bool,
}

/// Whether no connection could be made at all.
pub(super) fn unconnected(status: &Status) -> bool {
    chain(status.source()).any(|error| error.downcast_ref::<ConnectError>().is_some())
}

/// The member and everything that is known of the cause, down to the system's own reason.
pub(super) fn reason(status: &Status, attempted: Attempted<'_>) -> String {
    let mut text = attempted.member.to_owned();
    let mut last = String::new();
    for error in chain(status.source()) {
        let next = error.to_string();
        if !last.contains(&next) {
            _ = write!(text, ": {next}");
            last = next;
        }
    }
    if let Some(hint) = hint(&text, unconnected(status), attempted) {
        _ = write!(text, " ({hint})");
    }
    text
}

fn hint(text: &str, unconnected: bool, attempted: Attempted<'_>) -> Option<&'static str> {
    let says = |part: &str| text.contains(part);
    if says("not valid for name") {
        Some(
            "where members' certificates have another name than their address, `server-name` tells it",
        )
    } else if says("invalid peer certificate") {
        Some("`ca` names the file of those who vouch for the members")
    } else if says("handshake eof") || says("InvalidContentType") {
        Some("does it speak plain text? Then the URL begins with etcd://")
    } else if says("received fatal alert") && !attempted.identified {
        Some("does it ask for a client's certificate? `cert` and `key` name that")
    } else if unconnected || attempted.answered {
        None
    } else if !attempted.encrypted {
        Some("does it speak TLS? Then the URL begins with etcds://")
    } else if !attempted.identified {
        // Told after the handshake, and often not before the connection is closed.
        Some("does it ask for a client's certificate? `cert` and `key` name that")
    } else {
        Some("does it trust the client's certificate?")
    }
}

fn chain<'a>(
    first: Option<&'a (dyn Error + 'static)>,
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(first, |error: &&'a (dyn Error + 'static)| (*error).source())
}
