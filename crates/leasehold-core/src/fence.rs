//! The protected side of a fence: what refuses those whose term is over.
//!
//! Here is what protects something in this process's memory. For what is kept in a database there are modules of this name
//! in the crates `leasehold-sqlite`, `leasehold-postgres` and `leasehold-etcd`; `docs/fencing.md` has the patterns, and
//! what no fence covers.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::mutants::{Mutant, mutant};
use crate::sync::{AtomicU64, Ordering};

/// What whoever is refused is told, by this module's [`Mark`] and by guards that are kept elsewhere: which guard has
/// seen which later fence, where those are known.
#[must_use]
pub fn over(guard: Option<&str>, fence: u64, later: Option<u64>) -> Error {
    let later = match later {
        Some(later) => format!("a later one, with fence {later}, has been here"),
        None => "a later one has been here".to_owned(),
    };
    let guard = guard.map_or_else(String::new, |guard| format!(" at the guard {guard:?}"));
    let message = format!("the term with fence {fence} is over{guard}: {later}");
    Error::new(ErrorKind::Changed, message)
}

/// A fence as databases keep it, a signed number of 64 bits.
///
/// # Errors
/// [`ErrorKind::InvalidInput`]: it is none that a lease ever had. Those are below 2^53.
pub fn signed(fence: u64) -> Result<i64> {
    i64::try_from(fence).map_err(|_| {
        let message = format!("{fence} is no fence: those of leases are below 2^53");
        Error::new(ErrorKind::InvalidInput, message)
    })
}

/// The greatest fence that something in this process's memory has been used with: a cache, a device, a connection that
/// only the lessee may use.
///
/// A check of [`Term::is_current`](crate::Term::is_current) does not cover the act after it: whoever was paused between
/// the two acts late. The side that is acted on can tell, if every act gives its fence along, and if a new lessee marks
/// before it reads: from then on nothing of an earlier term is let through.
///
/// ```
/// use leasehold_core::fence::Mark;
///
/// let mark = Mark::new();
/// mark.admit(7)?; // the lessee with fence 7 may act, and act again
/// mark.admit(7)?;
/// mark.admit(9)?; // a later term
/// assert!(mark.admit(7).is_err());
/// # Ok::<(), leasehold_core::Error>(())
/// ```
pub struct Mark(AtomicU64);

impl Mark {
    /// Nothing has been used yet.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Lets an act through if no later term has acted, or marked, before. To mark is to be let through.
    ///
    /// What is done afterwards is not covered by this either: where two acts must not overlap, the mark belongs under the
    /// same lock as the act.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`]: a later term has been here. The own one is over: stop.
    pub fn admit(&self, fence: u64) -> Result<()> {
        let before = self.0.fetch_max(fence, Ordering::SeqCst);
        if mutant(Mutant::FenceAdmitsSmaller) {
            return Ok(());
        }
        if before > fence {
            return Err(over(None, fence, Some(before)));
        }
        Ok(())
    }

    /// The greatest fence so far; zero: none.
    #[must_use]
    pub fn greatest(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mark").field(&self.greatest()).finish()
    }
}
