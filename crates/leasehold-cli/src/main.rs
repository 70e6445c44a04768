//! The command `leasehold`: run a command while holding a lease, and everything else about leases, for scripts and
//! people. Results go to standard output, messages to standard error; the exit statuses are in `leasehold --help`.

mod args;
mod duration;
mod exit;
#[cfg(test)]
mod generated;
#[cfg(target_os = "linux")]
mod guardian;
mod log;
mod output;
mod progress;
#[cfg_attr(not(target_os = "linux"), path = "run/elsewhere.rs")]
mod run;
mod screen;
mod show;
mod store;
mod table;
mod variables;
mod verbs;
mod width;

use std::ffi::OsString;
use std::pin::Pin;

use clap::error::ErrorKind;

use args::{Args, Verb};
use exit::{BROKEN_PIPE, Failure, OWN_FAILURE, USAGE};
use log::LogFormat;
use output::Output;
use verbs::Context;

fn main() {
    #[cfg(target_os = "linux")]
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == guardian::WORD)
    {
        let words = std::env::args_os().skip(2).collect();
        std::process::exit(guardian::guard(words).into());
    }
    let code = match Args::of_this_process() {
        Ok(args) => command(args),
        Err(error) => unparsed(&error),
    };
    // Nothing is left to be done: whatever had to be told to the registry was told.
    std::process::exit(code.into())
}

/// Help, version, or a line that is no command.
fn unparsed(error: &clap::Error) -> u8 {
    let wanted = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let words: Vec<OsString> = std::env::args_os().collect();
    let json = log::is_json_wanted(words.iter().filter_map(|word| word.to_str()));
    if json {
        log::set_format(LogFormat::Json);
    }
    // clap repeats the words of the line, in which anything may be.
    if !wanted && (json || is_odd(words)) {
        log::unparsed(&error.render().to_string());
        return USAGE;
    }
    match (error.print(), wanted) {
        (Ok(()), true) => 0,
        (Err(error), true) if error.kind() == std::io::ErrorKind::BrokenPipe => BROKEN_PIPE,
        (Err(_), true) => OWN_FAILURE,
        (_, false) => USAGE,
    }
}

/// Whether a word of the command line, or a variable in its place, is none that a terminal should get.
fn is_odd(words: Vec<OsString>) -> bool {
    words.into_iter().chain(variables::values()).any(|word| {
        let word = word.to_string_lossy();
        output::masked(&word) != word
    })
}

fn command(args: Args) -> u8 {
    let Args { global, verb } = args;
    log::start(&global, &verb);
    let output = Output::new(global.quiet, global.verbose > 0);
    let context = Context {
        output,
        store: global.store,
        opened: std::cell::OnceCell::new(),
    };
    // Before the runtime: `run` forks its guardian while this process has one thread.
    let task = task(&context, verb);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(async {
                let result = task.await;
                context.close().await;
                result
            });
            // The process ends now: taking it apart first would only take time.
            std::mem::forget(runtime);
            result
        }
        Err(error) => Err(Failure::new(OWN_FAILURE, format!("cannot start: {error}"))),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.code()
        }
    }
}

/// What is to be done.
type Task<'a> = Pin<Box<dyn Future<Output = Result<u8, Failure>> + 'a>>;

fn task(context: &Context, verb: Verb) -> Task<'_> {
    match verb {
        Verb::Run(args) => {
            let begun = run::begin(&args, context.store.as_deref());
            Box::pin(run::run(context, args, begun))
        }
        Verb::Lead(args) => Box::pin(run::lead(context, args)),
        Verb::Acquire(args) => Box::pin(verbs::acquire::acquire(context, args)),
        Verb::Renew(args) => Box::pin(verbs::renew::renew(context, args)),
        Verb::Release(args) => Box::pin(verbs::renew::release(context, args)),
        Verb::Steal(args) => Box::pin(verbs::displace::steal(context, args)),
        Verb::Break(args) => Box::pin(verbs::displace::break_term(context, args)),
        Verb::Get(args) => Box::pin(verbs::look::get(context, args)),
        Verb::List(args) => Box::pin(verbs::look::list(context, args)),
        Verb::Wait(args) => Box::pin(verbs::wait::wait(context, args)),
        Verb::Check(args) => Box::pin(verbs::look::check(context, args)),
        Verb::Plan(args) => Box::pin(verbs::plan::plan(context, args)),
        Verb::Completions(args) => {
            Box::pin(async move { verbs::completions::completions(context, &args) })
        }
        Verb::Doctor(args) => Box::pin(verbs::doctor::doctor(context, args)),
        Verb::Watch(args) => Box::pin(verbs::watch::watch(context, args)),
    }
}
