//! The one error type.

use std::error::Error as StdError;
use std::fmt;

use crate::lost::Lost;
use crate::name::LeaseName;

/// What leasehold's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is: one kind for each thing that a caller would do differently.
///
/// Contention is not among them: it is an outcome ([`Attempt::Busy`](crate::Attempt)), not an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input breaks a rule; nothing was sent. Correct it: trying again changes nothing.
    InvalidInput,
    /// Somebody else has changed the lease since (renewed elsewhere, stolen, acquired by another). The term is lost:
    /// stop the guarded work, and acquire anew if it is still wanted.
    Changed,
    /// The lease has run out. The term is lost: stop the guarded work, and acquire anew if it is still wanted.
    Expired,
    /// There is no such lease: it was released, broken, or never existed. A term, if there was one, is lost.
    Gone,
    /// The registry could not be reached or could not answer in time, and nothing was changed. A lease that is held
    /// stays held until its deadline: try again before it.
    Unavailable,
    /// A change was sent and nobody knows whether it was applied. leasehold goes on resolving it in the background;
    /// treat a lease that was to be acquired as not ours, and one that was to be released as held until it runs out.
    OutcomeUnknown,
    /// The registry or the operating system refused access. Correct the permissions.
    Permission,
    /// The registry holds something that is not leasehold's, is newer than this version can read, or is damaged. It
    /// was left as it is; the message says what was found.
    Foreign,
    /// This store, as it is connected, cannot do that.
    Unsupported,
}

/// Why an operation failed: a [kind](ErrorKind) to act on, and a sentence for people that names the lease, its
/// holder where that is known, and what to do.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    during: Option<(&'static str, Option<LeaseName>)>,
    lost: Option<Lost>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A new error, for implementors of stores. Core adds the operation and the lease's name.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            during: None,
            lost: None,
            source: None,
        }))
    }

    /// The same error with the driver's own error as its source. Its text must not carry credentials.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with the operation and the lease it belongs to, unless it has them already.
    #[must_use]
    pub fn during(mut self, operation: &'static str, name: Option<&LeaseName>) -> Self {
        if self.0.during.is_none() {
            self.0.during = Some((operation, name.cloned()));
        }
        self
    }

    /// The same error, which tells how a term was lost.
    pub(crate) fn with_lost(mut self, lost: Lost) -> Self {
        self.0.lost = Some(lost);
        self
    }

    /// How the term was lost, where the error says that of a handle's own.
    #[must_use]
    pub fn lost(&self) -> Option<&Lost> {
        self.0.lost.as_ref()
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, where there was one: `acquire`, `renew`, ...
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.during.as_ref().map(|(operation, _)| *operation)
    }

    /// The lease's name, where there was one.
    #[must_use]
    pub fn lease_name(&self) -> Option<&LeaseName> {
        self.0.during.as_ref().and_then(|(_, name)| name.as_ref())
    }

    /// Whether the error says that a term is over: changed, expired or gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Changed | ErrorKind::Expired | ErrorKind::Gone
        )
    }

    /// The same failure once more, to be told to several callers: a store's answer for each change of a request that
    /// failed as a whole. The driver's error becomes part of the message, as it cannot be copied.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let message = match &self.0.source {
            Some(source) => format!("{}: {source}", self.0.message),
            None => self.0.message.clone(),
        };
        Self(Box::new(Inner {
            kind: self.0.kind,
            message,
            during: self.0.during.clone(),
            lost: self.0.lost.clone(),
            source: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.during {
            Some((operation, Some(name))) => write!(f, "{operation} {name}: {}", self.0.message),
            Some((operation, None)) => write!(f, "{operation}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind)
            .field("message", &self.to_string());
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}
