//! Conversations apart from their turns: made, described, listed. Their items are in `items.rs`, their end in `deleting.rs`.

use async_trait::async_trait;
use redis::{Cmd, Pipeline, Value};

use super::codec::{self, ItemArg};
use super::connection::{Again, Request};
use super::reading::is_session;
use super::scripts::SCRIPTS;
use super::{Redis, faults};
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, ItemId, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::store::StoreError;
use crate::store::conversations::{
    Added, ConversationInfo, Conversations, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};

/// The most that is listed in one call.
const LONGEST_LIST: usize = 1 << 20;

impl Redis {
    /// Makes a conversation of an API key be found from the key. A session's are found in its own slot.
    pub(super) fn enlist(&self, pipeline: &mut Pipeline, place: &Place, hidden: bool, now_ms: i64) {
        if let Owner::Session(_) = &place.owner {
            return;
        }
        let lists = self.keys.lists_base(&place.owner);
        match hidden {
            true => pipeline.cmd("SADD").arg(lists.hidden()).arg(place.conversation.as_str()),
            // One that is there keeps its age.
            false => pipeline.cmd("ZADD").arg(lists.list()).arg("NX").arg(now_ms).arg(place.conversation.as_str()),
        };
    }

    /// Whether an API key's conversation is certainly not there.
    pub(super) async fn is_missing(&self, place: &Place) -> bool {
        let Owner::ApiKey(_) = &place.owner else { return false };
        let head = self.keys.base_of(place).head(&place.conversation);
        self.command(redis::cmd("EXISTS").arg(head)).await.is_ok_and(|found| found == Value::Int(0))
    }

    fn create_call(&self, new: &NewConversation, again: bool) -> Cmd {
        let (base, conversation) = (self.keys.base_of(&new.place), &new.place.conversation);
        let keys = [base.session(), base.head(conversation), base.items(conversation), base.list()];
        let size = new.items.iter().map(|item| item.json.len() + 160).sum::<usize>();
        let mut call = SCRIPTS.create.call(&keys, 512 + new.metadata.len() + size);
        call.arg(base.as_str()).arg(is_session(&new.place.owner)).arg(conversation.as_str());
        call.arg(u8::from(new.hidden)).arg(&new.metadata).arg(new.now_ms).arg(u8::from(again));
        for item in &new.items {
            call.arg(ItemArg { item, created_at_ms: new.now_ms });
        }
        call
    }

    /// The conversations of a list from behind `after`, at most `limit` of them, each with its head.
    async fn listed(
        &self,
        owner: &Owner,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Option<Vec<Listed>>, StoreError> {
        let lists = self.keys.lists_base(owner);
        let make = |_| {
            let mut call = SCRIPTS.list.call(&[lists.session(), lists.list()], 128);
            call.arg(is_session(owner)).arg(lists.as_str());
            call.arg(after.map_or("", ConversationId::as_str)).arg(limit);
            Request::One(call)
        };
        let found = match self.connection.call(Again::Yes, make).await? {
            Value::Nil => return Ok(None),
            Value::Array(found) => found,
            _ => return Err(faults::unreadable()),
        };
        if let Owner::Session(_) = owner {
            let mut found = found.into_iter();
            let mut listed = Vec::with_capacity(found.len() / 2);
            while let (Some(id), Some(head)) = (found.next(), found.next()) {
                listed.push((codec::conversation_id(codec::utf8(&codec::bytes(id)?)?)?, head));
            }
            return Ok(Some(listed));
        }
        let ids = codec::strings(Value::Array(found))?;
        let ids: Vec<ConversationId> = ids.iter().map(|id| codec::conversation_id(id)).collect::<Result<_, _>>()?;
        self.with_heads(owner, after, ids).await
    }

    /// An API key's conversations lie in slots of their own. `None` where `after` is not to be seen.
    async fn with_heads(
        &self,
        owner: &Owner,
        after: Option<&ConversationId>,
        ids: Vec<ConversationId>,
    ) -> Result<Option<Vec<Listed>>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(ids.len() + 1);
        for id in after.into_iter().chain(&ids) {
            let head = self.keys.base(owner, id).head(id);
            pipeline.cmd("HMGET").arg(head).arg("created").arg("meta").arg("hidden");
        }
        if pipeline.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let heads = self.connection.call(Again::Yes, |_| Request::All(pipeline.clone())).await?;
        let Value::Array(heads) = heads else { return Err(faults::unreadable()) };
        let mut heads = heads.into_iter();
        if let Some(after) = after {
            let head = heads.next().ok_or_else(faults::unreadable)?;
            if info(after.clone(), head)?.is_none_or(|info| info.hidden) {
                return Ok(None);
            }
        }
        Ok(Some(ids.into_iter().zip(heads).collect()))
    }
}

/// A conversation and its head, as Redis gives it.
type Listed = (ConversationId, Value);

/// `None` where there is no such conversation.
fn info(id: ConversationId, head: Value) -> Result<Option<ConversationInfo>, StoreError> {
    let fields = match head {
        Value::Nil => return Ok(None),
        Value::Array(fields) => <[Value; 3]>::try_from(fields).map_err(|_| faults::unreadable())?,
        _ => return Err(faults::unreadable()),
    };
    let [created, metadata, hidden] = fields;
    if created == Value::Nil {
        return Ok(None);
    }
    let metadata = match metadata {
        Value::Nil => "{}".to_owned(),
        metadata => String::from_utf8(codec::bytes(metadata)?).map_err(|_| faults::unreadable())?,
    };
    let created_at_ms = codec::parse(codec::utf8(&codec::bytes(created)?)?)?;
    Ok(Some(ConversationInfo { id, created_at_ms, metadata, hidden: hidden != Value::Nil }))
}

#[async_trait]
impl Conversations for Redis {
    async fn create_conversation(&self, new: NewConversation) -> Result<Created, StoreError> {
        let make = |again| {
            // What leads to it comes first: it is harmless where there is then no conversation.
            let mut pipeline = Pipeline::with_capacity(2);
            self.enlist(&mut pipeline, &new.place, new.hidden, new.now_ms);
            pipeline.add_command(self.create_call(&new, again));
            let last = pipeline.len() - 1;
            Request::Among(pipeline, last)
        };
        match codec::bytes(self.connection.call(Again::Yes, make).await?)?.as_slice() {
            b"C" => Ok(Created::Created),
            b"E" => Ok(Created::Exists),
            b"X" => Ok(Created::UnknownSession),
            _ => Err(faults::unreadable()),
        }
    }

    async fn conversation(&self, place: &Place) -> Result<Option<ConversationInfo>, StoreError> {
        let base = self.keys.base_of(place);
        let make = |_| {
            let mut call = SCRIPTS.read_head.call(&[base.session(), base.head(&place.conversation)], 16);
            call.arg(is_session(&place.owner));
            Request::One(call)
        };
        info(place.conversation.clone(), self.connection.call(Again::Yes, make).await?)
    }

    async fn conversations(
        &self,
        owner: &Owner,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Option<ConversationsPage>, StoreError> {
        let limit = limit.min(LONGEST_LIST);
        let mut wanted = limit + 1;
        loop {
            let Some(listed) = self.listed(owner, after, wanted).await? else { return Ok(None) };
            let is_all = listed.len() < wanted;
            let infos = listed.into_iter().filter_map(|(id, head)| info(id, head).transpose());
            let infos = infos.filter(|info| !info.as_ref().is_ok_and(|info| info.hidden));
            let mut conversations = infos.collect::<Result<Vec<_>, _>>()?;
            let has_more = conversations.len() > limit;
            if has_more || is_all {
                conversations.truncate(limit);
                return Ok(Some(ConversationsPage { conversations, has_more }));
            }
            // Some of them were never made.
            wanted *= 2;
        }
    }

    async fn set_metadata(&self, place: &Place, metadata: &str) -> Result<bool, StoreError> {
        let base = self.keys.base_of(place);
        let make = |_| {
            let keys = [base.session(), base.head(&place.conversation)];
            let mut call = SCRIPTS.describe.call(&keys, 16 + metadata.len());
            call.arg(is_session(&place.owner)).arg(metadata);
            Request::One(call)
        };
        Ok(codec::number(&self.connection.call(Again::Yes, make).await?)? == 1)
    }

    async fn delete_conversation(&self, place: &Place) -> Result<bool, StoreError> {
        self.drop_conversation(place).await
    }

    async fn add_items(&self, place: &Place, items: Vec<Item>, now_ms: i64) -> Result<Added, StoreError> {
        self.add(place, items, now_ms).await
    }

    async fn items(&self, place: &Place, query: ItemsQuery) -> Result<ItemsPage, StoreError> {
        self.page_of_items(place, &query).await
    }

    async fn item(&self, place: &Place, item: &ItemId) -> Result<Option<StoredItem>, StoreError> {
        self.one_item(place, item).await
    }

    async fn remove_item(&self, place: &Place, item: &ItemId) -> Result<Removed, StoreError> {
        self.remove(place, item).await
    }

    async fn delete_turn(&self, owner: &Owner, turn: &TurnId) -> Result<bool, StoreError> {
        self.drop_turn(owner, turn).await
    }
}
