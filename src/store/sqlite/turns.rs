//! What happens to a turn that runs: events, its end, a wish to cancel it. How it changes hands is in `adopt`.

use rusqlite::{Connection, params};
use tokio::sync::broadcast;

use super::fail::Fail;
use super::items::Totals;
use super::rows::{self, event_place, execute, find, int};
use super::sessions::{key_of, session_lives};
use super::sql;
use super::writer::Operation;
use crate::domain::conversation::Owner;
use crate::domain::event::Numbered;
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnStatus;
use crate::store::{AppendEvents, Appended, CancelRequest, FinishTurn, Finished, Notice};

/// Events as they are stored.
struct Log(Vec<(u64, String)>);

impl Log {
    fn of(events: &[Numbered]) -> Self {
        Self(events.iter().map(|event| (event.seq, event.event.to_json())).collect())
    }

    fn insert(&self, db: &Connection, turn: i64) -> Result<(), Fail> {
        for (seq, json) in self.0.iter().filter(|(seq, _)| int(*seq) > rows::IMPLIED_EVENT) {
            execute(db, sql::INSERT_EVENT, params![event_place(turn, *seq)?, json])?;
        }
        Ok(())
    }
}

/// `append_events`. The lease is not written: it lasts for as long as its holder is the process that has the file.
pub(super) struct Append {
    owner: Owner,
    turn: TurnId,
    fence: u64,
    log: Log,
    now_ms: i64,
}

impl Append {
    pub(super) fn new(append: AppendEvents, now_ms: i64) -> Self {
        let log = Log::of(&append.events);
        Self { owner: append.place.owner, turn: append.turn, fence: append.fence, log, now_ms }
    }
}

impl Operation for Append {
    type Answer = Appended;

    fn apply(&self, db: &Connection) -> Result<Appended, Fail> {
        let params = params![self.turn.as_str(), int(self.fence), key_of(&self.owner), self.now_ms];
        let running = find(db, sql::TURN_TO_APPEND_TO, params, |row| {
            let lease: (i64, bool) = (row.get(3)?, row.get(2)?);
            Ok((row.get(0)?, row.get(1)?, lease))
        })?;
        let Some((number, cancel_requested, (conversation, released))) = running else {
            return Ok(Appended::Fenced);
        };
        if released {
            execute(db, sql::RENEW_RELEASED_LEASE, [conversation])?;
        }
        self.log.insert(db, number)?;
        Ok(Appended::Stored { cancel_requested })
    }

    fn tell(&self, answer: &Appended, notices: &broadcast::Sender<Notice>) {
        if matches!(answer, Appended::Stored { .. }) && !self.log.0.is_empty() {
            let _ = notices.send(Notice::Events(self.turn.clone()));
        }
    }
}

/// `finish_turn`.
pub(super) struct Finish {
    finish: FinishTurn,
    /// What sessions go by.
    clock_ms: i64,
    log: Log,
    usage: Option<String>,
    fault: Option<String>,
    answer: Option<String>,
}

impl Finish {
    pub(super) fn new(finish: FinishTurn, clock_ms: i64) -> Result<Self, Fail> {
        let usage = finish.usage.as_ref().map(rows::json).transpose()?;
        let fault = finish.fault.as_ref().map(rows::json).transpose()?;
        let answer = finish.answer.as_ref().map(rows::json).transpose()?;
        Ok(Self { log: Log::of(&finish.events), finish, clock_ms, usage, fault, answer })
    }

    fn end_turn(&self, db: &Connection, turn: i64, totals: &Totals) -> Result<(), Fail> {
        let finish = &self.finish;
        self.log.insert(db, turn)?;
        let last_event = match finish.events.last() {
            Some(last) => last.seq,
            None => rows::last_event(db, turn)?,
        };
        let events_until_ms = finish.now_ms.saturating_add(finish.keep_events_ms);
        let status = finish.status.as_str();
        let (last_event, items_then) = (int(last_event), totals.item_count + rows::limit(finish.items.len()));
        let (usage, fault, answer) = (&self.usage, &self.fault, &self.answer);
        let params =
            params![turn, status, finish.now_ms, last_event, events_until_ms, usage, fault, answer, items_then];
        execute(db, sql::END_TURN, params)?;
        Ok(())
    }

    fn grow_conversation(&self, db: &Connection, turn: i64, mut totals: Totals) -> Result<(), Fail> {
        for item in &self.finish.items {
            totals.push(db, item, self.finish.now_ms)?;
        }
        let params = params![totals.number, totals.item_count, totals.total_tokens, turn];
        execute(db, sql::GROW_CONVERSATION, params)?;
        execute(db, sql::END_LEASE, [totals.number])?;
        Ok(())
    }
}

impl Operation for Finish {
    type Answer = Finished;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<Finished, Fail> {
        let FinishTurn { turn, fence, place, .. } = &self.finish;
        let params = params![turn.as_str(), int(*fence), key_of(&place.owner), self.clock_ms];
        let found = find(db, sql::TURN_TO_FINISH, params, |row| {
            let totals = Totals { number: row.get(2)?, item_count: row.get(3)?, total_tokens: row.get(4)? };
            Ok((row.get(0)?, rows::parsed(row, 1, TurnStatus::parse)?, totals))
        })?;
        let Some((turn, status, totals)) = found else {
            return Ok(Finished::Fenced);
        };
        if status == TurnStatus::Running {
            self.end_turn(db, turn, &totals)?;
            self.grow_conversation(db, turn, totals)?;
        }
        Ok(Finished::Stored)
    }

    fn tell(&self, answer: &Finished, notices: &broadcast::Sender<Notice>) {
        if *answer == Finished::Stored {
            let _ = notices.send(Notice::Events(self.finish.turn.clone()));
            let _ = notices.send(Notice::Free(self.finish.place.conversation.clone()));
        }
    }
}

/// `request_cancel`.
pub(super) struct Cancel {
    pub(super) owner: Owner,
    pub(super) turn: TurnId,
    pub(super) now_ms: i64,
}

impl Operation for Cancel {
    type Answer = CancelRequest;

    fn apply(&self, db: &Connection) -> Result<CancelRequest, Fail> {
        if !session_lives(db, &self.owner, self.now_ms)? {
            return Ok(CancelRequest::Unknown);
        }
        let found = find(db, sql::TURN_STANDING, [self.turn.as_str()], |row| {
            let is_own = rows::parsed(row, 5, |owner| Some(rows::is_of(&self.owner, owner)))?;
            let standing: (i64, i64, TurnStatus) = (row.get(0)?, row.get(1)?, rows::parsed(row, 2, TurnStatus::parse)?);
            Ok(is_own.then_some(standing))
        })?;
        match found.flatten() {
            None => Ok(CancelRequest::Unknown),
            Some((turn, conversation, TurnStatus::Running)) => {
                execute(db, sql::REQUEST_CANCEL, [conversation, turn])?;
                Ok(CancelRequest::Requested)
            }
            Some((_, _, ended)) => Ok(CancelRequest::AlreadyEnded(ended)),
        }
    }

    fn tell(&self, answer: &CancelRequest, notices: &broadcast::Sender<Notice>) {
        if *answer == CancelRequest::Requested {
            let _ = notices.send(Notice::Cancel(self.turn.clone()));
        }
    }
}
