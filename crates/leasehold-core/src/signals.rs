//! Wakes the watches of one process.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, Weak};

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Notify;

use crate::name::LeaseName;
use crate::store::{Scope, Signal};
use crate::sync::{Mutex, MutexGuard};

/// More names than this waiting for one watch are told as [`Signal::Any`].
const MANY: usize = 256;

/// Where a store tells of changes and its watches hear of them. Level-triggered and bounded: a slow watch hears of
/// each name once, or that any may have changed.
#[derive(Debug, Default, Clone)]
pub struct Signals {
    watches: Arc<Mutex<Vec<Weak<Watch>>>>,
}

#[derive(Debug)]
struct Watch {
    scope: Scope,
    pending: Mutex<Pending>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    any: bool,
    names: BTreeSet<LeaseName>,
}

impl Signals {
    /// Whether anybody listens.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        lock(&self.watches).is_empty()
    }

    /// Tells every watch that covers the name.
    pub fn name(&self, name: &LeaseName) {
        self.tell(|watch, pending| {
            if watch.scope.covers(name) && !pending.any {
                if pending.names.len() >= MANY {
                    *pending = Pending {
                        any: true,
                        names: BTreeSet::new(),
                    };
                } else {
                    pending.names.insert(name.clone());
                }
                return true;
            }
            false
        });
    }

    /// Tells every watch that anything may have changed.
    pub fn any(&self) {
        self.tell(|_, pending| {
            *pending = Pending {
                any: true,
                names: BTreeSet::new(),
            };
            true
        });
    }

    fn tell(&self, add: impl Fn(&Watch, &mut Pending) -> bool) {
        lock(&self.watches).retain(|watch| {
            let Some(watch) = watch.upgrade() else {
                return false;
            };
            if add(&watch, &mut lock(&watch.pending)) {
                watch.notify.notify_one();
            }
            true
        });
    }

    /// A new watch. It hears of what is told after this call.
    #[must_use]
    pub fn watch(&self, scope: Scope) -> BoxStream<'static, Signal> {
        let watch = Arc::new(Watch {
            scope,
            pending: Mutex::default(),
            notify: Notify::new(),
        });
        {
            let mut watches = lock(&self.watches);
            watches.retain(|watch| watch.strong_count() > 0);
            watches.push(Arc::downgrade(&watch));
        }
        stream::unfold(watch, |watch| async move {
            loop {
                let next = {
                    let mut pending = lock(&watch.pending);
                    if std::mem::take(&mut pending.any) {
                        Some(Signal::Any)
                    } else {
                        pending.names.pop_first().map(Signal::Name)
                    }
                };
                if let Some(signal) = next {
                    return Some((signal, watch));
                }
                watch.notify.notified().await;
            }
        })
        .boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_slow_watch_hears_of_each_name_once_and_of_many_as_any() {
        let signals = Signals::default();
        let name = |n: &str| LeaseName::new(n).unwrap();
        let mut watch = signals.watch(Scope::Prefix(crate::Prefix::new("a").unwrap()));
        signals.name(&name("a/1"));
        signals.name(&name("a/1"));
        signals.name(&name("b"));
        assert_eq!(
            watch.next().now_or_never().flatten(),
            Some(Signal::Name(name("a/1")))
        );
        assert_eq!(watch.next().now_or_never(), None);
        for i in 0..1000 {
            signals.name(&name(&format!("a/{i}")));
        }
        assert_eq!(watch.next().now_or_never().flatten(), Some(Signal::Any));
        assert_eq!(watch.next().now_or_never(), None);
        drop(watch);
        signals.any();
        assert!(signals.is_idle());
    }
}
