//! `leasehold watch`, and `leasehold list --watch`: what changes, in lines, or in a table that repaints.

use std::collections::BTreeSet;

use leasehold::{Event, LeaseName, Manager, Prefix, Watch};
use serde_json::Value;

use super::look::absent;
use super::{Context, live};
use crate::args::{self, List};
use crate::exit::{Failure, USAGE, sentence};
use crate::screen::Screen;
use crate::show;

/// Which names.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    Name(LeaseName),
    Prefix(Prefix),
}

impl Scope {
    fn watch(&self, manager: &Manager) -> Result<Watch, Failure> {
        Ok(match self {
            Self::Name(name) => manager.watch(name)?,
            Self::Prefix(prefix) => manager.watch_prefix(prefix.as_str())?,
        })
    }

    /// Whether the registry answers, now.
    pub(super) async fn is_readable(&self, manager: &Manager) -> bool {
        match self {
            Self::Name(name) => manager.status(name).await.is_ok(),
            Self::Prefix(prefix) => match manager.list(prefix.as_str()) {
                Ok(mut listing) => listing.next().await.is_ok(),
                Err(_) => false,
            },
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Sentence,
    Columns,
    Json,
}

pub(crate) async fn watch(context: &Context, args: args::Watch) -> Result<u8, Failure> {
    let scope = match (args.name, args.prefix) {
        (Some(name), _) => Scope::Name(name),
        (None, Some(prefix)) => Scope::Prefix(prefix),
        (None, None) => return Err(Failure::new(USAGE, "a name or --prefix is needed")),
    };
    let form = match args.json {
        true => Form::Json,
        false => Form::Sentence,
    };
    follow(context, &scope, form, true).await
}

pub(crate) async fn list(context: &Context, args: List) -> Result<u8, Failure> {
    let prefix = match args.prefix {
        Some(prefix) => prefix,
        None => Prefix::new("")?,
    };
    let form = match args.json {
        true => Form::Json,
        false => Form::Columns,
    };
    follow(context, &Scope::Prefix(prefix), form, args.all).await
}

/// Never ends by itself. `all`: names that nobody holds are told of, too, before they were ever held.
async fn follow(context: &Context, scope: &Scope, form: Form, all: bool) -> Result<u8, Failure> {
    let manager = context.open().await?;
    let watch = scope.watch(&manager)?;
    if form != Form::Json
        && let Some(screen) = Screen::of_this_process(context.output)
    {
        return live::table(&manager, watch, scope, all, screen).await;
    }
    lines(context, &manager, watch, form, all).await
}

async fn lines(
    context: &Context,
    manager: &Manager,
    mut watch: Watch,
    form: Form,
    all: bool,
) -> Result<u8, Failure> {
    let mut down = false;
    let mut held = BTreeSet::new();
    loop {
        match watch.next().await {
            Ok(event) => {
                if std::mem::take(&mut down) {
                    context.output.message("the registry answers again");
                }
                let is_held = event.status.as_ref().is_some_and(|status| status.is_held());
                let is_news = match is_held {
                    _ if all => true,
                    true => {
                        held.insert(event.name.clone());
                        true
                    }
                    false => held.remove(&event.name),
                };
                if is_news {
                    let at = show::time(manager.door().wall()).unwrap_or_default();
                    tell(context, &event, at, form)?;
                }
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

fn tell(context: &Context, event: &Event, at: String, form: Form) -> Result<(), Failure> {
    let line = match (form, &event.status) {
        (Form::Json, status) => {
            let mut object = match status {
                Some(status) => show::status(status),
                None => absent(event.name.as_str()),
            };
            object.insert("at".into(), at.into());
            return context.output.json(&Value::Object(object));
        }
        (Form::Sentence, Some(status)) => format!("{at} {}", show::sentence(status)),
        (Form::Sentence, None) => format!("{at} {} is held by nobody", event.name),
        (Form::Columns, Some(status)) => show::columns(status, false).join("\t"),
        (Form::Columns, None) => format!("{}\tnobody\t-\t-\t-\t-\t-", event.name),
    };
    context.output.line(&line)
}
