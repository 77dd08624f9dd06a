//! The one place that removes conversations and turns, with all that hangs on them.

use rusqlite::{Connection, params};
use tokio::sync::broadcast;

use super::fail::Fail;
use super::rows::{self, EVENTS_A_TURN, execute, find, find_value};
use super::sessions::hour;
use super::sql;
use super::turns::running_turn;
use super::writer::Operation;
use crate::domain::conversation::Owner;
use crate::store::Notice;

/// The most conversations, turns' events or keys that one step of a sweep removes, so that writes go on in between.
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
        while delete_a_conversation(db, &tag)? {}
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

/// False where the owner has none left.
fn delete_a_conversation(db: &Connection, owner: &str) -> Result<bool, Fail> {
    let found = find(db, sql::CONVERSATION_OF_OWNER, [owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some((conversation, newest)) = found else {
        return Ok(false);
    };
    let mut next: Option<i64> = running_turn(db, conversation)?.or(newest);
    while let Some(turn) = next {
        next = find_value(db, sql::PREVIOUS_TURN, [turn])?.flatten();
        execute(db, sql::DELETE_EVENTS, rows::events_of(turn))?;
        execute(db, sql::DELETE_TURN, [turn])?;
    }
    execute(db, sql::DELETE_ITEMS, rows::items_of(conversation))?;
    execute(db, sql::END_LEASE, [conversation])?;
    execute(db, sql::DELETE_CONVERSATION, [conversation])?;
    Ok(true)
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
            if !delete_a_conversation(db, &tag)? {
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
