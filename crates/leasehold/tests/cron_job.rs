//! The example of a job that several machines start at once does what it says.
#[allow(dead_code, reason = "its main starts it by hand")]
#[path = "../examples/cron_job.rs"]
mod cron_job;

use std::sync::atomic::{AtomicU32, Ordering};

#[tokio::test]
async fn of_many_that_start_a_job_at_once_one_runs_it() {
    let dir = std::env::temp_dir().join(format!("leasehold-cron-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let url = format!("sqlite:{}", dir.join("l.db").display());
    let runs = AtomicU32::new(0);
    for round in 0..2 {
        let counted = &runs;
        let start = || async {
            // Each machine has a manager of its own.
            let leases = leasehold::open(&url).await.unwrap();
            let leases = &leases;
            let job = |_| async move {
                counted.fetch_add(1, Ordering::SeqCst);
                let door = leases.door();
                let until = door.now().plus(std::time::Duration::from_millis(50));
                door.sleep_until(until).await;
            };
            cron_job::once(leases, job).await.unwrap()
        };
        let (a, b, c) = tokio::join!(start(), start(), start());
        let mut said = [a, b, c];
        said.sort();
        if round == 0 {
            assert_eq!(said[0], "done", "{said:?}");
            assert!(said[1].starts_with("left to another: jobs/report is held by "));
            assert!(said[2].starts_with("left to another: "));
        } else {
            for said in said {
                assert!(said.starts_with("nothing to do: jobs/report has run in this slot, by "));
            }
        }
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    std::fs::remove_dir_all(&dir).unwrap();
}
