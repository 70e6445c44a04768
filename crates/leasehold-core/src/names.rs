//! One change a name at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use crate::mutants::{Mutant, mutant};
use crate::name::LeaseName;
use crate::sync::{Mutex, MutexGuard};

/// The names with an outstanding change, and who waits for each, in order.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<BTreeMap<LeaseName, VecDeque<oneshot::Sender<Turn>>>>);

/// The right to change a name. Passed on when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    names: Arc<Names>,
    name: Option<LeaseName>,
}

impl Names {
    /// Waits for the name's turn. Dropping the future gives up the place, or passes on the turn.
    pub(crate) async fn turn(self: &Arc<Self>, name: &LeaseName) -> Turn {
        if mutant(Mutant::TwoChangesOfAName) {
            let (names, name) = (self.clone(), None);
            return Turn { names, name };
        }
        loop {
            let receiver = {
                let mut names = self.lock();
                match names.get_mut(name) {
                    None => {
                        names.insert(name.clone(), VecDeque::new());
                        return Turn {
                            names: self.clone(),
                            name: Some(name.clone()),
                        };
                    }
                    Some(queue) => {
                        queue.retain(|waiting| !waiting.is_closed());
                        let (sender, receiver) = oneshot::channel();
                        queue.push_back(sender);
                        receiver
                    }
                }
            };
            // A sender is never dropped unsent while it waits; if it were, ask again.
            if let Ok(turn) = receiver.await {
                return turn;
            }
        }
    }

    /// The turn, if nobody has it.
    pub(crate) fn try_turn(self: &Arc<Self>, name: &LeaseName) -> Option<Turn> {
        let mut names = self.lock();
        if names.contains_key(name) {
            return None;
        }
        names.insert(name.clone(), VecDeque::new());
        Some(Turn {
            names: self.clone(),
            name: Some(name.clone()),
        })
    }

    /// How many names have an outstanding change.
    pub(crate) fn outstanding(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LeaseName, VecDeque<oneshot::Sender<Turn>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(mut name) = self.name.take() else {
            return;
        };
        loop {
            let next = {
                let mut names = self.names.lock();
                match names.get_mut(&name).and_then(VecDeque::pop_front) {
                    Some(next) => next,
                    None => {
                        names.remove(&name);
                        return;
                    }
                }
            };
            // Whoever was next may have gone: then the turn comes back, emptied so that its drop does nothing.
            match next.send(Self {
                names: self.names.clone(),
                name: Some(name),
            }) {
                Ok(()) => return,
                Err(mut back) => match back.name.take() {
                    Some(again) => name = again,
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn turns_are_passed_on_in_order_and_past_those_who_gave_up() {
        let names = Arc::new(Names::default());
        let name = LeaseName::new("a").unwrap();
        let first = names.turn(&name).now_or_never().unwrap();
        let mut second = Box::pin(names.turn(&name));
        let mut third = Box::pin(names.turn(&name));
        let mut fourth = Box::pin(names.turn(&name));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(second);
        drop(first);
        let turn = third.as_mut().now_or_never().unwrap();
        // Passed on, but dropped before it was received.
        drop(turn);
        drop(fourth);
        assert_eq!(names.outstanding(), 0);
        assert!(names.try_turn(&name).is_some());
    }
}
