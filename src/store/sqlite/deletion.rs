//! What a caller deletes: an owner, a conversation, a turn. The first write puts all of it out of every reader's and
//! writer's reach and removes what little there may be; the rest follows in steps, and a sweep finds what a crash leaves of it.

use rusqlite::{Connection, params};
use tokio::sync::broadcast;

use super::fail::Fail;
use super::lookups::{own_conversation, previous_turn, running_turn, running_turn_id};
use super::removal::{Room, remove_conversation, remove_owner};
use super::rows::{self, execute, find};
use super::sessions::session_lives;
use super::sql;
use super::writer::Operation;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::TurnId;
use crate::store::Notice;

/// `delete_owner`. A session's row stays until the last step, as that of one that expired long ago.
pub(super) struct DeleteOwner {
    pub(super) owner: Owner,
}

impl Operation for DeleteOwner {
    /// Whether nothing is left.
    type Answer = bool;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        if let Owner::Session(key) = &self.owner {
            execute(db, sql::END_SESSION, [key.as_str()])?;
            execute(db, sql::DELETE_RATE, [self.owner.tag()])?;
        }
        remove_owner(db, &self.owner.tag(), &mut Room::of_first_step())
    }

    fn tell(&self, _: &bool, notices: &broadcast::Sender<Notice>) {
        let _ = notices.send(Notice::OwnerGone(self.owner.tag()));
    }
}

/// One of the steps that follow [`DeleteOwner`].
pub(super) struct RemoveOwner {
    pub(super) owner: Owner,
}

impl Operation for RemoveOwner {
    /// Whether nothing is left.
    type Answer = bool;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        remove_owner(db, &self.owner.tag(), &mut Room::of_step())
    }
}

/// What was deleted.
pub(super) struct Deleted {
    /// The turn that was running in it.
    running: Option<TurnId>,
    /// The number of the conversation that holds the rows that are left.
    pub(super) left: Option<i64>,
}

fn tell_running(deleted: Option<&Deleted>, notices: &broadcast::Sender<Notice>) {
    if let Some(running) = deleted.and_then(|deleted| deleted.running.clone()) {
        let _ = notices.send(Notice::Cancel(running));
    }
}

/// `delete_conversation`.
pub(super) struct DeleteConversation {
    pub(super) place: Place,
    pub(super) now_ms: i64,
}

impl Operation for DeleteConversation {
    /// `None` where this owner has no such conversation.
    type Answer = Option<Deleted>;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<Self::Answer, Fail> {
        if !session_lives(db, &self.place.owner, self.now_ms)? {
            return Ok(None);
        }
        let Some(conversation) = own_conversation(db, &self.place)? else {
            return Ok(None);
        };
        let running = running_turn_id(db, conversation.number)?;
        let left = disown(db, conversation.number)?;
        Ok(Some(Deleted { running, left }))
    }

    fn tell(&self, deleted: &Self::Answer, notices: &broadcast::Sender<Notice>) {
        tell_running(deleted.as_ref(), notices);
    }
}

/// `delete_turn`.
pub(super) struct DeleteTurn {
    pub(super) owner: Owner,
    pub(super) turn: TurnId,
    pub(super) now_ms: i64,
}

impl Operation for DeleteTurn {
    /// `None` where this owner has no such turn.
    type Answer = Option<Deleted>;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<Self::Answer, Fail> {
        if !session_lives(db, &self.owner, self.now_ms)? {
            return Ok(None);
        }
        let found = find(db, sql::TURN_STANDING, [self.turn.as_str()], |row| {
            let is_own = rows::parsed(row, 5, |owner| Some(rows::is_of(&self.owner, owner)))?;
            let numbers: (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(is_own.then_some(numbers))
        })?;
        let Some((turn, conversation)) = found.flatten() else {
            return Ok(None);
        };
        take_out_of_list(db, conversation, turn)?;
        if running_turn(db, conversation)? == Some(turn) {
            execute(db, sql::END_LEASE, [conversation])?;
        }
        let (newest, hidden): (Option<i64>, bool) = newest_turn(db, conversation)?;
        let left = if hidden && newest.is_none() && running_turn(db, conversation)?.is_none() {
            // The chain ends with the last of its turns.
            execute(db, sql::SET_NEWEST_TURN, [conversation, turn])?;
            disown(db, conversation)?
        } else {
            execute(db, sql::INSERT_DISOWNED, params![turn, self.owner.tag()])?;
            let holder = db.last_insert_rowid();
            execute(db, sql::MOVE_TURN, [turn, holder])?;
            remove_first(db, holder)?
        };
        Ok(Some(Deleted { running: Some(self.turn.clone()), left }))
    }

    fn tell(&self, deleted: &Self::Answer, notices: &broadcast::Sender<Notice>) {
        // Where the turn has ended, this has no effect.
        tell_running(deleted.as_ref(), notices);
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

/// The last turn of a conversation that has ended, and whether the conversation is hidden.
fn newest_turn(db: &Connection, conversation: i64) -> Result<(Option<i64>, bool), Fail> {
    let found = find(db, sql::NEWEST_TURN, [conversation], |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.ok_or(Fail::Content("a turn without its conversation"))
}

/// Takes a conversation from its owner. From here on no id leads to it or to its turns, and no fence counts.
fn disown(db: &Connection, conversation: i64) -> Result<Option<i64>, Fail> {
    execute(db, sql::DISOWN_CONVERSATION, [conversation])?;
    execute(db, sql::END_LEASE, [conversation])?;
    remove_first(db, conversation)
}

/// The first step of removing what no owner has any more; gives the conversation where something of it is left.
fn remove_first(db: &Connection, conversation: i64) -> Result<Option<i64>, Fail> {
    let is_done = remove_disowned(db, conversation, &mut Room::of_first_step())?;
    Ok((!is_done).then_some(conversation))
}

/// One of the steps that follow a deletion.
pub(super) struct RemoveDisowned {
    pub(super) conversation: i64,
}

impl Operation for RemoveDisowned {
    /// Whether nothing is left.
    type Answer = bool;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        remove_disowned(db, self.conversation, &mut Room::of_step())
    }
}

/// The number may be another's by now, which is left alone while it has an owner.
fn remove_disowned(db: &Connection, conversation: i64, room: &mut Room) -> Result<bool, Fail> {
    let found = find(db, sql::DISOWNED_CONVERSATION, [conversation], rows::conversation_to_remove)?;
    found.map_or(Ok(true), |found| remove_conversation(db, &found, room))
}
