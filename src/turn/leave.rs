//! What becomes of a turn whose client leaves before it was told how the turn ended.

use super::engine::Turns;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::TurnId;

/// Acts for a client that left. It begins with the turn, so that at no moment the client can leave without its being
/// noticed.
pub struct OnLeave(Option<Leaving>);

struct Leaving {
    turns: Turns,
    place: Place,
    turn: TurnId,
    action: Action,
}

enum Action {
    Cancel,
    /// The turn is a try of this key.
    Expect(String),
}

impl OnLeave {
    /// Cancels the turn.
    pub(super) fn cancel(turns: Turns, place: Place, turn: TurnId) -> Self {
        Self(Some(Leaving { turns, place, turn, action: Action::Cancel }))
    }

    /// Has the next retry of this key join the turn.
    pub(super) fn expect_retry(turns: Turns, place: Place, turn: TurnId, key: String) -> Self {
        Self(Some(Leaving { turns, place, turn, action: Action::Expect(key) }))
    }

    /// The client was told how the turn ended, or to come back. `is_answered` where it has no reason to send again.
    pub fn told(mut self, is_answered: bool) {
        let is_done = |leaving: &Leaving| is_answered || matches!(leaving.action, Action::Cancel);
        if self.0.as_ref().is_some_and(is_done) {
            self.0 = None;
        }
    }
}

impl Drop for OnLeave {
    fn drop(&mut self) {
        match self.0.take() {
            Some(Leaving { turns, place, turn, action: Action::Cancel }) => turns.cancel_unheard(place.owner, turn),
            Some(Leaving { turns, place, turn, action: Action::Expect(key) }) => turns.expect_retry(place, turn, key),
            None => {}
        }
    }
}

impl Turns {
    fn cancel_unheard(self, owner: Owner, turn: TurnId) {
        let tasks = self.0.tasks.clone();
        tasks.spawn("cancel", async move {
            if let Err(error) = self.cancel(&owner, &turn).await {
                tracing::warn!(turn.id = %turn, %error, "a turn whose client has left could not be cancelled");
            }
        });
    }

    fn expect_retry(self, place: Place, turn: TurnId, key: String) {
        let tasks = self.0.tasks.clone();
        tasks.spawn("leave", async move {
            if let Err(error) = self.0.store.leave_try(&place, &turn, &key).await {
                tracing::debug!(turn.id = %turn, %error, "the store does not know that the client of a turn has left");
            }
        });
    }
}
