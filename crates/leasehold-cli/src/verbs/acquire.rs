//! `leasehold acquire`

use leasehold::LockAttempt;
use serde_json::Value;

use super::{Context, busy, not_acquired, obtain};
use crate::args::Acquire;
use crate::duration::human;
use crate::exit::Failure;
use crate::output::{is_terminal, quoted};
use crate::{show, verbs};

pub(crate) async fn acquire(context: &Context, args: Acquire) -> Result<u8, Failure> {
    let manager = context.open_for(&args.lessee).await?;
    let lock = args.lessee.lock(&manager, args.name.as_str(), args.period);
    let attempt = obtain(&manager, &lock, args.wait, context.output)
        .await
        .map_err(|error| not_acquired(&manager, error))?;
    let held = match attempt {
        LockAttempt::Held(held) => held,
        LockAttempt::Busy(found) => {
            if args.json {
                let mut object = show::status(found.status());
                object.insert("acquired".into(), false.into());
                context.output.json(&Value::Object(object))?;
            }
            return Err(busy(&manager, &found, args.conflict_exit));
        }
        LockAttempt::Skipped(skipped) => {
            return Err(Failure::answer(args.conflict_exit, skipped.to_string()));
        }
    };
    let lease = held.into_lease()?;
    verbs::acquire::hand_out(context, lease, args.json, "acquired").await
}

/// Prints a lease of ours: nobody else knows its fence. If it cannot be told, the lease is given back.
pub(crate) async fn hand_out(
    context: &Context,
    lease: leasehold::Lease,
    json: bool,
    what: &str,
) -> Result<u8, Failure> {
    let told = if json {
        let mut object = show::lease(&lease);
        object.insert(what.into(), true.into());
        context.output.json(&Value::Object(object))
    } else if is_terminal() {
        context.output.line(&format!(
            "{} {what}: fence {}, index {}, {} left, machine id {}",
            lease.name(),
            lease.fence(),
            lease.index(),
            human(lease.left()),
            quoted(&lease.machine_id()),
        ))
    } else {
        context.output.line(&lease.fence().to_string())
    };
    if let Err(failure) = told {
        lease.release().await?;
        return Err(failure);
    }
    Ok(0)
}
