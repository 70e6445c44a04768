//! The rules about belief: intervals of different handles do not overlap, none resumes, each lies within its handle's
//! grants, and ends before a release is sent.

use super::cover::{Gap, Own};
use super::records::History;
use super::rules::{Rule, Violations, told};
use super::sent::{Release, Renewal, Sent};
use super::terms::Terms;
use super::types::{Belief, Time};

/// Beliefs in the order in which they are looked at, and the releases that ended some of them.
pub(crate) struct Beliefs<'a> {
    history: &'a History,
    error: Time,
    /// By name, process, handle and beginning.
    order: Vec<u32>,
    sent: Sent,
    next: usize,
    joined: Vec<Joined>,
    pub(crate) count: usize,
}

/// A handle's belief, its pieces put together.
#[derive(Clone, Copy)]
struct Joined {
    begin: Time,
    end: Time,
    /// Its end is not known: it is an instant.
    open: bool,
    process: u32,
    handle: u64,
    fence: u64,
    number: u32,
}

impl Joined {
    /// The end of the instants that it is about.
    fn last(&self) -> Time {
        match self.open {
            true => self.end.max(self.begin.saturating_add(1)),
            false => self.end,
        }
    }
}

impl<'a> Beliefs<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        let beliefs = history.beliefs();
        let key = |belief: &Belief| {
            (
                belief.name,
                belief.process,
                belief.handle,
                belief.begin,
                belief.end,
            )
        };
        let count = u32::try_from(beliefs.len()).unwrap_or(u32::MAX);
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by_key(|number| beliefs.get(*number as usize).map(key));
        let sent = match beliefs.is_empty() {
            true => Sent::default(),
            false => Sent::gather(history),
        };
        Self {
            history,
            error: history.header().error,
            order,
            sent,
            next: 0,
            joined: Vec::new(),
            count: 0,
        }
    }

    /// The beliefs of the next name; names come in the order of their numbers.
    pub(crate) fn check(
        &mut self,
        number: u32,
        name: &str,
        terms: &Terms<'_>,
        oldest: Option<u64>,
        violations: &mut Violations,
    ) {
        self.join(number, name, violations);
        self.count += self.joined.len();
        let joined = std::mem::take(&mut self.joined);
        for belief in &joined {
            self.within(belief, number, name, (terms, oldest), violations);
            if let Some(release) = self.sent.release((number, belief.process, belief.handle)) {
                self.released(belief, release, name, violations);
            }
        }
        self.joined = joined;
        self.overlap(name, violations);
    }

    fn told(&self, belief: &Joined) -> String {
        format!(
            "handle {} of process {} under the fence {} ({}..{}; {})",
            belief.handle,
            belief.process,
            belief.fence,
            belief.begin,
            belief.end,
            self.history.belief_place(belief.number as usize)
        )
    }

    /// Puts the pieces of each handle's belief together: they must join.
    fn join(&mut self, name: u32, text: &str, violations: &mut Violations) {
        self.joined.clear();
        while let Some(number) = self.order.get(self.next).copied() {
            let Some(belief) = self.history.beliefs().get(number as usize) else {
                break;
            };
            if belief.name.0 != name {
                break;
            }
            self.next += 1;
            let piece = Joined {
                begin: belief.begin,
                end: belief.end.unwrap_or(belief.begin),
                open: belief.end.is_none(),
                process: belief.process,
                handle: belief.handle,
                fence: belief.fence,
                number,
            };
            let same =
                |last: &&mut Joined| (last.process, last.handle) == (piece.process, piece.handle);
            let Some(last) = self.joined.last_mut().filter(|last| same(last)) else {
                self.joined.push(piece);
                continue;
            };
            let before = *last;
            // The pieces are by one process, so that an error of its clock is the same for both.
            if piece.begin <= before.end && piece.fence == before.fence {
                last.end = before.end.max(piece.end);
                last.open &= piece.open;
                continue;
            }
            self.joined.push(piece);
            let (rule, how) = match piece.fence == before.fence {
                true => (Rule::NeverResumes, "believed again"),
                false => (Rule::Fence, "changed its fence"),
            };
            let what = format!("{} {how}: {}", self.told(&before), self.told(&piece));
            violations.add(rule, text, what);
        }
    }

    /// Within its handle's grants: not before the first, nor before a broken term is waited out, nor when none of them
    /// counts any more.
    fn within(
        &self,
        belief: &Joined,
        number: u32,
        name: &str,
        (terms, oldest): (&Terms<'_>, Option<u64>),
        violations: &mut Violations,
    ) {
        let Some(term) = terms.of(belief.fence) else {
            // A term of before the history, or one of which no grant was recorded or is known to have been made.
            let before = self.history.header().continues
                && oldest.is_none_or(|oldest| belief.fence <= oldest);
            if !before && !terms.unsure {
                let what = format!(
                    "{} believed, but no grant has that fence",
                    self.told(belief)
                );
                violations.add(Rule::OneLessee, name, what);
            }
            return;
        };
        if belief.begin.saturating_add(self.error) < term.believe {
            let what = format!(
                "{} believed before {}, until when the broken term before it could be believed",
                self.told(belief),
                term.believe
            );
            violations.add(Rule::WaitedOut, name, what);
            return;
        }
        let handle = (belief.process, belief.handle);
        let own = Own::of(terms.grants(term), term.anyone, handle, self.error);
        if let Err(gap) = own.cover(belief.begin, belief.last()) {
            let (rule, what) = match gap {
                Gap::NoGrant => (
                    Rule::OneLessee,
                    "believed, but no grant of that term is its own".into(),
                ),
                Gap::Before(maker, claim) => (
                    match claim {
                        true => Rule::Claim,
                        false => Rule::OneLessee,
                    },
                    format!(
                        "believed before {} can have been applied",
                        told(self.history, maker)
                    ),
                ),
                Gap::After(end) => (
                    Rule::StopsFirst,
                    format!("believed after {end}, when its last grant had run out"),
                ),
            };
            let what = format!("{} {what}", self.told(belief));
            violations.add(rule, name, what);
            return;
        }
        for renewal in self.sent.renewals((number, belief.process, belief.handle)) {
            self.smaller(belief, renewal, own, name, violations);
        }
    }

    /// While a renewal is unresolved the smaller deadline counts, and that is never undone but by a success.
    fn smaller(
        &self,
        belief: &Joined,
        renewal: &Renewal,
        own: Own<'_>,
        name: &str,
        violations: &mut Violations,
    ) {
        let sent = renewal.invoked.saturating_add(self.error);
        let over = renewal.until.saturating_add(self.error);
        let resolved = renewal
            .returned
            .min(own.next_after(renewal.invoked, renewal.number));
        if belief.last().min(resolved) > over.max(sent).max(belief.begin) {
            let what = format!(
                "{} believed after {over}, although {} was sent before: the smaller deadline counts",
                self.told(belief),
                told(self.history, renewal.number)
            );
            violations.add(Rule::StopsFirst, name, what);
        }
    }

    /// A release ends belief before it is sent.
    fn released(
        &self,
        belief: &Joined,
        release: &Release,
        name: &str,
        violations: &mut Violations,
    ) {
        if belief.end > release.invoked {
            let what = format!(
                "{} still believed when {} was sent at {}",
                self.told(belief),
                told(self.history, release.number),
                release.invoked
            );
            violations.add(Rule::StopsFirst, name, what);
        }
    }

    fn overlap(&mut self, name: &str, violations: &mut Violations) {
        self.joined
            .sort_unstable_by_key(|belief| (belief.begin, belief.end, belief.number));
        let mut latest: Option<Joined> = None;
        for belief in &self.joined {
            if let Some(other) = latest {
                let same = (other.process, other.handle) == (belief.process, belief.handle);
                let surely = belief.begin.saturating_add(self.error.saturating_mul(2));
                let believed = belief.open || belief.begin < belief.end;
                if !same && believed && surely < other.end {
                    let what = format!(
                        "{} and {} believed at the same time",
                        self.told(&other),
                        self.told(belief)
                    );
                    violations.add(Rule::OneLessee, name, what);
                }
            }
            if latest.is_none_or(|latest| belief.end > latest.end) {
                latest = Some(*belief);
            }
        }
    }
}
