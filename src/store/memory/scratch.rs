//! What only a store for turns that are not stored elsewhere needs: sessions that it opens itself, and less kept of each turn.

use std::collections::HashSet;

use super::{Memory, TurnRow};
use crate::domain::conversation::Owner;
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::turn::TurnStatus;

impl Memory {
    /// Makes a session that lasts until its owner is deleted. Nothing is stored for the owner after that.
    pub fn open_session(&self, owner: &Owner) {
        self.state().sessions.insert(owner.clone(), i64::MAX);
    }

    /// Drops what only a running turn needs, where the turn has ended: its events, and the texts of its request, whose items
    /// are in its conversation.
    pub fn slim(&self, turn: &TurnId) {
        let mut state = self.state();
        let Some(row) = state.turns.get_mut(turn).filter(|row| row.record.status != TurnStatus::Running) else {
            return;
        };
        row.events = Vec::new();
        row.record.request.input = Vec::new();
        row.record.request.instructions = String::new();
        row.record.request.options = None;
    }

    /// How many bytes the texts of these turns and of their conversations take.
    pub fn bytes_of<'a>(&self, turns: impl IntoIterator<Item = &'a TurnId>) -> usize {
        let state = self.state();
        let rows: Vec<&TurnRow> = turns.into_iter().filter_map(|turn| state.turns.get(turn)).collect();
        let conversations: HashSet<&ConversationId> = rows.iter().map(|row| &row.record.place.conversation).collect();
        let items = conversations.into_iter().filter_map(|id| state.conversations.get(id)).flat_map(|row| &row.items);
        items.map(|stored| stored.item.json.len()).sum::<usize>() + rows.into_iter().map(TurnRow::bytes).sum::<usize>()
    }
}

impl TurnRow {
    fn bytes(&self) -> usize {
        let request = &self.record.request;
        let texts = [request.options.as_ref(), request.shown.as_ref()].into_iter().flatten().map(String::len);
        let input = request.input.iter().map(|item| item.json.len());
        let events = self.events.iter().map(|event| event.event.size());
        let answer = self.record.answer.as_ref().map_or(0, |answer| answer.text.len());
        request.instructions.len() + answer + texts.chain(input).chain(events).sum::<usize>()
    }
}
