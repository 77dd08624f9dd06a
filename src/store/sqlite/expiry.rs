//! The one place that removes conversations and turns, with all that hangs on them.

use rusqlite::{Connection, params};
use tokio::sync::broadcast;

use super::fail::Fail;
use super::reads::own_conversation;
use super::rows::{self, EVENTS_A_TURN, execute, find, find_value};
use super::sessions::{hour, session_lives};
use super::sql;
use super::turns::{running_turn, running_turn_id};
use super::writer::Operation;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::TurnId;
use crate::store::Notice;

/// The most conversations, documents, turns' events or keys that one step of a sweep removes, so that writes go on in between.
const STEP: u64 = 64;

/// Turns begin in about the order in which their events expire. After so many whose events are to be kept still, the ones
/// that follow can wait for a later sweep.
const KEPT_IN_A_ROW: u64 = 256;

/// `delete_owner`.
pub(super) struct DeleteOwner {
    pub(super) owner: Owner,
}

impl Operation for DeleteOwner {
    type Answer = ();
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        let tag = self.owner.tag();
        while delete_a_conversation(db, &tag)? || delete_documents(db, &tag)? {}
        execute(db, sql::DELETE_KEYS_OF, [&tag])?;
        if let Owner::Session(key) = &self.owner {
            execute(db, sql::DELETE_SESSION, [key.as_str()])?;
        }
        Ok(())
    }

    fn tell(&self, (): &(), notices: &broadcast::Sender<Notice>) {
        let _ = notices.send(Notice::OwnerGone(self.owner.tag()));
    }
}

/// `delete_conversation`.
pub(super) struct DeleteConversation {
    pub(super) place: Place,
    pub(super) now_ms: i64,
}

impl Operation for DeleteConversation {
    /// `None` where this owner has no such conversation, else the turn that was running in it, where one was.
    type Answer = Option<Option<TurnId>>;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<Self::Answer, Fail> {
        if !session_lives(db, &self.place.owner, self.now_ms)? {
            return Ok(None);
        }
        let Some(conversation) = own_conversation(db, &self.place)? else {
            return Ok(None);
        };
        let running = running_turn_id(db, conversation.number)?;
        delete(db, &self.place.owner.tag(), conversation.number, conversation.newest_turn)?;
        Ok(Some(running))
    }

    fn tell(&self, deleted: &Self::Answer, notices: &broadcast::Sender<Notice>) {
        if let Some(Some(running)) = deleted {
            let _ = notices.send(Notice::Cancel(running.clone()));
        }
    }
}

/// `delete_turn`.
pub(super) struct DeleteTurn {
    pub(super) owner: Owner,
    pub(super) turn: TurnId,
    pub(super) now_ms: i64,
}

impl Operation for DeleteTurn {
    type Answer = bool;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        if !session_lives(db, &self.owner, self.now_ms)? {
            return Ok(false);
        }
        let found = find(db, sql::TURN_STANDING, [self.turn.as_str()], |row| {
            let is_own = rows::parsed(row, 5, |owner| Some(rows::is_of(&self.owner, owner)))?;
            let numbers: (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(is_own.then_some(numbers))
        })?;
        let Some((turn, conversation)) = found.flatten() else {
            return Ok(false);
        };
        take_out_of_list(db, conversation, turn)?;
        if running_turn(db, conversation)? == Some(turn) {
            execute(db, sql::END_LEASE, [conversation])?;
        }
        let tag = self.owner.tag();
        delete_turn(db, &tag, turn)?;
        let (newest, hidden): (Option<i64>, bool) = newest_turn(db, conversation)?;
        if hidden && newest.is_none() && running_turn(db, conversation)?.is_none() {
            delete(db, &tag, conversation, None)?;
        }
        Ok(true)
    }

    fn tell(&self, deleted: &bool, notices: &broadcast::Sender<Notice>) {
        if *deleted {
            // A turn that has ended heeds it no more.
            let _ = notices.send(Notice::Cancel(self.turn.clone()));
        }
    }
}

/// Has the turn that came after `turn` follow the one before it.
fn take_out_of_list(db: &Connection, conversation: i64, turn: i64) -> Result<(), Fail> {
    let before = previous_turn(db, turn)?;
    let (newest, _) = newest_turn(db, conversation)?;
    if newest == Some(turn) {
        execute(db, sql::SET_NEWEST_TURN, params![conversation, before])?;
    }
    let mut next = running_turn(db, conversation)?.or(newest);
    while let Some(later) = next
        && later != turn
    {
        next = previous_turn(db, later)?;
        if next == Some(turn) {
            execute(db, sql::SET_PREVIOUS_TURN, params![later, before])?;
        }
    }
    Ok(())
}

fn previous_turn(db: &Connection, turn: i64) -> Result<Option<i64>, Fail> {
    Ok(find_value(db, sql::PREVIOUS_TURN, [turn])?.flatten())
}

/// The last turn of a conversation that has ended, and whether the conversation is hidden.
fn newest_turn(db: &Connection, conversation: i64) -> Result<(Option<i64>, bool), Fail> {
    let found = find(db, sql::NEWEST_TURN, [conversation], |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.ok_or(Fail::Content("a turn without its conversation"))
}

/// False where the owner has none left.
fn delete_a_conversation(db: &Connection, owner: &str) -> Result<bool, Fail> {
    let found: Option<(i64, Option<i64>)> =
        find(db, sql::CONVERSATION_OF_OWNER, [owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if let Some((conversation, newest)) = found {
        delete(db, owner, conversation, newest)?;
    }
    Ok(found.is_some())
}

/// A conversation with all that hangs on it; `newest` is the last of its turns that has ended.
fn delete(db: &Connection, owner: &str, conversation: i64, newest: Option<i64>) -> Result<(), Fail> {
    let mut next = running_turn(db, conversation)?.or(newest);
    while let Some(turn) = next {
        next = previous_turn(db, turn)?;
        delete_turn(db, owner, turn)?;
    }
    execute(db, sql::DELETE_ITEMS, rows::items_of(conversation))?;
    execute(db, sql::END_LEASE, [conversation])?;
    execute(db, sql::DELETE_CONVERSATION, [conversation])?;
    Ok(())
}

fn delete_turn(db: &Connection, owner: &str, turn: i64) -> Result<(), Fail> {
    execute(db, sql::DELETE_KEY_OF_TURN, params![owner, turn])?;
    execute(db, sql::DELETE_EVENTS, rows::events_of(turn))?;
    execute(db, sql::DELETE_TURN, [turn])?;
    Ok(())
}

/// Some of an owner's documents; false where none are left.
fn delete_documents(db: &Connection, owner: &str) -> Result<bool, Fail> {
    Ok(execute(db, sql::DELETE_SOME_DOCUMENTS, params![owner, rows::int(STEP)])? > 0)
}

/// One step of removing sessions that have expired: a session goes when nothing of it is left.
pub(super) struct SweepSessions {
    pub(super) now_ms: i64,
}

impl Operation for SweepSessions {
    type Answer = u64;

    fn apply(&self, db: &Connection) -> Result<u64, Fail> {
        let params = params![self.now_ms, hour(self.now_ms)];
        let mut swept = 0;
        while swept < STEP
            && let Some(key) = find_value::<String>(db, sql::EXPIRED_SESSION, params)?
        {
            let tag = format!("s:{key}");
            swept += 1;
            if !delete_a_conversation(db, &tag)? && !delete_documents(db, &tag)? {
                execute(db, sql::DELETE_KEYS_OF, [&tag])?;
                execute(db, sql::DELETE_SESSION, [&key])?;
            }
        }
        Ok(swept)
    }
}

/// One step of removing idempotency keys that no longer count.
pub(super) struct SweepKeys {
    pub(super) now_ms: i64,
}

impl Operation for SweepKeys {
    type Answer = u64;

    fn apply(&self, db: &Connection) -> Result<u64, Fail> {
        Ok(execute(db, sql::DELETE_OLD_KEYS, params![self.now_ms, rows::int(STEP)])? as u64)
    }
}

/// One step of removing the events of turns that ended some time ago.
pub(super) struct SweepEvents {
    pub(super) now_ms: i64,
}

impl Operation for SweepEvents {
    type Answer = u64;

    fn apply(&self, db: &Connection) -> Result<u64, Fail> {
        let (mut swept, mut kept, mut from) = (0, 0, 0);
        while swept < STEP
            && kept < KEPT_IN_A_ROW
            && let Some(place) = find_value::<i64>(db, sql::FIRST_EVENT_FROM, [from])?
        {
            let turn = place / EVENTS_A_TURN;
            let until_ms: Option<i64> = find_value(db, sql::EVENTS_KEPT_UNTIL, [turn])?.flatten();
            if until_ms.is_some_and(|until_ms| until_ms <= self.now_ms) {
                execute(db, sql::DELETE_EVENTS, rows::events_of(turn))?;
                swept += 1;
            } else {
                kept += 1;
            }
            from = rows::events_of(turn + 1).0;
        }
        Ok(swept)
    }
}
