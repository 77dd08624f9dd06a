//! A conversation's items, apart from its turns: added, read, removed.

use redis::{Cmd, Value};

use super::codec::{self, ItemArg, Items};
use super::connection::{Again, Request};
use super::keys::Base;
use super::pending::Pending;
use super::reading::{first_and_pending, is_session};
use super::scripts::{SCRIPTS, Script};
use super::{Redis, faults};
use crate::domain::conversation::Place;
use crate::domain::ids::ItemId;
use crate::domain::item::{Item, StoredItem};
use crate::store::StoreError;
use crate::store::conversations::{Added, ItemsPage, ItemsQuery, Removed};
use crate::store::pending::join;

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
        match self.stored_page(place, query).await? {
            Paged::Page(page) => Ok(page),
            Paged::Behind(pending) => self.page_behind(place, query, pending).await,
        }
    }

    /// A page behind one of the `pending` items of a running turn.
    async fn page_behind(&self, place: &Place, query: &ItemsQuery, pending: Pending) -> Result<ItemsPage, StoreError> {
        let Some(after) = query.after.as_ref().filter(|after| pending.has(after)) else {
            return Ok(ItemsPage::UnknownItem);
        };
        let is_after = |stored: &StoredItem| stored.item.id == *after;
        let (mut items, more_stored) = match query.ascending {
            true => (pending.items, false),
            // They are the newest ones, also where the turn has ended meanwhile.
            false => {
                let limit = query.limit.saturating_add(pending.items.len());
                let newest = ItemsQuery { after: None, ascending: false, limit };
                match self.stored_page(place, &newest).await? {
                    Paged::Page(ItemsPage::Page { items, has_more }) => (items, has_more),
                    Paged::Page(other) => return Ok(other),
                    Paged::Behind(_) => return Err(faults::unreadable()),
                }
            }
        };
        let Some(at) = items.iter().position(is_after) else { return Ok(ItemsPage::UnknownItem) };
        items.drain(..=at);
        let has_more = more_stored || items.len() > query.limit;
        items.truncate(query.limit);
        Ok(ItemsPage::Page { items, has_more })
    }

    async fn stored_page(&self, place: &Place, query: &ItemsQuery) -> Result<Paged, StoreError> {
        let base = self.keys.base_of(place);
        let make = |from: &str, _| {
            let mut call = item_call(&SCRIPTS.read_items, &base, place, query.after.as_ref(), from);
            call.arg(u8::from(query.ascending)).arg(query.limit.min(1 << 32));
            call
        };
        let found = match self.look_back(make).await? {
            found @ Value::Array(_) => Items::read(found)?,
            Value::BulkString(answer) if answer == b"U" => return Ok(Paged::Page(ItemsPage::UnknownConversation)),
            Value::BulkString(answer) => return absent(&answer).map(Paged::Behind),
            _ => return Err(faults::unreadable()),
        };
        let mut line = found.line.as_str();
        let mut has_more = codec::take(&mut line, ' ')? == "1";
        let (first, Pending { items: pending, .. }) = first_and_pending(line)?;
        let mut items = found.numbered(first)?;
        match (query.ascending, &query.after) {
            // The newest ones follow only where the page has come to them.
            (true, _) if has_more => {}
            (true, _) => {
                items.extend(pending);
                has_more = items.len() > query.limit;
                items.truncate(query.limit);
            }
            (false, None) => join(&mut items, &mut has_more, pending, None, query.limit),
            // They are newer than what the page begins behind.
            (false, Some(_)) => {}
        }
        if !query.ascending {
            items.reverse();
        }
        Ok(Paged::Page(ItemsPage::Page { items, has_more }))
    }

    pub(super) async fn one_item(&self, place: &Place, item: &ItemId) -> Result<Option<StoredItem>, StoreError> {
        let base = self.keys.base_of(place);
        let make = |from: &str, _| item_call(&SCRIPTS.read_item, &base, place, Some(item), from);
        match self.look_back(make).await? {
            Value::Nil => Ok(None),
            Value::BulkString(answer) => Ok(absent(&answer)?.item(item)),
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
            answer => Ok(absent(answer)?.turn_of(item).map_or(Removed::UnknownItem, Removed::Busy)),
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

/// A page, or what to look behind in place of the items that are stored.
enum Paged {
    Page(ItemsPage),
    Behind(Pending),
}

/// An item is not there: what the running turn was asked may be it.
fn absent(answer: &[u8]) -> Result<Pending, StoreError> {
    Pending::read(codec::utf8(answer)?.strip_prefix('P').ok_or_else(faults::unreadable)?)
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
