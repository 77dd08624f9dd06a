//! Conversations in memory, apart from their turns.

use async_trait::async_trait;

use super::{ConversationRow, Memory, State, TurnRow};
use crate::domain::conversation::{Conversation, Owner, Place};
use crate::domain::ids::{ConversationId, ItemId, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::domain::window::{Budget, Loaded};
use crate::store::conversations::{
    Added, ConversationInfo, Conversations, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};
use crate::store::pending::{End, pending};
use crate::store::{Notice, StoreError};

impl State {
    /// The conversation, where its owner's session lives.
    fn living(&mut self, place: &Place, now_ms: i64) -> Option<&mut ConversationRow> {
        let lives = self.session_lives(&place.owner, now_ms);
        self.conversations.get_mut(&place.conversation).filter(|row| lives && row.owner == place.owner)
    }
}

impl State {
    /// What the running turn was asked.
    pub(super) fn pending(&self, place: &Place) -> Vec<StoredItem> {
        let running = |row: &ConversationRow| Some((row.head.clone(), self.turns.get(row.head.running.as_ref()?)?));
        match self.own_conversation(place).and_then(running) {
            None => Vec::new(),
            Some((Conversation { item_count, total_tokens, .. }, TurnRow { record, .. })) => {
                pending(&record.request, End { item_count, total_tokens }, record.created_at_ms)
            }
        }
    }
}

impl ConversationRow {
    pub(super) fn new(place: &Place, now_ms: i64, hidden: bool) -> Self {
        let head = Conversation {
            id: place.conversation.clone(),
            version: 0,
            item_count: 0,
            total_tokens: 0,
            created_at_ms: now_ms,
            running: None,
        };
        Self { owner: place.owner.clone(), head, items: Vec::new(), item_tokens: 0, metadata: "{}".into(), hidden }
    }

    pub(super) fn window(&self, budget: Budget) -> Loaded {
        let (tokens, cut) = (self.item_tokens, budget.cut(self.head.total_tokens));
        let items = match budget.forbids(tokens) {
            true => Vec::new(),
            false => self.items[self.items.partition_point(|item| item.tokens_before < cut)..].to_vec(),
        };
        Loaded { items, tokens }
    }

    pub(super) fn push(&mut self, item: Item, now_ms: i64) -> StoredItem {
        let tokens = u64::from(item.tokens);
        let (seq, tokens_before) = (self.head.item_count + 1, self.head.total_tokens);
        let stored = StoredItem { seq, tokens_before, created_at_ms: now_ms, item };
        self.items.push(stored.clone());
        self.head.item_count = seq;
        self.head.total_tokens += tokens;
        self.item_tokens += tokens;
        stored
    }

    fn info(&self) -> ConversationInfo {
        ConversationInfo {
            id: self.head.id.clone(),
            created_at_ms: self.head.created_at_ms,
            metadata: self.metadata.clone(),
            hidden: self.hidden,
        }
    }

    fn place_of(&self, id: &ItemId) -> Option<usize> {
        self.items.iter().rposition(|stored| stored.item.id == *id)
    }

    fn page(&self, query: &ItemsQuery, pending: &[StoredItem]) -> ItemsPage {
        let all: Vec<&StoredItem> = self.items.iter().chain(pending).collect();
        let after = match &query.after {
            None => None,
            Some(id) => match all.iter().rposition(|stored| stored.item.id == *id) {
                None => return ItemsPage::UnknownItem,
                place => place,
            },
        };
        let mut found: Box<dyn Iterator<Item = &StoredItem>> = match query.ascending {
            true => Box::new(all[after.map_or(0, |place| place + 1)..].iter().copied()),
            false => Box::new(all[..after.unwrap_or(all.len())].iter().rev().copied()),
        };
        let items: Vec<StoredItem> = found.by_ref().take(query.limit).cloned().collect();
        ItemsPage::Page { items, has_more: found.next().is_some() }
    }

    fn remove(&mut self, place: usize) {
        self.item_tokens -= u64::from(self.items.remove(place).item.tokens);
        self.head.total_tokens = self.items.last().map_or(0, |last| last.tokens_before + u64::from(last.item.tokens));
    }
}

#[async_trait]
impl Conversations for Memory {
    async fn create_conversation(&self, new: NewConversation) -> Result<Created, StoreError> {
        let clock_ms = self.clock.now_ms();
        let mut state = self.state();
        if !state.session_lives(&new.place.owner, clock_ms) {
            return Ok(Created::UnknownSession);
        }
        if state.conversations.contains_key(&new.place.conversation) {
            return Ok(Created::Exists);
        }
        let mut row = ConversationRow::new(&new.place, new.now_ms, new.hidden);
        row.metadata = new.metadata;
        for item in new.items {
            row.push(item, new.now_ms);
        }
        state.conversations.insert(new.place.conversation, row);
        Ok(Created::Created)
    }

    async fn conversation(&self, place: &Place) -> Result<Option<ConversationInfo>, StoreError> {
        let now_ms = self.clock.now_ms();
        Ok(self.state().living(place, now_ms).map(|row| row.info()))
    }

    async fn conversations(
        &self,
        owner: &Owner,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Option<ConversationsPage>, StoreError> {
        let now_ms = self.clock.now_ms();
        let state = self.state();
        let lives = state.session_lives(owner, now_ms);
        let mut own: Vec<ConversationInfo> = state
            .conversations
            .values()
            .filter(|row| lives && row.owner == *owner && !row.hidden)
            .map(ConversationRow::info)
            .collect();
        own.sort_by(|a, b| (b.created_at_ms, &b.id).cmp(&(a.created_at_ms, &a.id)));
        let from = match after {
            None => 0,
            Some(id) => match own.iter().position(|info| info.id == *id) {
                Some(place) => place + 1,
                None => return Ok(None),
            },
        };
        let has_more = own.len() - from > limit;
        let conversations = own.into_iter().skip(from).take(limit).collect();
        Ok(Some(ConversationsPage { conversations, has_more }))
    }

    async fn set_metadata(&self, place: &Place, metadata: &str) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let Some(row) = state.living(place, now_ms) else { return Ok(false) };
        row.metadata = metadata.to_owned();
        Ok(true)
    }

    async fn delete_conversation(&self, place: &Place) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        if state.living(place, now_ms).is_none() {
            return Ok(false);
        }
        let gone = state.conversations.remove(&place.conversation);
        state.turns.retain(|_, row| row.record.place != *place);
        state.forget_keys_without_turn();
        drop(state);
        if let Some(turn) = gone.and_then(|row| row.head.running) {
            self.notify(Notice::Cancel(turn));
        }
        Ok(true)
    }

    async fn add_items(&self, place: &Place, items: Vec<Item>, now_ms: i64) -> Result<Added, StoreError> {
        let clock_ms = self.clock.now_ms();
        let mut state = self.state();
        let Some(row) = state.living(place, clock_ms) else { return Ok(Added::Unknown) };
        if let Some(running) = &row.head.running {
            return Ok(Added::Busy(running.clone()));
        }
        row.head.version += 1;
        Ok(Added::Added(items.into_iter().map(|item| row.push(item, now_ms)).collect()))
    }

    async fn items(&self, place: &Place, query: ItemsQuery) -> Result<ItemsPage, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let pending = state.pending(place);
        Ok(state.living(place, now_ms).map_or(ItemsPage::UnknownConversation, |row| row.page(&query, &pending)))
    }

    async fn item(&self, place: &Place, item: &ItemId) -> Result<Option<StoredItem>, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let pending = state.pending(place);
        let Some(row) = state.living(place, now_ms) else { return Ok(None) };
        let mut newest_first = pending.iter().rev().chain(row.items.iter().rev());
        Ok(newest_first.find(|stored| stored.item.id == *item).cloned())
    }

    async fn remove_item(&self, place: &Place, item: &ItemId) -> Result<Removed, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let is_pending = state.pending(place).iter().any(|stored| stored.item.id == *item);
        let Some(row) = state.living(place, now_ms) else { return Ok(Removed::UnknownConversation) };
        if let Some(running) = row.head.running.as_ref().filter(|_| is_pending) {
            return Ok(Removed::Busy(running.clone()));
        }
        let Some(at) = row.place_of(item) else { return Ok(Removed::UnknownItem) };
        row.remove(at);
        row.head.version += 1;
        Ok(Removed::Removed)
    }

    async fn delete_turn(&self, owner: &Owner, turn: &TurnId) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let lives = state.session_lives(owner, now_ms);
        if !lives || state.own_turn(owner, turn).is_none() {
            return Ok(false);
        }
        let Some(gone) = state.turns.remove(turn) else { return Ok(false) };
        state.forget_keys_without_turn();
        let TurnRecord { place, status, .. } = gone.record;
        if status == TurnStatus::Running
            && let Some(row) = state.conversations.get_mut(&place.conversation)
        {
            row.head.running = None;
        }
        let is_last = !state.turns.values().any(|row| row.record.place == place);
        if is_last && state.conversations.get(&place.conversation).is_some_and(|row| row.hidden) {
            state.conversations.remove(&place.conversation);
        }
        drop(state);
        self.notify(Notice::Cancel(turn.clone()));
        Ok(true)
    }
}
