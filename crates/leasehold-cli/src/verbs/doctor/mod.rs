//! `leasehold doctor`: looks a registry over, in a name of its own, and tells what to mend.
//!
//! Each check is a file, each has a time limit, and what was found is told as it is found.

mod clock;
mod contract;
mod file;
mod latency;
mod limits;
mod push;
mod report;
mod scratch;
mod settings;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Door, Manager, Reach, RealDoor};

use super::{CLOSE, Context};
use crate::duration::human;
use crate::exit::{Failure, OWN_FAILURE};
use crate::store::{Choice, reach};
use file::File;
use latency::Latency;
use limits::{in_time, within};
use report::{Finding, Report};
use scratch::Scratch;

/// How long opening may take, and each check that needs the registry: less than the scratch name is kept for.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Looks at the settings and where each comes from (nothing secret is shown), the clocks, the file and who may use it, the \
registry's version and what is known to be wrong with it; then reads, writes, measures renewals and reads, listens for changes, \
and goes through a lease's life by two clients. All of that is done in one of 64 names of its own, \
leasehold-doctor/00 to leasehold-doctor/63, and leaves it vacant; it touches no other name. A registry's file that is not there is created, \
as by every other verb.

One line for each thing: ok, warning or FAIL, what was looked at, what was found, and behind `->` what to do about it; with -q those that are not ok. What \
depends on something that failed is not tried.

Exit status 0: all is well, or there are warnings. Else that of the worst failure:
  69    the registry cannot be reached, or is too slow
  77    permission denied
  78    configuration: no usable store
  125   the contract is broken, or a clock is")]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn doctor(context: &Context, args: Doctor) -> Result<u8, Failure> {
    let mut report = Report::new(context.output, args.json);
    examine(context, &mut report).await?;
    report.end()
}

async fn examine(context: &Context, report: &mut Report) -> Result<(), Failure> {
    let choice = match context.choose() {
        Ok(choice) => choice,
        Err(failure) => return report.add(Finding::failed("store", &failure)),
    };
    let usable = settings::check(&choice, report)?;
    let door: Arc<dyn Door> = RealDoor::new()?;
    clock::check(&door, report).await?;
    if !usable {
        return Ok(());
    }
    let file = File::of(choice.url());
    let start = door.now();
    let manager = match within(&door, LIMIT, choice.clone().open(None)).await {
        Ok(manager) => context.opened(manager)?,
        Err(failure) => return report.add(Finding::failed("open", &failure)),
    };
    let took = human(door.now().since(start));
    let told = format!("{}; opened in {took}", reach(&manager));
    report.add(match manager.capabilities().scope {
        Reach::Process => Finding::warning("open", told).fix("name a file, or a cluster"),
        _ => Finding::ok("open", told),
    })?;
    for finding in file.iter().flat_map(File::findings) {
        report.add(finding)?;
    }
    if let Some(finding) = version(&manager) {
        report.add(finding)?;
    }
    report.add(clock::assumed(manager.capabilities(), timing::PERIOD))?;
    let other = match second(&door, &choice, &manager).await {
        Ok(other) => other,
        Err(failure) => return report.add(Finding::failed("open", &failure)),
    };
    let result = registry(&manager, &other, report).await;
    _ = other.shutdown(CLOSE).await;
    result
}

/// Another client of the same registry. A registry in this process's memory has but one.
async fn second(
    door: &Arc<dyn Door>,
    choice: &Choice,
    first: &Manager,
) -> Result<Manager, Failure> {
    match first.capabilities().scope {
        Reach::Process => Ok(first.clone()),
        _ => within(door, LIMIT, choice.clone().open(None)).await,
    }
}

fn version(manager: &Manager) -> Option<Finding> {
    let server = manager.server()?;
    let told = format!("{} {}", server.product, server.version);
    let finding = match server.flaw {
        None => Finding::ok("version", told),
        Some(flaw) => Finding::warning("version", format!("{told} {flaw}")).fix("upgrade it"),
    };
    Some(
        finding
            .figure("product", server.product)
            .figure("version", server.version),
    )
}

/// What needs the registry. The first failure ends it: the rest would fail as well, and take its time.
async fn registry(one: &Manager, other: &Manager, report: &mut Report) -> Result<(), Failure> {
    let door = one.door();
    let name = Scratch::any(one);
    if let Err(failure) = within(door, LIMIT, one.status(&name)).await {
        return report.add(Finding::failed("read", &failure));
    }
    report.add(Finding::ok("read", "leases can be read"))?;
    let mut scratch = match within(door, LIMIT, Scratch::take(one)).await {
        Ok(scratch) => scratch,
        Err(failure) => return report.add(Finding::failed("write", &failure)),
    };
    report.add(Finding::ok(
        "write",
        format!(
            "leases can be acquired; what follows is tried in {}",
            scratch.name
        ),
    ))?;
    let tried = trials(one, other, &mut scratch, report).await;
    _ = within(door, LIMIT, scratch.give_back(one)).await;
    tried
}

async fn trials(
    one: &Manager,
    other: &Manager,
    scratch: &mut Scratch,
    report: &mut Report,
) -> Result<(), Failure> {
    let door = one.door();
    let name = scratch.name.clone();
    let latency = match within(door, LIMIT, Latency::measure(one, &name)).await {
        Ok(latency) => latency,
        Err(failure) => return report.add(Finding::failed("latency", &failure)),
    };
    report.add(latency.finding())?;
    report.add(timing::check(one.capabilities(), latency.slow_renewal()))?;
    if let Err(failure) = within(door, LIMIT, scratch.keep()).await {
        return report.add(Finding::failed("write", &failure));
    }
    match within(door, LIMIT, push::measure(one, other, &name)).await {
        Ok(slowest) => report.add(push::finding(one.capabilities().delivery, slowest))?,
        Err(failure) => return report.add(Finding::failed("push", &failure)),
    }
    if let Err(failure) = within(door, LIMIT, scratch.keep()).await {
        return report.add(Finding::failed("write", &failure));
    }
    let trial = contract::Trial {
        one,
        other,
        name: &name,
    };
    let finding = match in_time(door, LIMIT, trial.run()).await {
        Ok(Ok(found)) => Finding::ok("contract", found),
        Ok(Err(trouble)) => {
            let failure = Failure::from(trouble);
            let finding = Finding::failed("contract", &failure);
            match failure.code() {
                OWN_FAILURE => finding.fix("keep no leases there, and please report it"),
                _ => finding,
            }
        }
        Err(failure) => Finding::failed("contract", &failure),
    };
    report.add(finding)
}
