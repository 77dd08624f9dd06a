//! Removing rows, some at a time: a step is as large as its [`Room`], so that other writes never wait long for one.

use rusqlite::{Connection, Params, params};

use super::fail::Fail;
use super::lookups::running_turn;
use super::rows::{self, Leftover, all, execute, find, find_value};
use super::sql;

/// How much one step may still remove.
pub(super) struct Room {
    rows: i64,
    bytes: i64,
}

impl Room {
    /// Of one step of a removal.
    pub(super) fn of_step() -> Self {
        Self { rows: 512, bytes: 1 << 20 }
    }

    /// Of a deletion's first write, of which one commit may carry many: enough for a conversation of the usual size.
    pub(super) fn of_first_step() -> Self {
        Self { rows: 64, bytes: 1 << 17 }
    }

    pub(super) fn is_left(&self) -> bool {
        self.rows > 0 && self.bytes > 0
    }

    pub(super) fn rows(&self) -> i64 {
        self.rows
    }

    pub(super) fn take(&mut self, rows: i64, bytes: i64) {
        self.rows -= rows;
        self.bytes -= bytes;
    }
}

/// Removes what an owner has, and at last its session; true where nothing is left. An owner that is a session has ended.
pub(super) fn remove_owner(db: &Connection, owner: &str, room: &mut Room) -> Result<bool, Fail> {
    while let Some((number, newest_turn)) =
        find(db, sql::CONVERSATION_OF_OWNER, [owner], |row| Ok((row.get(0)?, row.get(1)?)))?
    {
        let leftover = Leftover { number, newest_turn, owner: owner.to_owned() };
        if !remove_conversation(db, &leftover, room)? {
            return Ok(false);
        }
    }
    remove_documents(db, owner, room)?;
    for some in [sql::DELETE_SOME_KEYS, sql::DELETE_SOME_TRIES] {
        if room.is_left() {
            let keys = rows::limit(execute(db, some, params![owner, room.rows()])?);
            room.take(keys, 0);
        }
    }
    if !room.is_left() {
        return Ok(false);
    }
    if let Some(session) = owner.strip_prefix("s:") {
        execute(db, sql::DELETE_SESSION, [session])?;
        room.take(1, 0);
    }
    Ok(true)
}

/// Removes of a conversation turn by turn from the newest back, then its items, then itself; true where nothing is left. What
/// is left is found again the same way.
pub(super) fn remove_conversation(db: &Connection, gone: &Leftover, room: &mut Room) -> Result<bool, Fail> {
    let mut newest = gone.newest_turn;
    if let Some(running) = running_turn(db, gone.number)? {
        execute(db, sql::SET_NEWEST_TURN, [gone.number, running])?;
        execute(db, sql::END_LEASE, [gone.number])?;
        newest = Some(running);
    }
    while let Some(turn) = newest {
        if !remove_events(db, turn, room)? {
            return Ok(false);
        }
        let size = find(db, sql::TURN_SIZE, [turn], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (previous, bytes): (Option<i64>, i64) = size.unwrap_or_default();
        execute(db, sql::DELETE_KEY_OF_TURN, params![gone.owner, turn])?;
        execute(db, sql::DELETE_TRY_OF_TURN, params![gone.owner, turn])?;
        execute(db, sql::DELETE_TURN, [turn])?;
        execute(db, sql::SET_NEWEST_TURN, params![gone.number, previous])?;
        room.take(1, bytes);
        newest = previous;
    }
    if !remove_range(db, sql::ITEM_SIZES, sql::DELETE_ITEMS, rows::items_of(gone.number), room)? {
        return Ok(false);
    }
    execute(db, sql::DELETE_CONVERSATION, [gone.number])?;
    room.take(1, 0);
    Ok(true)
}

/// True where the turn has no event left.
pub(super) fn remove_events(db: &Connection, turn: i64, room: &mut Room) -> Result<bool, Fail> {
    remove_range(db, sql::EVENT_SIZES, sql::DELETE_EVENTS, rows::events_of(turn), room)
}

/// Removes rows from the first of a range on; true where none are left.
fn remove_range(
    db: &Connection,
    sizes: &str,
    delete: &str,
    (first, last): (i64, i64),
    room: &mut Room,
) -> Result<bool, Fail> {
    let fitting = fitting(db, sizes, params![first, last, room.rows()], room)?;
    if let Some(&until) = fitting.last() {
        execute(db, delete, [first, until])?;
    }
    Ok(room.is_left())
}

fn remove_documents(db: &Connection, owner: &str, room: &mut Room) -> Result<(), Fail> {
    for document in fitting(db, sql::DOCUMENT_SIZES, params![owner, room.rows()], room)? {
        execute(db, sql::DELETE_DOCUMENT_BY_NUMBER, [document])?;
    }
    Ok(())
}

/// Of the rows that `sizes` lists, those that fit into `room`, which they fill. One at least, however large.
fn fitting(db: &Connection, sizes: &str, params: impl Params, room: &mut Room) -> Result<Vec<i64>, Fail> {
    let fitting = all(db, sizes, params, |row| {
        let (key, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(room.is_left().then(|| {
            room.take(1, bytes);
            key
        }))
    })?;
    Ok(fitting.into_iter().flatten().collect())
}

/// Removes sessions that have expired by `now_ms`, with all that they own, and what deletions have left; at most what there
/// is room for.
pub(super) fn remove_expired(db: &Connection, now_ms: i64, hour: i64, room: &mut Room) -> Result<(), Fail> {
    while room.is_left()
        && let Some(key) = find_value::<String>(db, sql::EXPIRED_SESSION, params![now_ms, hour])?
    {
        remove_owner(db, &format!("s:{key}"), room)?;
    }
    while room.is_left()
        && let Some(gone) = find(db, sql::ANY_DISOWNED_CONVERSATION, [], rows::conversation_to_remove)?
    {
        remove_conversation(db, &gone, room)?;
    }
    Ok(())
}
