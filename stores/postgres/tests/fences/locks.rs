//! Who waits for whom, and who is refused, where both transactions are open at once.

use super::*;

/// Waits until so many of the database's clients wait for a lock.
async fn waiting(config: &str, count: i64) {
    let client = connect(config).await;
    let sql = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    loop {
        let row = client.query_one(sql, &[]).await.unwrap();
        if row.get::<_, i64>(0) == count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Drives a future that is to wait for a lock until it does.
async fn blocked<F: Future<Output: std::fmt::Debug> + Unpin>(config: &str, future: &mut F) {
    tokio::select! {
        done = future => panic!("it did not wait: {done:?}"),
        () = waiting(config, 1) => {}
    }
}

/// The old one's transaction is open, and has not been admitted, when the new one marks: nobody waits, and the old one is
/// refused.
#[tokio::test]
async fn who_was_not_admitted_yet_is_refused_once_a_later_term_has_marked() {
    for level in LEVELS {
        for (marked_before, reads_before) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            let config = database().await;
            let (mut old, mut new) = (connect(&config).await, connect(&config).await);
            if marked_before {
                guarded(&mut old, level, "old", 7).await.unwrap();
            }
            let tx = begin(&mut old, level).await;
            if reads_before {
                last(&tx, "guarded").await;
            }
            guarded(&mut new, level, "new", 9).await.unwrap();
            let error = fence::admit(&tx, GUARD, 7).await.unwrap_err();
            // What it has read is past by now. Where that matters to its transaction, it is told so, and has to ask anew.
            let snapshot = reads_before && !looks_anew(level);
            match snapshot {
                true => assert!(is_begun_anew(&error), "{error:?}"),
                false => is_over(&error, 7, 9),
            }
            drop(tx);
            let error = guarded(&mut old, level, "old", 7).await.unwrap_err();
            is_over(&error, 7, 9);
            assert_eq!(last(&new, "guarded").await.0, "new");
        }
    }
}

/// The new one has marked and not committed: the old one waits for its decision.
#[tokio::test]
async fn who_comes_while_a_later_term_marks_waits_for_its_decision() {
    for level in LEVELS {
        for commits in [true, false] {
            let config = database().await;
            let (mut old, mut new) = (connect(&config).await, connect(&config).await);
            let (old, new) = (begin(&mut old, level).await, begin(&mut new, level).await);
            fence::admit(&new, GUARD, 9).await.unwrap();
            let mut admit = Box::pin(fence::admit(&old, GUARD, 7));
            blocked(&config, &mut admit).await;
            if !commits {
                new.rollback().await.unwrap();
                admit.await.unwrap();
                continue;
            }
            new.commit().await.unwrap();
            let error = admit.await.unwrap_err();
            match looks_anew(level) {
                true => is_over(&error, 7, 9),
                false => assert!(is_begun_anew(&error), "{error:?}"),
            }
        }
    }
}

/// The old one was admitted and is at work: the new one waits for it, and sees what it wrote.
#[tokio::test]
async fn who_marks_waits_for_the_transaction_that_was_admitted_and_sees_its_work() {
    for level in LEVELS {
        for marked_before in [false, true] {
            let config = database().await;
            let (mut old, mut new) = (connect(&config).await, connect(&config).await);
            if marked_before {
                guarded(&mut old, level, "old", 7).await.unwrap();
            }
            let old = begin(&mut old, level).await;
            fence::admit(&old, GUARD, 7).await.unwrap();
            let tx = begin(&mut new, level).await;
            let mut admit = Box::pin(fence::admit(&tx, GUARD, 9));
            blocked(&config, &mut admit).await;
            write(&old, "guarded", "last").await;
            old.commit().await.unwrap();
            let admitted = admit.await;
            if looks_anew(level) {
                admitted.unwrap();
                assert_eq!(last(&tx, "guarded").await.0, "last");
                continue;
            }
            // Its picture of the database is from before it waited.
            let error = admitted.unwrap_err();
            assert!(is_begun_anew(&error), "{error:?}");
            drop(tx);
            let tx = begin(&mut new, level).await;
            fence::admit(&tx, GUARD, 9).await.unwrap();
            assert_eq!(last(&tx, "guarded").await.0, "last");
        }
    }
}
