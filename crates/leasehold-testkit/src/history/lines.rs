//! The file format: a header line and then one JSON object a line, as `docs/history.md` says.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::records::History;
use super::types::{
    Attempt, Belief, Found, Header, Kind, Name, Operation, Outcome, Standing, State,
};

/// The version of the format.
const VERSION: u32 = 1;

/// Any line. Which kind it is follows from its fields.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line<'a> {
    // A header.
    #[serde(skip_serializing_if = "Option::is_none")]
    leasehold_history: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    clock: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift_ppm: Option<u32>,
    #[serde(skip_serializing_if = "is_false")]
    continues: bool,
    // Any record.
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<u32>,
    // An operation, or with `done` what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<Attempt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    dead: bool,
    #[serde(skip_serializing_if = "is_handle")]
    by: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    back: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<Out>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<u64>,
    /// Told apart: absent, and null.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    found: Option<Option<Shown>>,
    // A belief, with `name`, `handle` and `fence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    begin: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    index: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    held: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<Attempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Out {
    Granted,
    Vacated,
    Refused,
    NotApplied,
    Unknown,
    Read,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_handle(standing: &Standing) -> bool {
    *standing == Standing::Handle
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Shown>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Serialize for Attempt {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl<'de> Deserialize<'de> for Attempt {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        u128::from_str_radix(&text.replace('-', ""), 16)
            .map(Self)
            .map_err(|_| {
                serde::de::Error::custom(format_args!(
                    "an attempt is up to 32 hexadecimal digits, not {text:?}"
                ))
            })
    }
}

/// Writes lines, each with one write.
pub(crate) struct Lines<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W> fmt::Debug for Lines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl<W: Write> Lines<W> {
    pub(crate) fn new(to: W) -> Self {
        Self {
            to,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn header(&mut self, header: &Header) -> io::Result<()> {
        self.line(&Line {
            leasehold_history: Some(VERSION),
            clock: Some(Cow::Borrowed(&header.clock)),
            error: Some(header.error),
            drift_ppm: Some(header.drift_ppm),
            continues: header.continues,
            ..Line::default()
        })
    }

    /// An operation; with a number where what becomes of it follows in a line of its own.
    pub(crate) fn operation(
        &mut self,
        name: &str,
        operation: &Operation,
        begun: Option<u64>,
    ) -> io::Result<()> {
        let line = Line {
            p: Some(operation.process),
            op: Some(operation.kind),
            begun,
            name: Some(Cow::Borrowed(name)),
            handle: operation.handle,
            names: operation.names,
            attempt: operation.attempt,
            period: operation.period,
            dead: operation.assume_dead,
            by: operation.standing,
            at: Some(operation.invoked),
            own: operation.own,
            ..Line::default()
        };
        self.line(&match begun {
            Some(_) => line,
            None => line.with(operation),
        })
    }

    pub(crate) fn returned(&mut self, operation: &Operation, number: u64) -> io::Result<()> {
        let line = Line {
            p: Some(operation.process),
            done: Some(number),
            ..Line::default()
        };
        self.line(&line.with(operation))
    }

    pub(crate) fn belief(&mut self, name: &str, belief: &Belief) -> io::Result<()> {
        self.line(&Line {
            p: Some(belief.process),
            name: Some(Cow::Borrowed(name)),
            handle: Some(belief.handle),
            fence: Some(belief.fence),
            begin: Some(belief.begin),
            end: belief.end,
            ..Line::default()
        })
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        self.to.write_all(&self.buffer)
    }
}

impl Line<'_> {
    /// What became of an operation.
    fn with(mut self, operation: &Operation) -> Self {
        self.back = operation.returned;
        let shown = |found| match found {
            Found::Unsaid => None,
            Found::Nothing => Some(None),
            Found::Record(state) => Some(Some(Shown::from(state))),
        };
        let out = match operation.outcome {
            Outcome::Granted {
                index,
                fence,
                period,
                wait,
            } => {
                self.index = Some(index);
                self.fence = Some(fence);
                self.granted = Some(period);
                self.wait = (wait > 0).then_some(wait);
                self.counted = operation.counted;
                Out::Granted
            }
            Outcome::Vacated { index } => {
                self.index = Some(index);
                Out::Vacated
            }
            Outcome::Refused { found } => {
                self.found = shown(found);
                Out::Refused
            }
            Outcome::NotApplied => Out::NotApplied,
            Outcome::Unknown => Out::Unknown,
            Outcome::Read { found } => {
                self.found = shown(found);
                Out::Read
            }
        };
        self.out = Some(out);
        self
    }

    fn header(&self) -> Result<Header, String> {
        match self.leasehold_history {
            Some(VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "this is version {version} of the format; this program reads {VERSION}"
                ));
            }
            None => return Err("the first line must be a header (`leasehold_history`)".into()),
        }
        Ok(Header {
            clock: self
                .clock
                .as_deref()
                .ok_or("a header names its `clock`")?
                .into(),
            error: self.error.unwrap_or(0),
            drift_ppm: self.drift_ppm.unwrap_or(0),
            continues: self.continues,
        })
    }

    fn outcome(&self, kind: Kind) -> Result<Outcome, String> {
        let found = match self.found {
            None => Found::Unsaid,
            Some(None) => Found::Nothing,
            Some(Some(shown)) => Found::Record(shown.into()),
        };
        let need =
            |field: Option<u64>, what: &str| field.ok_or_else(|| format!("`{what}` is missing"));
        let outcome = match self.out {
            Some(Out::Granted) => Outcome::Granted {
                index: need(self.index, "index")?,
                fence: need(self.fence, "fence")?,
                period: need(self.granted, "granted")?,
                wait: self.wait.unwrap_or(0),
            },
            Some(Out::Vacated) => Outcome::Vacated {
                index: need(self.index, "index")?,
            },
            Some(Out::Refused) => Outcome::Refused { found },
            Some(Out::NotApplied) => Outcome::NotApplied,
            Some(Out::Unknown) => Outcome::Unknown,
            Some(Out::Read) => Outcome::Read { found },
            None if kind.is_change() => Outcome::Unknown,
            None => Outcome::Read { found },
        };
        let fits = match outcome {
            Outcome::Granted { .. } => kind.grants(),
            Outcome::Vacated { .. } => kind.is_change() && !kind.grants(),
            Outcome::Refused { .. } => kind.is_change(),
            Outcome::Read { .. } => !kind.is_change(),
            Outcome::NotApplied | Outcome::Unknown => true,
        };
        match fits {
            true => Ok(outcome),
            false => Err(format!("{outcome:?} is no outcome of {kind:?}")),
        }
    }
}

impl From<State> for Shown {
    fn from(state: State) -> Self {
        let State {
            index,
            fence,
            held,
            attempt,
        } = state;
        Self {
            index,
            fence,
            held,
            attempt,
        }
    }
}

impl From<Shown> for State {
    fn from(shown: Shown) -> Self {
        let Shown {
            index,
            fence,
            held,
            attempt,
        } = shown;
        Self {
            index,
            fence,
            held,
            attempt,
        }
    }
}

/// Why a history could not be read, and in which line.
#[derive(Debug)]
pub struct ReadError {
    line: usize,
    source: io::Error,
}

impl ReadError {
    /// The line, counted from one; zero where the file could not be opened.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.source),
            line => write!(f, "line {line}: {}", self.source),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for ReadError {
    fn from(source: io::Error) -> Self {
        Self { line: 0, source }
    }
}

impl History {
    /// Reads a history. Several files of one history may follow each other, each with its header.
    ///
    /// # Errors
    /// Names the line that could not be read.
    pub fn read(from: impl BufRead) -> Result<Self, ReadError> {
        let mut reader = Reader::default();
        let mut from = from;
        let mut buffer = Vec::new();
        let mut line = 0;
        loop {
            line += 1;
            buffer.clear();
            let read = from.read_until(b'\n', &mut buffer);
            let read = read.and_then(|bytes| match bytes {
                0 => Ok(false),
                _ => reader
                    .line(&buffer, line)
                    .map(|()| true)
                    .map_err(|message| io::Error::new(io::ErrorKind::InvalidData, message)),
            });
            match read {
                Ok(true) => {}
                Ok(false) => break,
                Err(source) => return Err(ReadError { line, source }),
            }
        }
        reader.history.ok_or_else(|| ReadError {
            line: 1,
            source: io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"),
        })
    }

    /// Writes the history, to be read again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut lines = Lines::new(io::BufWriter::new(to));
        lines.header(self.header())?;
        for operation in self.operations() {
            lines.operation(self.text(operation.name), &operation, None)?;
        }
        for belief in self.beliefs() {
            lines.belief(self.text(belief.name), belief)?;
        }
        lines.flush()
    }
}

#[derive(Debug, Default)]
struct Reader {
    history: Option<History>,
    /// Operations that were begun and whose outcome may still come, or a later instant from which it counts, by process
    /// and number.
    begun: BTreeMap<(u32, u64), usize>,
}

impl Reader {
    fn line(&mut self, bytes: &[u8], number: usize) -> Result<(), String> {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        // An array would be read as the fields in their order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err("a line is a JSON object".into());
        }
        let line: Line<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let Some(history) = &mut self.history else {
            self.history = Some(History::new(line.header()?));
            return Ok(());
        };
        if line.leasehold_history.is_some() {
            self.begun.clear();
            return again(history, line.header()?);
        }
        let process = line.p.ok_or("`p`, the process, is missing")?;
        if let Some(number) = line.done {
            let place = self.begun.remove(&(process, number));
            let place = place.ok_or("no operation of this process was `begun` with this number")?;
            let begun = history.operation(place).ok_or("no such operation")?;
            let outcome = line.outcome(begun.kind)?;
            if line.counted.is_some() {
                self.begun.insert((process, number), place);
            }
            if begun.returned.is_some()
                && (begun.outcome != outcome || begun.counted > line.counted)
            {
                return Err(
                    "a further answer tells no other outcome, and no earlier `counted`".into(),
                );
            }
            let operation = Operation {
                returned: line.back,
                counted: line.counted,
                outcome,
                ..begun
            };
            history.replace(place, &timely(operation)?);
            return Ok(());
        }
        let name = line.name.as_deref().ok_or("`name` is missing")?;
        let name = history.name(name);
        match (line.op, line.begin) {
            (Some(kind), None) => {
                let operation = operation(&line, process, name, kind)?;
                if let Some(begun) = line.begun {
                    self.begun.insert((process, begun), history.len());
                }
                history.push(&operation);
                history.in_line(number);
            }
            (None, Some(begin)) => {
                if line.end.is_some_and(|end| end < begin) {
                    return Err("`end` is before `begin`".into());
                }
                history.believe(Belief {
                    process,
                    handle: line.handle.ok_or("`handle` is missing")?,
                    name,
                    fence: line.fence.ok_or("`fence` is missing")?,
                    begin,
                    end: line.end,
                });
                history.in_line(number);
            }
            _ => {
                return Err(
                    "a record has `op` (an operation), `done` (its outcome) or `begin` (a belief)"
                        .into(),
                );
            }
        }
        Ok(())
    }
}

fn operation(line: &Line<'_>, process: u32, name: Name, kind: Kind) -> Result<Operation, String> {
    let operation = Operation {
        process,
        handle: line.handle,
        name,
        kind,
        names: line.names,
        attempt: line.attempt,
        period: line.period,
        assume_dead: line.dead,
        standing: line.by,
        invoked: line.at.ok_or("`at` is missing")?,
        returned: line.back,
        own: line.own,
        counted: line.counted,
        outcome: line.outcome(kind)?,
    };
    if kind.is_change() && kind != Kind::Acquire && line.names.is_none() {
        return Err("a change other than acquire `names` the index that it replaces".into());
    }
    if !kind.is_change() && line.names.is_some() {
        return Err("only a change `names` a predecessor".into());
    }
    timely(operation)
}

fn timely(operation: Operation) -> Result<Operation, String> {
    if operation
        .returned
        .is_some_and(|back| back < operation.invoked)
    {
        return Err("it came `back` before it was invoked".into());
    }
    Ok(operation)
}

/// The header of a further file of the same history.
fn again(history: &mut History, other: Header) -> Result<(), String> {
    let header = history.header();
    if header.clock != other.clock {
        return Err(format!(
            "this part is by the clock {:?}, the part before by {:?}",
            other.clock, header.clock
        ));
    }
    let joint = Header {
        error: header.error.max(other.error),
        drift_ppm: header.drift_ppm.max(other.drift_ppm),
        continues: header.continues,
        ..other
    };
    history.set_header(joint);
    Ok(())
}
