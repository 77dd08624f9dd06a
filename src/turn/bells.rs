//! Wakes whoever waits for something that happens on another instance: a turn's events, a conversation getting free.
//!
//! A bell that does not ring is no harm but a delay: every waiter also looks again after [`PATIENCE`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a waiter waits before it looks by itself.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// The bells of this process, by the id that is waited for.
#[derive(Debug, Default, Clone)]
pub struct Bells(Arc<Mutex<HashMap<String, Bell>>>);

#[derive(Debug, Default)]
struct Bell {
    notify: Arc<Notify>,
    waiters: usize,
}

/// Hears one bell; make it before looking, so that nothing that happens in between is missed.
#[derive(Debug)]
pub struct Waiter {
    bells: Bells,
    id: String,
    notify: Arc<Notify>,
}

impl Bells {
    /// Starts to listen for `id`.
    #[must_use]
    pub fn listen(&self, id: &str) -> Waiter {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = bells.entry(id.to_owned()).or_default();
        bell.waiters += 1;
        Waiter { bells: self.clone(), id: id.to_owned(), notify: bell.notify.clone() }
    }

    /// Wakes all who listen for `id`.
    pub fn ring(&self, id: &str) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(id) {
            bell.notify.notify_waiters();
            // For the one that is between its look and its wait.
            bell.notify.notify_one();
        }
    }
}

impl Waiter {
    /// Waits for the bell, at most [`PATIENCE`].
    pub async fn wait(&self) {
        // Running out of patience is as good a reason to look as the bell.
        let _ = tokio::time::timeout(PATIENCE, self.notify.notified()).await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut bells = self.bells.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get_mut(&self.id) {
            bell.waiters -= 1;
            if bell.waiters == 0 {
                bells.remove(&self.id);
            }
        }
    }
}
