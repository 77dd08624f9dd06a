//! Gates: the points at which an answer waits until the test lets it go on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

#[derive(Default)]
struct State {
    open: bool,
    passes: usize,
    waiting: usize,
    reached: usize,
}

/// A point that an answer cannot pass before the test opens it. Clones are the same gate.
///
/// A gate replaces a sleep: the test knows what has been sent (all before the gate) and what has not (all after).
#[derive(Clone)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Opens it for good: everything that waits, and everything that comes later, passes.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Lets `count` waits pass and stays closed: one chunk at a time, when each waits at this gate.
    pub fn pass(&self, count: usize) {
        self.state.send_modify(|state| state.passes += count);
    }

    /// Whether it was opened for good.
    pub fn is_open(&self) -> bool {
        self.state.borrow().open
    }

    /// How many answers stand at it now.
    pub fn waiting(&self) -> usize {
        self.state.borrow().waiting
    }

    /// Waits until answers have come to this gate `count` times in all: everything before it is then on the wire.
    ///
    /// # Panics
    /// When that does not happen within `timeout`.
    #[track_caller]
    pub fn reached(&self, count: usize, timeout: Duration) -> impl Future<Output = ()> + Send + use<> {
        let at = std::panic::Location::caller();
        let mut changes = self.state.subscribe();
        async move {
            let reached = changes.wait_for(|state| state.reached >= count);
            if tokio::time::timeout(timeout, reached).await.is_err() {
                let so_far = changes.borrow().reached;
                panic!("{at}: the gate was reached {so_far} times in {timeout:?}, expected {count}");
            }
        }
    }

    /// Waits until the gate lets the caller pass.
    pub async fn wait(&self) {
        let mut changes = self.state.subscribe();
        let _standing = Standing::at(&self.state);
        while !self.try_pass() {
            // The sender lives in `self`, so the channel cannot close while this waits.
            let _ = changes.changed().await;
        }
    }

    fn try_pass(&self) -> bool {
        let mut passed = false;
        self.state.send_if_modified(|state| {
            passed = state.open || state.passes > 0;
            let uses_a_pass = passed && !state.open;
            state.passes -= usize::from(uses_a_pass);
            uses_a_pass
        });
        passed
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

/// Counts a waiter for as long as it waits, also when its answer is dropped meanwhile.
struct Standing<'a>(&'a watch::Sender<State>);

impl<'a> Standing<'a> {
    fn at(state: &'a watch::Sender<State>) -> Self {
        state.send_modify(|state| {
            state.waiting += 1;
            state.reached += 1;
        });
        Self(state)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.waiting -= 1);
    }
}
