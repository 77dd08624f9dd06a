//! A conversation's row, its turns and what the running one was asked, as other operations look them up.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::rows::{self, find, find_value, uint};
use super::sql;
use crate::domain::conversation::Place;
use crate::domain::ids::TurnId;
use crate::domain::item::StoredItem;
use crate::store::pending::{End, pending};

/// A conversation's row, as far as it is needed.
pub(super) struct OwnConversation {
    pub(super) number: i64,
    pub(super) item_count: u64,
    pub(super) total_tokens: u64,
    /// What removed items have in it.
    pub(super) lost_tokens: u64,
    /// The last one that has ended.
    pub(super) newest_turn: Option<i64>,
}

impl OwnConversation {
    /// What its running turn was asked.
    pub(super) fn pending(&self, db: &Connection) -> Result<Vec<StoredItem>, Fail> {
        let end = End { item_count: self.item_count, total_tokens: self.total_tokens };
        let found = find(db, sql::LEASED_REQUEST, [self.number], |row| {
            let began_at_ms: i64 = row.get(1)?;
            // A request that cannot be read hides no other item.
            let request = rows::parsed(row, 0, |json| serde_json::from_str(json).ok()).ok();
            Ok(request.map(|request| pending(&request, end, began_at_ms)))
        })?;
        Ok(found.flatten().unwrap_or_default())
    }
}

/// `None` where this owner has no such one; the session is not looked at.
pub(super) fn own_conversation(db: &Connection, place: &Place) -> Result<Option<OwnConversation>, Fail> {
    let params = params![place.conversation.as_str(), place.owner.tag()];
    find(db, sql::OWN_CONVERSATION, params, |row| {
        Ok(OwnConversation {
            number: row.get(0)?,
            item_count: uint(row.get(1)?),
            total_tokens: uint(row.get(2)?),
            newest_turn: row.get(3)?,
            lost_tokens: uint(row.get(4)?),
        })
    })
}

/// The turn that runs in a conversation.
pub(super) fn running_turn(db: &Connection, conversation: i64) -> Result<Option<i64>, Fail> {
    find_value(db, sql::LEASED_TURN, [conversation])
}

/// The same, by the id that others know it by.
pub(super) fn running_turn_id(db: &Connection, conversation: i64) -> Result<Option<TurnId>, Fail> {
    find(db, sql::LEASED_TURN_ID, [conversation], |row| rows::parsed(row, 0, rows::stored_id))
}

/// The turn before `turn` in its conversation.
pub(super) fn previous_turn(db: &Connection, turn: i64) -> Result<Option<i64>, Fail> {
    Ok(find_value(db, sql::PREVIOUS_TURN, [turn])?.flatten())
}
