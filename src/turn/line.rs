//! Waiting lines, one for each conversation: turns run one after another, in the order in which they came.
//!
//! A line forms at any name; idempotency keys have theirs, too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// All lines of this process.
#[derive(Debug, Default, Clone)]
pub struct Lines(Arc<Mutex<HashMap<String, VecDeque<oneshot::Sender<Place>>>>>);

/// The head of a line; dropping it lets the next one in.
#[derive(Debug)]
pub struct Place {
    lines: Lines,
    name: Option<String>,
}

/// Where in the line to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Behind everybody else.
    Last,
    /// Before everybody who waits.
    First,
}

/// Why there was no getting in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// So many are waiting that one more may not.
    Full,
    /// The wait was longer than allowed.
    TooLong,
}

impl Lines {
    /// Waits for `name` to be free: at most `max_wait`, and only where fewer than `max_waiting` wait already.
    ///
    /// # Errors
    /// [`NoPlace`] says which limit was met.
    pub async fn enter(
        &self,
        name: &str,
        stand: Stand,
        max_waiting: usize,
        max_wait: Duration,
    ) -> Result<Place, NoPlace> {
        let turn_comes = {
            let mut lines = self.lock();
            let Some(waiting) = lines.get_mut(name) else {
                lines.insert(name.to_owned(), VecDeque::new());
                return Ok(self.place(name.to_owned()));
            };
            // Whoever gave up waiting is no part of the line.
            waiting.retain(|waiter| !waiter.is_closed());
            if waiting.len() >= max_waiting {
                return Err(NoPlace::Full);
            }
            let (call, turn_comes) = oneshot::channel();
            match stand {
                Stand::Last => waiting.push_back(call),
                Stand::First => waiting.push_front(call),
            }
            turn_comes
        };
        match tokio::time::timeout(max_wait, turn_comes).await {
            Ok(Ok(place)) => Ok(place),
            // The sender lives in the map until it is used, so a closed channel cannot happen; waiting on is no answer.
            Ok(Err(_)) | Err(_) => Err(NoPlace::TooLong),
        }
    }

    /// Gets in where nobody else is.
    #[must_use]
    pub fn enter_if_free(&self, name: &str) -> Option<Place> {
        let mut lines = self.lock();
        if lines.contains_key(name) {
            return None;
        }
        lines.insert(name.to_owned(), VecDeque::new());
        Some(self.place(name.to_owned()))
    }

    fn place(&self, name: String) -> Place {
        Place { lines: self.clone(), name: Some(name) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<oneshot::Sender<Place>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        loop {
            let next = {
                let mut lines = self.lines.lock();
                match lines.get_mut(&name).and_then(VecDeque::pop_front) {
                    Some(next) => next,
                    None => {
                        lines.remove(&name);
                        return;
                    }
                }
            };
            match next.send(self.lines.place(name.clone())) {
                Ok(()) => return,
                // It gave up; its place goes on to the one behind it, without starting this loop anew.
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
    async fn everybody_gets_in_one_after_another_in_order() {
        let lines = Lines::default();
        let first = lines.enter(NAME, Stand::Last, 9, WAIT).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let enter = |n: u32, stand: Stand| {
            let (lines, order) = (lines.clone(), order.clone());
            async move {
                let place = lines.enter(NAME, stand, 9, WAIT).await.unwrap();
                order.lock().unwrap().push(n);
                drop(place);
            }
        };
        let all =
            futures::future::join4(enter(1, Stand::Last), enter(2, Stand::Last), enter(3, Stand::First), async move {
                drop(first)
            });
        all.await;
        assert_eq!(*order.lock().unwrap(), [3, 1, 2]);
        assert!(lines.lock().is_empty(), "an empty line is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_line_and_a_long_wait_are_told_apart() {
        let lines = Lines::default();
        let held = lines.enter(NAME, Stand::Last, 1, WAIT).await.unwrap();
        let waiting = lines.enter(NAME, Stand::Last, 1, WAIT);
        let refused = async { lines.enter(NAME, Stand::Last, 1, WAIT).await.unwrap_err() };
        let (waited, refused) = futures::future::join(waiting, refused).await;
        assert_eq!((waited.unwrap_err(), refused), (NoPlace::TooLong, NoPlace::Full));
        drop(held);
        assert!(lines.enter(NAME, Stand::Last, 1, WAIT).await.is_ok());
    }
}
