//! The rules about belief: intervals of different handles do not overlap, none resumes, each lies within its term.

use super::records::History;
use super::rules::{Rule, Violations, told};
use super::terms::Term;
use super::types::{Belief, Kind, Standing, Time};

/// Beliefs in the order in which they are looked at, and the releases that ended some of them.
pub(crate) struct Beliefs<'a> {
    history: &'a History,
    error: Time,
    /// By name, process, handle and beginning.
    order: Vec<u32>,
    /// By name, process and handle: the first release of each handle that had a belief.
    releases: Vec<Release>,
    next: usize,
    joined: Vec<Joined>,
    pub(crate) count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release {
    name: u32,
    process: u32,
    handle: u64,
    invoked: Time,
    number: u32,
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
        let mut releases = Vec::new();
        if count > 0 {
            for (number, operation) in history.operations().enumerate() {
                let ends = operation.kind == Kind::Release && operation.standing != Standing::Proxy;
                if let Some(handle) = operation.handle.filter(|_| ends) {
                    releases.push(Release {
                        name: operation.name.0,
                        process: operation.process,
                        handle,
                        invoked: operation.invoked,
                        number: u32::try_from(number).unwrap_or(u32::MAX),
                    });
                }
            }
        }
        releases.sort_unstable();
        releases.dedup_by_key(|release| (release.name, release.process, release.handle));
        Self {
            history,
            error: history.header().error,
            order,
            releases,
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
        terms: &[Term],
        oldest: Option<u64>,
        violations: &mut Violations,
    ) {
        self.join(number, name, violations);
        self.count += self.joined.len();
        let joined = std::mem::take(&mut self.joined);
        for belief in &joined {
            self.within(belief, name, terms, oldest, violations);
            self.released(belief, number, name, violations);
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

    /// Within its term: not before its first grant, nor before a broken term is waited out, nor after its last grant.
    fn within(
        &self,
        belief: &Joined,
        name: &str,
        terms: &[Term],
        oldest: Option<u64>,
        violations: &mut Violations,
    ) {
        let place = terms.binary_search_by_key(&belief.fence, |term| term.fence);
        let Some(term) = place.ok().and_then(|place| terms.get(place)) else {
            // A term of before the history, or one of which no grant was recorded.
            let before = self.history.header().continues
                && oldest.is_none_or(|oldest| belief.fence <= oldest);
            if !before {
                let what = format!(
                    "{} believed, but no grant has that fence",
                    self.told(belief)
                );
                violations.add(Rule::OneLessee, name, what);
            }
            return;
        };
        let latest_begin = belief.begin.saturating_add(self.error);
        if latest_begin < term.believe {
            let what = format!(
                "{} believed before {}, until when the broken term before it could be believed",
                self.told(belief),
                term.believe
            );
            violations.add(Rule::WaitedOut, name, what);
        } else if latest_begin < term.since {
            let what = format!(
                "{} believed before {} can have been applied",
                self.told(belief),
                told(self.history, term.first)
            );
            violations.add(Rule::OneLessee, name, what);
        }
        if belief.end.saturating_sub(self.error) > term.end {
            let what = format!(
                "{} believed after {}, when the last grant of its term had run out",
                self.told(belief),
                term.end
            );
            violations.add(Rule::StopsFirst, name, what);
        }
    }

    /// A release ends belief before it is sent.
    fn released(&self, belief: &Joined, name_number: u32, name: &str, violations: &mut Violations) {
        let key = (name_number, belief.process, belief.handle);
        let by = |release: &Release| (release.name, release.process, release.handle);
        let Ok(place) = self.releases.binary_search_by_key(&key, by) else {
            return;
        };
        let Some(release) = self.releases.get(place) else {
            return;
        };
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
