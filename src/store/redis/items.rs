//! A conversation's items, apart from its turns: added, read, removed.

use redis::{Cmd, Value};

use super::codec::{self, ItemArg, Items};
use super::connection::{Again, Request};
use super::keys::Base;
use super::reading::is_session;
use super::scripts::{SCRIPTS, Script};
use super::{Redis, faults};
use crate::domain::conversation::Place;
use crate::domain::ids::ItemId;
use crate::domain::item::{Item, StoredItem};
use crate::store::StoreError;
use crate::store::conversations::{Added, ItemsPage, ItemsQuery, Removed};

impl Redis {
    pub(super) async fn add(&self, place: &Place, items: Vec<Item>, now_ms: i64) -> Result<Added, StoreError> {
        let base = self.keys.base_of(place);
        let make = |again| {
            let size = items.iter().map(|item| item.json.len() + 160).sum::<usize>();
            let mut call = SCRIPTS.add.call(&keys(&base, place), 64 + size);
            call.arg(is_session(&place.owner)).arg(u8::from(again));
            for item in &items {
                call.arg(ItemArg { item, created_at_ms: now_ms });
            }
            Request::One(call)
        };
        let answer = codec::bytes(self.connection.call(Again::Yes, make).await?)?;
        let answer = codec::utf8(&answer)?;
        match answer.split_at_checked(1) {
            Some(("A", mut line)) => {
                let first: u64 = codec::take_number(&mut line, ' ')?;
                let mut tokens: u64 = codec::parse(line)?;
                let stored = items.into_iter().zip(first..).map(|(item, seq)| {
                    let tokens_before = tokens;
                    tokens += u64::from(item.tokens);
                    StoredItem { seq, tokens_before, created_at_ms: now_ms, item }
                });
                Ok(Added::Added(stored.collect()))
            }
            Some(("B", running)) => Ok(Added::Busy(codec::turn_id(running)?)),
            Some(("U", _)) => Ok(Added::Unknown),
            _ => Err(faults::unreadable()),
        }
    }

    pub(super) async fn page_of_items(&self, place: &Place, query: &ItemsQuery) -> Result<ItemsPage, StoreError> {
        let base = self.keys.base_of(place);
        let make = |from: &str, _| {
            let mut call = item_call(&SCRIPTS.read_items, &base, place, query.after.as_ref(), from);
            call.arg(u8::from(query.ascending)).arg(query.limit.min(1 << 32));
            call
        };
        let found = match self.look_back(make).await? {
            found @ Value::Array(_) => Items::read(found)?,
            Value::BulkString(answer) if answer == b"U" => return Ok(ItemsPage::UnknownConversation),
            Value::BulkString(answer) if answer == b"N" => return Ok(ItemsPage::UnknownItem),
            _ => return Err(faults::unreadable()),
        };
        let mut line = found.line.as_str();
        let has_more = codec::take(&mut line, ' ')? == "1";
        let first = codec::parse(line)?;
        let mut items = found.numbered(first)?;
        if !query.ascending {
            items.reverse();
        }
        Ok(ItemsPage::Page { items, has_more })
    }

    pub(super) async fn one_item(&self, place: &Place, item: &ItemId) -> Result<Option<StoredItem>, StoreError> {
        let base = self.keys.base_of(place);
        let make = |from: &str, _| item_call(&SCRIPTS.read_item, &base, place, Some(item), from);
        match self.look_back(make).await? {
            Value::Nil => Ok(None),
            found => {
                let found = Items::read(found)?;
                let seq = codec::parse(&found.line)?;
                Ok(found.numbered(seq)?.pop())
            }
        }
    }

    pub(super) async fn remove(&self, place: &Place, item: &ItemId) -> Result<Removed, StoreError> {
        let base = self.keys.base_of(place);
        let make = |from: &str, again| {
            let mut call = item_call(&SCRIPTS.remove_item, &base, place, Some(item), from);
            call.arg(u8::from(again));
            call
        };
        match codec::bytes(self.look_back(make).await?)?.as_slice() {
            b"R" => Ok(Removed::Removed),
            b"U" => Ok(Removed::UnknownConversation),
            b"N" => Ok(Removed::UnknownItem),
            _ => Err(faults::unreadable()),
        }
    }

    /// Calls a script that looks for an item, as often as it stops on its way back through a long list. Items keep their
    /// numbers, so none is missed that is there all the while.
    async fn look_back(&self, make: impl Fn(&str, bool) -> Cmd + Sync) -> Result<Value, StoreError> {
        let mut from = String::new();
        loop {
            let answer = self.connection.call(Again::Yes, |again| Request::One(make(&from, again))).await?;
            match &answer {
                Value::BulkString(text) if text.first() == Some(&b'C') => {
                    codec::utf8(&text[1..])?.clone_into(&mut from)
                }
                _ => return Ok(answer),
            }
        }
    }
}

fn keys(base: &Base, place: &Place) -> [String; 4] {
    [base.session(), base.head(&place.conversation), base.items(&place.conversation), base.turns()]
}

/// A call of a script that looks for an item: whether the owner is a session, the item, the number to look from.
fn item_call(script: &Script, base: &Base, place: &Place, item: Option<&ItemId>, from: &str) -> Cmd {
    let mut call = script.call(&keys(base, place), 128);
    call.arg(is_session(&place.owner)).arg(item.map_or("", ItemId::as_str)).arg(from);
    call
}
