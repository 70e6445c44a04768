//! A trace in words.

use crate::event::{Event, Op};
use crate::model::{Clock, Model};
use crate::search::Happened;
use crate::state::{
    ALIVE, DEAD, DONE, HELD, LIVE, OVER, OWN, PROCESSES, SHORT, STANDING, TOMBSTONE,
};

/// What an operation is called, with its article.
fn called(op: Op) -> &'static str {
    match op {
        Op::Acquire => "an acquire",
        Op::Renew => "a renew",
        Op::Steal => "a steal",
        Op::Release => "a release",
        Op::Break => "a break",
        Op::ProxyRenew => "a renew by proxy",
        Op::ProxyRelease => "a release by proxy",
        Op::StealFromDead => "a steal that assumes the lessee dead",
        Op::KeepAlive => "a keep-alive",
    }
}

fn bare(op: Op) -> &'static str {
    called(op).split_once(' ').map_or("", |(_, bare)| bare)
}

/// Each event of a trace in words. Processes are called A, B, C in the order in which they appear.
#[must_use]
pub fn words(model: &Model, trace: &[Happened]) -> Vec<String> {
    let mut known: Vec<usize> = Vec::new();
    trace
        .iter()
        .map(|happened| {
            let mut letter = |place: usize| {
                let name = happened.names.get(place).copied().unwrap_or_default();
                let at = known
                    .iter()
                    .position(|known| *known == name)
                    .unwrap_or_else(|| {
                        known.push(name);
                        known.len() - 1
                    });
                char::from(b'A' + at as u8)
            };
            // Whoever acts gets its letter first.
            let mut text = event(model, happened, &mut letter);
            for p in 0..PROCESSES {
                let (before, after) = (&happened.before.processes[p], &happened.after.processes[p]);
                if after.is_current() && !before.is_current() {
                    text += &format!("; {} believes", letter(p));
                } else if before.is_current() && !after.is_current() {
                    text += &format!("; {} believes no longer", letter(p));
                } else if before.handle.standing == LIVE
                    && after.handle.standing == OVER
                    && !before.is_current()
                {
                    text += &format!("; {} will not believe", letter(p));
                }
            }
            text
        })
        .collect()
}

fn event(model: &Model, happened: &Happened, letter: &mut impl FnMut(usize) -> char) -> String {
    let Happened {
        event,
        before,
        after,
        ..
    } = happened;
    let record = &after.record;
    match *event {
        Event::Ask(p) => format!("{} sends a read", letter(p)),
        Event::Look(p) => {
            let what = match record.kind {
                HELD => format!("index {}, held", record.index),
                TOMBSTONE => format!("a tombstone, index {}", record.index),
                _ => "nothing".into(),
            };
            format!("{} reads: {what}", letter(p))
        }
        Event::Start(p, op, short) => {
            let length = if model.bounds.short && !op.vacates() && op != Op::ProxyRenew {
                if short {
                    " for the short period"
                } else {
                    " for the long period"
                }
            } else {
                ""
            };
            let pending = &after.processes[p].pending;
            let names = match pending.expect {
                0 => String::new(),
                index => format!(", naming index {index}"),
            };
            format!("{} sends {}{length}{names}", letter(p), called(op))
        }
        Event::Resend(p) => {
            let pending = &before.processes[p].pending;
            let what = Op::of(pending.op).map_or("", bare);
            let (same, refused) = (
                after.processes[p].pending.op != 0,
                after.processes[p].sight.index != pending.expect,
            );
            match model.clock {
                Clock::Observed if !same || refused => {
                    format!("{} reads, to send its {what} again: it stands", letter(p))
                }
                _ => format!("{} sends its {what} again", letter(p)),
            }
        }
        Event::KeepAlive(p) => format!("{} sends a keep-alive", letter(p)),
        Event::GiveUp(p, revoke) => {
            let pending = &before.processes[p].pending;
            let also = if revoke {
                " and revokes its native lease"
            } else {
                ""
            };
            format!(
                "{} gives up its {}, outcome unknown{also}",
                letter(p),
                Op::of(pending.op).map_or("", bare)
            )
        }
        Event::Apply(p, slot, keep) => {
            let request = &before.processes[p].requests[slot];
            let what = Op::of(request.op).map_or("", bare);
            let who = letter(p);
            if request.op == Op::KeepAlive as u8 {
                return format!("the registry answers {who}'s keep-alive");
            }
            let applied =
                record.counter > before.record.counter || record.index != before.record.index;
            let verb = if applied { "applies" } else { "refuses" };
            let index = if applied && record.index > 0 {
                format!(": index {}", record.index)
            } else {
                String::new()
            };
            let gone = if applied && record.index == 0 {
                ": the record is gone"
            } else {
                ""
            };
            let more = if keep {
                " (a duplicate stays under way)"
            } else {
                ""
            };
            format!("the registry {verb} {who}'s {what}{index}{gone}{more}")
        }
        Event::ApplyDeposed(p, _) => format!("a deposed leader answers {}'s keep-alive", letter(p)),
        Event::Receive(p, slot) => {
            let process = &before.processes[p];
            let what = Op::of(process.pending.op).map_or("", bare);
            let verdict = match process.replies[slot].verdict {
                DONE => format!("that its {what} was applied"),
                OWN => {
                    format!("from a refusal that shows its own attempt that its {what} was applied")
                }
                STANDING => format!("that its {what} was refused while what it names still stands"),
                ALIVE => "that its native lease was kept alive".into(),
                DEAD => "that its native lease is dead".into(),
                _ => format!("that its {what} was refused"),
            };
            let short = if process.pending.flags & SHORT != 0 && model.bounds.short {
                " (short period)"
            } else {
                ""
            };
            format!("{} learns {verdict}{short}", letter(p))
        }
        Event::Crash(p) => format!("{} crashes", letter(p)),
        Event::Restart if model.clock == Clock::Native => "another leader is elected".into(),
        Event::Restart => "the registry restarts".into(),
        Event::Expire(_) => "a native lease expires".into(),
        Event::Collect => "the registry collects the record".into(),
        Event::Tick(fast) => {
            if !model.bounds.drift {
                return "a tick passes".into();
            }
            let mut quick: Vec<String> = Vec::new();
            for p in 0..usize::from(model.bounds.processes) {
                if fast & (1 << p) != 0 {
                    quick.push(letter(p).to_string());
                }
            }
            if fast & crate::event::REGISTRY != 0 {
                quick.push("the registry".into());
            }
            match quick.is_empty() {
                true => "a tick passes, all clocks slow".into(),
                false => format!("a tick passes, fast by the clock of {}", quick.join(", ")),
            }
        }
    }
}
