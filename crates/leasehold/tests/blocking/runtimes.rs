//! Called and dropped inside async runtimes, it blocks them, and that is all.

use leasehold::blocking::Stop;

use crate::{LONG, MS, SECOND, each, held, memory};

/// Everything once, all dropped at the end.
fn use_it() {
    each(|one, other| {
        let mut lease = one.acquire_lease("a", "m", 0, LONG).unwrap().unwrap();
        lease.renew(LONG).unwrap();
        lease.release().unwrap();
        let lock = one.lock("a").period(LONG);
        let kept = held(lock.acquire_within(SECOND).unwrap());
        assert!(kept.lost_within(MS).is_none());
        kept.run(|term| assert!(!term.ending_within(MS))).unwrap();
        let stop = Stop::new();
        let led = one.election("a").lead_until(&stop, |_| stop.stop());
        led.unwrap();
        let mut watch = other.watch("a").unwrap();
        assert!(watch.next_within(SECOND).unwrap().is_some());
        assert_eq!(other.list("").unwrap().count(), 0);
        let dropped = lock.acquire().unwrap();
        drop((lock, dropped));
    });
}

/// More waits than a task's budget has steps.
fn wait_often() {
    let leases = memory();
    let held = leases.lock("a").period(LONG).acquire().unwrap();
    let term = held.term();
    for _ in 0..500 {
        assert!(!term.is_ending());
        assert!(!term.ending_within(MS / 100));
        assert!(term.begun_within(MS).unwrap());
    }
}

fn everything() {
    use_it();
    wait_often();
}

#[test]
fn in_a_current_thread_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    runtime.block_on(async { everything() });
    let task = runtime.spawn(async { everything() });
    runtime.block_on(task).unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::task::spawn_local(async { everything() })
            .await
            .unwrap();
    });
    let _entered = runtime.enter();
    everything();
}

#[test]
fn in_a_runtime_of_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        everything();
        let tasks: Vec<_> = (0..4)
            .map(|_| runtime.spawn(async { everything() }))
            .chain([runtime.spawn_blocking(everything)])
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        tokio::task::block_in_place(everything);
    });
}

/// Values go with the tasks, and with the runtime, that own them.
#[test]
fn what_tasks_own_is_dropped_with_their_runtime() {
    for flavor in 0..2 {
        let mut builder = match flavor {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.build().unwrap();
        let (leases, own) = (memory(), memory());
        let kept = leases.lock("a").period(LONG).acquire().unwrap();
        let lease = own.acquire_lease("b", "m", 0, LONG).unwrap();
        let (begin, begun) = std::sync::mpsc::channel();
        let task = runtime.spawn(async move {
            begin.send(()).unwrap();
            std::future::pending::<()>().await;
            drop((kept, lease, own));
        });
        runtime.block_on(async {
            while begun.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        });
        drop(runtime);
        assert!(task.is_finished());
        held(leases.lock("a").acquire_within(SECOND * 10).unwrap())
            .release()
            .unwrap();
    }
}
