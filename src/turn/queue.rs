//! The waiting queue of each conversation: turns run one after another, in the order in which they came.
//!
//! A queue forms at any name; idempotency keys have theirs, too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// All queues of this process.
#[derive(Debug, Default, Clone)]
pub(super) struct Queues(Arc<Mutex<HashMap<String, VecDeque<oneshot::Sender<Slot>>>>>);

/// The right to run, which one request of a queue has at a time. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Slot {
    queues: Queues,
    name: Option<String>,
}

/// Where a request joins the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// Behind all that wait.
    Back,
    /// Before all that wait.
    Front,
}

/// Why a request did not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotEntered {
    /// As many wait as may.
    Full,
    /// The wait was longer than allowed.
    TimedOut,
}

impl Queues {
    /// Waits for `name` to be free: at most `max_wait`, and only where fewer than `max_waiting` wait already.
    ///
    /// # Errors
    /// [`NotEntered`] says which limit was met.
    pub(super) async fn enter(
        &self,
        name: &str,
        position: Position,
        max_waiting: usize,
        max_wait: Duration,
    ) -> Result<Slot, NotEntered> {
        let turn_comes = {
            let mut queues = self.lock();
            let Some(waiting) = queues.get_mut(name) else {
                queues.insert(name.to_owned(), VecDeque::new());
                return Ok(self.slot(name.to_owned()));
            };
            // Those that gave up waiting do not count.
            waiting.retain(|waiter| !waiter.is_closed());
            if waiting.len() >= max_waiting {
                return Err(NotEntered::Full);
            }
            let (sender, turn_comes) = oneshot::channel();
            match position {
                Position::Back => waiting.push_back(sender),
                Position::Front => waiting.push_front(sender),
            }
            turn_comes
        };
        match tokio::time::timeout(max_wait, turn_comes).await {
            Ok(Ok(slot)) => Ok(slot),
            // The sender stays in the map until it is used, so the channel cannot close before.
            Ok(Err(_)) | Err(_) => Err(NotEntered::TimedOut),
        }
    }

    /// Gets in at once, or not at all.
    #[must_use]
    pub(super) fn enter_if_free(&self, name: &str) -> Option<Slot> {
        let mut queues = self.lock();
        if queues.contains_key(name) {
            return None;
        }
        queues.insert(name.to_owned(), VecDeque::new());
        Some(self.slot(name.to_owned()))
    }

    fn slot(&self, name: String) -> Slot {
        Slot { queues: self.clone(), name: Some(name) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<oneshot::Sender<Slot>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        loop {
            let next = {
                let mut queues = self.queues.lock();
                match queues.get_mut(&name).and_then(VecDeque::pop_front) {
                    Some(next) => next,
                    None => {
                        queues.remove(&name);
                        return;
                    }
                }
            };
            match next.send(self.queues.slot(name.clone())) {
                Ok(()) => return,
                // It gave up, so the next one gets the slot; dropping `unused` as it is would start this loop again.
                Err(mut unused) => unused.name = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    const NAME: &str = "conv_1";

    #[tokio::test(start_paused = true)]
    async fn requests_get_in_one_after_another_in_order() {
        let queues = Queues::default();
        let first = queues.enter(NAME, Position::Back, 9, WAIT).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let enter = |n: u32, position: Position| {
            let (queues, order) = (queues.clone(), order.clone());
            async move {
                let slot = queues.enter(NAME, position, 9, WAIT).await.unwrap();
                order.lock().unwrap().push(n);
                drop(slot);
            }
        };
        let all = futures::future::join4(
            enter(1, Position::Back),
            enter(2, Position::Back),
            enter(3, Position::Front),
            async move { drop(first) },
        );
        all.await;
        assert_eq!(*order.lock().unwrap(), [3, 1, 2]);
        assert!(queues.lock().is_empty(), "an empty queue is removed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_and_a_long_wait_are_told_apart() {
        let queues = Queues::default();
        let held = queues.enter(NAME, Position::Back, 1, WAIT).await.unwrap();
        let waiting = queues.enter(NAME, Position::Back, 1, WAIT);
        let refused = async { queues.enter(NAME, Position::Back, 1, WAIT).await.unwrap_err() };
        let (waited, refused) = futures::future::join(waiting, refused).await;
        assert_eq!((waited.unwrap_err(), refused), (NotEntered::TimedOut, NotEntered::Full));
        drop(held);
        assert!(queues.enter(NAME, Position::Back, 1, WAIT).await.is_ok());
    }
}
