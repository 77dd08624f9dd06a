//! The tries of clients that send again by themselves: which one a retry joins, and whose client has left.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::rows::{self, execute, find, find_value};
use super::sql;
use super::writer::Operation;
use crate::domain::ids::TurnId;
use crate::store::{Begun, IdempotencyKey, KeyRole, Try};

/// The turn that a retry joins; `None` where it begins one.
pub(super) fn join(
    db: &Connection,
    owner: &str,
    key: &str,
    instead_of: Option<&Try>,
    now_ms: i64,
) -> Result<Option<Begun>, Fail> {
    if let Some(useless) = instead_of
        && find_value::<i64>(db, sql::IS_TRY, params![owner, key, useless.turn.as_str()])?.is_some()
    {
        return Ok(None);
    }
    let found = find(db, sql::FIND_TRY, params![owner, key, now_ms], |row| {
        let turn = rows::parsed(row, 0, rows::stored_id)?;
        let begun = Begun::Duplicate { turn, conversation: rows::parsed(row, 1, rows::stored_id)? };
        let row: (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok((begun, row))
    })?;
    let Some((begun, (has_left, joined, turn))) = found else { return Ok(None) };
    execute(db, sql::JOIN_TRY, params![owner, key, has_left, joined, turn])?;
    Ok(Some(begun))
}

/// The turn of this number is a try from now on.
pub(super) fn add(
    db: &Connection,
    owner: &str,
    asked: &IdempotencyKey,
    number: i64,
    until_ms: i64,
) -> Result<(), Fail> {
    if let KeyRole::Retry { instead_of: Some(useless) } = &asked.role {
        execute(db, sql::DROP_TRY, params![owner, asked.key, useless.turn.as_str()])?;
    }
    execute(db, sql::INSERT_TRY, params![owner, asked.key, number, until_ms])?;
    Ok(())
}

/// `leave_try`.
pub(super) struct LeaveTry {
    pub(super) owner: String,
    pub(super) key: String,
    pub(super) turn: TurnId,
}

impl Operation for LeaveTry {
    type Answer = ();

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        execute(db, sql::LEAVE_TRY, params![self.owner, self.key, self.turn.as_str()])?;
        Ok(())
    }
}
