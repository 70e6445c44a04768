//! How far a campaign has come, kept in a file.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};

use leasehold_testkit::world::{Kind, Report, simulate};

/// The progress of one kind of world. It counts only for the seeds that it began with, and for the same program: the
/// first seed's trace tells programs apart.
pub(crate) struct Progress {
    path: PathBuf,
    kind: String,
    first: u64,
    next: u64,
    trace: u64,
}

/// Of each kind: the first seed, the next one to run, and the trace of the first.
type Kept = BTreeMap<String, (u64, u64, u64)>;

impl Progress {
    /// Where a campaign goes on; refused where the file is that of another one.
    pub(crate) fn open(path: &Path, kind: Kind, first: u64) -> Result<Self> {
        let mut report = Report::default();
        simulate(kind, first, None, false, &mut report);
        let kind = kind.to_string();
        let trace = report.traces;
        let next = match read(path)?.get(&kind) {
            None => first,
            Some((kept, next, was)) if (*kept, *was) == (first, trace) => *next,
            Some((kept, _, _)) => {
                let path = path.display();
                let why = match *kept == first {
                    true => "another program's".to_owned(),
                    false => format!("of seeds from {kept} on"),
                };
                let error =
                    format!("{path} keeps progress of {kind}, but {why}: name another file");
                return Err(Error::new(ErrorKind::InvalidInput, error));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
            first,
            next,
            trace,
        })
    }

    /// The next seed to run.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Everything before this seed is done.
    pub(crate) fn keep(&self, next: u64) -> Result<()> {
        let mut all = read(&self.path)?;
        all.insert(self.kind.clone(), (self.first, next, self.trace));
        let new = self.path.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        for (kind, (first, next, trace)) in all {
            writeln!(file, "{kind} {first} {next} {trace:016x}")?;
        }
        drop(file);
        std::fs::rename(new, &self.path)
    }
}

fn read(path: &Path) -> Result<Kept> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Kept::new()),
        Err(error) => return Err(error),
    };
    let mut kept = Kept::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let read = match &fields[..] {
            [kind, first, next, trace] => {
                let numbers = (first.parse(), next.parse(), u64::from_str_radix(trace, 16));
                match numbers {
                    (Ok(first), Ok(next), Ok(trace)) => Some((*kind, (first, next, trace))),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some((kind, progress)) = read else {
            let error = format!("{} is no progress of simulations: {line:?}", path.display());
            return Err(Error::new(ErrorKind::InvalidData, error));
        };
        kept.insert(kind.to_owned(), progress);
    }
    Ok(kept)
}
