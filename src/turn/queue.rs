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

/// A request that has joined a queue. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) enum Joined {
    /// No other was there.
    First(Slot),
    /// Others are before it.
    Waiting(oneshot::Receiver<Slot>),
}

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The wait was longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimedOut;

impl Joined {
    /// Waits for its slot, at most `max_wait`.
    ///
    /// # Errors
    /// [`TimedOut`]; it has left the queue then.
    pub(super) async fn slot(self, max_wait: Duration) -> Result<Slot, TimedOut> {
        match self {
            Self::First(slot) => Ok(slot),
            Self::Waiting(turn_comes) => match tokio::time::timeout(max_wait, turn_comes).await {
                Ok(Ok(slot)) => Ok(slot),
                // The sender stays in the map until it is used, so the channel cannot close before.
                Ok(Err(_)) | Err(_) => Err(TimedOut),
            },
        }
    }
}

impl Queues {
    /// Joins the queue of `name`, where fewer than `max_waiting` wait already.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn join(&self, name: &str, position: Position, max_waiting: usize) -> Result<Joined, Full> {
        let mut queues = self.lock();
        let Some(waiting) = queues.get_mut(name) else {
            queues.insert(name.to_owned(), VecDeque::new());
            return Ok(Joined::First(self.slot(name.to_owned())));
        };
        // Those that gave up waiting do not count.
        waiting.retain(|waiter| !waiter.is_closed());
        if waiting.len() >= max_waiting {
            return Err(Full);
        }
        let (sender, turn_comes) = oneshot::channel();
        match position {
            Position::Back => waiting.push_back(sender),
            Position::Front => waiting.push_front(sender),
        }
        Ok(Joined::Waiting(turn_comes))
    }

    /// Whether no request of this queue runs or waits.
    pub(super) fn is_free(&self, name: &str) -> bool {
        !self.lock().contains_key(name)
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
        let first = queues.join(NAME, Position::Back, 9).unwrap().slot(WAIT).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let enter = |n: u32, position: Position| {
            let (joined, order) = (queues.join(NAME, position, 9).unwrap(), order.clone());
            async move {
                let slot = joined.slot(WAIT).await.unwrap();
                order.lock().unwrap().push(n);
                drop(slot);
            }
        };
        let waiting = [enter(1, Position::Back), enter(2, Position::Back), enter(3, Position::Front)];
        drop(first);
        futures::future::join_all(waiting).await;
        assert_eq!(*order.lock().unwrap(), [3, 1, 2]);
        assert!(queues.lock().is_empty(), "an empty queue is removed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_and_a_long_wait_are_told_apart() {
        let queues = Queues::default();
        let held = queues.join(NAME, Position::Back, 1).unwrap().slot(WAIT).await.unwrap();
        let waiting = queues.join(NAME, Position::Front, 1).unwrap();
        assert_eq!(queues.join(NAME, Position::Front, 1).unwrap_err(), Full);
        assert_eq!(waiting.slot(WAIT).await.unwrap_err(), TimedOut);
        drop(held);
        assert!(matches!(queues.join(NAME, Position::Back, 1), Ok(Joined::First(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_left_make_room_and_are_passed_over() {
        let queues = Queues::default();
        let held = queues.join(NAME, Position::Back, 1).unwrap().slot(WAIT).await.unwrap();
        drop(queues.join(NAME, Position::Back, 1).unwrap());
        let waiting = queues.join(NAME, Position::Back, 1).unwrap();
        drop(held);
        assert!(waiting.slot(WAIT).await.is_ok());
    }
}
