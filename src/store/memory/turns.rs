//! Turns and sessions in memory.

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Memory, State, lives};
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::TurnId;
use crate::domain::item::StoredItem;
use crate::domain::rate::{Rate, RateLeft};
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::domain::window::{Budget, Loaded};
use crate::store::{
    AdoptTurns, Adopted, AppendEvents, Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished,
    HistoryPage, Notice, SessionUse, Started, Store, StoreError, StoreInfo, pending,
};

#[async_trait]
impl Store for Memory {
    fn info(&self) -> StoreInfo {
        StoreInfo { kind: "memory", location: "this process".into(), shared: true }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError> {
        let clock_ms = self.clock.now_ms();
        let mut state = self.state();
        let owner = &begin.place.owner;
        let is_of_key = matches!((begin.session, owner), (SessionUse::OfKey(_), Owner::Session(_)));
        let is_made = is_of_key && !state.session_lives(owner, begin.now_ms);
        if !is_of_key && !state.use_session(owner, begin.session, begin.now_ms) {
            return Ok(Begun::UnknownSession);
        }
        if let Some(known) = state.known_key(&begin) {
            return Ok(known);
        }
        if is_of_key && !is_made {
            return Ok(Begun::UnknownSession);
        }
        if state.is_moved(&begin) {
            return Ok(Begun::Moved);
        }
        let is_new = !state.conversations.contains_key(&begin.place.conversation);
        let Some(conversation) = state.find_or_create(&begin) else {
            return Ok(Begun::UnknownConversation);
        };
        if let Some(running) = conversation.head.running.clone() {
            let orphaned = state.turns.get(&running).is_none_or(|row| row.lease_until_ms <= clock_ms);
            return Ok(Begun::Busy { running, orphaned });
        }
        let rate = begin.rate.map(|rate| state.take_rate(&owner.tag(), rate, begin.now_ms));
        let rate = match rate.transpose() {
            Ok(left) => left,
            Err(wait_ms) => {
                if is_new {
                    state.conversations.remove(&begin.place.conversation);
                }
                return Ok(Begun::RateLimited { wait_ms });
            }
        };
        let Some(conversation) = state.find_or_create(&begin) else {
            return Ok(Begun::UnknownConversation);
        };
        conversation.head.running = Some(begin.turn.clone());
        let history = conversation.window(begin.budget);
        let conversation = conversation.head.clone();
        if is_made {
            state.use_session(&begin.place.owner, begin.session, begin.now_ms);
        }
        state.store_turn(&begin, clock_ms + begin.lease_ms);
        Ok(Begun::Started(Started { fence: 1, rate, conversation, history }))
    }

    async fn append_events(&self, append: AppendEvents) -> Result<Appended, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let Some(row) = state.writable(&append.turn, append.fence, now_ms) else {
            return Ok(Appended::Fenced);
        };
        row.lease_until_ms = now_ms + append.lease_ms;
        let cancel_requested = row.cancel_requested;
        row.push_events(append.events);
        drop(state);
        self.notify(Notice::Events(append.turn));
        Ok(Appended::Stored { cancel_requested })
    }

    async fn finish_turn(&self, mut finish: FinishTurn) -> Result<Finished, StoreError> {
        let clock_ms = self.clock.now_ms();
        let mut state = self.state();
        let Some(row) = state.fenced(&finish.turn, finish.fence, clock_ms) else {
            return Ok(Finished::Fenced);
        };
        if row.record.status != TurnStatus::Running {
            return Ok(Finished::Stored);
        }
        row.record.status = finish.status;
        row.record.usage = finish.usage;
        row.record.fault = finish.fault.clone();
        row.record.ended_at_ms = Some(finish.now_ms);
        row.events_until_ms = Some(clock_ms + finish.keep_events_ms);
        row.record.answer = finish.answer.take();
        row.push_events(std::mem::take(&mut finish.events));
        let mut items_then = None;
        if let Some(conversation) = state.conversations.get_mut(&finish.place.conversation) {
            for item in std::mem::take(&mut finish.items) {
                conversation.push(item, finish.now_ms);
            }
            conversation.head.version += 1;
            conversation.head.running = None;
            items_then = Some(conversation.head.item_count);
        }
        if let Some(row) = state.turns.get_mut(&finish.turn) {
            row.record.items_then = items_then;
        }
        drop(state);
        self.notify(Notice::Events(finish.turn));
        self.notify(Notice::Free(finish.place.conversation));
        Ok(Finished::Stored)
    }

    async fn take_rate(&self, account: &str, rate: Rate, now_ms: i64) -> Result<Result<RateLeft, i64>, StoreError> {
        Ok(self.state().take_rate(account, rate, now_ms))
    }

    async fn read_events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        if !state.session_lives(owner, now_ms) {
            return Ok(EventsPage::Unknown);
        }
        let Some(row) = state.own_turn(owner, turn) else {
            return Ok(EventsPage::Unknown);
        };
        if row.events_until_ms.is_some_and(|until| until <= now_ms) {
            return Ok(EventsPage::Expired);
        }
        let events = row.events.iter().filter(|event| event.seq > after).take(limit).cloned().collect();
        Ok(EventsPage::Events { events, status: row.record.status })
    }

    async fn turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        if !state.session_lives(owner, now_ms) {
            return Ok(None);
        }
        Ok(state.own_turn(owner, turn).map(|row| row.record.clone()))
    }

    async fn turns(&self, place: &Place, limit: usize) -> Result<Option<Vec<TurnRecord>>, StoreError> {
        let state = self.state();
        if !state.session_lives(&place.owner, self.clock.now_ms()) || state.own_conversation(place).is_none() {
            return Ok(None);
        }
        let records = state.turns.values().map(|row| &row.record);
        let mut own: Vec<TurnRecord> = records.filter(|record| record.place == *place).cloned().collect();
        own.sort_by(|a, b| (b.created_at_ms, &b.id).cmp(&(a.created_at_ms, &a.id)));
        own.truncate(limit);
        Ok(Some(own))
    }

    async fn request_cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        if !state.session_lives(owner, now_ms) {
            return Ok(CancelRequest::Unknown);
        }
        let Some(row) = state.own_turn(owner, turn) else {
            return Ok(CancelRequest::Unknown);
        };
        if row.record.status != TurnStatus::Running {
            return Ok(CancelRequest::AlreadyEnded(row.record.status));
        }
        row.cancel_requested = true;
        drop(state);
        self.notify(Notice::Cancel(turn.clone()));
        Ok(CancelRequest::Requested)
    }

    async fn adopt_turns(&self, adopt: AdoptTurns) -> Result<Adopted, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut guard = self.state();
        let State { sessions, turns, .. } = &mut *guard;
        let orphans = turns.values_mut().filter(|row| {
            let has_lost_its_server = row.record.status == TurnStatus::Running && row.lease_until_ms <= now_ms;
            has_lost_its_server && lives(sessions, &row.record.place.owner, now_ms)
        });
        let turns = orphans.take(adopt.limit).map(|row| {
            row.record.fence += 1;
            row.record.attempt += 1;
            row.lease_until_ms = now_ms + adopt.lease_ms;
            row.record.clone()
        });
        Ok(Adopted { turns: turns.collect(), unreadable: Vec::new() })
    }

    async fn release_turn(&self, _: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        if let Some(row) = self.state().writable(turn, fence, now_ms) {
            row.lease_until_ms = i64::MIN;
        }
        Ok(())
    }

    async fn history(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError> {
        let state = self.state();
        let Some(conversation) = state.own_conversation(place).filter(|_| state.session_lives(&place.owner, now_ms))
        else {
            return Ok(None);
        };
        let end = conversation.items.partition_point(|item| before.is_none_or(|before| item.seq < before));
        let mut newest = conversation.items[..end].iter().rev();
        let mut items: Vec<StoredItem> = newest.by_ref().take(limit).cloned().collect();
        items.reverse();
        let mut has_more = newest.next().is_some();
        pending::join(&mut items, &mut has_more, state.pending(place), before, limit);
        Ok(Some(HistoryPage { items, has_more, session_expires_at_ms: state.sessions.get(&place.owner).copied() }))
    }

    async fn leave_try(&self, place: &Place, turn: &TurnId, key: &str) -> Result<(), StoreError> {
        self.state().tries.leave(&place.owner, key, turn);
        Ok(())
    }

    async fn window(&self, place: &Place, budget: Budget) -> Result<Loaded, StoreError> {
        Ok(self.state().own_conversation(place).map(|row| row.window(budget)).unwrap_or_default())
    }

    async fn renew_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        Ok(self.state().use_session(owner, SessionUse::Renew(max_age_ms), now_ms))
    }

    async fn create_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<(), StoreError> {
        self.state().use_session(owner, SessionUse::Create(max_age_ms), now_ms);
        Ok(())
    }

    async fn session_expires_at(&self, owner: &Owner, now_ms: i64) -> Result<Option<i64>, StoreError> {
        Ok(self.state().sessions.get(owner).copied().filter(|until| *until > now_ms))
    }

    async fn delete_owner(&self, owner: &Owner) -> Result<(), StoreError> {
        self.state().delete(owner);
        self.notify(Notice::OwnerGone(owner.tag()));
        Ok(())
    }

    async fn sweep(&self, now_ms: i64) -> Result<u64, StoreError> {
        let mut state = self.state();
        let gone: Vec<Owner> =
            state.sessions.iter().filter(|(_, until)| **until <= now_ms).map(|(owner, _)| owner.clone()).collect();
        gone.iter().for_each(|owner| state.delete(owner));
        state.keys.retain(|_, row| row.until_ms > now_ms);
        state.tries.retain(|_, row| row.until_ms > now_ms);
        state.rates.retain(|_, full_at_us| *full_at_us > now_ms.saturating_mul(1000));
        let mut swept = gone.len() as u64;
        for row in state.turns.values_mut().filter(|row| row.events_until_ms.is_some_and(|until| until <= now_ms)) {
            swept += u64::from(!row.events.is_empty());
            row.events.clear();
        }
        Ok(swept)
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    async fn close(&self) {}
}
