//! What is read: events, turns, history; and the request to cancel, which only looks and leaves a mark.

use redis::Value;

use super::codec::{self, Items};
use super::connection::{Again, Request};
use super::keys::Base;
use super::pending::Pending;
use super::scripts::SCRIPTS;
use super::{Redis, faults};
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnRecord;
use crate::domain::window::{Budget, Loaded};
use crate::store::pending::join;
use crate::store::{CancelRequest, EventsPage, HistoryPage, Notice, StoreError};

/// Numbers above this lose their last digits in a script; no list is as long.
const LARGEST: u64 = 1 << 53;

impl Redis {
    /// Where a turn lives. A session's turns are all in its own slot; an API key's have to be looked up.
    pub(super) async fn base_of_turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<Base>, StoreError> {
        let Owner::ApiKey(id) = owner else { return Ok(self.keys.session_base(owner)) };
        match self.command(redis::cmd("GET").arg(self.keys.pointer(id, turn.as_str()))).await? {
            Value::Nil => Ok(None),
            found => {
                let conversation = codec::conversation_id(codec::utf8(&codec::bytes(found)?)?)?;
                Ok(Some(self.keys.base(owner, &conversation)))
            }
        }
    }

    pub(super) async fn events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        let Some(base) = self.base_of_turn(owner, turn).await? else { return Ok(EventsPage::Unknown) };
        let make = |_| {
            let mut call = SCRIPTS.read_events.call(&[base.session(), base.turns(), base.events(turn)], 256);
            call.arg(base.as_str()).arg(is_session(owner)).arg(turn.as_str());
            call.arg(after.min(LARGEST)).arg(limit.min(1 << 32)).arg(&self.server);
            Request::One(call)
        };
        let answer = codec::bytes(self.connection.call(Again::Yes, make).await?)?;
        let mut rest = codec::utf8(&answer)?;
        match take_kind(&mut rest)? {
            'E' => {
                let status = codec::status(codec::take(&mut rest, '\n')?)?;
                Ok(EventsPage::Events { events: codec::events(rest, after.saturating_add(1))?, status })
            }
            'X' => Ok(EventsPage::Expired),
            'U' => Ok(EventsPage::Unknown),
            _ => Err(faults::unreadable()),
        }
    }

    pub(super) async fn one_turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        let Some(base) = self.base_of_turn(owner, turn).await? else { return Ok(None) };
        let make = |_| {
            let mut call = SCRIPTS.read_turn.call(&[base.session(), base.turns()], 256);
            call.arg(base.as_str()).arg(is_session(owner)).arg(turn.as_str());
            Request::One(call)
        };
        match self.connection.call(Again::Yes, make).await? {
            Value::Nil => Ok(None),
            found => codec::record(owner, found).map(Some),
        }
    }

    pub(super) async fn newest_turns(
        &self,
        place: &Place,
        limit: usize,
    ) -> Result<Option<Vec<TurnRecord>>, StoreError> {
        let base = self.keys.base_of(place);
        let make = |_| {
            let conversation = &place.conversation;
            let keys = [base.session(), base.turns(), base.head(conversation), base.order(conversation)];
            let mut call = SCRIPTS.read_turns.call(&keys, 256);
            call.arg(base.as_str()).arg(is_session(&place.owner)).arg(limit.min(1 << 32));
            Request::One(call)
        };
        match self.connection.call(Again::Yes, make).await? {
            Value::Nil => Ok(None),
            // One that cannot be read does not hide the others.
            Value::Array(found) => {
                Ok(Some(found.into_iter().filter_map(|turn| codec::record(&place.owner, turn).ok()).collect()))
            }
            _ => Err(faults::unreadable()),
        }
    }

    pub(super) async fn cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError> {
        let Some(base) = self.base_of_turn(owner, turn).await? else { return Ok(CancelRequest::Unknown) };
        let make = |_| {
            let mut call = SCRIPTS.cancel.call(&[base.session(), base.turns()], 256);
            call.arg(base.as_str()).arg(is_session(owner)).arg(turn.as_str()).arg(&self.server).arg(&self.channel);
            Request::One(call)
        };
        let answer = codec::bytes(self.connection.call(Again::Yes, make).await?)?;
        let mut rest = codec::utf8(&answer)?;
        match take_kind(&mut rest)? {
            'R' => {
                self.notices.tell(Notice::Cancel(turn.clone()));
                Ok(CancelRequest::Requested)
            }
            'A' => Ok(CancelRequest::AlreadyEnded(codec::status(rest)?)),
            'U' => Ok(CancelRequest::Unknown),
            _ => Err(faults::unreadable()),
        }
    }

    pub(super) async fn page(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError> {
        let base = self.keys.base_of(place);
        let make = |_| {
            let conversation = &place.conversation;
            let keys = [base.session(), base.head(conversation), base.items(conversation), base.turns()];
            let mut call = SCRIPTS.history.call(&keys, 128);
            call.arg(is_session(&place.owner)).arg(now_ms);
            match before {
                Some(before) => call.arg(before.min(LARGEST)),
                None => call.arg(""),
            };
            call.arg(limit.min(1 << 32));
            Request::One(call)
        };
        let items = match self.connection.call(Again::Yes, make).await? {
            Value::Nil => return Ok(None),
            found => Items::read(found)?,
        };
        let mut line = items.line.as_str();
        let session_expires_at_ms = match codec::take(&mut line, ' ')? {
            "-" => None,
            ends => Some(codec::parse(ends)?),
        };
        let mut has_more = codec::take(&mut line, ' ')? == "1";
        let (first, Pending { items: pending, .. }) = first_and_pending(line)?;
        let mut items = items.numbered(first)?;
        join(&mut items, &mut has_more, pending, before, limit);
        Ok(Some(HistoryPage { items, has_more, session_expires_at_ms }))
    }

    pub(super) async fn newest_items(&self, place: &Place, budget: Budget) -> Result<Loaded, StoreError> {
        let base = self.keys.base_of(place);
        let make = |_| {
            let conversation = &place.conversation;
            let keys = [base.session(), base.head(conversation), base.items(conversation)];
            let mut call = SCRIPTS.read_window.call(&keys, 64);
            call.arg(is_session(&place.owner))
                .arg(budget.loaded_tokens())
                .arg(budget.fixed_tokens)
                .arg(most_tokens(&budget));
            Request::One(call)
        };
        let mut items = Items::read(self.connection.call(Again::Yes, make).await?)?;
        let line = std::mem::take(&mut items.line);
        loaded(&line, items)
    }
}

/// What a script is told of [`Budget::most_tokens`].
pub(super) fn most_tokens(budget: &Budget) -> String {
    budget.most_tokens().map_or_else(String::new, |most| most.to_string())
}

/// The items, and `<tokens of all> <number of the first one>`.
pub(super) fn loaded(mut line: &str, items: Items) -> Result<Loaded, StoreError> {
    let tokens = codec::take_number(&mut line, ' ')?;
    Ok(Loaded { items: items.numbered(codec::parse(line)?)?, tokens })
}

/// The number of the first item of a page, and what the running turn was asked.
pub(super) fn first_and_pending(line: &str) -> Result<(u64, Pending), StoreError> {
    let (first, pending) = line.split_at(line.find(' ').unwrap_or(line.len()));
    Ok((codec::parse(first)?, Pending::read(pending)?))
}

pub(super) fn is_session(owner: &Owner) -> u8 {
    u8::from(matches!(owner, Owner::Session(_)))
}

fn take_kind(text: &mut &str) -> Result<char, StoreError> {
    let kind = text.chars().next().ok_or_else(faults::unreadable)?;
    *text = &text[kind.len_utf8()..];
    Ok(kind)
}
