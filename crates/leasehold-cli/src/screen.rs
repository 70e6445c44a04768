//! A terminal on which a table repaints.
//!
//! Nothing about the terminal is changed that would have to be put right again: no other screen, no hidden cursor, no
//! other modes. So whatever ends the process (Ctrl-C, a kill, a panic, a terminal that hangs up), the terminal is as it
//! should be, with the last table on it and the cursor below. What was on the screen before is in the scrollback.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::exit::Failure;
use crate::output::{Output, colours, unwritten};
use crate::table::{Line, Size, Style};

#[derive(Debug)]
pub(crate) struct Screen {
    /// What is on the screen is somebody else's.
    fresh: bool,
    colours: bool,
}

impl Screen {
    /// The terminal, if there is one that can repaint, and that nothing else writes to.
    pub(crate) fn of_this_process(output: Output) -> Option<Self> {
        let logs = output.is_verbose() && std::io::stderr().is_terminal();
        let term = std::env::var_os("TERM").unwrap_or_default();
        if !std::io::stdout().is_terminal() || logs || term.is_empty() || term == "dumb" {
            return None;
        }
        Some(Self {
            fresh: true,
            colours: colours(),
        })
    }

    pub(crate) fn size() -> Size {
        let size = tcgetwinsize(std::io::stdout()).ok();
        let or = |length: Option<u16>, usual| match length {
            // A serial line does not know its own.
            None | Some(0) => usual,
            Some(length) => usize::from(length),
        };
        Size {
            columns: or(size.map(|size| size.ws_col), 80),
            lines: or(size.map(|size| size.ws_row), 24),
        }
    }

    /// The process was stopped: a shell has written to the terminal meanwhile.
    pub(crate) fn set_fresh(&mut self) {
        self.fresh = true;
    }

    /// Paints, unless another job has the terminal.
    pub(crate) fn paint(&mut self, lines: &[Line], size: Size) -> Result<(), Failure> {
        if is_background() {
            self.fresh = true;
            return Ok(());
        }
        let fresh = std::mem::take(&mut self.fresh);
        let frame = frame(lines, size, fresh, self.colours);
        let mut out = std::io::stdout().lock();
        out.write_all(frame.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| unwritten(&error))
    }
}

/// Whether this process is a job in the background of its terminal.
fn is_background() -> bool {
    let ours = rustix::process::getpgrp();
    tcgetpgrp(std::io::stdout()).is_ok_and(|group| group != ours)
}

/// What paints the lines, in one piece. Each line is cleared before it is written: at the right edge a terminal would
/// clear the last character.
fn frame(lines: &[Line], size: Size, fresh: bool, colours: bool) -> String {
    let mut frame = String::new();
    if fresh {
        frame += &"\r\n".repeat(size.lines);
    }
    frame += "\x1b[H";
    for line in lines {
        let style = match line.style {
            Style::Head => "1",
            Style::Faint => "2",
            Style::Plain => "",
        };
        _ = match style {
            "" => write!(frame, "\x1b[2K{}\r\n", line.text),
            _ if !colours => write!(frame, "\x1b[2K{}\r\n", line.text),
            style => write!(frame, "\x1b[2K\x1b[{style}m{}\x1b[0m\r\n", line.text),
        };
    }
    frame + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        columns: 80,
        lines: 3,
    };

    fn lines() -> Vec<Line> {
        [("a", Style::Head), ("b", Style::Plain)]
            .map(|(text, style)| Line {
                text: text.to_owned(),
                style,
            })
            .to_vec()
    }

    #[test]
    fn a_frame_starts_at_the_top_and_clears_what_is_below() {
        let frame = frame(&lines(), SIZE, false, true);
        assert_eq!(frame, "\x1b[H\x1b[2K\x1b[1ma\x1b[0m\r\n\x1b[2Kb\r\n\x1b[J");
    }

    #[test]
    fn what_is_somebody_else_s_is_pushed_away_and_without_colours_nothing_is_bold() {
        let frame = frame(&lines(), SIZE, true, false);
        assert_eq!(frame, "\r\n\r\n\r\n\x1b[H\x1b[2Ka\r\n\x1b[2Kb\r\n\x1b[J");
    }

    /// No mode is switched, so none has to be switched back.
    #[test]
    fn no_frame_leaves_anything_to_be_undone() {
        for (fresh, colours) in [(true, true), (false, true), (false, false)] {
            let frame = frame(&lines(), SIZE, fresh, colours);
            for sequence in frame.split('\x1b').skip(1) {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                assert!("HJKm".contains(&sequence[end..=end]), "{sequence:?}");
                assert!(sequence.starts_with('[') && !sequence.contains('?'));
            }
            assert_eq!(frame.matches("m").count() % 2, 0);
        }
    }
}
