//! How an upstream has been doing, for each of its models and kinds of route by itself, and what follows for the next call:
//! whether it is made, and whether it may be made again.
//!
//! The trouble of one model says nothing of another: behind one address there may be many servers. So each pair of a model
//! and a kind of route has a breaker and a budget of retries of its own. Names of models come from clients, so the number
//! of pairs that are remembered is bounded, and a pair is remembered only once its model has answered or failed, not when
//! the upstream refuses the request.
//!
//! When a breaker has been open for long enough, one request is let through as a probe, with all the retries that any
//! request has. What comes meanwhile is not refused but waits for the outcome, a second at most. A probe that takes longer
//! has outlived the failures that opened the breaker, and closes it: a healthy model may think for minutes, and others
//! should not have to wait for the first answer. Only where the failures were time-outs does silence mean nothing; then
//! another probe is let through each second, and the others are told to come back.

pub mod breaker;
pub mod budget;
mod entries;
pub mod tally;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

pub use self::breaker::{BreakerSettings, Verdict};
use self::breaker::{NoLeave, Permit};
use self::entries::{Entries, Key};

/// How much trouble is borne, for each model and kind of route.
#[derive(Debug, Clone, Copy)]
pub struct HealthSettings {
    /// When no call is made for a while.
    pub breaker: BreakerSettings,
    /// Of a hundred calls, how many retries all calls together may make.
    pub retry_budget_percent: u32,
    /// So many retries a minute are within the budget in any case.
    pub retry_budget_floor: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { breaker: BreakerSettings::default(), retry_budget_percent: 20, retry_budget_floor: 10 }
    }
}

/// What a call is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target<'a> {
    /// The kind of route: `chat/completions`, `embeddings`.
    pub route: &'a str,
    /// The model; empty where it is not known.
    pub model: &'a str,
}

/// The health of one upstream.
#[derive(Debug)]
pub struct Health {
    entries: Mutex<Entries>,
    /// A probe has come to its end.
    probed: Notify,
}

impl Health {
    /// Of an upstream of which nothing is known.
    #[must_use]
    pub fn new(settings: HealthSettings) -> Self {
        Self { entries: Mutex::new(Entries::new(settings)), probed: Notify::new() }
    }

    /// Asks to make a call; waits where a probe is about to say whether that makes sense.
    ///
    /// # Errors
    /// When none is to be made: how long until one may.
    pub async fn admit(&self, target: Target<'_>) -> Result<Leave<'_>, Duration> {
        let key = self.entries().key(target);
        let leave = |permit| Leave { health: self, key, permit, is_counted: false };
        let wait = match self.ask(key) {
            Ok(permit) => return Ok(leave(permit)),
            Err(NoLeave::Open(wait)) => return Err(wait),
            Err(NoLeave::Probing(wait)) => wait,
        };
        let patience_ends = Instant::now() + wait;
        loop {
            let mut probed = std::pin::pin!(self.probed.notified());
            // From here on no outcome is missed.
            probed.as_mut().enable();
            match self.ask(key) {
                Ok(permit) => return Ok(leave(permit)),
                Err(NoLeave::Open(wait)) => return Err(wait),
                Err(NoLeave::Probing(wait)) if Instant::now() >= patience_ends => return Err(wait),
                // A time-out only means that it is time to ask again.
                Err(NoLeave::Probing(_)) => drop(timeout_at(patience_ends, probed).await),
            }
        }
    }

    fn ask(&self, key: Key) -> Result<Permit, NoLeave> {
        match self.entries().get(key) {
            Some(entry) => entry.breaker.ask(Instant::now()),
            None => Ok(Permit::ORDINARY),
        }
    }

    /// Nothing in there can be left half-changed by a panic.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to make one call, with its retries. To drop it is to give the call up, or to be through with it.
#[derive(Debug)]
pub struct Leave<'a> {
    health: &'a Health,
    key: Key,
    permit: Permit,
    /// The call is counted, so that it may be retried.
    is_counted: bool,
}

impl Leave<'_> {
    /// Tells how an attempt went.
    pub fn tell(&mut self, verdict: Verdict) {
        let now = Instant::now();
        let mut entries = self.health.entries();
        let entry = match verdict {
            // Names of models that do not exist are not to be remembered.
            Verdict::Refused => entries.get(self.key),
            Verdict::Answered | Verdict::Down | Verdict::Late => Some(entries.remember(self.key, now)),
        };
        let Some(entry) = entry else { return };
        if !std::mem::replace(&mut self.is_counted, true) {
            entry.budget.call(now);
        }
        let was_probe = self.permit.is_probe();
        self.permit = entry.breaker.tell(self.permit, verdict, now);
        if was_probe {
            self.health.probed.notify_waiters();
        }
    }

    /// Takes a retry out of the budget; false where there is none left.
    #[must_use]
    pub fn may_retry(&mut self) -> bool {
        let now = Instant::now();
        let mut entries = self.health.entries();
        let entry = entries.remember(self.key, now);
        if !std::mem::replace(&mut self.is_counted, true) {
            entry.budget.call(now);
        }
        entry.budget.retry(now)
    }

    /// Asks to make another attempt. A probe always may: its caller has a right to the retries of any other.
    #[must_use]
    pub fn may_go_on(&mut self) -> bool {
        if self.permit.is_probe() {
            return true;
        }
        match self.health.ask(self.key) {
            Ok(permit) => {
                self.permit = permit;
                true
            }
            Err(_) => false,
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if !self.permit.is_probe() {
            return;
        }
        if let Some(entry) = self.health.entries().get(self.key) {
            entry.breaker.give_up(self.permit);
        }
        self.health.probed.notify_waiters();
    }
}
