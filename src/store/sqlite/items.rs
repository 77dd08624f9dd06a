//! A conversation's items as rows: put behind the last one, found by their ids, paged, removed.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::lookups::{OwnConversation, own_conversation, running_turn_id};
use super::rows::{self, all, execute, find, find_value, int, item_place, items_of, uint};
use super::sessions::session_lives;
use super::sql;
use super::writer::Operation;
use crate::domain::conversation::Place;
use crate::domain::ids::{ItemId, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::store::conversations::{Added, ItemsPage, ItemsQuery, Removed};

/// A conversation's figures, as they grow.
pub(super) struct Totals {
    /// The conversation.
    pub(super) number: i64,
    pub(super) item_count: i64,
    pub(super) total_tokens: i64,
}

impl Totals {
    fn of(conversation: &OwnConversation) -> Self {
        let (item_count, total_tokens) = (int(conversation.item_count), int(conversation.total_tokens));
        Self { number: conversation.number, item_count, total_tokens }
    }

    /// Stores `item` as the newest one; the conversation's own row is the caller's to write.
    pub(super) fn push(&mut self, db: &Connection, item: &Item, now_ms: i64) -> Result<(), Fail> {
        self.item_count += 1;
        let place = item_place(self.number, self.item_count)?;
        let (id, turn, encoding) = (item.id.as_str(), item.turn.as_ref().map(TurnId::as_str), item.encoding.as_str());
        let params = params![place, id, turn, item.tokens, encoding, self.total_tokens, now_ms, item.json];
        execute(db, sql::INSERT_ITEM, params)?;
        self.total_tokens += i64::from(item.tokens);
        Ok(())
    }

    fn store(&self, db: &Connection) -> Result<(), Fail> {
        execute(db, sql::CHANGE_ITEMS, [self.number, self.item_count, self.total_tokens])?;
        Ok(())
    }
}

/// The conversation, where its owner's session lives.
fn living(db: &Connection, place: &Place, now_ms: i64) -> Result<Option<OwnConversation>, Fail> {
    if session_lives(db, &place.owner, now_ms)? { own_conversation(db, place) } else { Ok(None) }
}

/// Looks from the newest item back; `pending` come after all others.
fn find_item(
    db: &Connection,
    conversation: &OwnConversation,
    pending: &[StoredItem],
    id: &ItemId,
) -> Result<Option<StoredItem>, Fail> {
    if let Some(found) = pending.iter().rev().find(|stored| stored.item.id == *id) {
        return Ok(Some(found.clone()));
    }
    let (first, last) = items_of(conversation.number);
    find(db, sql::ITEM_BY_ID, params![first, last, id.as_str()], rows::stored_item)
}

/// `add_items`.
pub(super) struct AddItems {
    pub(super) place: Place,
    pub(super) items: Vec<Item>,
    /// When they are stored.
    pub(super) now_ms: i64,
    /// What sessions go by.
    pub(super) clock_ms: i64,
}

impl Operation for AddItems {
    type Answer = Added;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<Added, Fail> {
        let Some(conversation) = living(db, &self.place, self.clock_ms)? else {
            return Ok(Added::Unknown);
        };
        if let Some(running) = running_turn_id(db, conversation.number)? {
            return Ok(Added::Busy(running));
        }
        let mut totals = Totals::of(&conversation);
        let mut stored = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let tokens_before = uint(totals.total_tokens);
            totals.push(db, item, self.now_ms)?;
            let (seq, item) = (uint(totals.item_count), item.clone());
            stored.push(StoredItem { seq, tokens_before, created_at_ms: self.now_ms, item });
        }
        totals.store(db)?;
        Ok(Added::Added(stored))
    }
}

/// `items`.
pub(super) fn page(db: &Connection, place: &Place, query: &ItemsQuery, now_ms: i64) -> Result<ItemsPage, Fail> {
    let Some(conversation) = living(db, place, now_ms)? else {
        return Ok(ItemsPage::UnknownConversation);
    };
    let pending = conversation.pending(db)?;
    let after = match &query.after {
        None => None,
        Some(id) => match find_item(db, &conversation, &pending, id)? {
            None => return Ok(ItemsPage::UnknownItem),
            Some(found) => Some(item_place(conversation.number, int(found.seq))?),
        },
    };
    let (first, last) = items_of(conversation.number);
    let (statement, first, last) = match query.ascending {
        true => (sql::ITEMS_FORWARDS, after.map_or(first, |place| place + 1), last),
        false => (sql::ITEMS_BACKWARDS_LIMITED, first, after.map_or(last, |place| place - 1)),
    };
    let params = params![first, last, rows::limit(query.limit.saturating_add(1))];
    let mut items = all(db, statement, params, rows::stored_item)?;
    let at = |stored: &StoredItem| item_place(conversation.number, int(stored.seq));
    let mut among = pending.into_iter().filter(|stored| at(stored).is_ok_and(|at| (first..=last).contains(&at)));
    match query.ascending {
        true => items.extend(among),
        false => drop(items.splice(0..0, among.by_ref().rev())),
    }
    let has_more = rows::cut_to(&mut items, query.limit);
    Ok(ItemsPage::Page { items, has_more })
}

/// `item`.
pub(super) fn item(db: &Connection, place: &Place, id: &ItemId, now_ms: i64) -> Result<Option<StoredItem>, Fail> {
    match living(db, place, now_ms)? {
        Some(conversation) => find_item(db, &conversation, &conversation.pending(db)?, id),
        None => Ok(None),
    }
}

/// `remove_item`.
pub(super) struct RemoveItem {
    pub(super) place: Place,
    pub(super) item: ItemId,
    pub(super) now_ms: i64,
}

impl Operation for RemoveItem {
    type Answer = Removed;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<Removed, Fail> {
        let Some(conversation) = living(db, &self.place, self.now_ms)? else {
            return Ok(Removed::UnknownConversation);
        };
        let pending = conversation.pending(db)?;
        let Some(found) = find_item(db, &conversation, &pending, &self.item)? else {
            return Ok(Removed::UnknownItem);
        };
        if found.seq > conversation.item_count
            && let Some(running) = running_turn_id(db, conversation.number)?
        {
            return Ok(Removed::Busy(running));
        }
        execute(db, sql::DELETE_ITEM, [item_place(conversation.number, int(found.seq))?])?;
        // Its number stays given: the count of items goes on from it.
        let end: Option<i64> = find_value(db, sql::ITEMS_END, items_of(conversation.number))?;
        let tokens = i64::from(found.item.tokens);
        execute(db, sql::ITEM_REMOVED, [conversation.number, end.unwrap_or_default(), tokens])?;
        Ok(Removed::Removed)
    }
}
