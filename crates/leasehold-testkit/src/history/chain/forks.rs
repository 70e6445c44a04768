//! Changes of unknown outcome: all states that they may have left.

use super::super::rules::{Rule, Violations};
use super::super::types::{State, Time};
use super::{Chain, NONE, Node, Shown, fence_after, fits, may};

impl Chain<'_> {
    /// An index that no change is known to have been given: left by one of unknown outcome, perhaps by way of others
    /// that nobody saw.
    pub(super) fn unknown(&mut self, index: u64, shown: &Shown, violations: &mut Violations) {
        let begin = self.arena.len();
        let mut reached = self.front.clone();
        let last = self.last_index();
        // Only what an open change names can be passed on the way unseen.
        let from = self.open.partition_point(|open| open.names <= last);
        let to = self.open.partition_point(|open| open.names < Some(index));
        let between = self.open.get(from..to).unwrap_or_default();
        let mut between: Vec<Option<u64>> = between.iter().map(|open| open.names).collect();
        between.dedup();
        for hidden in between.into_iter().flatten() {
            let found = self.reach(hidden, &reached, None);
            reached.extend(found);
        }
        let found = self.reach(index, &reached, Some(shown));
        let initial = self.history.header().continues && last.is_none() && !self.saw_nothing;
        // A record of before the history needs no maker in it: an open change is its only one where its attempt shows.
        let told = |place: &u32| self.shows_its_attempt(*place, shown);
        if !found.is_empty() && (!initial || found.iter().any(told)) {
            return;
        }
        if found.is_empty() {
            self.arena.truncate(begin);
        }
        if !initial {
            let what = self.unexplained(index, shown);
            violations.add(Rule::Unknown, self.name, what);
        }
        let back = self.front.first().copied().unwrap_or(NONE);
        let (earliest, since) = self.since(back);
        let node = Node {
            index: Some(index),
            maker: NONE,
            back,
            fence: shown.fence,
            held: shown.held,
            vague: true,
            earliest,
            since,
            latest: Time::MAX,
        };
        let first = found
            .first()
            .map_or(self.arena.len(), |place| *place as usize);
        self.keep(first, node);
        for node in &mut self.arena[first..] {
            node.vague = true;
        }
    }

    /// Whether the record that was seen carries the attempt of the change that is to have left it.
    fn shows_its_attempt(&self, place: u32, shown: &Shown) -> bool {
        let maker = self.arena[place as usize].maker;
        let attempt = self.operation(maker).and_then(|change| change.attempt);
        attempt.is_some() && attempt == shown.attempt
    }

    fn unexplained(&self, index: u64, shown: &Shown) -> String {
        format!(
            "{} shows index {index}, which no recorded change can have left",
            self.told(shown.by)
        )
    }

    /// The ways to an index from states that were reached, each by one open change.
    fn reach(&mut self, index: u64, from: &[u32], shown: Option<&Shown>) -> Vec<u32> {
        let begin = self.arena.len();
        for source in from.iter().copied() {
            let before = self.arena[source as usize];
            let start = self.open.partition_point(|open| open.names < before.index);
            let mut at = start;
            while let Some(open) = self.open.get(at).copied() {
                at += 1;
                if open.names != before.index {
                    break;
                }
                let Some(change) = self.operation(open.number) else {
                    continue;
                };
                let held = change.kind.grants();
                let fence = fence_after(change.kind, index, before);
                let attempt = change.attempt;
                let state = State {
                    index,
                    fence,
                    held,
                    attempt,
                };
                let seen =
                    shown.is_none_or(|shown| fits(&state, shown.held, shown.fence, shown.attempt));
                let (earliest, since) = self.since(source).max((open.invoked, open.number));
                let too_late = before.index.is_none() && earliest > self.existed.0;
                if !seen || !may(change.kind, before) || too_late {
                    continue;
                }
                let node = Node {
                    index: Some(index),
                    maker: open.number,
                    back: source,
                    fence: fence.or(shown.and_then(|shown| shown.fence)),
                    held: Some(held),
                    vague: false,
                    earliest,
                    since,
                    latest: Time::MAX,
                };
                self.keep(begin, node);
            }
        }
        let several = self.arena.len() > begin + 1;
        for node in &mut self.arena[begin..] {
            node.vague |= several;
        }
        (begin..self.arena.len())
            .map(|place| u32::try_from(place).unwrap_or(NONE))
            .collect()
    }

    /// Of states that what follows cannot tell apart the earliest is kept.
    pub(super) fn keep(&mut self, begin: usize, node: Node) {
        let same = |other: &&mut Node| other.held == node.held && other.fence == node.fence;
        match self.arena[begin..].iter_mut().find(same) {
            None => self.arena.push(node),
            Some(other) => {
                if node.earliest < other.earliest {
                    *other = node;
                }
                other.vague = true;
            }
        }
    }
}
