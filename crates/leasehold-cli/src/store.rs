//! Which registry, and how far it reaches.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use leasehold::{ErrorKind, Manager, Reach};

use crate::exit::{CONFIGURATION, Failure};

/// The registry that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    url: String,
    /// Who named it.
    by: &'static str,
    /// Nobody named it: it is the default file.
    by_default: bool,
}

/// Where a choice comes from: the surroundings of the process, so that tests can have others.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    variable: Option<OsString>,
    root: bool,
    state_home: Option<OsString>,
    home: Option<OsString>,
}

impl Surroundings {
    pub(crate) fn of_this_process() -> Self {
        Self {
            variable: std::env::var_os("LEASEHOLD_STORE"),
            root: rustix::process::geteuid().is_root(),
            state_home: std::env::var_os("XDG_STATE_HOME"),
            home: std::env::var_os("HOME"),
        }
    }

    /// The option, else the variable, else the default file.
    pub(crate) fn choose(&self, option: Option<&OsStr>) -> Result<Choice, Failure> {
        let (named, by) = match (option, &self.variable) {
            (Some(store), _) => (store, "--store"),
            (None, Some(store)) => (store.as_os_str(), "LEASEHOLD_STORE"),
            (None, None) => {
                return Ok(Choice {
                    url: url_of(&self.default_file()?)?,
                    by: "the default",
                    by_default: true,
                });
            }
        };
        if named.is_empty() {
            return Err(Failure::new(
                CONFIGURATION,
                format!("{by} is empty: name a store, or leave it out for the default file"),
            ));
        }
        let url = match named.to_str() {
            Some(text) if is_url(text) => text.to_owned(),
            _ => url_of(Path::new(named))?,
        };
        Ok(Choice {
            url,
            by,
            by_default: false,
        })
    }

    fn default_file(&self) -> Result<PathBuf, Failure> {
        if self.root {
            return Ok("/var/lib/leasehold/leases.db".into());
        }
        // A relative one is to be ignored, by the specification.
        let absolute = |value: &Option<OsString>| {
            let path = PathBuf::from(value.as_ref()?);
            path.is_absolute().then_some(path)
        };
        let state = absolute(&self.state_home)
            .or_else(|| Some(absolute(&self.home)?.join(".local/state")))
            .ok_or_else(|| {
                Failure::new(
                    CONFIGURATION,
                    "no store was named, and without HOME and XDG_STATE_HOME there is no default file: use --store \
                     or LEASEHOLD_STORE",
                )
            })?;
        Ok(state.join("leasehold/leases.db"))
    }
}

/// `scheme:...`; a path that looks like this is spelt `./scheme:...`.
fn is_url(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

fn url_of(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| {
        Failure::new(
            CONFIGURATION,
            format!("{} is no path: {error}", path.display()),
        )
    })?;
    match absolute.to_str() {
        Some(path) => Ok(format!("sqlite://{path}")),
        None => Err(Failure::new(
            CONFIGURATION,
            format!("the store's path must be UTF-8: {}", absolute.display()),
        )),
    }
}

impl Choice {
    /// The store's URL, which may have a password in it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Who named it: the option, the variable, the default.
    pub(crate) fn by(&self) -> &'static str {
        self.by
    }

    /// Refuses the default file in a container: each container would have a registry of its own, and each would run
    /// the command.
    pub(crate) fn shared(
        self,
        container: impl FnOnce() -> Option<&'static str>,
    ) -> Result<Self, Failure> {
        if !self.by_default {
            return Ok(self);
        }
        match container() {
            Some(sign) => Err(Failure::new(
                CONFIGURATION,
                format!(
                    "this is a container ({sign}), and the default store {} reaches this one container only: another \
                     container, or this one after a restart, would not see the lease. Name a store that all of them \
                     share, a file on a volume for instance: --store /volume/leases.db or LEASEHOLD_STORE. Naming \
                     one, even this one, overrides.",
                    self.url
                ),
            )),
            None => Ok(self),
        }
    }

    pub(crate) async fn open(self, machine_id: Option<&str>) -> Result<Manager, Failure> {
        let build = async {
            let mut builder = leasehold::connect(&self.url).await?;
            if let Some(id) = machine_id {
                builder = builder.machine_id(id);
            }
            Ok::<_, leasehold::Error>(builder)
        };
        let builder = build.await.map_err(|error| {
            let kind = error.kind();
            let failure = Failure::from(error);
            match kind {
                ErrorKind::InvalidInput | ErrorKind::Foreign => failure.with_code(CONFIGURATION),
                _ => failure,
            }
        })?;
        Ok(builder.build()?)
    }
}

/// The registry and how far it reaches, for lines that say that a lease was not acquired.
pub(crate) fn reach(manager: &Manager) -> String {
    let how_far = match manager.capabilities().scope {
        Reach::Process => "this process only",
        Reach::Machine if container().is_some() => {
            "this container, and whatever else on this machine opens the same file"
        }
        Reach::Machine => "this machine",
        Reach::Network => "every machine that connects to it",
        _ => "an unknown distance",
    };
    format!("store {}, which reaches {how_far}", manager.location())
}

/// By which sign this is a container, if it is one.
pub(crate) fn container() -> Option<&'static str> {
    container_by(
        |path| Path::new(path).exists(),
        std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        || std::fs::read("/proc/1/environ").unwrap_or_default(),
    )
}

fn container_by(
    exists: impl Fn(&str) -> bool,
    kubernetes: bool,
    first_process: impl Fn() -> Vec<u8>,
) -> Option<&'static str> {
    let files = [
        "/.dockerenv",
        "/run/.containerenv",
        "/run/systemd/container",
    ];
    if kubernetes {
        return Some("KUBERNETES_SERVICE_HOST is set");
    }
    if let Some(file) = files.into_iter().find(|file| exists(file)) {
        return Some(file);
    }
    let marked = |environment: Vec<u8>| {
        environment.split(|byte| *byte == 0).any(|entry| {
            entry
                .strip_prefix(b"container=")
                .is_some_and(|kind| !kind.is_empty())
        })
    };
    marked(first_process()).then_some("the first process has the variable `container`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variable: &str) -> Surroundings {
        Surroundings {
            variable: Some(variable.into()),
            home: Some("/home/a".into()),
            ..Surroundings::default()
        }
    }

    fn url(surroundings: &Surroundings, option: Option<&str>) -> String {
        surroundings.choose(option.map(OsStr::new)).unwrap().url
    }

    #[test]
    fn the_option_then_the_variable_then_the_default() {
        assert_eq!(url(&of("sqlite:///a"), Some("sqlite:///b")), "sqlite:///b");
        assert_eq!(url(&of("sqlite:///a"), None), "sqlite:///a");
        assert_eq!(url(&of("/a/b.db"), None), "sqlite:///a/b.db");
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            url(&of("b.db"), None),
            format!("sqlite://{}/b.db", here.display())
        );
        assert!(url(&of("./sqlite:b"), None).ends_with("/sqlite:b"));
        let user = Surroundings {
            home: Some("/home/a".into()),
            ..Surroundings::default()
        };
        let choice = user.choose(None).unwrap();
        assert!(choice.by_default);
        assert_eq!(
            choice.url,
            "sqlite:///home/a/.local/state/leasehold/leases.db"
        );
        let state = |state: &str| Surroundings {
            state_home: Some(state.into()),
            home: Some("/home/a".into()),
            ..Surroundings::default()
        };
        assert_eq!(url(&state("/s"), None), "sqlite:///s/leasehold/leases.db");
        assert_eq!(url(&state("s"), None), choice.url);
        let root = Surroundings {
            root: true,
            ..state("/s")
        };
        assert_eq!(url(&root, None), "sqlite:///var/lib/leasehold/leases.db");
    }

    #[test]
    fn nothing_named_and_nowhere_to_go_is_an_error() {
        for surroundings in [of(""), Surroundings::default()] {
            assert_eq!(surroundings.choose(None).unwrap_err().code(), CONFIGURATION);
        }
        assert!(of("/a").choose(Some(OsStr::new(""))).is_err());
    }

    #[test]
    fn signs_of_a_container() {
        let no = |_: &str| false;
        let none = Vec::new;
        assert_eq!(container_by(no, false, none), None);
        assert!(container_by(no, true, none).is_some());
        for file in ["/.dockerenv", "/run/.containerenv"] {
            assert_eq!(container_by(|path| path == file, false, none), Some(file));
        }
        let first = |environment: &'static [u8]| {
            container_by(no, false, move || environment.to_vec()).is_some()
        };
        assert!(first(b"A=b\0container=lxc\0"));
        assert!(!first(b"A=b\0container=\0my_container=x\0"));
    }

    #[test]
    fn in_a_container_a_store_has_to_be_named() {
        let root = Surroundings {
            root: true,
            ..Surroundings::default()
        };
        let refused = root.choose(None).unwrap().shared(|| Some("/.dockerenv"));
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), CONFIGURATION);
        assert!(refused.message().contains("this one container only"));
        assert!(root.choose(None).unwrap().shared(|| None).is_ok());
        let file = "/var/lib/leasehold/leases.db";
        let named = root.choose(Some(OsStr::new(file))).unwrap();
        assert!(named.shared(|| Some("/.dockerenv")).is_ok());
    }
}
