//! The table that repaints: `leasehold watch` and `leasehold list --watch` on a terminal.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, Either, FutureExt, select};
use leasehold::{BootInstant, Error, ErrorKind, Event, Manager, Watch};
use signal_hook::consts::{SIGCONT, SIGWINCH};
use signal_hook_tokio::Signals;

use super::watch::Scope;
use crate::exit::{Failure, OWN_FAILURE, sentence};
use crate::screen::Screen;
use crate::table::Table;

/// How long a first answer is waited for before the table is shown without it.
const FIRST: Duration = Duration::from_millis(200);
/// The countdown.
const SECOND: Duration = Duration::from_secs(1);
/// Changes are shown at once, but no more often than this.
const LEAST: Duration = Duration::from_millis(50);
/// How long a watch that failed may take until it reads again.
const RE_READ: Duration = Duration::from_secs(5);

/// What is waited for.
#[expect(clippy::large_enum_variant, reason = "one of them at a time")]
enum Woke {
    Read(Result<Event, Error>),
    Signal(i32),
    Recovered,
    Time,
}

/// Paints until the process is ended. The default actions of signals do that well: there is nothing to put right.
pub(super) async fn table(
    manager: &Manager,
    mut watch: Watch,
    scope: &Scope,
    all: bool,
    mut screen: Screen,
) -> Result<u8, Failure> {
    let mut signals = Signals::new([SIGCONT, SIGWINCH])
        .map_err(|error| Failure::new(OWN_FAILURE, format!("cannot listen to signals: {error}")))?;
    let door = manager.door().clone();
    let mut table = Table::new(all);
    let mut recovery: Option<BoxFuture<'static, ()>> = None;
    let mut second = door.now().plus(FIRST);
    let mut painted = BootInstant::ZERO;
    let mut changed = false;
    loop {
        let due = match changed {
            true => second.min(painted.plus(LEAST)),
            false => second,
        };
        let now = door.now();
        // First of all, however much there is to read.
        if now >= due {
            let size = Screen::size();
            screen.paint(&table.lines(size, now, door.wall()), size)?;
            (painted, changed) = (now, false);
            while second <= now {
                second = second.plus(SECOND);
            }
            continue;
        }
        let woke = {
            let recovered = match &mut recovery {
                Some(recovery) => recovery.left_future(),
                None => std::future::pending().right_future(),
            };
            let told = std::pin::pin!(watch.next());
            let rest = select(select(signals.next(), recovered), door.sleep_until(due));
            match select(told, rest).await {
                Either::Left((read, _)) => Woke::Read(read),
                Either::Right((Either::Left((Either::Left((Some(signal), _)), _)), _)) => {
                    Woke::Signal(signal)
                }
                Either::Right((Either::Left((Either::Right(_), _)), _)) => Woke::Recovered,
                Either::Right(_) => Woke::Time,
            }
        };
        match woke {
            Woke::Read(Ok(event)) => {
                table.saw(event, door.now());
                table.set_trouble(None);
                (recovery, changed) = (None, true);
            }
            Woke::Read(Err(error)) if error.kind() == ErrorKind::Unavailable => {
                let error = crate::output::masked(&sentence(&error)).into_owned();
                table.set_trouble(Some(format!("trying again: {error}")));
                recovery = Some(answers_again(manager.clone(), scope.clone()).boxed());
                changed = true;
            }
            Woke::Read(Err(error)) => return Err(error.into()),
            Woke::Recovered => {
                table.set_trouble(None);
                (recovery, changed) = (None, true);
            }
            Woke::Signal(signal) => {
                if signal == SIGCONT {
                    screen.set_fresh();
                }
                (painted, changed) = (BootInstant::ZERO, true);
            }
            Woke::Time => {}
        }
    }
}

/// Until the registry has answered, and the watch has had the time to read. A watch tells of changes only: where there
/// are none it does not tell that it is well again.
async fn answers_again(manager: Manager, scope: Scope) {
    loop {
        let door = manager.door();
        door.sleep_until(door.now().plus(SECOND)).await;
        if scope.is_readable(&manager).await {
            return door.sleep_until(door.now().plus(RE_READ)).await;
        }
    }
}
