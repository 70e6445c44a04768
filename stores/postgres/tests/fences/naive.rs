//! What is not enough, shown by what goes wrong.

use super::*;

/// The registry's own table in the same database: whose the lease is can be read in the transaction that writes.
async fn with_lease(config: &str) {
    let client = connect(config).await;
    let sql = "CREATE TABLE lease (name text PRIMARY KEY, fence bigint); INSERT INTO lease VALUES ('work', 7)";
    client.batch_execute(sql).await.unwrap();
}

async fn fence_of_lease(client: &impl GenericClient) -> i64 {
    let sql = "SELECT fence FROM lease WHERE name = 'work'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// A plain read of the lease's row, in the very transaction that writes, lets two write: nothing ties what was read to
/// what is written. The same two transactions with a guard: the late one is refused.
#[tokio::test]
async fn to_read_the_lease_in_the_transaction_is_not_enough() {
    for with_guard in [false, true] {
        let config = database().await;
        with_lease(&config).await;
        let (mut old, mut new) = (connect(&config).await, connect(&config).await);
        let old = begin(&mut old, READ_COMMITTED).await;
        // It still has the lease, so it is going to write. Here it stands still, and its term ends.
        assert_eq!(fence_of_lease(&old).await, 7);
        let sql = "UPDATE lease SET fence = 9 WHERE name = 'work'";
        assert_eq!(new.execute(sql, &[]).await.unwrap(), 1);
        let tx = begin(&mut new, READ_COMMITTED).await;
        assert_eq!(fence_of_lease(&tx).await, 9);
        if with_guard {
            fence::admit(&tx, GUARD, 9).await.unwrap();
        }
        write(&tx, "guarded", "new").await;
        tx.commit().await.unwrap();
        if with_guard {
            is_over(&fence::admit(&old, GUARD, 7).await.unwrap_err(), 7, 9);
            continue;
        }
        write(&old, "guarded", "old").await;
        old.commit().await.unwrap();
        assert_eq!(
            last(&new, "guarded").await,
            ("old".to_owned(), 2),
            "both wrote, the old one last"
        );
    }
}

/// Why a new lessee marks before it reads: what it read before may be written by the old one until it marks.
#[tokio::test]
async fn who_reads_before_it_marks_misses_the_old_ones_last_write() {
    for level in LEVELS {
        for marks_first in [false, true] {
            let config = database().await;
            let (mut old, mut new) = (connect(&config).await, connect(&config).await);
            guarded(&mut old, level, "old", 7).await.unwrap();
            if marks_first {
                mark(&mut new, level).await;
            }
            let (_, read) = last(&new, "guarded").await;
            let late = guarded(&mut old, level, "old", 7).await;
            if !marks_first {
                mark(&mut new, level).await;
            }
            // What the new one is going to write is made from what it has read.
            let (_, now) = last(&new, "guarded").await;
            assert_eq!(late.is_err(), marks_first);
            assert_eq!(now == read, marks_first, "the old one's write is lost");
        }
    }
}

async fn mark(client: &mut Client, level: IsolationLevel) {
    let tx = begin(client, level).await;
    fence::admit(&tx, GUARD, 9).await.unwrap();
    tx.commit().await.unwrap();
}
