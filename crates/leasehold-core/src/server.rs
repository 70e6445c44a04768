//! What answers behind a registry, for people who look after it.

/// The program that keeps a registry, as it was found when the registry was opened: see
/// [`Manager::server`](crate::Manager::server). Nothing of the contract depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// What it is: `etcd`, `SQLite`.
    pub product: &'static str,
    /// Its version, in its own words.
    pub version: String,
    /// What is known to be wrong with this version, and which one is needed.
    pub flaw: Option<&'static str>,
}

impl Server {
    /// A server without known flaws.
    #[must_use]
    pub fn new(product: &'static str, version: impl Into<String>) -> Self {
        Self {
            product,
            version: version.into(),
            flaw: None,
        }
    }

    /// The same with a known flaw.
    #[must_use]
    pub fn flawed(mut self, flaw: &'static str) -> Self {
        self.flaw = Some(flaw);
        self
    }
}
