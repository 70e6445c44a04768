//! Making a manager.

use std::sync::Arc;
use std::time::Duration;

use crate::door::Door;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Core, Manager};
use crate::record::check_machine_id;
use crate::store::Store;
use crate::timing::TIMEOUT;

/// Makes a [`Manager`].
#[derive(Debug)]
pub struct Builder {
    store: Arc<dyn Store>,
    door: Arc<dyn Door>,
    machine_id: Option<String>,
    timeout: Duration,
}

impl Builder {
    pub(crate) fn new(store: Arc<dyn Store>, door: Arc<dyn Door>) -> Self {
        Self {
            store,
            door,
            machine_id: None,
            timeout: TIMEOUT,
        }
    }

    /// The machine id of this manager's leases where a request names none.
    ///
    /// The default is `POD_NAME` or the host's name, with the process id and 64 random bits, so that no two processes
    /// ever share one.
    #[must_use]
    pub fn machine_id(mut self, id: impl Into<String>) -> Self {
        self.machine_id = Some(id.into());
        self
    }

    /// How long an operation may take before it reports an error; 10 s by default. A change that was sent goes on
    /// being resolved in the background.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The manager.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a machine id that is none, or a time-out under 1 ms.
    pub fn build(self) -> Result<Manager> {
        if self.timeout < Duration::from_millis(1) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the time-out is under 1 ms",
            ));
        }
        let machine_id = match self.machine_id {
            Some(id) => id,
            None => default_machine_id(&self.door),
        };
        check_machine_id(&machine_id)?;
        let core = Core::new(self.store, self.door, machine_id, self.timeout);
        Ok(Manager {
            core: Arc::new(core),
        })
    }
}

fn default_machine_id(door: &Arc<dyn Door>) -> String {
    let host = std::env::var("POD_NAME")
        .ok()
        .filter(|pod| check_machine_id(pod).is_ok() && pod.len() <= 255);
    let host = host.unwrap_or_else(|| {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        if check_machine_id(&name).is_ok() {
            name
        } else {
            "localhost".into()
        }
    });
    let mut random = [0; 8];
    door.random(&mut random);
    format!(
        "{host}-{}-{:016x}",
        door.process(),
        u64::from_le_bytes(random)
    )
}
