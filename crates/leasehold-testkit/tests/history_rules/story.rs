//! Histories in the making.

use leasehold_testkit::history::{
    Attempt, Belief, Found, Header, History, Kind, Operation, Outcome, Report, Rule, Standing,
    State, Violations, check,
};

/// How long grants last here.
pub(crate) const PERIOD: u64 = 1000;

/// A history in the making: one name, an exact clock unless told otherwise.
#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) header: Header,
    pub(crate) operations: Vec<Operation>,
    /// Process, handle, fence, begin, end.
    pub(crate) beliefs: Vec<(u32, u64, u64, u64, Option<u64>)>,
}

pub(crate) fn story() -> Story {
    Story {
        header: Header::exact("steps"),
        operations: Vec::new(),
        beliefs: Vec::new(),
    }
}

impl Story {
    pub(crate) fn check(&self) -> Result<Report, Violations> {
        let mut history = History::new(self.header.clone());
        let name = history.name("a/b");
        for operation in &self.operations {
            history.push(operation);
        }
        for (process, handle, fence, begin, end) in self.beliefs.iter().copied() {
            history.believe(Belief {
                process,
                handle,
                name,
                fence,
                begin,
                end,
            });
        }
        check(&history)
    }

    pub(crate) fn then(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Process `p`'s handle of the same number believes.
    pub(crate) fn believes(mut self, p: u32, fence: u64, (begin, end): (u64, u64)) -> Self {
        self.beliefs.push((p, p.into(), fence, begin, Some(end)));
        self
    }

    /// Process `p`'s other handle believes.
    pub(crate) fn believes_as(
        mut self,
        (p, handle): (u32, u64),
        fence: u64,
        (begin, end): (u64, u64),
    ) -> Self {
        self.beliefs.push((p, handle, fence, begin, Some(end)));
        self
    }

    pub(crate) fn within(mut self, error: u64) -> Self {
        self.header = self.header.within(error);
        self
    }

    pub(crate) fn drifting(mut self, ppm: u32) -> Self {
        self.header = self.header.drifting(ppm);
        self
    }

    pub(crate) fn continuing(mut self) -> Self {
        self.header.continues = true;
        self
    }

    #[track_caller]
    pub(crate) fn keeps(&self) -> Report {
        match self.check() {
            Ok(report) => report,
            Err(violations) => panic!("it keeps the contract:\n{violations}"),
        }
    }

    /// Is refused for this reason alone; what is told contains these words.
    #[track_caller]
    pub(crate) fn breaks(&self, rule: Rule, words: &str) {
        let violations = self.check().expect_err("it breaks the contract");
        let told = violations.to_string();
        assert!(violations.first.iter().all(|v| v.rule == rule), "{told}");
        assert!(told.contains(words), "{told}");
        assert!(told.contains("a/b") || rule == Rule::Assumptions, "{told}");
    }
}

pub(crate) type At = (u64, u64);

pub(crate) fn operation(kind: Kind, p: u32, (invoked, returned): At) -> Operation {
    let name = History::new(Header::exact("")).name("a/b");
    let mut operation = Operation::new(p, name, kind, invoked);
    operation.returned = Some(returned);
    operation.handle = Some(p.into());
    operation
}

pub(crate) fn change(kind: Kind, p: u32, at: At, names: u64) -> Operation {
    Operation {
        names: Some(names),
        ..operation(kind, p, at)
    }
}

impl Say for Operation {}
pub(crate) trait Say: Sized + Into<Operation> {
    fn granted(self, index: u64, fence: u64) -> Operation {
        self.waiting(index, fence, 0)
    }
    fn waiting(self, index: u64, fence: u64, wait: u64) -> Operation {
        let outcome = Outcome::Granted {
            index,
            fence,
            period: PERIOD,
            wait,
        };
        self.came(outcome)
    }
    fn vacated(self, index: u64) -> Operation {
        self.came(Outcome::Vacated { index })
    }
    fn refused(self, found: Found) -> Operation {
        self.came(Outcome::Refused { found })
    }
    fn unknown(self) -> Operation {
        self.came(Outcome::Unknown)
    }
    fn came(self, outcome: Outcome) -> Operation {
        Operation {
            outcome,
            ..self.into()
        }
    }
    fn by(self, standing: Standing) -> Operation {
        Operation {
            standing,
            ..self.into()
        }
    }
    fn id(self, attempt: u128) -> Operation {
        Operation {
            attempt: Some(Attempt(attempt)),
            ..self.into()
        }
    }
    /// Nobody said which handle it was.
    fn by_somebody(self) -> Operation {
        Operation {
            handle: None,
            ..self.into()
        }
    }
    fn assuming_dead(self) -> Operation {
        Operation {
            assume_dead: true,
            ..self.into()
        }
    }
    fn counted(self, from: u64) -> Operation {
        Operation {
            counted: Some(from),
            ..self.into()
        }
    }
    fn own(self, own: u64) -> Operation {
        Operation {
            own: Some(own),
            ..self.into()
        }
    }
    fn lasting(self, period: u64) -> Operation {
        let mut operation = self.into();
        if let Outcome::Granted {
            period: granted, ..
        } = &mut operation.outcome
        {
            *granted = period;
        }
        operation.period = Some(period);
        operation
    }
}

pub(crate) fn acquire(p: u32, at: At) -> Operation {
    operation(Kind::Acquire, p, at)
}
pub(crate) fn again(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Acquire, p, at, names)
}
pub(crate) fn renew(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Renew, p, at, names)
}
pub(crate) fn steal(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Steal, p, at, names)
}
pub(crate) fn release(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Release, p, at, names)
}
pub(crate) fn break_it(p: u32, at: At, names: u64) -> Operation {
    change(Kind::Break, p, at, names)
}
pub(crate) fn get(p: u32, at: At, found: Found) -> Operation {
    operation(Kind::Get, p, at).came(Outcome::Read { found })
}
pub(crate) fn held(index: u64, fence: u64) -> Found {
    record(index, Some(fence), true, None)
}
pub(crate) fn tombstone(index: u64) -> Found {
    record(index, None, false, None)
}
pub(crate) fn record(index: u64, fence: Option<u64>, held: bool, attempt: Option<u128>) -> Found {
    Found::Record(State {
        index,
        fence,
        held,
        attempt: attempt.map(Attempt),
    })
}

/// Granted to process 1 at some point in 10..20, with index and fence 5.
pub(crate) fn one() -> Story {
    story().then(acquire(1, (10, 20)).granted(5, 5))
}

impl Story {
    /// The last operation names this.
    pub(crate) fn clone_with(mut self, names: Option<u64>) -> Self {
        self.operations.last_mut().unwrap().names = names;
        self
    }
}
