//! What a failed call means: whether it may have been done, and whether another member may know better.

use std::error::Error as _;

use leasehold_core::{Error, ErrorKind};
use tonic::{Code, Status};

use super::reason::{Attempted, reason, unconnected};
use crate::api::Failed;

/// What to do about a failed call.
pub(super) enum Verdict {
    /// It was never served, and never will be, for this reason: another member may serve it.
    Elsewhere(String),
    /// It was refused for a token that is none any more.
    Authenticate(Failed),
    /// That is the answer. Whether it may be the member's fault.
    Final { failed: Failed, member: bool },
}

/// Reads the status of a failed call. Where a message decides, it is one that etcd's clients have compared since 3.0.
pub(super) fn verdict(status: &Status, attempted: Attempted<'_>, prefix: &str) -> Verdict {
    let message = status.message().to_owned();
    let says = |part: &str| message.contains(part);
    let code = status.code();
    if unconnected(status) {
        return Verdict::Elsewhere(reason(status, attempted));
    }
    let kind = match code {
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Permission,
        Code::InvalidArgument if says("authentication") || says("user name") => {
            ErrorKind::Permission
        }
        Code::FailedPrecondition if says("authentication is not enabled") => {
            ErrorKind::InvalidInput
        }
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidInput,
        Code::Unimplemented => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    if status.source().is_some() {
        // Not the registry's answer: the connection's end.
        let reason = reason(status, attempted);
        if !attempted.sent {
            return Verdict::Elsewhere(reason);
        }
        let message = format!("the connection to the registry broke: {reason}");
        return Verdict::Final {
            failed: Failed::NoAnswer(Error::new(kind, message)),
            member: true,
        };
    }
    let error = Error::new(kind, told(code, &message, prefix));
    match code {
        // The client's own word: the answer is too large for it, and was one.
        Code::OutOfRange if !says("etcdserver:") => Verdict::Final {
            failed: Failed::NoAnswer(error),
            member: false,
        },
        Code::NotFound if says("lease not found") => answer(Failed::NoSuchLease),
        Code::InvalidArgument if says("too many operations") => answer(Failed::TooMany),
        Code::Unauthenticated => Verdict::Authenticate(Failed::NotDone(error)),
        Code::InvalidArgument if says("revision of auth store is old") => {
            Verdict::Authenticate(Failed::NotDone(error))
        }
        // Asked of each call: a member without a leader says so before it does anything.
        Code::Unavailable if says("no leader") => {
            Verdict::Elsewhere(format!("{}: {message}", attempted.member))
        }
        // Refused before it was proposed, or when it was applied: in either case it is not done.
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::NotFound => answer(Failed::NotDone(error)),
        Code::ResourceExhausted if says("space exceeded") => answer(Failed::NoSpace(error)),
        Code::ResourceExhausted if says("etcdserver:") => answer(Failed::NotDone(error)),
        _ => Verdict::Final {
            failed: Failed::NoAnswer(error),
            member: true,
        },
    }
}

fn answer(failed: Failed) -> Verdict {
    Verdict::Final {
        failed,
        member: false,
    }
}

/// A sentence for people, and what they can do.
fn told(code: Code, message: &str, prefix: &str) -> String {
    let hint = match code {
        Code::ResourceExhausted if message.contains("space exceeded") => {
            ": compact and defragment etcd, or raise its quota, then disarm the alarm"
        }
        Code::PermissionDenied => {
            return format!(
                "etcd says: {message}: the user's role must read and write what begins with {prefix}/ (docs of \
                 leasehold-etcd)"
            );
        }
        Code::InvalidArgument if message.contains("user name is empty") => {
            ": this etcd asks for a user and a password"
        }
        Code::FailedPrecondition if message.contains("authentication is not enabled") => {
            ": leave out the user, or turn users on (etcdctl auth enable)"
        }
        _ => "",
    };
    match message {
        "" => format!("etcd's answer is an error without a message ({code:?}){hint}"),
        message => format!("etcd says: {message}{hint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::members::Members;
    use super::*;

    fn failed(code: Code, message: &str) -> (Failed, bool) {
        let attempted = Attempted {
            member: "one:2379",
            encrypted: false,
            identified: false,
            answered: false,
            sent: true,
        };
        match verdict(&Status::new(code, message), attempted, "/leasehold") {
            Verdict::Elsewhere(why) => (Members::unreached(&[why]), true),
            Verdict::Authenticate(failed) => (failed, false),
            Verdict::Final { failed, member } => (failed, member),
        }
    }

    #[test]
    fn unknown_only_where_it_may_have_been_done() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::Unknown, "transport error"),
            (Code::Internal, "h2 protocol error"),
            (Code::Cancelled, "operation was canceled"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::ResourceExhausted, "message larger than max"),
        ] {
            let (failed, member) = failed(code, message);
            assert!(matches!(failed, Failed::NoAnswer(_)), "{message}");
            assert!(member, "{message}");
        }
        for (code, message, kind) in [
            (
                Code::Unavailable,
                "etcdserver: no leader",
                ErrorKind::Unavailable,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                ErrorKind::Permission,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                ErrorKind::Permission,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                ErrorKind::InvalidInput,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                ErrorKind::Unavailable,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                ErrorKind::Permission,
            ),
        ] {
            let (Failed::NotDone(error), _) = failed(code, message) else {
                panic!("{message}");
            };
            assert_eq!(error.kind(), kind, "{message}");
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn what_was_refused_for_want_of_space_may_have_been_done() {
        let message = "etcdserver: mvcc: database space exceeded";
        let (Failed::NoSpace(error), false) = failed(Code::ResourceExhausted, message) else {
            panic!("another member has no more space");
        };
        assert!(error.to_string().contains("disarm the alarm"), "{error}");
    }

    #[test]
    fn what_the_store_acts_on_is_told_apart() {
        let lost = failed(Code::NotFound, "etcdserver: requested lease not found");
        assert!(matches!(lost, (Failed::NoSuchLease, false)));
        let many = failed(
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request",
        );
        assert!(matches!(many, (Failed::TooMany, false)));
    }
}
