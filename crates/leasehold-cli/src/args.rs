//! The command line.

mod work;

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Parser, Subcommand};
use leasehold::{LeaseName, Prefix};

use crate::duration::{Wait, duration, wait};
use crate::log::LogFormat;
use crate::variables;
use work::{LEAD_HELP, RUN_HELP};
pub(crate) use work::{Lead, Restart, Run, Work};

const ABOUT: &str = "Leases: named ownership that runs out by itself";

const LONG_ABOUT: &str = "\
Leases: named ownership that runs out by itself.

A lease is a right to a name for a while. Whoever holds it renews it again and again; whoever crashes loses it when \
its period is over, and the next one can have it. `leasehold run` does all of that around a command of yours.

Every term of a lease has a fence: a number larger than that of every term before it. Give it along with each write, \
and let the other side refuse smaller ones: then even a process that was frozen for an hour does no harm.";

const AFTER_LONG_HELP: &str = "\
Store:
  The registry is an SQLite file, or an etcd cluster: --store, else $LEASEHOLD_STORE, else /var/lib/leasehold/leases.db for root and
  $XDG_STATE_HOME/leasehold/leases.db (~/.local/state/leasehold/leases.db) for others. A path, or a URL:
    sqlite:///path                              the processes of one machine that open the same file
    etcd://host1,host2,host3:2379/prefix        a cluster and the prefix of its keys; etcds:// with TLS
    etcds://user@host/prefix?ca=FILE&cert=FILE&key=FILE&password-file=FILE
                                                user and password also from LEASEHOLD_ETCD_USER, LEASEHOLD_ETCD_PASSWORD
  In a container the default file would reach that container only, so there a store has to be named.

Examples:
  One at a time, never two:
    leasehold run jobs/nightly -- ./nightly.sh
  Wait for one's turn, ten minutes at most:
    leasehold run jobs/nightly --wait 10m -- ./nightly.sh
  Skip quietly if it runs already, for cron:
    leasehold -q run jobs/nightly -E 0 -- ./nightly.sh
  In a script, step by step:
    fence=$(leasehold acquire deploy --period 5m --note \"$USER deploys\") || exit
    leasehold renew deploy --fence \"$fence\"
    leasehold check deploy --fence \"$fence\" && ./write --fence \"$fence\"
    leasehold release deploy --fence \"$fence\"
  Who holds what:
    leasehold list
    leasehold get deploy --json
  Which outages a period survives, and what it costs:
    leasehold plan --period 30s --leases 1000
  Whether a registry is well, and what to mend:
    leasehold doctor
";

fn after_long_help() -> String {
    format!(
        "{}\n\n{}\n\n{AFTER_LONG_HELP}",
        crate::exit::HELP,
        crate::variables::HELP
    )
}

#[derive(Parser, Debug)]
#[command(
    name = "leasehold",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = "`leasehold --help` tells of exit statuses and shows examples.",
    after_long_help = after_long_help(),
    arg_required_else_help = true,
    max_term_width = 110
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// `leasehold run` alone: what starts most often, and to build the other verbs takes longer than to parse a line.
#[derive(Parser, Debug)]
#[command(name = "leasehold")]
struct Quick {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Quickly,
}

#[derive(Subcommand, Debug)]
enum Quickly {
    Run(Run),
}

impl Args {
    /// The command line of this process. Help and errors come from the whole of it.
    pub(crate) fn of_this_process() -> Result<Self, clap::Error> {
        let words: Vec<OsString> = std::env::args_os().collect();
        Self::of(&words).map_err(|error| variables::named(error, &words))
    }

    fn of(words: &[OsString]) -> Result<Self, clap::Error> {
        if words.iter().any(|word| word == "run")
            && let Ok(Quick { global, verb }) = Quick::try_parse_from(words)
        {
            let Quickly::Run(run) = verb;
            let verb = Verb::Run(run);
            return Ok(Self { global, verb });
        }
        Self::try_parse_from(words)
    }
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The registry: a URL (etcd://host/prefix) or a file's path; $LEASEHOLD_STORE without it
    #[arg(long, global = true, value_name = "URL|PATH")]
    pub(crate) store: Option<OsString>,
    /// No messages but failures; the exit status tells
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Tell on standard error what is done; twice: everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How that, and every other message, is written on standard error. What `run` runs writes as it likes
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        env = variables::LOG_FORMAT,
        hide_env_values = true
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Run a command while holding a lease
    #[command(long_about = RUN_HELP)]
    Run(Run),
    /// Run a command while leading: campaign, lead, lose, campaign again
    #[command(long_about = LEAD_HELP)]
    Lead(Lead),
    /// Acquire a lease and print its fence
    Acquire(Acquire),
    /// Renew a lease
    Renew(Renew),
    /// Release a lease: the name is vacant at once
    Release(Release),
    /// Take a lease over from its holder
    Steal(Steal),
    /// End the term of a lease, whoever holds it
    Break(Break),
    /// Show who holds a lease
    Get(Get),
    /// List the leases that are held
    List(List),
    /// Tell of every change, until interrupted
    Watch(Watch),
    /// Wait until a lease is free, held, or another one's
    Wait(crate::verbs::wait::Wait),
    /// Check whether the term of a fence still stands
    Check(Check),
    /// Show what a period comes to: outages, take-overs, requests
    Plan(Plan),
    /// Check a registry: settings, clocks, permissions, latency, the contract
    Doctor(crate::verbs::doctor::Doctor),
    /// Print the script by which a shell completes leasehold's words
    Completions(crate::verbs::completions::Completions),
}

/// What a lessee says about itself.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Lessee")]
pub(crate) struct Lessee {
    /// Who holds the lease [default: host, process id and chance: never twice the same]
    #[arg(long, value_name = "ID")]
    pub(crate) machine_id: Option<String>,
    /// The holder's version of itself
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) lessee_version: i64,
    /// A sentence for those who find the lease taken
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Data to keep with the lease, an address for instance
    #[arg(long, value_name = "TEXT")]
    pub(crate) data: Option<String>,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Prints the fence, which is the handle for renew, release and check. On a terminal it prints a sentence, with --json an \
object.\n\nNobody renews the lease for you: it runs out after its period unless `leasehold renew` is called before. \
`leasehold run` renews.")]
pub(crate) struct Acquire {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    /// How long the grant lasts
    #[arg(
        long,
        value_name = "TIME",
        env = variables::PERIOD,
        hide_env_values = true,
        default_value = "1m",
        value_parser = duration
    )]
    pub(crate) period: Duration,
    /// Wait for the lease, at most so long, or `forever` [default: do not wait]
    #[arg(
        long,
        value_name = "TIME|forever",
        env = variables::WAIT,
        hide_env_values = true,
        value_parser = wait
    )]
    pub(crate) wait: Option<Wait>,
    /// Exit status if somebody else holds the lease
    #[arg(short = 'E', long, value_name = "N", default_value_t = crate::exit::BUSY)]
    pub(crate) conflict_exit: u8,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) lessee: Lessee,
}

/// Which term, or which grant of it.
#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("which").required(true))]
pub(crate) struct Which {
    /// The term's fence, as `acquire` printed it
    #[arg(long, value_name = "N", group = "which")]
    pub(crate) fence: Option<u64>,
    /// The grant's index: fails if the lease was renewed since
    #[arg(long, value_name = "N", group = "which")]
    pub(crate) index: Option<u64>,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Who gives the fence says that the process which acquired the lease is done with it, and acts for it. Exit status 76: \
the term is over.")]
pub(crate) struct Renew {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    #[command(flatten)]
    pub(crate) which: Which,
    /// How long the new grant lasts [default: as the one before]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) period: Option<Duration>,
    /// A new sentence for those who find the lease taken; empty removes it
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// New data to keep with the lease; empty removes it
    #[arg(long, value_name = "TEXT")]
    pub(crate) data: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Release {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whom to displace, and how.
#[derive(clap::Args, Debug)]
pub(crate) struct Whom {
    /// Only if the term still has this fence
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
    /// Only if the lease still has this index: not if it was renewed since
    #[arg(long, value_name = "N", conflicts_with = "fence")]
    pub(crate) index: Option<u64>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// The holder is known to be dead, and how you know: do not wait its term out. If it lives, there are two
    #[arg(long, value_name = "REASON", conflicts_with = "reason")]
    pub(crate) assume_dead: Option<String>,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Shows whom it displaces, takes the lease over, waits until the old holder can no longer believe that it holds it, \
renewing meanwhile, and prints the new fence. Interrupted while it waits, it lets the lease run out.")]
pub(crate) struct Steal {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    /// How long the grant lasts, once the old term is over
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    pub(crate) period: Duration,
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) lessee: Lessee,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Shows whom it displaces, ends the term, and waits until the name is vacant: until the old holder can no longer believe \
that it holds it. Interrupted while it waits, the break stands, and the registry keeps the name closed until then.")]
pub(crate) struct Break {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "Exit status 1: nobody holds it.")]
pub(crate) struct Get {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
On a terminal a table, else a line each, without a head: name, holder, fence, index, what is left in ms, since when, \
note; separated by tabs, `-` for what is not there.\n\n\
With --watch it goes on until interrupted. On a terminal the table repaints, at each change and every second: see \
`leasehold watch --help`. Elsewhere, and with --json, it prints such a line again for each lease that has changed; \
one with the holder `nobody` for a lease that has ended.")]
pub(crate) struct List {
    /// Whole leading segments: `jobs` is `jobs` and `jobs/...` [default: all]
    #[arg(value_parser = prefix)]
    pub(crate) prefix: Option<Prefix>,
    /// Names that nobody holds, too
    #[arg(long)]
    pub(crate) all: bool,
    /// Go on: on a terminal a table that repaints, else a line for each change
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print a JSON object for each
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args, Debug)]
#[command(
    group = ArgGroup::new("scope").required(true),
    after_long_help = "\
First the present state of each name, then every later one; terms in between may be left out.\n\n\
On a terminal a table that repaints at each change, and every second: what is left counts down, in upper bounds. It \
shows holder, fence, what is left, since when (the time of day in UTC if today, else the date) and the note, or how the \
last term ended; cut to the terminal's width; those that are held first. It does not use the alternate screen and \
changes no mode of the terminal: whatever ends it, the last table stays, and what was there before is in the \
scrollback. With --json, with -v, without a terminal (`| cat`), or with TERM=dumb: a line for each change."
)]
pub(crate) struct Watch {
    /// The lease's name
    #[arg(value_parser = name, group = "scope")]
    pub(crate) name: Option<LeaseName>,
    /// Every name with these leading segments; empty: all
    #[arg(long, value_parser = prefix, group = "scope")]
    pub(crate) prefix: Option<Prefix>,
    /// Print a JSON object for each
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Exit status 0: the term stands. 76: it is over. The answer is true of the moment of the reading, not of the act after \
it: let the protected side check the fence.")]
pub(crate) struct Check {
    /// The lease's name
    #[arg(value_parser = name)]
    pub(crate) name: LeaseName,
    /// The term's fence
    #[arg(long, value_name = "N")]
    pub(crate) fence: u64,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Computes, by what the store declares as it is connected, and holds nothing. Bounds for leases that are kept alive, by \
`leasehold run` or the library: tolerated is at least so much, whenever an outage begins; a take-over lasts at most so \
long, for who waits already. `run` itself tells its command to end no later than a second before the deadline.\n\n\
Settings that are not safe are refused with exit status 64.")]
pub(crate) struct Plan {
    /// How long a grant lasts
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub(crate) period: Duration,
    /// How many leases
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) leases: u64,
    /// How long before the deadline the work is told to stop [default: a tenth of the period]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) grace: Option<Duration>,
    /// How long a successor waits on purpose after a term that did not end clean
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) delay: Option<Duration>,
    /// How long a request takes
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) round_trip: Option<Duration>,
    /// The manager's time-out, in a program of your own: a request waits for its answer for half of it
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// What a request costs, in any currency
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub(crate) price: Option<f64>,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(price) if (0.0..f64::INFINITY).contains(&price) => Ok(price),
        _ => Err("a price is a number, not below zero: 0.0000004".into()),
    }
}

pub(crate) fn name(text: &str) -> leasehold::Result<LeaseName> {
    LeaseName::new(text)
}

fn prefix(text: &str) -> leasehold::Result<Prefix> {
    Prefix::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_is_the_command_s() {
        let args =
            Args::try_parse_from(["leasehold", "run", "x", "--", "cmd", "--wait", "-q"]).unwrap();
        let Verb::Run(run) = args.verb else { panic!() };
        assert_eq!(run.work.command, ["cmd", "--wait", "-q"]);
        assert_eq!(run.work.period, Duration::from_secs(15));
        assert_eq!(run.wait, None);
        assert!(!args.global.quiet);
    }

    #[test]
    fn the_quick_way_reads_a_line_as_the_whole_one_does() {
        Quick::command().debug_assert();
        for line in [
            "leasehold run x -- true",
            "leasehold -qv run x --wait forever -E 3 --store s -- run -q",
            "leasehold --store s run x --period 3s --time-limit 1h --note n --machine-id i -- a",
            "leasehold --store run run x -- true",
            "leasehold --store run list",
            "leasehold get run",
            "leasehold help run",
            "leasehold run --help",
            "leasehold run x",
            "leasehold run x --period 15 -- true",
            "leasehold run",
            "leasehold acquire run --period 1",
            "leasehold",
        ] {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let told = |args: Result<Args, clap::Error>| match args {
                Ok(args) => format!("{args:?}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(
                told(Args::of(&words)),
                told(Args::try_parse_from(&words)),
                "{line}"
            );
        }
    }

    #[test]
    fn bad_lines_are_refused() {
        for line in [
            "leasehold run x",
            "leasehold run x true",
            "leasehold run x/ -- true",
            "leasehold run x --period 15 -- true",
            "leasehold run x -E 256 -- true",
            "leasehold renew x",
            "leasehold renew x --fence 1 --index 2",
            "leasehold steal x --reason a --assume-dead b",
            "leasehold watch",
            "leasehold watch a --prefix b",
            "leasehold check x",
            "leasehold plan --period 15",
            "leasehold plan --price nan",
            "leasehold plan --price -1",
            "leasehold plan --leases -1",
        ] {
            let words = line.split(' ');
            assert!(Args::try_parse_from(words).is_err(), "{line}");
        }
        let line = ["leasehold", "run", "x", "--period", "15", "--", "true"];
        let error = Args::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains("did you mean 15s?"), "{error}");
    }
}
