//! The tries of clients that send again by themselves.

use super::Redis;
use super::connection::{Again, Request};
use super::scripts::SCRIPTS;
use crate::domain::conversation::Place;
use crate::domain::ids::{ConversationId, TurnId};
use crate::store::{KeyRole, StoreError, Try};

impl Redis {
    pub(super) async fn leave(&self, place: &Place, turn: &TurnId, key: &str) -> Result<(), StoreError> {
        let tries = self.keys.tries(&self.keys.base_of(place), &place.owner, key);
        let make = |_| {
            let mut call = SCRIPTS.leave_try.call(&[&tries], 96);
            call.arg(member(turn, &place.conversation));
            Request::One(call)
        };
        self.connection.call(Again::Yes, make).await.map(drop)
    }
}

/// What `begin.lua` has of a key's role, and the try that the turn is in place of.
pub(super) fn role_args(role: &KeyRole) -> (&'static str, String) {
    match role {
        KeyRole::Join => ("join", String::new()),
        KeyRole::FirstTry => ("first", String::new()),
        KeyRole::Retry { instead_of: None } => ("retry", String::new()),
        KeyRole::Retry { instead_of: Some(Try { turn, conversation }) } => ("retry", member(turn, conversation)),
    }
}

fn member(turn: &TurnId, conversation: &ConversationId) -> String {
    format!("{turn} {conversation}")
}
