//! A forked child has none of its parent's threads.

#![expect(
    unsafe_code,
    reason = "there is no safe fork; the child calls nothing but what is tested, and exits"
)]

use leasehold::ErrorKind;
use leasehold::blocking::Stop;

use crate::{LONG, MS, SECOND, memory, now, sleep};

#[test]
fn a_forked_child_is_refused_and_neither_waits_nor_releases() {
    let leases = memory();
    let kept = leases.lock("a").period(LONG).acquire().unwrap();
    let also = leases.lock("b").period(LONG).acquire().unwrap();
    let mut lease = leases.acquire_lease("c", "m", 0, LONG).unwrap().unwrap();
    let term = kept.term();
    let fence = kept.fence();
    // SAFETY: the child allocates, which glibc's fork allows, and ends without returning into the harness.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = || {
            let kinds = [
                leases.status("a").err(),
                leases.lock("d").acquire().err(),
                leases.election("d").lead_until(&Stop::new(), |_| ()).err(),
                leases.list("").ok()?.next()?.err(),
                leases.watch("a").ok()?.next_within(LONG).err(),
                leases.shutdown(SECOND).err(),
                lease.renew(LONG).err(),
                kept.renew(LONG).err(),
                also.run(|_| ()).err(),
                term.lost_within(LONG),
                term.begun_within(LONG).err(),
                kept.release().err(),
            ];
            let kinds: Option<Vec<_>> = kinds.into_iter().map(|e| Some(e?.kind())).collect();
            Some(
                kinds?.iter().all(|kind| *kind == ErrorKind::InvalidInput)
                    && term.ending_within(LONG),
            )
        };
        let code = i32::from(refused() != Some(true));
        drop((leases, lease));
        // SAFETY: it ends the child, and nothing of the parent's.
        unsafe { libc::_exit(code) }
    }
    let start = now(&leases);
    let mut status = 0;
    // SAFETY: the child is ours and is waited for once; the status is a local.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        assert!(now(&leases).since(start) < SECOND * 20, "the child hangs");
        sleep(MS * 5);
    }
    assert_eq!(status, 0);
    // In the parent nothing has happened.
    assert!(kept.is_current() && kept.fence() == fence);
    kept.renew(LONG).unwrap();
    lease.renew(LONG).unwrap();
    assert!(leases.status("b").unwrap().unwrap().is_held());
    drop(also);
}
