//! What the turn that runs in a conversation was asked, as `pending.lua` gives it.

use super::codec;
use crate::domain::ids::{ItemId, TurnId};
use crate::domain::item::StoredItem;
use crate::store::StoreError;
use crate::store::pending::{End, pending};

/// The running turn of a conversation, and its items as readers see them.
pub(super) struct Pending {
    pub(super) items: Vec<StoredItem>,
    turn: Option<TurnId>,
}

impl Pending {
    /// Reads ` <last number> <tokens> <age> <turn> <request>`, or nothing.
    pub(super) fn read(text: &str) -> Result<Self, StoreError> {
        let Some(mut rest) = text.strip_prefix(' ') else { return Ok(Self { items: Vec::new(), turn: None }) };
        let end =
            End { item_count: codec::take_number(&mut rest, ' ')?, total_tokens: codec::take_number(&mut rest, ' ')? };
        let began_at_ms = codec::take_number(&mut rest, ' ')?;
        let turn = Some(codec::turn_id(codec::take(&mut rest, ' ')?)?);
        // A request that cannot be read hides no other item.
        let request = serde_json::from_str(rest).ok();
        let items = request.map_or_else(Vec::new, |request| pending(&request, end, began_at_ms));
        Ok(Self { items, turn })
    }

    pub(super) fn has(&self, item: &ItemId) -> bool {
        self.items.iter().any(|stored| stored.item.id == *item)
    }

    /// The item of this id.
    pub(super) fn item(self, item: &ItemId) -> Option<StoredItem> {
        self.items.into_iter().rev().find(|stored| stored.item.id == *item)
    }

    /// The turn, where it was asked this item.
    pub(super) fn turn_of(self, item: &ItemId) -> Option<TurnId> {
        if self.has(item) { self.turn } else { None }
    }
}
