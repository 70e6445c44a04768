//! `leasehold renew` and `leasehold release`: by the fence of a term, or by the index of a grant.

use leasehold::{Changes, Error, ErrorKind, Lease, LeaseName, Manager};
use serde_json::{Value, json};

use super::{Context, lost};
use crate::args::{Release, Renew, Which};
use crate::duration::human;
use crate::exit::{Failure, USAGE};
use crate::show;

/// How often a change is tried again when the same term was renewed by somebody else in between.
const TRIES: u32 = 10;

pub(crate) async fn renew(context: &Context, args: Renew) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut changes = Changes::none();
    if let Some(note) = &args.note {
        changes = changes.note(some(note));
    }
    if let Some(data) = &args.data {
        changes = changes.data(some(data).map(Into::into));
    }
    let mut tries = 0;
    let lease = loop {
        tries += 1;
        let mut lease = claim(&manager, &args.name, &args.which).await?;
        let period = args.period.unwrap_or(lease.period());
        match lease.renew_with(period, changes.clone()).await {
            Ok(()) => break lease,
            Err(error) if again(&error, &args.which, tries) => {}
            Err(error) => return Err(lost(&manager, &args.name, error).await),
        }
    };
    if args.json {
        let mut object = show::lease(&lease);
        object.insert("renewed".into(), true.into());
        context.output.json(&Value::Object(object))?;
    } else {
        context.output.sentence(&format!(
            "{} renewed: fence {}, index {}, {} left",
            lease.name(),
            lease.fence(),
            lease.index(),
            human(lease.left())
        ))?;
    }
    Ok(0)
}

pub(crate) async fn release(context: &Context, args: Release) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let mut tries = 0;
    let fence = loop {
        tries += 1;
        let lease = claim(&manager, &args.name, &args.which).await?;
        let fence = lease.fence();
        match lease.release().await {
            Ok(()) => break fence,
            Err(error) if again(&error, &args.which, tries) => {}
            Err(error) => return Err(lost(&manager, &args.name, error).await),
        }
    };
    if args.json {
        context
            .output
            .json(&json!({"name": args.name.as_str(), "fence": fence, "released": true}))?;
    } else {
        context
            .output
            .sentence(&format!("{} released: it is vacant", args.name))?;
    }
    Ok(0)
}

/// The lease of the term or grant that was named, as if by the process that acquired it.
async fn claim(manager: &Manager, name: &LeaseName, which: &Which) -> Result<Lease, Failure> {
    let (fence, index) = match (which.fence, which.index) {
        (Some(fence), None) => (fence, None),
        (None, Some(index)) => {
            let status = manager.status(name).await?;
            match status.filter(|status| status.is_held()) {
                Some(status) => (status.fence(), Some(index)),
                None => {
                    let error = Error::new(ErrorKind::Gone, format!("{name}: nobody holds it"));
                    return Err(lost(manager, name, error).await);
                }
            }
        }
        _ => return Err(Failure::new(USAGE, "either --fence or --index is needed")),
    };
    let lease = match manager.resume(name, fence).await {
        Ok(lease) => lease,
        Err(error) => return Err(lost(manager, name, error).await),
    };
    match index {
        Some(index) if lease.index() != index => {
            let what = format!("{name}: it has changed since index {index}");
            Err(lost(manager, name, Error::new(ErrorKind::Changed, what)).await)
        }
        _ => Ok(lease),
    }
}

/// Whether somebody else's renewal came in between: the fence says whose term it is, so look again. An index says
/// exactly which grant.
fn again(error: &Error, which: &Which, tries: u32) -> bool {
    error.kind() == ErrorKind::Changed && which.fence.is_some() && tries < TRIES
}
