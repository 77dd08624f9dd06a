//! The tries of clients that send again by themselves, in memory.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::domain::conversation::Owner;
use crate::domain::ids::{ConversationId, TurnId};
use crate::store::{BeginTurn, Begun, IdempotencyKey, KeyRole, Try};

/// By owner and key, in the order in which they began.
#[derive(Default)]
pub(super) struct Rows(HashMap<(Owner, String), Vec<TryRow>>);

pub(super) struct TryRow {
    pub(super) turn: TurnId,
    pub(super) conversation: ConversationId,
    pub(super) until_ms: i64,
    has_left: bool,
    joined: u32,
}

impl Rows {
    #[cfg(feature = "testing")]
    pub(super) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// The turn that a retry joins; `None` where it begins one.
    pub(super) fn join(&mut self, owner: &Owner, key: &str, instead_of: Option<&Try>, now_ms: i64) -> Option<Begun> {
        let rows = self.0.get_mut(&(owner.clone(), key.to_owned()))?;
        if instead_of.is_some_and(|useless| rows.iter().any(|row| row.turn == useless.turn)) {
            return None;
        }
        let counting = rows.iter_mut().enumerate().filter(|(_, row)| row.until_ms > now_ms);
        let (_, joined) = counting.min_by_key(|(at, row)| (!row.has_left, row.joined, Reverse(*at)))?;
        joined.has_left = false;
        joined.joined += 1;
        Some(Begun::Duplicate { turn: joined.turn.clone(), conversation: joined.conversation.clone() })
    }

    pub(super) fn add(&mut self, begin: &BeginTurn, asked: &IdempotencyKey) {
        let rows = self.0.entry((begin.place.owner.clone(), asked.key.clone())).or_default();
        if let KeyRole::Retry { instead_of: Some(useless) } = &asked.role {
            rows.retain(|row| row.turn != useless.turn);
        }
        rows.push(TryRow {
            turn: begin.turn.clone(),
            conversation: begin.place.conversation.clone(),
            until_ms: begin.now_ms + asked.keep_ms,
            has_left: false,
            joined: 0,
        });
    }

    pub(super) fn leave(&mut self, owner: &Owner, key: &str, turn: &TurnId) {
        let rows = self.0.get_mut(&(owner.clone(), key.to_owned()));
        rows.into_iter().flatten().filter(|row| row.turn == *turn).for_each(|row| row.has_left = true);
    }

    pub(super) fn retain(&mut self, stays: impl Fn(&Owner, &TryRow) -> bool) {
        self.0.iter_mut().for_each(|((owner, _), rows)| rows.retain(|row| stays(owner, row)));
        self.0.retain(|_, rows| !rows.is_empty());
    }
}
