//! What is asked without changing anything. Each function looks at one moment of the database.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::lookups::{own_conversation, previous_turn, running_turn};
use super::rows::{self, EVENTS_A_TURN, IMPLIED_EVENT, all, find, int, uint};
use super::sessions::{session_expiry, session_lives};
use super::sql;
use crate::domain::conversation::{Owner, Place};
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::TurnId;
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::domain::window::{Budget, Loaded};
use crate::store::{EventsPage, HistoryPage, pending};

/// `history`.
pub(super) fn history(
    db: &Connection,
    place: &Place,
    before: Option<u64>,
    limit: usize,
    now_ms: i64,
) -> Result<Option<HistoryPage>, Fail> {
    let Some(session_expires_at_ms) = session_expiry(db, &place.owner, now_ms)? else {
        return Ok(None);
    };
    let Some(conversation) = own_conversation(db, place)? else {
        return Ok(None);
    };
    let end = before.map_or(conversation.item_count, |before| conversation.item_count.min(before.saturating_sub(1)));
    let (first, _) = rows::items_of(conversation.number);
    let last = first.saturating_add(int(end));
    let params = params![first, last, rows::limit(limit.saturating_add(1))];
    let mut items = all(db, sql::ITEMS_BACKWARDS_LIMITED, params, rows::stored_item)?;
    let mut has_more = rows::cut_to(&mut items, limit);
    items.reverse();
    pending::join(&mut items, &mut has_more, conversation.pending(db)?, before, limit);
    Ok(Some(HistoryPage { items, has_more, session_expires_at_ms }))
}

/// `window`.
pub(super) fn window(db: &Connection, place: &Place, budget: Budget) -> Result<Loaded, Fail> {
    match own_conversation(db, place)? {
        Some(found) => rows::window(db, found.number, (found.total_tokens, found.lost_tokens), budget),
        None => Ok(Loaded::default()),
    }
}

/// `turn`.
pub(super) fn turn(db: &Connection, owner: &Owner, turn: &TurnId, now_ms: i64) -> Result<Option<TurnRecord>, Fail> {
    if !session_lives(db, owner, now_ms)? {
        return Ok(None);
    }
    let found = find(db, sql::OWN_TURN, params![turn.as_str(), owner.tag()], |row| rows::turn_row(db, row))?;
    Ok(found.map(|row| row.record))
}

/// `turns`: the running one, then from each to the one before.
pub(super) fn turns(
    db: &Connection,
    place: &Place,
    limit: usize,
    now_ms: i64,
) -> Result<Option<Vec<TurnRecord>>, Fail> {
    if !session_lives(db, &place.owner, now_ms)? {
        return Ok(None);
    }
    let Some(conversation) = own_conversation(db, place)? else {
        return Ok(None);
    };
    let mut next = running_turn(db, conversation.number)?.or(conversation.newest_turn);
    let mut records = Vec::new();
    for _ in 0..limit {
        let Some(number) = next else { break };
        match find(db, sql::TURN_BY_NUMBER, [number], |row| rows::turn_row(db, row)) {
            Ok(Some(row)) => {
                next = row.previous;
                records.push(row.record);
            }
            Ok(None) => return Err(Fail::Content("a conversation without one of its turns")),
            Err(fail) if fail.is_of_storage() => return Err(fail),
            // One that cannot be read does not hide the others.
            Err(_) => next = previous_turn(db, number)?,
        }
    }
    Ok(Some(records))
}

/// `read_events`.
pub(super) fn read_events(
    db: &Connection,
    owner: &Owner,
    turn: &TurnId,
    after: u64,
    limit: usize,
    now_ms: i64,
) -> Result<EventsPage, Fail> {
    if !session_lives(db, owner, now_ms)? {
        return Ok(EventsPage::Unknown);
    }
    let found = find(db, sql::TURN_STANDING, [turn.as_str()], |row| {
        let is_own = rows::parsed(row, 5, |tag| Some(rows::is_of(owner, tag)))?;
        let standing: (i64, TurnStatus, Option<i64>) =
            (row.get(0)?, rows::parsed(row, 2, TurnStatus::parse)?, row.get(4)?);
        Ok(is_own.then_some(standing))
    })?;
    match found.flatten() {
        None => Ok(EventsPage::Unknown),
        Some((_, _, Some(until_ms))) if until_ms <= now_ms => Ok(EventsPage::Expired),
        Some((number, status, _)) => Ok(EventsPage::Events { events: events(db, number, after, limit)?, status }),
    }
}

fn events(db: &Connection, turn: i64, after: u64, limit: usize) -> Result<Vec<Numbered>, Fail> {
    let mut events = Vec::new();
    if int(after) < IMPLIED_EVENT && limit > 0 {
        events.push(Numbered { seq: uint(IMPLIED_EVENT), event: Event::Started { attempt: 1 } });
    }
    let (first, last) = rows::events_of(turn);
    let after = first.saturating_add(int(after).min(EVENTS_A_TURN - 1));
    let params = params![after, last, rows::limit(limit - events.len())];
    let stored = all(db, sql::EVENTS_AFTER, params, |row| {
        let place: i64 = row.get(0)?;
        let event = rows::parsed(row, 1, |json| Event::from_json(json).ok())?;
        Ok(Numbered { seq: uint(place % EVENTS_A_TURN), event })
    })?;
    events.extend(stored);
    Ok(events)
}
