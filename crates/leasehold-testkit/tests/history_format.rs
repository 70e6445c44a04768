//! The recorder and the file format: what was recorded is what is read.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use leasehold_testkit::Chance;
use leasehold_testkit::history::{
    Attempt, Belief, Found, Header, History, Kind, Operation, Outcome, Recorder, Standing, State,
};

/// A file that the test can look into.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn header() -> Header {
    Header::exact("true time").drifting(200).within(5)
}

fn maybe(chance: &mut Chance) -> Option<u64> {
    (chance.below(2) == 0).then(|| chance.below(1 << 53))
}

fn attempt(chance: &mut Chance) -> Option<Attempt> {
    maybe(chance).map(|high| Attempt(u128::from(high) << 64 | u128::from(chance.number())))
}

fn found(chance: &mut Chance) -> Found {
    match chance.below(3) {
        0 => Found::Unsaid,
        1 => Found::Nothing,
        _ => Found::Record(State {
            index: chance.below(1 << 53),
            fence: maybe(chance),
            held: chance.below(2) == 0,
            attempt: attempt(chance),
        }),
    }
}

const KINDS: [Kind; 7] = [
    Kind::Acquire,
    Kind::Renew,
    Kind::Steal,
    Kind::Break,
    Kind::Release,
    Kind::Get,
    Kind::Observed,
];

fn any(chance: &mut Chance, history: &mut History) -> Operation {
    let kind = KINDS[usize::try_from(chance.below(7)).unwrap()];
    let name =
        history.name(["a", "a/b", "ä \"quoted\""][usize::try_from(chance.below(3)).unwrap()]);
    let invoked = chance.below(1 << 60);
    let mut operation = Operation::new(7, name, kind, invoked);
    operation.process = u32::try_from(chance.below(1 << 32)).unwrap();
    operation.handle = maybe(chance);
    operation.own = maybe(chance);
    operation.returned = maybe(chance).map(|more| invoked + more);
    if kind.is_change() {
        operation.names = maybe(chance);
        if kind != Kind::Acquire {
            operation.names = Some(chance.below(1 << 53));
        }
        operation.attempt = attempt(chance);
        operation.period = maybe(chance);
        operation.assume_dead = chance.below(2) == 0;
        operation.standing = [Standing::Handle, Standing::Claim, Standing::Proxy]
            [usize::try_from(chance.below(3)).unwrap()];
    }
    operation.outcome = match chance.below(4) {
        _ if !kind.is_change() => Outcome::Read {
            found: found(chance),
        },
        0 => Outcome::Unknown,
        1 => Outcome::NotApplied,
        2 => Outcome::Refused {
            found: found(chance),
        },
        _ if kind.grants() => Outcome::Granted {
            index: chance.below(1 << 53),
            fence: chance.below(1 << 53),
            period: chance.below(1 << 53),
            wait: chance.below(2) * chance.below(1 << 53),
        },
        _ => Outcome::Vacated {
            index: chance.below(1 << 53),
        },
    };
    if let Outcome::Granted { .. } = operation.outcome {
        operation.counted = maybe(chance);
    }
    operation
}

#[test]
fn what_was_written_is_what_is_read() {
    let mut chance = Chance::new(1);
    let mut history = History::new(header());
    let mut operations = Vec::new();
    for _ in 0..2000 {
        let operation = any(&mut chance, &mut history);
        history.push(&operation);
        operations.push(operation);
        let belief = Belief {
            process: 3,
            handle: chance.below(9),
            name: operation.name,
            fence: chance.below(1 << 53),
            begin: operation.invoked,
            end: operation.returned,
        };
        history.believe(belief);
    }
    // Packed and unpacked again.
    assert_eq!(history.operations().collect::<Vec<_>>(), operations);
    let mut file = Vec::new();
    history.write(&mut file).unwrap();
    let read = History::read(file.as_slice()).unwrap();
    assert_eq!(read.header(), history.header());
    assert_eq!(read.operations().collect::<Vec<_>>(), operations);
    assert_eq!(read.beliefs(), history.beliefs());
    for operation in &operations {
        assert_eq!(read.text(operation.name), history.text(operation.name));
    }
}

/// The same calls, in memory and into a file.
#[test]
fn a_recorder_in_memory_and_one_into_a_file_tell_the_same() {
    let file = File::default();
    let memory = Recorder::new(header());
    let written = Recorder::writing(header(), file.clone()).unwrap();
    for recorder in [&memory, &written] {
        let name = recorder.name("a");
        let mut acquire = Operation::new(1, name, Kind::Acquire, 10);
        acquire.attempt = Some(Attempt(0xabc));
        let first = recorder.begin(acquire);
        let killed = recorder.begin(Operation::new(2, name, Kind::Acquire, 11));
        drop(killed);
        let get = recorder.begin(Operation::new(3, name, Kind::Get, 12));
        let granted = Outcome::Granted {
            index: 1,
            fence: 1,
            period: 100,
            wait: 0,
        };
        let mut returned = first.counted_from(Some(5)).returned(20, granted);
        // A further answer; one that tells nothing better changes nothing.
        returned.counted_from(8);
        returned.counted_from(6);
        get.returned(
            21,
            Outcome::Read {
                found: Found::Nothing,
            },
        );
        let mut failed = Operation::new(3, name, Kind::Acquire, 30);
        failed.outcome = Outcome::NotApplied;
        recorder.operation(&failed);
        recorder.belief(Belief {
            process: 1,
            handle: 1,
            name,
            fence: 1,
            begin: 20,
            end: None,
        });
        recorder.flush().unwrap();
    }
    let read = History::read(file.text().as_bytes()).unwrap();
    let memory = memory.take();
    assert_eq!(memory.len(), 4);
    assert_eq!(
        read.operations().collect::<Vec<_>>(),
        memory.operations().collect::<Vec<_>>()
    );
    assert_eq!(read.beliefs(), memory.beliefs());
    assert_eq!(memory.operation(0).unwrap().counted, Some(8));
    let killed = memory.operation(1).unwrap();
    assert_eq!((killed.returned, killed.outcome), (None, Outcome::Unknown));
}

#[test]
fn what_returns_after_the_history_was_taken_does_no_harm() {
    let recorder = Recorder::new(header());
    let name = recorder.name("a");
    let pending = recorder.begin(Operation::new(1, name, Kind::Acquire, 10));
    assert_eq!(recorder.take().len(), 1);
    recorder.operation(&Operation::new(2, name, Kind::Get, 20));
    let later = recorder.begin(Operation::new(3, name, Kind::Get, 30));
    pending.returned(40, Outcome::NotApplied);
    let found = Found::Nothing;
    later.returned(50, Outcome::Read { found });
    let history = recorder.take();
    assert_eq!(history.len(), 2);
    assert_eq!(history.operation(0).unwrap().kind, Kind::Get);
    assert_eq!(history.operation(1).unwrap().returned, Some(50));
}

/// Each process may write a file of its own: one after the other they are one history.
#[test]
fn parts_follow_each_other() {
    let part = |process: u32, error| {
        let file = File::default();
        let recorder = Recorder::writing(header().within(error), file.clone()).unwrap();
        let name = recorder.name("a");
        let pending = recorder.begin(Operation::new(process, name, Kind::Get, 1));
        let found = Found::Unsaid;
        pending.returned(2, Outcome::Read { found });
        file.text()
    };
    let both = part(1, 10) + &part(2, 20) + "\n" + &part(3, 15);
    let history = History::read(both.as_bytes()).unwrap();
    assert_eq!(history.len(), 3);
    assert_eq!(history.names(), 1);
    assert_eq!(history.header().error, 20);
}

#[test]
fn an_error_names_its_line() {
    let head = r#"{"leasehold_history":1,"clock":"true time"}"#;
    let get = r#"{"p":1,"op":"get","name":"a","at":1,"back":2}"#;
    let done = r#"{"p":1,"done":1,"back":4,"out":"granted","index":1,"fence":1,"granted":9"#;
    let granted = format!(
        "{head}\n{{\"p\":1,\"op\":\"acquire\",\"name\":\"a\",\"begun\":1,\"at\":2}}\n{done}"
    );
    let cases = [
        ("", 1, "empty"),
        (get, 1, "header"),
        (r#"{"leasehold_history":2,"clock":"x"}"#, 1, "version 2"),
        (r#"{"leasehold_history":1}"#, 1, "clock"),
        (&format!("{head}\n{get}\n\n{{\"p\":1"), 4, "EOF"),
        (&format!("{head}\n{get}\n[1]"), 3, "object"),
        (
            &format!("{head}\n{{\"p\":1,\"at\":1,\"name\":\"a\"}}"),
            2,
            "a record has",
        ),
        (
            &format!("{head}\n{{\"op\":\"get\",\"at\":1,\"name\":\"a\"}}"),
            2,
            "`p`",
        ),
        (
            &format!("{head}\n{{\"p\":1,\"op\":\"get\",\"name\":\"a\"}}"),
            2,
            "`at`",
        ),
        (
            &format!("{head}\n{{\"p\":1,\"op\":\"get\",\"at\":1}}"),
            2,
            "`name`",
        ),
        (
            &format!("{head}\n{{\"p\":1,\"op\":\"take\",\"name\":\"a\",\"at\":1}}"),
            2,
            "take",
        ),
        (
            &format!("{head}\n{{\"p\":1,\"op\":\"renew\",\"name\":\"a\",\"at\":1}}"),
            2,
            "names",
        ),
        (
            &format!("{head}\n{{\"p\":1,\"op\":\"get\",\"name\":\"a\",\"at\":2,\"back\":1}}"),
            2,
            "before",
        ),
        (
            &format!("{head}\n{{\"p\":1,\"op\":\"get\",\"name\":\"a\",\"at\":2,\"mine\":1}}"),
            2,
            "mine",
        ),
        (
            &format!(
                "{head}\n{{\"p\":1,\"op\":\"acquire\",\"name\":\"a\",\"at\":2,\"out\":\"granted\",\"index\":1}}"
            ),
            2,
            "`fence`",
        ),
        (
            &format!(
                "{head}\n{{\"p\":1,\"op\":\"get\",\"name\":\"a\",\"at\":2,\"out\":\"vacated\",\"index\":1}}"
            ),
            2,
            "no outcome",
        ),
        (
            &format!("{head}\n{{\"p\":1,\"done\":7,\"out\":\"unknown\"}}"),
            2,
            "begun",
        ),
        // What became of it is told once, but for `counted`.
        (
            &format!("{granted},\"counted\":3}}\n{done}}}"),
            4,
            "further answer",
        ),
        (
            &format!("{granted},\"counted\":3}}\n{done},\"counted\":2}}"),
            4,
            "further answer",
        ),
        (&format!("{granted}}}\n{done},\"counted\":2}}"), 4, "begun"),
        (
            &format!(
                "{head}\n{{\"p\":1,\"op\":\"acquire\",\"name\":\"a\",\"at\":2,\"attempt\":\"xyz\"}}"
            ),
            2,
            "hexadecimal",
        ),
        (
            &format!(
                "{head}\n{{\"p\":1,\"name\":\"a\",\"handle\":1,\"fence\":1,\"begin\":2,\"end\":1}}"
            ),
            2,
            "`end`",
        ),
        (
            &format!("{head}\n{{\"leasehold_history\":1,\"clock\":\"other\"}}"),
            2,
            "other",
        ),
    ];
    for (text, line, says) in cases {
        let error = History::read(text.as_bytes()).expect_err(text);
        assert_eq!(error.line(), line, "{text}");
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
}
