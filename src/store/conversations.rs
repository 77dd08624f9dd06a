//! Conversations as OpenAI's Conversations API has them: made, listed, described, edited and deleted, apart from any turn.
//!
//! Items keep their numbers, and no number is given twice: what is added is numbered on from the last item that there ever
//! was, removed or not. So what came up to a number stays the same for good, but for what is removed of it. Of a removed
//! item nothing is left; the numbers and token totals of later ones stay as they are.
//!
//! What a running turn was asked is among the items that readers find, from the beginning of the turn on, behind all others
//! and as [`crate::domain::question`] says. It joins the conversation with the end of the turn, under the same numbers: until
//! then it counts in no total, is in no window and cannot be removed.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, ItemId, TurnId};
use crate::domain::item::{Item, StoredItem};

/// A conversation without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationInfo {
    /// Its id.
    pub id: ConversationId,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// A JSON object's text; `{}` where nothing was said.
    pub metadata: String,
    /// Whether it only holds a chain of responses, so that lists leave it out.
    pub hidden: bool,
}

/// What [`Conversations::create_conversation`] is told.
#[derive(Debug, Clone)]
pub struct NewConversation {
    /// Whose, and its id.
    pub place: Place,
    /// See [`ConversationInfo::hidden`].
    pub hidden: bool,
    /// A JSON object's text.
    pub metadata: String,
    /// Its first items, in order; may be empty.
    pub items: Vec<Item>,
    /// The caller's clock.
    pub now_ms: i64,
}

/// What [`Conversations::create_conversation`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is there.
    Created,
    /// There is one of this id, this owner's or another's; nothing changed.
    Exists,
    /// The owner is a session that is unknown or has expired.
    UnknownSession,
}

/// What [`Conversations::add_items`] answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Added {
    /// They are the newest items now, with these numbers.
    Added(Vec<StoredItem>),
    /// A turn is running, whose items come first.
    Busy(TurnId),
    /// There is no such conversation of this owner.
    Unknown,
}

/// Which items [`Conversations::items`] is to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemsQuery {
    /// Only those behind this one, in the asked-for order.
    pub after: Option<ItemId>,
    /// Oldest first, or newest first.
    pub ascending: bool,
    /// At most so many.
    pub limit: usize,
}

/// What [`Conversations::items`] answers.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemsPage {
    /// The items, in the asked-for order.
    Page {
        /// May be empty.
        items: Vec<StoredItem>,
        /// Whether more follow.
        has_more: bool,
    },
    /// There is no such conversation of this owner.
    UnknownConversation,
    /// `after` names no item of it.
    UnknownItem,
}

/// What [`Conversations::remove_item`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Removed,
    /// There is no such conversation of this owner.
    UnknownConversation,
    /// The conversation has no such item.
    UnknownItem,
    /// This turn, which is running, was asked it.
    Busy(TurnId),
}

/// A page of an owner's conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationsPage {
    /// Newest first.
    pub conversations: Vec<ConversationInfo>,
    /// Whether there are older ones.
    pub has_more: bool,
}

/// The contract. Atomicity, owners and sessions as in the parent module: where the owner is a session that is unknown or
/// has expired, everything of it is unknown.
#[async_trait]
pub trait Conversations: Send + Sync + 'static {
    /// Makes a conversation with its first items. It lives as long as its owner's others.
    async fn create_conversation(&self, new: NewConversation) -> Result<Created, StoreError>;

    /// A conversation, hidden or not; `None` where this owner has no such one.
    async fn conversation(&self, place: &Place) -> Result<Option<ConversationInfo>, StoreError>;

    /// The owner's conversations that are not hidden, newest first and, of one millisecond, the greater id first; those
    /// behind `after`. `None` where `after` is none of them.
    async fn conversations(
        &self,
        owner: &Owner,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Option<ConversationsPage>, StoreError>;

    /// Replaces the metadata, a JSON object's text; false where this owner has no such conversation.
    async fn set_metadata(&self, place: &Place, metadata: &str) -> Result<bool, StoreError>;

    /// Deletes a conversation with its items, turns and events, and the idempotency keys that lead to these turns; false
    /// where this owner has no such one. A turn that is running in it can store nothing more; a
    /// [`super::Notice::Cancel`] tells the server that runs it.
    async fn delete_conversation(&self, place: &Place) -> Result<bool, StoreError>;

    /// Adds items as the newest ones. What was added is durable when this answers.
    async fn add_items(&self, place: &Place, items: Vec<Item>, now_ms: i64) -> Result<Added, StoreError>;

    /// A page of items.
    async fn items(&self, place: &Place, query: ItemsQuery) -> Result<ItemsPage, StoreError>;

    /// One item; `None` where this owner has no such conversation, or it no such item.
    async fn item(&self, place: &Place, item: &ItemId) -> Result<Option<StoredItem>, StoreError>;

    /// Removes an item; see the module on what stays.
    async fn remove_item(&self, place: &Place, item: &ItemId) -> Result<Removed, StoreError>;

    /// Forgets a turn: its record, answer, events and idempotency key; its items stay in the conversation, unless that is
    /// hidden and no other turn of it is known, in which case all of it goes. One that is running can store nothing more,
    /// adds no items and the conversation is free; a [`super::Notice::Cancel`] tells the server that runs it. False where
    /// this owner has no such turn.
    async fn delete_turn(&self, owner: &Owner, turn: &TurnId) -> Result<bool, StoreError>;
}
