//! Breaches of the order, for people.

use super::super::rules::{Rule, Violations};
use super::super::types::{Operation, Outcome};
use super::{Chain, NONE, fence_after};

impl Chain<'_> {
    /// A change names what had been replaced already.
    pub(super) fn second_successor(
        &self,
        index: u64,
        number: u32,
        named: Option<u64>,
    ) -> (Rule, String) {
        let shown = named.map_or_else(
            || "that there is no record".into(),
            |named| format!("index {named}"),
        );
        let mut place = self.front.first().copied().unwrap_or(NONE);
        let mut after = None;
        while let Some(node) = self.arena.get(place as usize) {
            if node.index <= named {
                break;
            }
            after = Some(*node);
            place = node.back;
        }
        let other = after.and_then(|after| Some((after.maker, self.operation(after.maker)?)));
        match other {
            Some((other, change)) if change.names == named => (
                Rule::OneLessee,
                format!(
                    "{} and {} both named {shown} and were both applied",
                    self.told(other),
                    self.told(number)
                ),
            ),
            _ => (
                Rule::IndexGrows,
                format!(
                    "{} was given index {index} and named {shown}, although index {} came between",
                    self.told(number),
                    after.and_then(|after| after.index).unwrap_or_default(),
                ),
            ),
        }
    }

    pub(super) fn wrong_fence(
        &self,
        index: u64,
        number: u32,
        change: &Operation,
        fence: Option<u64>,
        sources: &[u32],
        violations: &mut Violations,
    ) {
        let source = sources.first().map(|source| self.arena[*source as usize]);
        let expected = source.and_then(|source| fence_after(change.kind, index, source));
        let what = format!(
            "{} was given the fence {} where it should have been {}",
            self.told(number),
            fence.unwrap_or_default(),
            expected.unwrap_or_default()
        );
        violations.add(Rule::Fence, self.name, what);
    }

    pub(super) fn out_of_order(
        &self,
        index: u64,
        begun: u32,
        over: u32,
        violations: &mut Violations,
    ) {
        let is_change = |number| {
            self.operation(number)
                .is_some_and(|o| o.applied().is_some() || o.outcome == Outcome::Unknown)
        };
        let (rule, what) = match (is_change(begun), is_change(over)) {
            (true, true) => (
                Rule::IndexGrows,
                format!(
                    "{} had returned with index {index} before {}, which came before it, was invoked",
                    self.told(over),
                    self.told(begun)
                ),
            ),
            (false, true) => (
                Rule::Reads,
                format!(
                    "{} showed what stood before {}, although that had returned already",
                    self.told(begun),
                    self.told(over)
                ),
            ),
            (true, false) => (
                Rule::Reads,
                format!(
                    "{} showed index {index} and had returned before {} was invoked",
                    self.told(over),
                    self.told(begun)
                ),
            ),
            (false, false) => (
                Rule::Reads,
                format!(
                    "{} showed index {index} and had returned before {} was invoked, which showed an earlier one",
                    self.told(over),
                    self.told(begun)
                ),
            ),
        };
        violations.add(rule, self.name, what);
    }
}
