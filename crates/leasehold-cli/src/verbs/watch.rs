//! `leasehold watch`

use leasehold::Event;
use serde_json::Value;

use super::Context;
use super::look::absent;
use crate::args::Watch;
use crate::exit::{Failure, USAGE, sentence};
use crate::show;

pub(crate) async fn watch(context: &Context, args: Watch) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let mut watch = match (&args.name, &args.prefix) {
        (Some(name), _) => manager.watch(name)?,
        (None, Some(prefix)) => manager.watch_prefix(prefix.as_str())?,
        (None, None) => return Err(Failure::new(USAGE, "a name or --prefix is needed")),
    };
    let mut down = false;
    loop {
        match watch.next().await {
            Ok(event) => {
                if std::mem::take(&mut down) {
                    context.output.message("the registry answers again");
                }
                let at = show::time(manager.door().wall()).unwrap_or_default();
                context.output.line(&told(&event, at, args.json))?;
            }
            Err(error) if error.kind() == leasehold::ErrorKind::Unavailable => {
                if !std::mem::replace(&mut down, true) {
                    let error = sentence(&error);
                    context.output.warning(&format!("{error}; trying again"));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn told(event: &Event, at: String, json: bool) -> String {
    if json {
        let mut object = match &event.status {
            Some(status) => show::status(status),
            None => absent(event.name.as_str()),
        };
        object.insert("at".into(), at.into());
        return Value::Object(object).to_string();
    }
    match &event.status {
        Some(status) => format!("{at} {}", show::sentence(status)),
        None => format!("{at} {} is held by nobody", event.name),
    }
}
