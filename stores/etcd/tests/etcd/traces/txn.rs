//! Transactions and their answers, in words.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;

use bytes::Bytes;
use leasehold_etcd::api::{
    Attach, Compare, Done, Entry, Failed, Gave, Is, LeaseId, Op, Range, Replied, Txn,
};

/// What names and revisions in a script stand for.
pub(super) struct Names {
    /// Before every key of the script.
    pub(super) prefix: String,
    /// Revisions count from this one.
    pub(super) revision: u64,
    /// After which revision how many followed that are none of the script's.
    pub(super) skipped: Vec<(u64, u64)>,
    /// The newest term that was told.
    pub(super) term: u64,
    pub(super) leases: BTreeMap<String, LeaseId>,
}

type Words<'a, 'b> = Peekable<&'a mut dyn Iterator<Item = &'b str>>;

impl Names {
    pub(super) fn key(&self, key: &str) -> Bytes {
        Bytes::from(match key {
            "nothing" => String::new(),
            key => format!("{}{key}", self.prefix),
        })
    }

    /// `+2` is the second revision since the script has begun.
    pub(super) fn at(&self, relative: &str) -> u64 {
        self.revision.wrapping_add_signed(relative.parse().unwrap())
    }

    fn since(&self, revision: u64) -> String {
        let skipped = self.skipped.iter().filter(|(after, _)| *after < revision);
        let skipped: u64 = skipped.map(|(_, count)| count).sum();
        let since = revision.checked_sub(self.revision + skipped);
        format!("+{}", since.unwrap())
    }

    /// An answer with its term, where that is another one than was told last.
    pub(super) fn in_term(&mut self, answer: &str, term: u64) -> String {
        let how = match term.cmp(&self.term) {
            Ordering::Less => ", of an older term",
            Ordering::Equal => "",
            Ordering::Greater => ", of a newer term",
        };
        self.term = self.term.max(term);
        format!("{answer}{how}")
    }

    /// No lease has this number.
    pub(super) fn lease(&self, name: &str) -> LeaseId {
        self.leases.get(name).copied().unwrap_or(0x00ab_cdef)
    }

    /// `if x absent then put x 1 @a, get y else (if y present then delete y)`.
    pub(super) fn txn(&self, text: &str) -> Txn {
        let spaced = text
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace(',', " , ");
        let mut words = spaced.split_whitespace();
        let words: &mut dyn Iterator<Item = &str> = &mut words;
        let mut words = words.peekable();
        let txn = self.parse(&mut words);
        assert!(words.next().is_none(), "what comes behind: {text}");
        txn
    }

    fn parse(&self, words: &mut Words<'_, '_>) -> Txn {
        let mut txn = Txn::default();
        while let Some(word) = words.next_if(|word| *word != ")") {
            let ops = match word {
                "if" => {
                    txn.when.push(self.compare(words));
                    while words.next_if_eq(&",").is_some() {
                        txn.when.push(self.compare(words));
                    }
                    continue;
                }
                "then" => &mut txn.then,
                "else" => &mut txn.otherwise,
                other => panic!("not known: {other}"),
            };
            self.op(words, ops);
            while words.next_if_eq(&",").is_some() {
                self.op(words, ops);
            }
        }
        txn
    }

    fn compare(&self, words: &mut Words<'_, '_>) -> Compare {
        let key = self.key(words.next().unwrap());
        let is = match words.next().unwrap() {
            "absent" => Is::Absent,
            "present" => Is::Present,
            "at" => Is::At(self.at(words.next().unwrap())),
            "upto" => Is::UpTo(self.at(words.next().unwrap())),
            other => panic!("not known: {other}"),
        };
        Compare { key, is }
    }

    /// `many N OP` is an operation N times, `#` in its key the number of each.
    fn op(&self, words: &mut Words<'_, '_>, ops: &mut Vec<Op>) {
        let key = match words.next().unwrap() {
            "many" => {
                let count: u32 = words.next().unwrap().parse().unwrap();
                let mut one = Vec::new();
                self.op(words, &mut one);
                for number in 0..count {
                    ops.extend(one.iter().map(|op| numbered(op, number)));
                }
                return;
            }
            "(" => {
                ops.push(Op::Txn(self.parse(words)));
                assert_eq!(words.next(), Some(")"));
                return;
            }
            "put" => {
                let key = self.key(words.next().unwrap());
                let value = words.next().unwrap();
                let value = match value.strip_suffix("KiB") {
                    Some(size) => Bytes::from(vec![b'x'; size.parse::<usize>().unwrap() << 10]),
                    None => Bytes::from(value.to_owned()),
                };
                let lease = match words.next_if(|word| word.starts_with('@')) {
                    None => Attach::Nothing,
                    Some("@same") => Attach::Same,
                    Some(name) => Attach::To(self.lease(&name[1..])),
                };
                ops.push(Op::Put { key, value, lease });
                return;
            }
            "delete" => Op::Delete,
            "get" => Op::Get,
            other => panic!("not known: {other}"),
        };
        ops.push(key(self.key(words.next().unwrap())));
    }

    /// `x z 10, y`: ranges, or single keys.
    pub(super) fn ranges(&self, text: &str) -> Vec<Range> {
        let range = |text: &str| {
            let mut words = text.split_whitespace();
            Range {
                from: self.key(words.next().unwrap()),
                to: words.next().map(|to| match to {
                    "end" => Bytes::from_static(b"\0"),
                    to => self.key(to),
                }),
                most: words.next().map_or(10, |most| most.parse().unwrap()),
            }
        };
        text.split(',')
            .filter(|text| !text.trim().is_empty())
            .map(range)
            .collect()
    }

    /// A key without the script's prefix.
    pub(super) fn told(&self, key: &[u8]) -> String {
        let key = String::from_utf8_lossy(key).into_owned();
        key.strip_prefix(&self.prefix).unwrap_or(&key).to_owned()
    }

    pub(super) fn change(&self, key: &[u8], revision: u64) -> String {
        format!("{} {}", self.told(key), self.since(revision))
    }

    pub(super) fn entry(&self, entry: &Entry) -> String {
        let lease = match entry.lease {
            0 => String::new(),
            id => {
                let mut of = self.leases.iter().filter(|(_, known)| **known == id);
                format!(" @{}", of.next().map_or("unknown", |(name, _)| name))
            }
        };
        let value = String::from_utf8_lossy(&entry.value);
        format!(
            "{}={value}{lease} {}",
            self.told(&entry.key),
            self.since(entry.revision)
        )
    }

    pub(super) fn entries(&self, entries: &[Entry]) -> String {
        match entries {
            [] => "none".to_owned(),
            entries => {
                let told = entries.iter().map(|entry| self.entry(entry));
                told.collect::<Vec<_>>().join(" ")
            }
        }
    }

    pub(super) fn replied(&mut self, replied: &Replied) -> String {
        let (since, done) = (self.since(replied.revision), self.done(&replied.done));
        self.in_term(&format!("{since} {done}"), replied.term)
    }

    pub(super) fn as_of(&self, revision: u64, entries: &[Vec<Entry>]) -> String {
        let told = entries.iter().map(|entries| self.entries(entries));
        let told: Vec<String> = std::iter::once(self.since(revision)).chain(told).collect();
        told.join("; ")
    }

    fn done(&self, done: &Done) -> String {
        let mut told: Vec<(String, u32)> = Vec::new();
        for gave in &done.gave {
            let next = match gave {
                Gave::Nothing => "done".to_owned(),
                Gave::Key(entry) => self.entries(entry.as_slice()),
                Gave::Done(done) => format!("({})", self.done(done)),
            };
            match told.last_mut() {
                Some((last, count)) if *last == next => *count += 1,
                _ => told.push((next, 1)),
            }
        }
        let times = |(what, count): (String, u32)| match count {
            1 => what,
            count => format!("{count} times {what}"),
        };
        let told: Vec<String> = told.into_iter().map(times).collect();
        let branch = if done.held { "then" } else { "else" };
        format!("{branch} {}", told.join(", "))
            .trim_end()
            .to_owned()
    }
}

fn numbered(op: &Op, number: u32) -> Op {
    let of =
        |key: &Bytes| Bytes::from(String::from_utf8_lossy(key).replace('#', &number.to_string()));
    match op {
        Op::Put { key, value, lease } => Op::Put {
            key: of(key),
            value: value.clone(),
            lease: *lease,
        },
        Op::Delete(key) => Op::Delete(of(key)),
        Op::Get(key) => Op::Get(of(key)),
        Op::Txn(txn) => {
            let all = |ops: &[Op]| ops.iter().map(|op| numbered(op, number)).collect();
            let compare = |compare: &Compare| Compare {
                key: of(&compare.key),
                is: compare.is,
            };
            Op::Txn(Txn {
                when: txn.when.iter().map(compare).collect(),
                then: all(&txn.then),
                otherwise: all(&txn.otherwise),
            })
        }
    }
}

/// A failure by its kind: its words are for people.
pub(super) fn failed(failed: &Failed) -> String {
    match failed {
        Failed::NotDone(error) => format!("not done: {:?}", error.kind()),
        Failed::NoAnswer(_) => "no answer".to_owned(),
        Failed::NoSpace(_) => "no space".to_owned(),
        Failed::NoSuchLease => "no such lease".to_owned(),
        Failed::TooMany => "too many operations".to_owned(),
    }
}
