//! Once per slot.

use std::time::Duration;

use leasehold_core::{Displace, Held, Lock, LockAttempt, Skipped};

use crate::harness::Harness;

const HOUR: Duration = Duration::from_secs(3600);

async fn runs(lock: &Lock) -> Held {
    match lock.try_acquire().await.unwrap() {
        LockAttempt::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// Once it is vacant: until then it is busy, as ever.
async fn skips(lock: &Lock) -> Skipped {
    match lock.acquire_within(HOUR / 2).await.unwrap() {
        LockAttempt::Skipped(skipped) => skipped,
        other => panic!("{other:?}"),
    }
}

/// A run closes its name for the slot, however it ends and whoever holds the name afterwards, to those who ask for that and to
/// nobody else.
pub async fn once_per_slot_survives_each_end_of_a_run(h: Harness) {
    for how in ["released", "expired", "broken"] {
        let job =
            |manager: &leasehold_core::Manager| manager.lock(how).period(h.short()).once_per(HOUR);
        let held = runs(&job(&h.a.manager)).await;
        match how {
            "released" => held.release().await.unwrap(),
            "expired" => drop(held.into_lease().unwrap()),
            _ => {
                let displace = Displace::index(held.term().index());
                drop(h.b.manager.break_lease(how, displace).await.unwrap());
            }
        }
        let skipped = skips(&job(&h.b.manager)).await;
        assert_eq!(skipped.ran_by(), Some(h.a.manager.machine_id()), "{how}");
        // A term of somebody else's in between leaves the slot as it is.
        h.b.take(how, h.long()).await.release().await.unwrap();
        let again = skips(&job(&h.a.manager)).await;
        assert_eq!(again.until(), skipped.until(), "{how}");
        assert_eq!(again.ran_at(), skipped.ran_at(), "{how}");
        // A slot of another length is over sooner.
        let other = h.b.manager.lock(how).once_per(Duration::from_secs(60));
        runs(&other).await.release().await.unwrap();
        assert_eq!(
            skips(&job(&h.a.manager)).await.ran_by(),
            Some(h.b.manager.machine_id())
        );
    }
}
