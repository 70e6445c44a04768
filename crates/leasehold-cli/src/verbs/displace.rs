//! `leasehold steal` and `leasehold break`: ending the term of somebody else.

use futures_util::future::{Either, select};
use leasehold::{
    BootInstant, Displace, Error, ErrorKind, KeepAlive, Lease, LeaseName, Manager, Request, Status,
};
use serde_json::Value;
use std::time::Duration;

use super::acquire::hand_out;
use super::{Context, lost, not_acquired, with_reach};
use crate::args::{Break, Lessee, Steal, Whom};
use crate::duration::{human, millis};
use crate::exit::{Failure, LOST, NOT_HELD};
use crate::show;

pub(crate) async fn steal(context: &Context, args: Steal) -> Result<u8, Failure> {
    let manager = context.open_for(&args.lessee).await?;
    let request = request(&args.name, args.period, &args.lessee);
    let mut victim = Victim::find(&manager, &args.name, &args.whom).await?;
    victim.show(context);
    let lease = loop {
        let displace = victim.displace(&args.whom);
        match manager.steal(request.clone(), displace).await {
            Ok(lease) => break lease,
            Err(error) => {
                let again = victim.again(error, &manager, &args.whom).await;
                victim = again.map_err(|failure| with_reach(&manager, failure))?;
            }
        }
    };
    let lease = waited_out(context, &manager, lease, args.period)
        .await
        .map_err(|error| not_acquired(&manager, error))?;
    hand_out(context, lease, args.json, "stolen").await
}

pub(crate) async fn break_term(context: &Context, args: Break) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let mut victim = Victim::find(&manager, &args.name, &args.whom).await?;
    victim.show(context);
    let status = loop {
        let displace = victim.displace(&args.whom);
        match manager.break_lease(&args.name, displace).await {
            Ok(status) => break status,
            Err(error) => victim = victim.again(error, &manager, &args.whom).await?,
        }
    };
    let left = status.left().unwrap_or_default();
    if !left.is_zero() {
        let seen = manager.door().now();
        context.output.notice(&format!(
            "{} is held by nobody, and vacant in {}: waiting",
            args.name,
            human(left)
        ));
        manager.door().sleep_until(seen.plus(left)).await;
    }
    if args.json {
        let mut object = show::status(&victim.status);
        object.insert("broken".into(), true.into());
        object.insert("waited_ms".into(), millis(left).into());
        context.output.json(&Value::Object(object))?;
    } else {
        context
            .output
            .sentence(&format!("{} broken: it is vacant", args.name))?;
    }
    Ok(0)
}

fn request(name: &LeaseName, period: Duration, lessee: &Lessee) -> Request {
    let mut request = Request::new(name, period).version(lessee.lessee_version);
    if let Some(note) = &lessee.note {
        request = request.note(note);
    }
    if let Some(data) = &lessee.data {
        request = request.data(data.clone());
    }
    request
}

/// Waits until the replaced holder can no longer believe, renewing meanwhile; then grants the full period.
async fn waited_out(
    context: &Context,
    manager: &Manager,
    mut lease: Lease,
    period: Duration,
) -> Result<Lease, Error> {
    let begin = lease.begin().unwrap_or(BootInstant::ZERO);
    let wait = begin.since(manager.door().now());
    if wait.is_zero() {
        return Ok(lease);
    }
    context.output.notice(&format!(
        "{} is ours in {}, when the old term is over: waiting",
        lease.name(),
        human(wait)
    ));
    let held = lease.keep_alive(KeepAlive::new());
    {
        let lost = std::pin::pin!(held.lost());
        if let Either::Left((error, _)) = select(lost, manager.door().sleep_until(begin)).await {
            return Err(error);
        }
    }
    lease = held.into_lease()?;
    lease.renew(period).await?;
    Ok(lease)
}

/// Whose term is to be ended.
struct Victim {
    status: Status,
}

impl Victim {
    async fn find(manager: &Manager, name: &LeaseName, whom: &Whom) -> Result<Self, Failure> {
        let status = manager.status(name).await?;
        let Some(status) = status.filter(Status::is_held) else {
            return Err(Failure::answer(
                NOT_HELD,
                format!("{name}: nobody holds it: there is nobody to displace"),
            ));
        };
        let moved = |what: &str, wanted: u64| {
            let now = show::sentence(&status);
            Err(Failure::new(
                LOST,
                format!("it has changed since {what} {wanted}: {now}"),
            ))
        };
        match (whom.fence, whom.index) {
            (Some(fence), _) if fence != status.fence() => moved("fence", fence),
            (_, Some(index)) if index != status.index() => moved("index", index),
            _ => Ok(Self { status }),
        }
    }

    fn show(&self, context: &Context) {
        context.output.message_about(
            &format!("displacing: {}", show::sentence(&self.status)),
            &crate::log::fields(&self.status),
        );
    }

    fn displace(&self, whom: &Whom) -> Displace {
        let displace = Displace::index(self.status.index());
        match (&whom.assume_dead, &whom.reason) {
            (Some(reason), _) => displace.assume_dead(reason),
            (None, Some(reason)) => displace.reason(reason),
            (None, None) => displace,
        }
    }

    /// After a failure: the same term with its new index, if only a renewal came in between.
    async fn again(
        mut self,
        error: Error,
        manager: &Manager,
        whom: &Whom,
    ) -> Result<Self, Failure> {
        if error.kind() != ErrorKind::Changed || whom.index.is_some() {
            return Err(lost(manager, self.status.name(), error).await);
        }
        let status = manager.status(self.status.name()).await?;
        match status {
            Some(status) if status.is_held() && status.fence() == self.status.fence() => {
                self.status = status;
                Ok(self)
            }
            _ => Err(lost(manager, self.status.name(), error).await),
        }
    }
}
