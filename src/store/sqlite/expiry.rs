//! The sweep: removes, a step at a time, what has expired and what a crash has left of deletions.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::removal::{Room, remove_events, remove_expired};
use super::rows::{self, EVENTS_A_TURN, execute, find_value};
use super::sessions::hour;
use super::sql;
use super::writer::Operation;

/// The most turns that one step looks at.
const LOOKS: usize = 256;

/// Turns begin in about the order in which their events expire. After so many that have ended and whose events are still to be
/// kept, the ones that follow can wait for a later sweep.
const KEPT_IN_A_ROW: u64 = 4_096;

/// One step of removing sessions, idempotency keys, tries and rates that have expired, and what is left of deletions.
pub(super) struct Sweep {
    pub(super) now_ms: i64,
}

impl Operation for Sweep {
    /// How many rows were removed.
    type Answer = u64;

    fn apply(&self, db: &Connection) -> Result<u64, Fail> {
        let mut room = Room::of_step();
        let rows = room.rows();
        remove_expired(db, self.now_ms, hour(self.now_ms), &mut room)?;
        for old in [sql::DELETE_OLD_KEYS, sql::DELETE_OLD_TRIES, sql::DELETE_OLD_RATES] {
            if room.is_left() {
                let keys = rows::limit(execute(db, old, params![self.now_ms, room.rows()])?);
                room.take(keys, 0);
            }
        }
        Ok(rows::uint(rows - room.rows()))
    }
}

/// One step of removing the events of turns that ended some time ago.
pub(super) struct SweepEvents {
    pub(super) now_ms: i64,
    pub(super) walk: Walk,
}

/// How far a sweep has come along the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// The place of an event from which on it goes on.
    from: i64,
    kept_in_a_row: u64,
    /// How many events were removed.
    pub(super) removed: u64,
    pub(super) is_over: bool,
}

impl Operation for SweepEvents {
    type Answer = Walk;

    fn apply(&self, db: &Connection) -> Result<Walk, Fail> {
        let (mut walk, mut room) = (self.walk, Room::of_step());
        let rows = room.rows();
        for _ in 0..LOOKS {
            let Some(place) = find_value::<i64>(db, sql::FIRST_EVENT_FROM, [walk.from])? else {
                walk.is_over = true;
                break;
            };
            let turn = place / EVENTS_A_TURN;
            let until_ms: Option<i64> = find_value(db, sql::EVENTS_KEPT_UNTIL, [turn])?.flatten();
            if until_ms.is_some_and(|until_ms| until_ms <= self.now_ms) {
                walk.kept_in_a_row = 0;
                if !remove_events(db, turn, &mut room)? {
                    break;
                }
            } else {
                // A turn that runs tells nothing of those behind it.
                walk.kept_in_a_row += u64::from(until_ms.is_some());
            }
            walk.from = rows::events_of(turn + 1).0;
        }
        walk.removed += rows::uint(rows - room.rows());
        walk.is_over |= walk.kept_in_a_row >= KEPT_IN_A_ROW;
        Ok(walk)
    }
}
