//! Wakes whoever waits for something that happens on another instance: a turn's events, a conversation getting free.
//!
//! A bell that does not ring is no harm but a delay: every waiter also looks again after [`PATIENCE`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

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
    counted: Counted,
    rung: OwnedNotified,
}

/// Keeps the bell for as long as somebody waits for it.
#[derive(Debug)]
struct Counted {
    bells: Bells,
    id: String,
}

impl Bells {
    /// Starts to listen for `id`.
    #[must_use]
    pub fn listen(&self, id: &str) -> Waiter {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = bells.entry(id.to_owned()).or_default();
        bell.waiters += 1;
        // It hears the bell from now on, not from its first poll on.
        let counted = Counted { bells: self.clone(), id: id.to_owned() };
        Waiter { counted, rung: bell.notify.clone().notified_owned() }
    }

    /// Wakes all who listen for `id`.
    pub fn ring(&self, id: &str) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(id) {
            bell.notify.notify_waiters();
        }
    }
}

impl Waiter {
    /// Waits for the bell, at most [`PATIENCE`].
    pub async fn wait(self) {
        let (_counted, rung) = (self.counted, self.rung);
        // Running out of patience is as good a reason to look as the bell.
        let _ = tokio::time::timeout(PATIENCE, rung).await;
    }
}

impl Drop for Counted {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn all_who_listen_hear_a_bell_that_rings_before_they_wait() {
        let (bells, since) = (Bells::default(), Instant::now());
        let waiters = [bells.listen("turn_1"), bells.listen("turn_1"), bells.listen("turn_1")];
        bells.ring("turn_2");
        bells.ring("turn_1");
        for waiter in waiters {
            waiter.wait().await;
        }
        assert_eq!(since.elapsed(), Duration::ZERO);
        bells.listen("turn_1").wait().await;
        assert_eq!(since.elapsed(), PATIENCE);
        assert!(bells.0.lock().unwrap().is_empty(), "a bell that nobody hears is forgotten");
    }
}
