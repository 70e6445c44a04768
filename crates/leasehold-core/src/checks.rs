//! What is refused before anything is sent.

use std::time::Duration;

use crate::acquire::Grant;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::Core;
use crate::name::LeaseName;
use crate::record::{check_details, check_machine_id};
use crate::request::Request;
use crate::slot::Slot;
use crate::status::human;

impl Core {
    /// Refuses bad input before anything is sent.
    pub(crate) fn check(
        &self,
        operation: &'static str,
        request: Request,
    ) -> Result<(LeaseName, Grant)> {
        let name = LeaseName::new(&request.name).map_err(|error| error.during(operation, None))?;
        let checked = || {
            self.phase.open()?;
            self.check_period(request.period)?;
            self.check_delay(request.period, request.delay)?;
            check_details(request.note.as_deref(), request.data.as_deref())?;
            let machine_id = request
                .machine_id
                .unwrap_or_else(|| self.machine_id.clone());
            check_machine_id(&machine_id)?;
            Ok(Grant {
                machine_id,
                version: request.version,
                period: request.period,
                note: request.note,
                data: request.data,
                policy: request.take_over.policy(),
                delay: request.delay,
                slot: request.once_per.map(Slot::new).transpose()?,
            })
        };
        match checked() {
            Ok(grant) => Ok((name, grant)),
            Err(error) => Err(Error::during(error, operation, Some(&name))),
        }
    }

    /// Checks that a period is one the store can grant.
    pub(crate) fn check_period(&self, period: Duration) -> Result<()> {
        let periods = self.capabilities.periods();
        if !periods.contains(&period) {
            let message = format!(
                "a period of {period:?} cannot be granted: {} grants {} to {}",
                self.store.location(),
                human(*periods.start()),
                human(*periods.end())
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }

    /// Checks that a grant of this period may keep its name taken for longer by a delay.
    pub(crate) fn check_delay(&self, period: Duration, delay: Duration) -> Result<()> {
        let greatest = *self.capabilities.periods().end();
        if !delay.is_zero() && period.saturating_add(delay) > greatest {
            let message = format!(
                "a delay of {} after a period of {} cannot be kept: {} keeps both together for up to {}",
                human(delay),
                human(period),
                self.store.location(),
                human(greatest)
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }
}
