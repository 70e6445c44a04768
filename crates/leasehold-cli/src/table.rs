//! The table that repaints, as text: which rows, in which columns, cut to a terminal's size.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use leasehold::{BootInstant, Event, LeaseName, Status};

use crate::duration::human;
use crate::output::{masked, quoted};
use crate::{show, width};

/// The columns of a terminal, and its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) lines: usize,
}

/// How a line is shown, where a terminal can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Head,
    Plain,
    /// Nobody holds it, or it is no row.
    Faint,
}

/// A line of the table, no longer than the terminal is wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) style: Style,
}

/// What is known of each name, and since when.
#[derive(Debug)]
pub(crate) struct Table {
    known: BTreeMap<LeaseName, (Status, BootInstant)>,
    /// Names that nobody holds are shown too.
    all: bool,
    trouble: Option<String>,
}

const HEAD: [&str; 6] = ["NAME", "HOLDER", "FENCE", "LEFT", "SINCE", "NOTE"];
const GAP: &str = "  ";

impl Table {
    pub(crate) fn new(all: bool) -> Self {
        Self {
            known: BTreeMap::new(),
            all,
            trouble: None,
        }
    }

    /// Takes up what was just read.
    pub(crate) fn saw(&mut self, event: Event, now: BootInstant) {
        match event.status {
            Some(status) if self.all || status.is_held() => {
                self.known.insert(event.name, (status, now));
            }
            _ => drop(self.known.remove(&event.name)),
        }
    }

    /// Says under the table what is wrong with it, or no more.
    pub(crate) fn set_trouble(&mut self, trouble: Option<String>) {
        self.trouble = trouble;
    }

    /// The lines at this moment. The last line of the terminal is left to its cursor.
    pub(crate) fn lines(&self, size: Size, now: BootInstant, wall: SystemTime) -> Vec<Line> {
        let most = size.lines.saturating_sub(1).max(1);
        let trouble = usize::from(self.trouble.is_some());
        let room = most.saturating_sub(1 + trouble);
        let shown = match self.known.len() {
            all if all <= room => all,
            // The last of them says how many more there are.
            _ => room.saturating_sub(1),
        };
        let mut styles = vec![Style::Head];
        let mut rows = vec![HEAD.map(str::to_owned)];
        for (status, seen) in self.in_order().take(shown) {
            styles.push(match status.is_held() {
                true => Style::Plain,
                false => Style::Faint,
            });
            rows.push(row(status, *seen, now, wall));
        }
        let widths = widths(&rows, size.columns);
        let mut lines: Vec<Line> = rows
            .iter()
            .zip(styles)
            .map(|(row, style)| Line {
                text: text(row, widths),
                style,
            })
            .collect();
        let mut below = |text: String| {
            lines.push(Line {
                text,
                style: Style::Faint,
            });
        };
        match self.known.len() - shown {
            0 if shown == 0 => below("(none)".to_owned()),
            0 => {}
            more => below(format!("… {more} more")),
        }
        if let Some(trouble) = &self.trouble {
            below(trouble.clone());
        }
        lines.truncate(most);
        for line in &mut lines {
            line.text = width::cut(&line.text, size.columns);
        }
        lines
    }

    /// Those that are held, then the others; by name.
    fn in_order(&self) -> impl Iterator<Item = &(Status, BootInstant)> {
        let of = |held| move |known: &&(Status, BootInstant)| known.0.is_held() == held;
        let known = self.known.values();
        known
            .clone()
            .filter(of(true))
            .chain(known.filter(of(false)))
    }
}

fn row(status: &Status, seen: BootInstant, now: BootInstant, wall: SystemTime) -> [String; 6] {
    let left = match status.left() {
        None => "-".to_owned(),
        Some(_) if status.is_vacant() => "-".to_owned(),
        Some(left) => whole(left.saturating_sub(now.since(seen))),
    };
    let how = || status.ended().filter(|_| !status.is_held()).map(show::how);
    let note = status.note().map(quoted).or_else(how);
    [
        masked(status.name().as_str()).into_owned(),
        show::holder(status),
        status.fence().to_string(),
        left,
        status
            .since()
            .and_then(|since| show::short_time(since, wall))
            .unwrap_or_else(|| "-".to_owned()),
        note.unwrap_or_else(|| "-".to_owned()),
    ]
}

/// What is left, in whole seconds, rounded up.
fn whole(left: Duration) -> String {
    let seconds = left.as_nanos().div_ceil(1_000_000_000);
    human(Duration::from_secs(
        u64::try_from(seconds).unwrap_or(u64::MAX),
    ))
}

/// How wide each column is: numbers and times as they need, the rest is shared by name, holder and note, in which the
/// name goes first.
fn widths(rows: &[[String; 6]], columns: usize) -> [usize; 6] {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(width::of(cell));
        }
    }
    let [name, holder, fence, left, since, note] = widths;
    let gaps = GAP.len() * (HEAD.len() - 1);
    let rest = columns.saturating_sub(gaps + fence + left + since);
    let name = name.min((rest / 2).max(rest.saturating_sub(holder + note)));
    let rest = rest - name;
    let holder = holder.min((rest / 2).max(rest.saturating_sub(note)));
    let note = note.min(rest - holder);
    [name, holder, fence, left, since, note]
}

fn text(row: &[String; 6], widths: [usize; 6]) -> String {
    let cells = row.iter().zip(widths);
    let cells = cells.map(|(cell, width)| width::filled(&width::cut(cell, width), width));
    let text = cells.collect::<Vec<_>>().join(GAP);
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold::{Attempt, Request};

    const SIZE: Size = Size {
        columns: 80,
        lines: 24,
    };

    /// A table of so many leases of a minute each, of which the first is released, as it was read at this moment.
    fn table(leases: usize, all: bool) -> (Table, BootInstant, SystemTime) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let manager = leasehold::connect("memory:").await.unwrap();
            let manager = manager.machine_id("host-7").build().unwrap();
            let mut table = Table::new(all);
            let now = manager.door().now();
            for n in 0..leases {
                let name = LeaseName::new(format!("jobs/{n:02}")).unwrap();
                let request = Request::new(&name, Duration::from_secs(60)).note("nightly report");
                let attempt = manager.try_acquire(request).await.unwrap();
                let Attempt::Acquired(lease) = attempt else {
                    panic!("{attempt:?}");
                };
                if n == 0 {
                    lease.release().await.unwrap();
                }
                let status = manager.status(&name).await.unwrap();
                table.saw(Event { name, status }, now);
            }
            (table, now, manager.door().wall())
        })
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn what_is_left_counts_down_and_stops_at_nothing() {
        let (table, now, wall) = table(2, false);
        let at = |seconds| table.lines(SIZE, now.plus(Duration::from_secs(seconds)), wall);
        for (seconds, left) in [(0, "1m"), (1, "59s"), (51, "9s"), (60, "0s"), (99, "0s")] {
            let lines = at(seconds);
            let [head, row] = lines.as_slice() else {
                panic!("{lines:?}");
            };
            let cells: Vec<&str> = row.text.split_whitespace().collect();
            assert_eq!(cells[..2], ["jobs/01", "host-7"]);
            assert_eq!(cells[3], left, "{row:?}");
            assert!(row.text.ends_with("Z  nightly report"), "{row:?}");
            assert_eq!(head.text.find("NOTE"), row.text.find("nightly"));
            assert_eq!((head.style, row.style), (Style::Head, Style::Plain));
        }
    }

    #[test]
    fn what_is_held_goes_first_and_more_than_fits_is_counted() {
        let (mut table, now, wall) = table(30, true);
        let lines = table.lines(SIZE, now, wall);
        assert_eq!(lines.len(), 23);
        assert!(lines[1].text.starts_with("jobs/01 "));
        assert_eq!(lines[22].text, "… 9 more");
        let high = Size { lines: 32, ..SIZE };
        let lines = table.lines(high, now, wall);
        assert_eq!(lines.len(), 31);
        assert!(lines[30].text.starts_with("jobs/00  nobody"), "{lines:?}");
        assert!(lines[30].text.ends_with("released by host-7"), "{lines:?}");
        assert_eq!(lines[30].style, Style::Faint);
        table.set_trouble(Some("no answer".to_owned()));
        let lines = table.lines(high, now, wall);
        assert_eq!(texts(&lines)[29..], ["… 2 more", "no answer"]);
    }

    #[test]
    fn a_table_fits_whatever_the_terminal() {
        for leases in [0, 1, 3, 12] {
            let (mut table, now, wall) = table(leases, true);
            for trouble in [None, Some("no answer".repeat(20))] {
                table.set_trouble(trouble);
                for columns in (0..130).step_by(3) {
                    for lines in 0..15 {
                        let size = Size { columns, lines };
                        let shown = table.lines(size, now, wall);
                        assert!((1..=lines.saturating_sub(1).max(1)).contains(&shown.len()));
                        for line in &shown {
                            assert!(width::of(&line.text) <= columns, "{size:?} {line:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_and_what_ends_is_not_listed() {
        let (mut none, now, wall) = table(0, false);
        let head = "NAME  HOLDER  FENCE  LEFT  SINCE  NOTE";
        assert_eq!(texts(&none.lines(SIZE, now, wall)), [head, "(none)"]);
        let name = LeaseName::new("jobs/01").unwrap();
        let (held, ..) = table(2, false);
        let (status, _) = held.known[&name].clone();
        let event = |status| Event {
            name: name.clone(),
            status,
        };
        none.saw(event(Some(status)), now);
        assert_eq!(none.lines(SIZE, now, wall).len(), 2);
        none.saw(event(None), now);
        assert_eq!(texts(&none.lines(SIZE, now, wall)), [head, "(none)"]);
    }

    #[test]
    fn numbers_are_not_cut_and_the_name_is_cut_last() {
        let row = |cells: [&str; 6]| cells.map(str::to_owned);
        let long = [
            "services/billing/invoices",
            "host-7-12345-0123456789abcdef",
            "1795800742583493",
            "1m 30s",
            "17:32:22Z",
            "租约租约租约",
        ];
        let rows = [HEAD.map(str::to_owned), row(long)];
        let of = |columns| text(&rows[1], widths(&rows, columns));
        assert_eq!(of(150).split("  ").collect::<Vec<_>>(), long);
        assert_eq!(
            of(80),
            "services/billing/i…  host-7-12…  1795800742583493  1m 30s  17:32:22Z  租约租约…"
        );
        // Without a note to show there is more room.
        let rows = [
            row(["n", "h", "1", "1s", "s", "-"]),
            row(["aaaaaaaaaa", "bbbbbbbbbb", "1", "1s", "s", "-"]),
        ];
        assert_eq!(
            text(&rows[1], widths(&rows, 31)),
            "aaaaaaa…  bbbbbbb…  1  1s  s  -"
        );
    }
}
