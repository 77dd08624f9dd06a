//! Stopping a turn, wherever it runs.

use std::time::Duration;

use super::engine::Turns;
use super::hub::Stop;
use super::reader::Next;
use crate::domain::conversation::Owner;
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnRecord;
use crate::store::{CancelRequest, StoreError};

/// How long the answer to a cancel waits for the turn to end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What became of a cancel.
#[derive(Debug)]
pub enum Cancelled {
    /// There is no such turn of this owner.
    Unknown,
    /// The turn had ended before; nothing changed.
    EndedBefore(TurnRecord),
    /// The turn has ended with this, or is about to: its status says which.
    Stopped(TurnRecord),
}

impl Turns {
    /// Stops a turn and waits, shortly, until what was shown of it is stored.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn cancel(&self, owner: &Owner, turn: &TurnId) -> Result<Cancelled, StoreError> {
        let asked = self.0.store.request_cancel(owner, turn).await?;
        if asked == CancelRequest::Requested {
            self.0.stop_turn(turn);
            self.wait_for_end(owner, turn).await;
        }
        let record = self.0.store.turn(owner, turn).await?;
        Ok(match (asked, record) {
            (CancelRequest::Unknown, _) | (_, None) => Cancelled::Unknown,
            (CancelRequest::AlreadyEnded(_), Some(record)) => Cancelled::EndedBefore(record),
            (CancelRequest::Requested, Some(record)) => Cancelled::Stopped(record),
        })
    }

    /// Ends a turn that runs here with what was shown, since the person has said something else meanwhile; false where it does
    /// not run here.
    #[must_use]
    pub fn steer(&self, turn: &TurnId) -> bool {
        let hub = self.0.hubs.get(turn);
        hub.inspect(|hub| hub.stop(Stop::Steered)).is_some()
    }

    async fn wait_for_end(&self, owner: &Owner, turn: &TurnId) {
        let mut reader = self.read(owner, turn, 0);
        let ended = async {
            while let Next::Events(events) = reader.next().await {
                if events.last().is_some_and(|event| event.event.is_end()) {
                    break;
                }
            }
        };
        // Whether it has ended, the record says.
        let _ = tokio::time::timeout(END_WITHIN, ended).await;
    }
}
