//! What was found, a line each.

use serde_json::{Map, Value, json};

use crate::exit::{
    BUSY, CONFIGURATION, Failure, LOST, OWN_FAILURE, PERMISSION, UNAVAILABLE, USAGE,
};
use crate::output::{Output, masked};

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    Ok,
    Warning,
    /// With the exit status that it asks for.
    Fail(u8),
}

/// What one check found.
#[derive(Debug)]
pub(super) struct Finding {
    grade: Grade,
    check: &'static str,
    detail: String,
    fix: Option<String>,
    figures: Map<String, Value>,
}

impl Finding {
    fn new(grade: Grade, check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            grade,
            check,
            detail: detail.into(),
            fix: None,
            figures: Map::new(),
        }
    }

    pub(super) fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Grade::Ok, check, detail)
    }

    pub(super) fn warning(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Grade::Warning, check, detail)
    }

    pub(super) fn fail(code: u8, check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Grade::Fail(class(code)), check, detail)
    }

    /// Something that did not work, by the exit status that a verb would have ended with.
    pub(super) fn failed(check: &'static str, failure: &Failure) -> Self {
        let code = class(failure.code());
        let finding = Self::fail(code, check, failure.message());
        match code {
            UNAVAILABLE => {
                finding.fix("see that the registry runs, and that this machine reaches it")
            }
            PERMISSION => finding.fix("see who may read and write there, and as whom this runs"),
            CONFIGURATION => finding.fix("see what --store or LEASEHOLD_STORE names"),
            _ => finding,
        }
    }

    /// What to do about it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// A figure for programs.
    pub(super) fn figure(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(key.into(), value.into());
        self
    }

    pub(super) fn is_failure(&self) -> bool {
        matches!(self.grade, Grade::Fail(_))
    }

    fn line(&self) -> String {
        let grade = self.grade.word();
        let mut line = format!("{grade:<8} {:<11} {}", self.check, self.detail);
        if let Some(fix) = &self.fix {
            line += " -> ";
            line += fix;
        }
        masked(&line).into_owned()
    }

    fn object(&self) -> Value {
        json!({
            "grade": self.grade.word(),
            "check": self.check,
            "detail": self.detail,
            "fix": self.fix,
            "figures": self.figures,
        })
    }
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fail(_) => "FAIL",
        }
    }
}

/// The class of failures that an exit status stands for: the larger, the worse.
fn class(code: u8) -> u8 {
    match code {
        UNAVAILABLE => UNAVAILABLE,
        PERMISSION => PERMISSION,
        // A URL or a file that cannot be used, or a record that cannot be judged.
        USAGE | BUSY | CONFIGURATION => CONFIGURATION,
        LOST => UNAVAILABLE,
        _ => OWN_FAILURE,
    }
}

/// All that was found. Told line by line as it comes, or as one JSON object at the end.
#[derive(Debug)]
pub(super) struct Report {
    output: Output,
    json: bool,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(output: Output, json: bool) -> Self {
        Self {
            output,
            json,
            findings: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, finding: Finding) -> Result<(), Failure> {
        let hushed = self.output.is_quiet() && finding.grade == Grade::Ok;
        if !self.json && !hushed {
            self.output.line(&finding.line())?;
        }
        self.findings.push(finding);
        Ok(())
    }

    fn code(&self) -> u8 {
        let codes = self.findings.iter().map(|finding| match finding.grade {
            Grade::Fail(code) => code,
            Grade::Ok | Grade::Warning => 0,
        });
        codes.max().unwrap_or(0)
    }

    /// The exit status.
    pub(super) fn end(self) -> Result<u8, Failure> {
        let code = self.code();
        if self.json {
            let worst = match code {
                0 if self.findings.iter().all(|f| f.grade == Grade::Ok) => Grade::Ok,
                0 => Grade::Warning,
                code => Grade::Fail(code),
            };
            let checks: Vec<Value> = self.findings.iter().map(Finding::object).collect();
            self.output
                .json(&json!({"grade": worst.word(), "status": code, "checks": checks}))?;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(findings: impl IntoIterator<Item = Finding>) -> u8 {
        let mut report = Report::new(Output::new(true, false), true);
        for finding in findings {
            report.add(finding).unwrap();
        }
        report.code()
    }

    #[test]
    fn the_worst_class_is_the_exit_status_and_warnings_are_none() {
        let fail = |code| Finding::fail(code, "x", "y");
        assert_eq!(code([]), 0);
        assert_eq!(code([Finding::ok("x", "y"), Finding::warning("x", "y")]), 0);
        assert_eq!(code([fail(77), Finding::ok("x", "y"), fail(69)]), 77);
        assert_eq!(code([fail(125), fail(78)]), 125);
        for (from, to) in [(64, 78), (75, 78), (76, 69), (1, 125), (126, 125)] {
            assert_eq!(code([fail(from)]), to, "{from}");
        }
    }

    #[test]
    fn a_line_has_grade_check_detail_and_what_to_do() {
        let finding = Finding::warning("file", "mode 666\u{1b}").fix("chmod o-w");
        assert_eq!(
            finding.line(),
            r"warning  file        mode 666\u{1b} -> chmod o-w"
        );
    }
}
