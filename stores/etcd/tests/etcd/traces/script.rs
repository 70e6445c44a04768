//! The files: what is asked, and what was answered.

use std::fmt::Write as _;
use std::path::PathBuf;

use leasehold_testkit::servers::EtcdVersion;

/// Whose answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Server(EtcdVersion),
    Simulator,
}

/// A script with its recorded answers.
pub(super) struct Script {
    path: PathBuf,
    pub(super) setting: Setting,
    lines: Vec<Line>,
}

/// On what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    One,
    /// `members 3`: in front of a script that has another one lead, or stops them.
    Three,
    /// `small`: one of little space.
    Small,
}

enum Line {
    /// A comment, an empty line, or the setting.
    Plain(String),
    Step(Step),
}

/// One command and what is answered to it.
pub(super) struct Step {
    number: usize,
    pub(super) command: String,
    answers: Vec<Answer>,
}

#[derive(Clone)]
struct Answer {
    /// Whose it is; empty: every server's.
    whose: String,
    text: String,
}

const INDENT: &str = "    ";
/// Between answers of which each is right.
const OR: &str = " or ";

fn label(version: EtcdVersion) -> &'static str {
    match version {
        EtcdVersion::V3_4 => "3.4",
        EtcdVersion::V3_5 => "3.5",
        EtcdVersion::V3_7 => "3.7",
    }
}

impl Script {
    /// All scripts, by their names.
    pub(super) fn all() -> Vec<Self> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/etcd/traces");
        let files = std::fs::read_dir(folder).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|end| end == "trace"))
            .collect();
        paths.sort();
        let read = |path: PathBuf| Self::parse(&std::fs::read_to_string(&path).unwrap(), path);
        paths.into_iter().map(read).collect()
    }

    pub(super) fn parse(text: &str, path: PathBuf) -> Self {
        let (mut setting, mut lines) = (Setting::One, Vec::new());
        for (number, line) in text.lines().enumerate() {
            if let Some(answer) = line.strip_prefix(INDENT) {
                let Some(Line::Step(step)) = lines.last_mut() else {
                    panic!("{}:{}: an answer to nothing", path.display(), number + 1);
                };
                let known = |whose: &str| EtcdVersion::ALL.iter().any(|v| label(*v) == whose);
                let (whose, text) = match answer.split_once(": ") {
                    Some((whose, text)) if known(whose) => (whose, text),
                    _ => ("", answer),
                };
                step.answers.push(Answer {
                    whose: whose.to_owned(),
                    text: text.to_owned(),
                });
                continue;
            }
            match line {
                "members 3" => setting = Setting::Three,
                "small" => setting = Setting::Small,
                _ => {}
            }
            let set = matches!(line, "members 3" | "small");
            lines.push(match set || line.is_empty() || line.starts_with('#') {
                true => Line::Plain(line.to_owned()),
                false => Line::Step(Step {
                    number: number + 1,
                    command: line.to_owned(),
                    answers: Vec::new(),
                }),
            });
        }
        Self {
            path,
            setting,
            lines,
        }
    }

    pub(super) fn name(&self) -> String {
        let name = self.path.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.lines.iter().filter_map(|line| match line {
            Line::Step(step) => Some(step),
            Line::Plain(_) => None,
        })
    }

    /// What was answered otherwise than is recorded, in words.
    pub(super) fn differs(&self, who: Who, answers: &[String]) -> String {
        let mut text = String::new();
        for (step, answer) in self.steps().zip(answers) {
            let expected = step.expected(who);
            if !expected.is_some_and(|expected| same(expected, answer, who)) {
                let (path, number) = (self.path.display(), step.number);
                let expected = expected.unwrap_or("nothing: it is not recorded");
                _ = writeln!(
                    text,
                    "{path}:{number}: {}\n  recorded: {expected}\n  {who:?}: {answer}",
                    step.command
                );
            }
        }
        text
    }

    /// Records what the servers have answered.
    pub(super) fn record(&mut self, answered: &[(EtcdVersion, Vec<String>)]) {
        let mut place = 0;
        for line in &mut self.lines {
            if let Line::Step(step) = line {
                step.record(|version| {
                    let of = answered.iter().find(|(of, _)| *of == version).unwrap();
                    of.1[place].clone()
                });
                place += 1;
            }
        }
        std::fs::write(&self.path, self.text()).unwrap();
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::Plain(line) => _ = writeln!(text, "{line}"),
                Line::Step(step) => {
                    _ = writeln!(text, "{}", step.command);
                    for Answer { whose, text: said } in &step.answers {
                        _ = match whose.as_str() {
                            "" => writeln!(text, "{INDENT}{said}"),
                            whose => writeln!(text, "{INDENT}{whose}: {said}"),
                        };
                    }
                }
            }
        }
        text
    }
}

impl Step {
    fn of(&self, whose: impl Fn(&str) -> bool) -> Option<&str> {
        let answer = self.answers.iter().find(|answer| whose(&answer.whose))?;
        Some(&answer.text)
    }

    /// The simulator stands for the newest server.
    fn expected(&self, who: Who) -> Option<&str> {
        let version = match who {
            Who::Server(version) => version,
            Who::Simulator => EtcdVersion::V3_7,
        };
        self.of(|whose| whose == label(version))
            .or_else(|| self.of(str::is_empty))
    }

    /// One line for all servers where they agree; what was right, in a race or as exactly as is told, stays so.
    fn record(&mut self, answered: impl Fn(EtcdVersion) -> String) {
        let new = EtcdVersion::ALL.map(|version| (Who::Server(version), answered(version)));
        let common = self.of(str::is_empty).map(str::to_owned);
        let mut common = common.unwrap_or_else(|| new[0].1.clone());
        if self.command.starts_with("together ") {
            for (who, answer) in &new {
                if !same(&common, answer, *who) {
                    common = format!("{common}{OR}{answer}");
                }
            }
        }
        let answer = |whose: &str, text: String| Answer {
            whose: whose.to_owned(),
            text,
        };
        let of_all = new.iter().all(|(who, answer)| same(&common, answer, *who));
        self.answers = match of_all {
            true => vec![answer("", common)],
            false => {
                let each = EtcdVersion::ALL.into_iter().zip(new);
                let kept = |old: Option<&str>, who, new: String| match old {
                    Some(old) if same(old, &new, who) => old.to_owned(),
                    _ => new,
                };
                each.map(|(v, (who, new))| answer(label(v), kept(self.expected(who), who, new)))
                    .collect()
            }
        };
    }
}

/// How long after its time a key went.
fn lateness(answer: &str) -> Option<f64> {
    let figure = answer.strip_prefix("gone ")?;
    figure.strip_suffix(" s after its time")?.parse().ok()
}

/// A server looks for what has run out every half second, in a rhythm of its own, and what a new leader extends lasts from
/// when it has begun: a live one on a busy machine is later still. What comes early is an answer in other words.
const RHYTHM: f64 = 0.6;
const BUSY: f64 = 15.0;

/// Whether an answer is the recorded one. What is to be late may be less late.
fn same(expected: &str, answer: &str, who: Who) -> bool {
    match (lateness(expected), lateness(answer)) {
        (Some(expected), Some(answer)) => {
            let more = if who == Who::Simulator { 0.0 } else { BUSY };
            (0.0..=expected + RHYTHM + more).contains(&answer)
        }
        _ => expected.split(OR).any(|expected| expected == answer),
    }
}
