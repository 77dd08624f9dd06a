//! `adopt_turns` and `release_turn`: turns that nothing writes to any more, and who gets them.
//!
//! Only one process uses the file, so no clock ends a lease: it has ended when its holder let go of it, is another process
//! than this one, or is this one and has the turn no longer in hand.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::rows::{self, all, execute, find, int};
use super::sessions::key_of;
use super::sql;
use super::writer::Operation;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{InstanceId, TurnId};
use crate::store::{AdoptTurns, Adopted, Unreadable};

/// A lease that has ended.
pub(super) struct Orphan {
    conversation: i64,
    turn: i64,
    /// What the turn had when this was looked up: who takes it over changes it.
    fence: i64,
}

/// The leases that have ended, of owners that have not. This looks at every running turn, so it is a read, which holds up
/// no writes.
pub(super) fn orphans(db: &Connection, adopt: &AdoptTurns, now_ms: i64) -> Result<Vec<Orphan>, Fail> {
    let found = all(db, sql::LEASES, params![adopt.holder.as_str(), now_ms], |row| {
        let orphan = Orphan { conversation: row.get(0)?, turn: row.get(1)?, fence: row.get(2)? };
        let has_ended: bool = row.get(3)?;
        let in_hand = || rows::parsed(row, 4, rows::stored_id).is_ok_and(|turn| (adopt.in_hand)(&turn));
        Ok((has_ended || !in_hand()).then_some(orphan))
    })?;
    Ok(found.into_iter().flatten().take(adopt.limit).collect())
}

/// `adopt_turns`, of what [`orphans`] found.
pub(super) struct Adopt {
    pub(super) holder: InstanceId,
    pub(super) orphans: Vec<Orphan>,
    pub(super) now_ms: i64,
}

impl Operation for Adopt {
    type Answer = Adopted;

    fn apply(&self, db: &Connection) -> Result<Adopted, Fail> {
        let mut adopted = Adopted::default();
        for orphan in &self.orphans {
            if !self.take(db, orphan)? {
                continue;
            }
            match find(db, sql::TURN_BY_NUMBER, [orphan.turn], |row| rows::turn_row(db, row)) {
                Ok(Some(row)) => adopted.turns.push(row.record),
                Err(fail) if fail.is_of_storage() => return Err(fail),
                Ok(None) | Err(_) => adopted.unreadable.extend(unreadable(db, orphan)?),
            }
        }
        Ok(adopted)
    }
}

impl Adopt {
    /// False where it is no longer to be had.
    fn take(&self, db: &Connection, orphan: &Orphan) -> Result<bool, Fail> {
        let Orphan { conversation, turn, fence } = *orphan;
        let params = params![conversation, turn, fence, self.holder.as_str(), self.now_ms];
        let passed_on = execute(db, sql::PASS_LEASE_ON, params)? > 0;
        if passed_on {
            execute(db, sql::ADOPT_TURN, [turn])?;
        }
        Ok(passed_on)
    }
}

/// Leaves the turn so that it can be ended; where not even that can be, it is ended here, without a word to its readers,
/// and its conversation is free.
fn unreadable(db: &Connection, orphan: &Orphan) -> Result<Option<Unreadable>, Fail> {
    execute(db, sql::MARK_TURN_RUNNING, [orphan.turn])?;
    let found = find(db, sql::TURN_PLACE, [orphan.turn], |row| {
        let place = Place {
            owner: rows::parsed(row, 0, rows::owner_of_tag)?,
            conversation: rows::parsed(row, 1, rows::stored_id)?,
        };
        let turn: TurnId = rows::parsed(row, 2, rows::stored_id)?;
        Ok(Unreadable { place, turn, fence: rows::uint(row.get(3)?), last_event: rows::last_event(db, orphan.turn)? })
    });
    match found {
        Ok(Some(found)) => return Ok(Some(found)),
        Err(fail) if fail.is_of_storage() => return Err(fail),
        Ok(None) | Err(_) => {}
    }
    tracing::error!(turn.number = orphan.turn, "a running turn cannot be read at all; it is set aside");
    if execute(db, sql::SET_TURN_ASIDE, [orphan.turn])? > 0 {
        execute(db, sql::SET_NEWEST_TURN, [orphan.conversation, orphan.turn])?;
    }
    execute(db, sql::END_LEASE, [orphan.conversation])?;
    Ok(None)
}

/// `release_turn`.
pub(super) struct Release {
    pub(super) owner: Owner,
    pub(super) turn: TurnId,
    pub(super) fence: u64,
    pub(super) now_ms: i64,
}

impl Operation for Release {
    type Answer = ();

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        let params = params![self.turn.as_str(), int(self.fence), key_of(&self.owner), self.now_ms];
        execute(db, sql::RELEASE_LEASE, params)?;
        Ok(())
    }
}
