//! A running turn's event log: numbers events, stores them, and only then shows them to readers.
//!
//! At most one write is under way. What comes meanwhile waits for the next one, and text that waits together becomes one
//! event: under load the batches grow, not the delay.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::hub::Hub;
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::TurnId;
use crate::store::{AppendEvents, Appended, Store, StoreError};

/// After a failed write, the next try comes this much later.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct EventLog {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    turn: TurnId,
    fence: u64,
    lease: Duration,
    next_seq: u64,
    /// Numbered, not known to be stored.
    waiting: Vec<Numbered>,
    /// How many of `waiting` have been in a write already, and so must stay as they are.
    sealed: usize,
    renew: bool,
    write: Option<BoxFuture<'static, Result<Appended, StoreError>>>,
    not_before: Option<Instant>,
}

impl EventLog {
    /// A log whose next event is `next_seq`.
    pub(super) fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        turn: TurnId,
        fence: u64,
        lease: Duration,
        next_seq: u64,
    ) -> Self {
        let (waiting, sealed, renew, write, not_before) = (Vec::new(), 0, false, None, None);
        Self { store, hub, turn, fence, lease, next_seq, waiting, sealed, renew, write, not_before }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: Event) {
        let is_open = self.waiting.len() > self.sealed;
        let event = match self.waiting.last_mut().filter(|_| is_open) {
            Some(last) => match last.event.join(event) {
                Ok(()) => return,
                Err(event) => event,
            },
            None => event,
        };
        self.waiting.push(Numbered { seq: self.next_seq, event });
        self.next_seq += 1;
    }

    /// Has the lease renewed with the next write, or by one of its own.
    pub(super) fn renew_lease(&mut self) {
        self.renew = true;
    }

    /// Whether [`EventLog::flush`] has anything to do.
    pub(super) fn has_work(&self) -> bool {
        self.write.is_some() || self.renew || !self.waiting.is_empty()
    }

    /// Writes what waits and shows it. May be dropped at any point and called again. `None` after a failed write, which
    /// the next call repeats.
    pub(super) async fn flush(&mut self) -> Option<Appended> {
        if let Some(instant) = self.not_before {
            tokio::time::sleep_until(instant).await;
            self.not_before = None;
        }
        if self.write.is_none() {
            self.write = Some(self.start_write());
        }
        let result = match &mut self.write {
            Some(write) => write.await,
            None => return None,
        };
        self.write = None;
        match result {
            Ok(appended) => {
                if appended != Appended::Fenced {
                    self.hub.publish(self.waiting.drain(..self.sealed));
                    self.sealed = 0;
                }
                Some(appended)
            }
            Err(error) => {
                tracing::warn!(turn.id = %self.turn, %error, "events could not be stored; trying again");
                self.not_before = Some(Instant::now() + RETRY_AFTER);
                None
            }
        }
    }

    fn start_write(&mut self) -> BoxFuture<'static, Result<Appended, StoreError>> {
        self.sealed = self.waiting.len();
        self.renew = false;
        let append = AppendEvents {
            place: self.hub.place.clone(),
            turn: self.turn.clone(),
            fence: self.fence,
            events: self.waiting.clone(),
            lease_ms: i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX),
        };
        let store = self.store.clone();
        Box::pin(async move { store.append_events(append).await })
    }

    /// The events that are not known to be stored. One that is still being written may be among them; stores leave
    /// repeated ones as they are.
    pub(super) fn into_unstored(self) -> Vec<Numbered> {
        self.waiting
    }
}
