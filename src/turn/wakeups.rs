//! Wakes tasks that wait for something that happens on another instance: a turn's events, a conversation becoming free.
//!
//! A lost wakeup only delays: every waiter also looks again after [`LOOK_AGAIN_AFTER`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How long a waiter waits before it looks by itself.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What is waited for in this process, by its id.
#[derive(Debug, Default, Clone)]
pub(super) struct Wakeups(Arc<Mutex<HashMap<String, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    notify: Arc<Notify>,
    waiters: usize,
}

/// One waiting task. Made before looking, so that nothing that happens in between is missed.
#[derive(Debug)]
pub(super) struct Waiter {
    counted: Counted,
    woken: OwnedNotified,
}

/// Keeps the entry for as long as a task waits for it.
#[derive(Debug)]
struct Counted {
    wakeups: Wakeups,
    id: String,
}

impl Wakeups {
    /// Listens for `id` from now on.
    #[must_use]
    pub(super) fn listen(&self, id: &str) -> Waiter {
        let mut wakeups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = wakeups.entry(id.to_owned()).or_default();
        entry.waiters += 1;
        // `notified_owned` counts from its creation on, not from its first poll on.
        let counted = Counted { wakeups: self.clone(), id: id.to_owned() };
        Waiter { counted, woken: entry.notify.clone().notified_owned() }
    }

    /// Wakes all that listen for `id`.
    pub(super) fn wake(&self, id: &str) {
        let wakeups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = wakeups.get(id) {
            entry.notify.notify_waiters();
        }
    }
}

impl Waiter {
    /// Waits to be woken, however long that takes.
    pub(super) async fn woken(self) {
        let (_counted, woken) = (self.counted, self.woken);
        woken.await;
    }

    /// Waits to be woken, at most [`LOOK_AGAIN_AFTER`].
    pub(super) async fn wait(self) {
        let (_counted, woken) = (self.counted, self.woken);
        // The caller looks again either way.
        let _ = tokio::time::timeout(LOOK_AGAIN_AFTER, woken).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut wakeups = self.wakeups.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = wakeups.get_mut(&self.id) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                wakeups.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn all_that_listen_are_woken_by_what_happens_before_they_wait() {
        let (wakeups, since) = (Wakeups::default(), Instant::now());
        let waiters = [wakeups.listen("turn_1"), wakeups.listen("turn_1"), wakeups.listen("turn_1")];
        wakeups.wake("turn_2");
        wakeups.wake("turn_1");
        for waiter in waiters {
            waiter.wait().await;
        }
        assert_eq!(since.elapsed(), Duration::ZERO);
        wakeups.listen("turn_1").wait().await;
        assert_eq!(since.elapsed(), LOOK_AGAIN_AFTER);
        assert!(wakeups.0.lock().unwrap().is_empty(), "an entry without waiters is removed");
    }
}
