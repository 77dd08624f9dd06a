//! Conversations apart from their turns: made, looked at, listed and described. Their items are in `items`, how they go is
//! in `deletion`.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::Sqlite;
use super::deletion::{DeleteConversation, DeleteTurn};
use super::fail::Fail;
use super::items::{AddItems, RemoveItem, Totals, item, page};
use super::rows::{self, all, execute, find, find_value, int};
use super::sessions::session_lives;
use super::sql;
use super::writer::Operation;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, ItemId, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::store::StoreError;
use crate::store::conversations::{
    Added, ConversationInfo, Conversations, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};

/// `create_conversation`.
struct Create {
    new: NewConversation,
    now_ms: i64,
}

impl Operation for Create {
    type Answer = Created;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<Created, Fail> {
        let new = &self.new;
        if !session_lives(db, &new.place.owner, self.now_ms)? {
            return Ok(Created::UnknownSession);
        }
        let id = new.place.conversation.as_str();
        if find_value::<i64>(db, sql::CONVERSATION_NUMBER, [id])?.is_some() {
            return Ok(Created::Exists);
        }
        let tokens: u64 = new.items.iter().map(|item| u64::from(item.tokens)).sum();
        let (owner, count) = (new.place.owner.tag(), rows::limit(new.items.len()));
        let params = params![id, owner, count, int(tokens), new.now_ms, new.hidden, new.metadata];
        execute(db, sql::INSERT_CONVERSATION, params)?;
        let mut totals = Totals { number: db.last_insert_rowid(), item_count: 0, total_tokens: 0 };
        for item in &new.items {
            totals.push(db, item, new.now_ms)?;
        }
        Ok(Created::Created)
    }
}

/// `set_metadata`.
struct SetMetadata {
    place: Place,
    metadata: String,
    now_ms: i64,
}

impl Operation for SetMetadata {
    type Answer = bool;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        let params = params![self.place.conversation.as_str(), self.place.owner.tag(), self.metadata];
        Ok(session_lives(db, &self.place.owner, self.now_ms)? && execute(db, sql::SET_METADATA, params)? > 0)
    }
}

fn info(row: &Row<'_>) -> Result<ConversationInfo, Fail> {
    Ok(ConversationInfo {
        id: rows::parsed(row, 0, rows::stored_id)?,
        created_at_ms: row.get(1)?,
        metadata: row.get(2)?,
        hidden: row.get(3)?,
    })
}

fn own_info(db: &Connection, place: &Place, now_ms: i64) -> Result<Option<ConversationInfo>, Fail> {
    if !session_lives(db, &place.owner, now_ms)? {
        return Ok(None);
    }
    find(db, sql::CONVERSATION_INFO, params![place.conversation.as_str(), place.owner.tag()], info)
}

/// What a list of all begins behind: nothing was created then.
const BEHIND_NONE: (i64, &str) = (i64::MAX, "");

fn list(
    db: &Connection,
    owner: &Owner,
    after: Option<&ConversationId>,
    limit: usize,
    now_ms: i64,
) -> Result<Option<ConversationsPage>, Fail> {
    let after = match after {
        None => None,
        Some(id) => {
            let place = Place { owner: owner.clone(), conversation: id.clone() };
            match own_info(db, &place, now_ms)?.filter(|info| !info.hidden) {
                None => return Ok(None),
                found => found,
            }
        }
    };
    if !session_lives(db, owner, now_ms)? {
        return Ok(Some(ConversationsPage { conversations: Vec::new(), has_more: false }));
    }
    let (created_at_ms, id) = after.as_ref().map_or(BEHIND_NONE, |info| (info.created_at_ms, info.id.as_str()));
    let params = params![owner.tag(), created_at_ms, id, rows::limit(limit.saturating_add(1))];
    let mut conversations = all(db, sql::CONVERSATIONS_BEHIND, params, info)?;
    let has_more = rows::cut_to(&mut conversations, limit);
    Ok(Some(ConversationsPage { conversations, has_more }))
}

#[async_trait]
impl Conversations for Sqlite {
    async fn create_conversation(&self, new: NewConversation) -> Result<Created, StoreError> {
        self.writer.submit(Create { new, now_ms: self.clock.now_ms() }).await
    }

    async fn conversation(&self, place: &Place) -> Result<Option<ConversationInfo>, StoreError> {
        let (place, now_ms) = (place.clone(), self.clock.now_ms());
        self.readers.read(move |db| own_info(db, &place, now_ms)).await
    }

    async fn conversations(
        &self,
        owner: &Owner,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Option<ConversationsPage>, StoreError> {
        let (owner, after, now_ms) = (owner.clone(), after.cloned(), self.clock.now_ms());
        self.readers.read(move |db| list(db, &owner, after.as_ref(), limit, now_ms)).await
    }

    async fn set_metadata(&self, place: &Place, metadata: &str) -> Result<bool, StoreError> {
        let (place, metadata, now_ms) = (place.clone(), metadata.to_owned(), self.clock.now_ms());
        self.writer.submit(SetMetadata { place, metadata, now_ms }).await
    }

    async fn delete_conversation(&self, place: &Place) -> Result<bool, StoreError> {
        let (place, now_ms) = (place.clone(), self.clock.now_ms());
        let deleted = self.writer.submit(DeleteConversation { place, now_ms }).await?;
        self.remove_disowned(deleted.as_ref().and_then(|deleted| deleted.left)).await;
        Ok(deleted.is_some())
    }

    async fn add_items(&self, place: &Place, items: Vec<Item>, now_ms: i64) -> Result<Added, StoreError> {
        let (place, clock_ms) = (place.clone(), self.clock.now_ms());
        self.writer.submit(AddItems { place, items, now_ms, clock_ms }).await
    }

    async fn items(&self, place: &Place, query: ItemsQuery) -> Result<ItemsPage, StoreError> {
        let (place, now_ms) = (place.clone(), self.clock.now_ms());
        self.readers.read(move |db| page(db, &place, &query, now_ms)).await
    }

    async fn item(&self, place: &Place, id: &ItemId) -> Result<Option<StoredItem>, StoreError> {
        let (place, id, now_ms) = (place.clone(), id.clone(), self.clock.now_ms());
        self.readers.read(move |db| item(db, &place, &id, now_ms)).await
    }

    async fn remove_item(&self, place: &Place, item: &ItemId) -> Result<Removed, StoreError> {
        let (place, item, now_ms) = (place.clone(), item.clone(), self.clock.now_ms());
        self.writer.submit(RemoveItem { place, item, now_ms }).await
    }

    async fn delete_turn(&self, owner: &Owner, turn: &TurnId) -> Result<bool, StoreError> {
        let (owner, turn, now_ms) = (owner.clone(), turn.clone(), self.clock.now_ms());
        let deleted = self.writer.submit(DeleteTurn { owner, turn, now_ms }).await?;
        self.remove_disowned(deleted.as_ref().and_then(|deleted| deleted.left)).await;
        Ok(deleted.is_some())
    }
}
