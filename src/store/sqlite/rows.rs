//! How the domain's values stand in columns, and come back out of them.

use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::de::DeserializeOwned;
use serde::de::value::{BorrowedStrDeserializer, Error as ValueError};

use super::fail::Fail;
use super::sql;
use crate::domain::conversation::{Owner, Place};
use crate::domain::item::{Item, StoredItem};
use crate::domain::tokens::Encoding;
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::domain::window::{Budget, Loaded};

/// An item's place is its conversation's number times this, plus its own number.
const ITEMS_A_CONVERSATION: i64 = 1_000_000_000;

/// An event's place is its turn's number times this, plus its own number.
pub(super) const EVENTS_A_TURN: i64 = 10_000_000;

/// The number of event 1, which is not stored: every turn begins with the same one.
pub(super) const IMPLIED_EVENT: i64 = 1;

/// Where item `seq` of a conversation stands.
pub(super) fn item_place(conversation: i64, seq: i64) -> Result<i64, Fail> {
    place(conversation, ITEMS_A_CONVERSATION, seq).ok_or(Fail::Content("a conversation has too many items"))
}

/// Where event `seq` of a turn stands.
pub(super) fn event_place(turn: i64, seq: u64) -> Result<i64, Fail> {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    place(turn, EVENTS_A_TURN, seq).ok_or(Fail::Content("a turn has too many events"))
}

fn place(number: i64, width: i64, seq: i64) -> Option<i64> {
    (0..width).contains(&seq).then_some(seq)?.checked_add(number.checked_mul(width)?)
}

/// The places of all items of a conversation.
pub(super) fn items_of(conversation: i64) -> (i64, i64) {
    range(conversation, ITEMS_A_CONVERSATION)
}

/// The places of all events of a turn.
pub(super) fn events_of(turn: i64) -> (i64, i64) {
    range(turn, EVENTS_A_TURN)
}

fn range(number: i64, width: i64) -> (i64, i64) {
    let first = number.saturating_mul(width);
    (first, first.saturating_add(width - 1))
}

/// A count or a number, as SQLite has them. None of ours comes near the limit.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// [`int`] back. None of ours is below zero.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A limit of a page.
pub(super) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Cuts what was asked for with one more than `limit` back to it; gives whether there was one more.
pub(super) fn cut_to<T>(rows: &mut Vec<T>, limit: usize) -> bool {
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    has_more
}

/// Runs a statement that changes rows; gives how many.
pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<usize, Fail> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}

/// The one row of a query, where there is one.
pub(super) fn find<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Fail>,
) -> Result<Option<T>, Fail> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// One column of the one row of a query, where there is one.
pub(super) fn find_value<T: rusqlite::types::FromSql>(
    db: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Option<T>, Fail> {
    Ok(db.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()?)
}

/// All rows of a query.
pub(super) fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, Fail>,
) -> Result<Vec<T>, Fail> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(read(row)?);
    }
    Ok(out)
}

/// A text column, read by `parse` without a copy in between.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Fail> {
    let text = row.get_ref(column)?.as_str().map_err(|_| Fail::Content("a column has another type"))?;
    parse(text).ok_or(Fail::Content("a row holds what this version cannot read"))
}

fn maybe_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, Fail> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|_| Fail::Content("a column has another type"))?;
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|_| Fail::Content("a row holds JSON that this version cannot read"))
}

/// A value as JSON text. Ours have string keys only, so it always can be.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Fail> {
    serde_json::to_string(value).map_err(|_| Fail::Content("a value cannot be written as JSON"))
}

/// [`Owner::tag`] back.
pub(super) fn owner_of_tag(tag: &str) -> Option<Owner> {
    match tag.split_once(':')? {
        ("k", id) => Some(Owner::ApiKey(id.into())),
        ("s", key) => stored_id(key).map(Owner::Session),
        _ => None,
    }
}

/// Whether `owner` has this tag.
pub(super) fn is_of(owner: &Owner, tag: &str) -> bool {
    match owner {
        Owner::Session(key) => tag.strip_prefix("s:") == Some(key.as_str()),
        Owner::ApiKey(id) => tag.strip_prefix("k:") == Some(id),
    }
}

/// An id as it was stored. What came out of the id's own type needs no second look at each letter.
pub(super) fn stored_id<T: DeserializeOwned>(text: &str) -> Option<T> {
    T::deserialize(BorrowedStrDeserializer::<ValueError>::new(text)).ok()
}

/// An item out of `sql::item_columns`.
pub(super) fn stored_item(row: &Row<'_>) -> Result<StoredItem, Fail> {
    let place: i64 = row.get(0)?;
    let turn = row.get_ref(2)?.as_str_or_null().map_err(|_| Fail::Content("a column has another type"))?;
    Ok(StoredItem {
        seq: uint(place % ITEMS_A_CONVERSATION),
        tokens_before: uint(row.get(5)?),
        created_at_ms: row.get(6)?,
        item: Item {
            id: parsed(row, 1, stored_id)?,
            turn: turn.and_then(stored_id),
            json: row.get(7)?,
            tokens: row.get(3)?,
            encoding: parsed(row, 4, Encoding::parse)?,
        },
    })
}

/// The newest items, from the first one whose `tokens_before` is at least the cut: one walk back from the end, as long as
/// the window and no longer. Of the total, `lost_tokens` are those of removed items.
pub(super) fn window(
    db: &Connection,
    conversation: i64,
    (total_tokens, lost_tokens): (u64, u64),
    budget: Budget,
) -> Result<Loaded, Fail> {
    let (mut items, tokens) = (Vec::new(), total_tokens.saturating_sub(lost_tokens));
    if budget.forbids(tokens) {
        return Ok(Loaded { items, tokens });
    }
    let cut = budget.cut(total_tokens);
    let mut statement = db.prepare_cached(sql::ITEMS_BACKWARDS)?;
    let mut rows = statement.query(items_of(conversation))?;
    while let Some(row) = rows.next()? {
        let item = stored_item(row)?;
        if item.tokens_before < cut {
            break;
        }
        items.push(item);
    }
    items.reverse();
    Ok(Loaded { items, tokens })
}

/// A conversation that is to be removed.
pub(super) struct Leftover {
    pub(super) number: i64,
    pub(super) newest_turn: Option<i64>,
    /// The tag of the owner that has it or had it.
    pub(super) owner: String,
}

/// A conversation out of `sql::DISOWNED_CONVERSATION`.
pub(super) fn conversation_to_remove(row: &Row<'_>) -> Result<Leftover, Fail> {
    Ok(Leftover { number: row.get(0)?, newest_turn: row.get(1)?, owner: row.get(2)? })
}

/// A turn, and what only this store knows of it.
pub(super) struct TurnRow {
    /// The turn before it in its conversation.
    pub(super) previous: Option<i64>,
    pub(super) record: TurnRecord,
}

/// A turn out of `sql::turn_columns`; its last event is looked up where it still runs.
pub(super) fn turn_row(db: &Connection, row: &Row<'_>) -> Result<TurnRow, Fail> {
    let last_event = match row.get(2)? {
        Some(ended_with) => uint(ended_with),
        None => last_event(db, row.get(0)?)?,
    };
    let place = Place { owner: parsed(row, 5, owner_of_tag)?, conversation: parsed(row, 4, stored_id)? };
    let record = TurnRecord {
        id: parsed(row, 3, stored_id)?,
        place,
        status: parsed(row, 6, TurnStatus::parse)?,
        attempt: row.get(7)?,
        fence: uint(row.get(8)?),
        request: maybe_json(row, 13)?.ok_or(Fail::Content("a turn without its request"))?,
        usage: maybe_json(row, 11)?,
        fault: maybe_json(row, 12)?,
        created_at_ms: row.get(9)?,
        ended_at_ms: row.get(10)?,
        last_event,
        answer: maybe_json(row, 14)?,
        items_then: row.get::<_, Option<i64>>(15)?.map(uint),
    };
    Ok(TurnRow { previous: row.get(1)?, record })
}

/// The number of the last event of a turn, as the events themselves have it.
pub(super) fn last_event(db: &Connection, turn: i64) -> Result<u64, Fail> {
    let place: Option<i64> = find_value(db, sql::LAST_EVENT, events_of(turn))?;
    Ok(uint(place.map_or(IMPLIED_EVENT, |place| place % EVENTS_A_TURN)))
}
