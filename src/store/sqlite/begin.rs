//! `begin_turn`: all that could forbid the turn is looked at, then its rows are written.

use rusqlite::{Connection, Row, params};

use super::fail::Fail;
use super::rows::{self, execute, find, find_value, int, uint};
use super::sessions::{session_lives, use_session};
use super::writer::Operation;
use super::{rates, sql, tries};
use crate::domain::conversation::{Conversation, Owner};
use crate::domain::window::Loaded;
use crate::store::{BeginTurn, Begun, FIRST_FENCE, KeyRole, SessionUse, Started};

pub(super) struct Begin {
    begin: BeginTurn,
    owner: String,
    request: String,
}

struct Found {
    number: i64,
    newest_turn: Option<i64>,
    head: Conversation,
    /// What removed items have of the total tokens.
    lost_tokens: u64,
    lease: Option<Lease>,
}

/// Of the turn that runs.
struct Lease {
    turn: i64,
    orphaned: bool,
}

impl Begin {
    /// What can be made ready before the writer's time is taken, is.
    pub(super) fn new(begin: BeginTurn) -> Result<Self, Fail> {
        let (owner, request) = (begin.place.owner.tag(), rows::json(&begin.request)?);
        Ok(Self { begin, owner, request })
    }

    fn known_key(&self, db: &Connection) -> Result<Option<Begun>, Fail> {
        let Some(asked) = &self.begin.idempotency else { return Ok(None) };
        match &asked.role {
            KeyRole::Join => {}
            KeyRole::FirstTry => return Ok(None),
            KeyRole::Retry { instead_of } => {
                return tries::join(db, &self.owner, &asked.key, instead_of.as_ref(), self.begin.now_ms);
            }
        }
        let params = params![self.owner, asked.key, self.begin.now_ms];
        find(db, sql::FIND_KEY, params, |row| {
            if !rows::parsed(row, 0, |fingerprint| Some(fingerprint == asked.fingerprint))? {
                return Ok(Begun::KeyReused);
            }
            let turn = rows::parsed(row, 1, rows::stored_id)?;
            Ok(Begun::Duplicate { turn, conversation: rows::parsed(row, 2, rows::stored_id)? })
        })
    }

    /// `None` where there is no such conversation, `Some(None)` where it is another owner's.
    fn find(&self, db: &Connection) -> Result<Option<Option<Found>>, Fail> {
        let id = &self.begin.place.conversation;
        find(db, sql::FIND_CONVERSATION, [id.as_str()], |row| {
            let is_own = rows::parsed(row, 1, |owner| Some(owner == self.owner))?;
            let head = Conversation {
                id: id.clone(),
                version: uint(row.get(2)?),
                item_count: uint(row.get(3)?),
                total_tokens: uint(row.get(4)?),
                created_at_ms: row.get(6)?,
                running: None,
            };
            let lease = match row.get(7)? {
                Some(turn) => Some(Lease { turn, orphaned: self.is_orphaned(row)? }),
                None => None,
            };
            let (number, newest_turn, lost_tokens) = (row.get(0)?, row.get(5)?, uint(row.get(10)?));
            Ok(is_own.then_some(Found { number, newest_turn, head, lost_tokens, lease }))
        })
    }

    /// The conversation, `None` where it is still to be made; or why the turn cannot begin in it.
    fn find_free(&self, db: &Connection) -> Result<Result<Option<Found>, Begun>, Fail> {
        match self.find(db)? {
            Some(Some(found)) if self.expects_other(found.head.item_count, found.lease.is_some()) => {
                Ok(Err(Begun::Moved))
            }
            Some(Some(Found { lease: Some(lease), .. })) => self.busy(db, &lease).map(Err),
            Some(Some(found)) => Ok(Ok(Some(found))),
            None if !self.begin.create_conversation => Ok(Err(Begun::UnknownConversation)),
            None if self.expects_other(0, false) => Ok(Err(Begun::Moved)),
            None => Ok(Ok(None)),
            Some(None) => Ok(Err(Begun::UnknownConversation)),
        }
    }

    fn expects_other(&self, item_count: u64, is_running: bool) -> bool {
        self.begin.expected_items.is_some_and(|count| is_running || count != item_count)
    }

    fn create(&self, db: &Connection) -> Result<Found, Fail> {
        let (id, created_at_ms) = (self.begin.place.conversation.clone(), self.begin.now_ms);
        let params = params![id.as_str(), self.owner, 0, 0, created_at_ms, self.begin.hidden, "{}"];
        execute(db, sql::INSERT_CONVERSATION, params)?;
        let head = Conversation { id, version: 0, item_count: 0, total_tokens: 0, created_at_ms, running: None };
        Ok(Found { number: db.last_insert_rowid(), newest_turn: None, head, lost_tokens: 0, lease: None })
    }

    /// A holder of another name was a process that had the file before this one.
    fn is_orphaned(&self, row: &Row<'_>) -> Result<bool, Fail> {
        let is_own = rows::parsed(row, 8, |holder| Some(holder == self.begin.holder.as_str()))?;
        Ok(!is_own || row.get(9)?)
    }

    fn busy(&self, db: &Connection, lease: &Lease) -> Result<Begun, Fail> {
        let id: Option<String> = find_value(db, sql::TURN_ID, [lease.turn])?;
        let running = id.as_deref().and_then(rows::stored_id).ok_or(Fail::Content("a lease without its turn"))?;
        Ok(Begun::Busy { running, orphaned: lease.orphaned })
    }

    fn store(&self, db: &Connection, found: &Found) -> Result<(), Fail> {
        let (begin, turn) = (&self.begin, self.begin.turn.as_str());
        let (fence, key) = (int(FIRST_FENCE), begin.idempotency.as_ref().map(|asked| &asked.key));
        let params = params![turn, found.number, found.newest_turn, fence, begin.now_ms, self.request, key];
        execute(db, sql::INSERT_TURN, params)?;
        let number = db.last_insert_rowid();
        execute(db, sql::TAKE_LEASE, params![found.number, number, begin.holder.as_str()])?;
        let Some(asked) = &begin.idempotency else { return Ok(()) };
        let until_ms = begin.now_ms.saturating_add(asked.keep_ms);
        if asked.role != KeyRole::Join {
            return tries::add(db, &self.owner, asked, number, until_ms);
        }
        let conversation = begin.place.conversation.as_str();
        let params = params![self.owner, asked.key, asked.fingerprint, turn, conversation, until_ms];
        execute(db, sql::INSERT_KEY, params)?;
        Ok(())
    }
}

impl Operation for Begin {
    type Answer = Begun;

    fn apply(&self, db: &Connection) -> Result<Begun, Fail> {
        let begin = &self.begin;
        let owner = &begin.place.owner;
        let is_of_key = matches!((begin.session, owner), (SessionUse::OfKey(_), Owner::Session(_)));
        let is_made = is_of_key && !session_lives(db, owner, begin.now_ms)?;
        if !is_of_key && !use_session(db, owner, begin.session, begin.now_ms)? {
            return Ok(Begun::UnknownSession);
        }
        if let Some(known) = self.known_key(db)? {
            return Ok(known);
        }
        if is_of_key && !is_made {
            return Ok(Begun::UnknownSession);
        }
        let found = match self.find_free(db)? {
            Ok(found) => found,
            Err(in_the_way) => return Ok(in_the_way),
        };
        let taken = begin.rate.map(|rate| rates::take(db, &self.owner, rate, begin.now_ms)).transpose()?;
        let rate = match taken.transpose() {
            Ok(left) => left,
            Err(wait_ms) => return Ok(Begun::RateLimited { wait_ms }),
        };
        let found = found.map_or_else(|| self.create(db), Ok)?;
        let history = match found.head.item_count {
            0 => Loaded::default(),
            _ => rows::window(db, found.number, (found.head.total_tokens, found.lost_tokens), begin.budget)?,
        };
        if is_made {
            use_session(db, owner, begin.session, begin.now_ms)?;
        }
        self.store(db, &found)?;
        let conversation = Conversation { running: Some(begin.turn.clone()), ..found.head };
        Ok(Begun::Started(Started { fence: FIRST_FENCE, rate, conversation, history }))
    }
}
