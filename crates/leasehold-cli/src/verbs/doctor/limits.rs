//! No check lasts for ever.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold::{Door, Error};

use crate::duration::human;
use crate::exit::{Failure, UNAVAILABLE};

/// The future's outcome, or that it did not come in time.
pub(super) async fn within<T, E: Into<Failure>>(
    door: &Arc<dyn Door>,
    limit: Duration,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    let timer = door.sleep_until(door.now().plus(limit));
    match select(pin!(future), timer).await {
        Either::Left((result, _)) => result.map_err(Into::into),
        Either::Right(_) => Err(Failure::new(
            UNAVAILABLE,
            format!("no answer within {}", human(limit)),
        )),
    }
}

/// The same for what cannot fail otherwise.
pub(super) async fn in_time<T>(
    door: &Arc<dyn Door>,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Failure> {
    within(door, limit, async { Ok::<_, Error>(future.await) }).await
}
