//! Looking without changing anything.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::lent::Lent;
use super::manager::Shared;
use crate::{Event, Result, Status};

/// The leases that a prefix covers, read page by page: [`leasehold::Listing`](crate::Listing) as an iterator. It ends
/// after an error.
#[derive(Debug)]
pub struct Listing {
    listing: Lent<crate::Listing>,
    is_over: bool,
    shared: Shared,
}

impl Listing {
    pub(crate) fn new(listing: crate::Listing, shared: Shared) -> Self {
        let listing = Lent::new(listing);
        Self {
            listing,
            is_over: false,
            shared,
        }
    }

    /// Includes what is not held: tombstones and expired records.
    #[must_use]
    pub fn all(self) -> Self {
        let listing = Lent::new(self.listing.into_inner().all());
        Self { listing, ..self }
    }
}

impl Iterator for Listing {
    type Item = Result<Status>;

    fn next(&mut self) -> Option<Result<Status>> {
        if self.is_over {
            return None;
        }
        let lent = self.listing.lend();
        let next = self
            .shared
            .thread
            .call(async move { lent.await.next().await });
        self.is_over = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// A watch: [`leasehold::Watch`](crate::Watch).
#[derive(Debug)]
pub struct Watch {
    watch: Lent<crate::Watch>,
    shared: Shared,
}

impl Watch {
    pub(crate) fn new(watch: crate::Watch, shared: Shared) -> Self {
        let watch = Lent::new(watch);
        Self { watch, shared }
    }

    /// What is told next, if it is told within so long: [`next`](crate::Watch::next) with a limit.
    ///
    /// # Errors
    /// As [`next`](crate::Watch::next).
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Event>> {
        let lent = self.watch.lend();
        let end = self.shared.clock.after(limit);
        self.shared.thread.call(async move {
            let mut watch = lent.await;
            match select(pin!(watch.next()), end).await {
                Either::Left((event, _)) => event.map(Some),
                Either::Right(_) => Ok(None),
            }
        })
    }
}
