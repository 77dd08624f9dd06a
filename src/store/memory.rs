//! The store as a few maps behind one lock: the reference that the others are compared with, and what tests run on.
//!
//! Several servers may share one, as they would share a Redis, so it keeps leases and sends notices like one.

mod conversations;
mod documents;
mod scratch;
mod tries;
mod turns;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::broadcast;

use super::{BeginTurn, Begun, KeyRole, Notice, SessionUse};
use crate::domain::clock::Clock;
use crate::domain::conversation::{Conversation, Owner, Place};
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::item::StoredItem;
use crate::domain::rate::{Rate, RateLeft, Taken};
use crate::domain::turn::{TurnRecord, TurnStatus};

/// Keeps everything until the process ends.
pub struct Memory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    notices: broadcast::Sender<Notice>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<Owner, i64>,
    conversations: HashMap<ConversationId, ConversationRow>,
    turns: BTreeMap<TurnId, TurnRow>,
    keys: HashMap<(Owner, String), KeyRow>,
    tries: tries::Rows,
    documents: documents::Rows,
    /// By account, when all of its rate is free again, in microseconds.
    rates: HashMap<String, i64>,
}

struct ConversationRow {
    owner: Owner,
    head: Conversation,
    items: Vec<StoredItem>,
    /// What they take together.
    item_tokens: u64,
    metadata: String,
    hidden: bool,
}

struct TurnRow {
    record: TurnRecord,
    lease_until_ms: i64,
    cancel_requested: bool,
    events: Vec<Numbered>,
    events_until_ms: Option<i64>,
}

struct KeyRow {
    fingerprint: String,
    turn: TurnId,
    conversation: ConversationId,
    until_ms: i64,
}

impl Memory {
    /// An empty store whose leases and expiries go by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default(), notices: broadcast::channel(1024).0 }
    }

    /// How many sessions, conversations, turns, idempotency keys and documents it holds.
    #[cfg(feature = "testing")]
    pub fn count(&self) -> usize {
        let state = self.state();
        let turns = state.turns.len() + state.keys.len() + state.tries.count();
        state.sessions.len() + state.conversations.len() + turns + state.documents.count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below can panic halfway through a change, so a poisoned lock guards whole state.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn notify(&self, notice: Notice) {
        // Without a receiver there is nothing to tell.
        let _ = self.notices.send(notice);
    }
}

impl State {
    fn session_lives(&self, owner: &Owner, now_ms: i64) -> bool {
        lives(&self.sessions, owner, now_ms)
    }

    fn use_session(&mut self, owner: &Owner, session: SessionUse, now_ms: i64) -> bool {
        match session {
            SessionUse::None => self.session_lives(owner, now_ms),
            SessionUse::OfKey(_) if matches!(owner, Owner::ApiKey(_)) => false,
            SessionUse::Create(max_age_ms) | SessionUse::OfKey(max_age_ms) => {
                self.sessions.insert(owner.clone(), now_ms + max_age_ms);
                true
            }
            SessionUse::Renew(max_age_ms) => match self.sessions.get_mut(owner) {
                Some(until) if *until > now_ms => {
                    *until = now_ms + max_age_ms;
                    true
                }
                _ => false,
            },
        }
    }

    fn own_turn(&mut self, owner: &Owner, turn: &TurnId) -> Option<&mut TurnRow> {
        self.turns.get_mut(turn).filter(|row| row.record.place.owner == *owner)
    }

    fn own_conversation(&self, place: &Place) -> Option<&ConversationRow> {
        self.conversations.get(&place.conversation).filter(|row| row.owner == place.owner)
    }

    /// The turn, where it is this fence's and its owner has not ended.
    fn fenced(&mut self, turn: &TurnId, fence: u64, now_ms: i64) -> Option<&mut TurnRow> {
        let lives = self.session_lives(&self.turns.get(turn)?.record.place.owner, now_ms);
        self.turns.get_mut(turn).filter(|row| lives && row.record.fence == fence)
    }

    /// The turn, where `fence` may still write to it.
    fn writable(&mut self, turn: &TurnId, fence: u64, now_ms: i64) -> Option<&mut TurnRow> {
        self.fenced(turn, fence, now_ms).filter(|row| row.record.status == TurnStatus::Running)
    }

    fn known_key(&mut self, begin: &BeginTurn) -> Option<Begun> {
        let asked = begin.idempotency.as_ref()?;
        match &asked.role {
            KeyRole::Join => {}
            KeyRole::FirstTry => return None,
            KeyRole::Retry { instead_of } => {
                return self.tries.join(&begin.place.owner, &asked.key, instead_of.as_ref(), begin.now_ms);
            }
        }
        let row = self.keys.get(&(begin.place.owner.clone(), asked.key.clone()))?;
        if row.until_ms <= begin.now_ms {
            return None;
        }
        Some(match row.fingerprint == asked.fingerprint {
            true => Begun::Duplicate { turn: row.turn.clone(), conversation: row.conversation.clone() },
            false => Begun::KeyReused,
        })
    }

    /// Whether the conversation, there or to be made, has another number of items than expected, or is about to.
    fn is_moved(&self, begin: &BeginTurn) -> bool {
        let Some(count) = begin.expected_items else { return false };
        match self.conversations.get(&begin.place.conversation) {
            Some(row) if row.owner == begin.place.owner => row.head.running.is_some() || row.head.item_count != count,
            Some(_) => false,
            None => begin.create_conversation && count != 0,
        }
    }

    fn find_or_create(&mut self, begin: &BeginTurn) -> Option<&mut ConversationRow> {
        let id = &begin.place.conversation;
        if !self.conversations.contains_key(id) {
            if !begin.create_conversation {
                return None;
            }
            let row = ConversationRow::new(&begin.place, begin.now_ms, begin.hidden);
            self.conversations.insert(id.clone(), row);
        }
        self.conversations.get_mut(id).filter(|row| row.owner == begin.place.owner)
    }

    fn store_turn(&mut self, begin: &BeginTurn, lease_until_ms: i64) {
        let record = TurnRecord {
            id: begin.turn.clone(),
            place: begin.place.clone(),
            status: TurnStatus::Running,
            attempt: 1,
            fence: 1,
            request: begin.request.clone(),
            usage: None,
            fault: None,
            created_at_ms: begin.now_ms,
            ended_at_ms: None,
            last_event: 1,
            answer: None,
            items_then: None,
        };
        let events = vec![Numbered { seq: 1, event: Event::Started { attempt: 1 } }];
        let row = TurnRow { record, lease_until_ms, cancel_requested: false, events, events_until_ms: None };
        self.turns.insert(begin.turn.clone(), row);
        let Some(asked) = &begin.idempotency else { return };
        if asked.role != KeyRole::Join {
            return self.tries.add(begin, asked);
        }
        let row = KeyRow {
            fingerprint: asked.fingerprint.clone(),
            turn: begin.turn.clone(),
            conversation: begin.place.conversation.clone(),
            until_ms: begin.now_ms + asked.keep_ms,
        };
        self.keys.insert((begin.place.owner.clone(), asked.key.clone()), row);
    }

    /// Takes one of an account's rate.
    fn take_rate(&mut self, account: &str, rate: Rate, now_ms: i64) -> Result<RateLeft, i64> {
        match rate.take(self.rates.get(account).copied(), now_ms) {
            Taken::No { wait_ms } => Err(wait_ms),
            Taken::Yes { full_at_us, left } => {
                self.rates.insert(account.to_owned(), full_at_us);
                Ok(left)
            }
        }
    }

    fn forget_keys_without_turn(&mut self) {
        let turns = &self.turns;
        self.keys.retain(|_, row| turns.contains_key(&row.turn));
        self.tries.retain(|_, row| turns.contains_key(&row.turn));
    }

    fn delete(&mut self, owner: &Owner) {
        self.sessions.remove(owner);
        self.conversations.retain(|_, row| row.owner != *owner);
        self.turns.retain(|_, row| row.record.place.owner != *owner);
        self.keys.retain(|(of, _), _| of != owner);
        self.tries.retain(|of, _| of != owner);
        self.documents.forget(owner);
        self.rates.remove(&owner.tag());
    }
}

fn lives(sessions: &HashMap<Owner, i64>, owner: &Owner, now_ms: i64) -> bool {
    match owner {
        Owner::ApiKey(_) => true,
        Owner::Session(_) => sessions.get(owner).is_some_and(|&until| until > now_ms),
    }
}

impl TurnRow {
    fn push_events(&mut self, events: Vec<Numbered>) {
        for event in events {
            if event.seq > self.record.last_event {
                self.record.last_event = event.seq;
                self.events.push(event);
            }
        }
    }
}
