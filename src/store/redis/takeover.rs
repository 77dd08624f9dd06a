//! Turns whose server went away are found and given to one caller each.
//!
//! The index of leases lies in a slot of its own, so it can say only where to look: an entry may be too early, or left
//! over. Whether a turn is to be had is decided in the turn's own slot, by one script. After each look the entry is set
//! right; an entry carries the fence that it was made for, so that no server removes a successor's.

use redis::{Pipeline, Value};

use super::connection::{Again, Request};
use super::scripts::SCRIPTS;
use super::writing::{lease_entry, session_of};
use super::{Redis, codec, faults};
use crate::domain::conversation::Place;
use crate::domain::ids::TurnId;
use crate::store::{Adopted, StoreError, Unreadable};

/// How many entries are looked at together, and how often in one call.
const BATCH: usize = 64;
const BATCHES: usize = 32;

struct Entry {
    text: String,
    turn: TurnId,
    fence: u64,
    place: Place,
}

/// What `adopt.lua` gives.
struct State {
    fence: u64,
    lease: i64,
    taken: Option<Taken>,
}

/// Of a turn that was taken over.
struct Taken {
    attempt: u32,
    last_event: u64,
    /// As it is stored.
    record: Vec<Value>,
}

impl Redis {
    pub(super) async fn adopt(&self, lease_ms: i64, limit: usize) -> Result<Adopted, StoreError> {
        let mut adopted = Adopted::default();
        for _ in 0..BATCHES {
            let wanted = BATCH.min(limit - adopted.turns.len() - adopted.unreadable.len());
            if wanted == 0 {
                break;
            }
            let entries = self.expired_entries(wanted).await?;
            if entries.is_empty() {
                break;
            }
            self.adopt_those(entries, lease_ms, &mut adopted).await?;
        }
        Ok(adopted)
    }

    async fn expired_entries(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let make = |_| {
            let mut call = SCRIPTS.expired.call(&[&self.leases], 32);
            call.arg(limit);
            Request::One(call)
        };
        codec::strings(self.connection.call(Again::Yes, make).await?)
    }

    async fn adopt_those(&self, texts: Vec<String>, lease_ms: i64, adopted: &mut Adopted) -> Result<(), StoreError> {
        let mut tidy = Pipeline::with_capacity(texts.len());
        let (entries, foreign): (Vec<_>, Vec<_>) = texts.into_iter().map(Entry::read).partition(Result::is_ok);
        for text in foreign.into_iter().filter_map(Result::err) {
            tidy.cmd("ZREM").arg(&self.leases).arg(text);
        }
        let entries: Vec<Entry> = entries.into_iter().filter_map(Result::ok).collect();
        if !entries.is_empty() {
            let answers = self.connection.call(Again::No, |_| Request::Each(self.adopt_calls(&entries, lease_ms)));
            let Value::Array(answers) = answers.await? else { return Err(faults::unreadable()) };
            for (entry, answer) in entries.into_iter().zip(answers) {
                self.sort_in(entry, answer, lease_ms, adopted, &mut tidy);
            }
        }
        // A wrong entry is looked at again; what was taken over is not to be lost for it.
        if let Err(error) = self.connection.call(Again::Yes, |_| Request::All(tidy.clone())).await {
            tracing::debug!(%error, "the index of leases could not be set right");
        }
        Ok(())
    }

    /// Adds what became of one entry to `adopted`, and what the index needs to `tidy`.
    fn sort_in(&self, entry: Entry, answer: Value, lease_ms: i64, adopted: &mut Adopted, tidy: &mut Pipeline) {
        let state = match answer {
            Value::Nil => return self.set_right(&entry, None, tidy),
            answer => State::read(answer),
        };
        let Ok(state) = state else {
            // Looked at again a lease later, so that entries like it do not fill every look.
            tracing::error!(turn.id = %entry.turn, "a turn cannot be taken over: redis holds something else in its place");
            let later = self.connection.server_ms().saturating_add(lease_ms);
            tidy.cmd("ZADD").arg(&self.leases).arg("XX").arg(later).arg(&entry.text);
            return;
        };
        self.set_right(&entry, Some(&state), tidy);
        let Some(taken) = state.taken else { return };
        match codec::adopted(
            &entry.place.owner,
            &entry.turn,
            state.fence,
            taken.attempt,
            taken.last_event,
            &taken.record,
        ) {
            Ok(record) => adopted.turns.push(record),
            Err(_) => {
                let Entry { turn, place, .. } = entry;
                adopted.unreadable.push(Unreadable { place, turn, fence: state.fence, last_event: taken.last_event });
            }
        }
    }

    fn adopt_calls(&self, entries: &[Entry], lease_ms: i64) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(entries.len());
        for Entry { turn, place, .. } in entries {
            let base = self.keys.base_of(place);
            let keys = [base.head(&place.conversation), base.turns(), base.events(turn)];
            let mut call = SCRIPTS.adopt.call(&keys, 128);
            call.arg(turn.as_str()).arg(lease_ms).arg(&self.server);
            pipeline.add_command(call);
        }
        pipeline
    }

    /// There is no state where the turn has ended.
    fn set_right(&self, entry: &Entry, state: Option<&State>, tidy: &mut Pipeline) {
        if let Some(State { fence, lease, .. }) = state {
            let right = lease_entry(fence, entry.turn.as_str(), &entry.place);
            tidy.cmd("ZADD").arg(&self.leases).arg(lease).arg(right);
        }
        if state.map(|state| state.fence) != Some(entry.fence) {
            tidy.cmd("ZREM").arg(&self.leases).arg(&entry.text);
        }
    }

    pub(super) async fn release(&self, place: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError> {
        let make = |_| {
            let mut pipeline = Pipeline::with_capacity(2);
            let base = self.keys.base_of(place);
            let mut keys = vec![base.head(&place.conversation)];
            keys.extend(session_of(&base, place));
            let mut call = SCRIPTS.release.call(&keys, 64);
            call.arg(turn.as_str()).arg(fence);
            pipeline.add_command(call);
            let entry = lease_entry(fence, turn.as_str(), place);
            pipeline.cmd("ZADD").arg(&self.leases).arg("XX").arg(0).arg(entry);
            Request::Among(pipeline, 0)
        };
        self.connection.call(Again::Yes, make).await.map(drop)
    }
}

impl State {
    fn read(answer: Value) -> Result<Self, StoreError> {
        let Value::Array(fields) = answer else { return Err(faults::unreadable()) };
        let mut fields = fields.into_iter();
        let mut text = || match fields.next() {
            Some(field) => String::from_utf8(codec::bytes(field)?).map_err(|_| faults::unreadable()),
            None => Err(faults::unreadable()),
        };
        let is_taken = text()? == "1";
        let (fence, lease) = (codec::parse(&text()?)?, codec::parse(&text()?)?);
        if !is_taken {
            return Ok(Self { fence, lease, taken: None });
        }
        let (attempt, last_event) = (codec::parse(&text()?)?, codec::parse(&text()?)?);
        Ok(Self { fence, lease, taken: Some(Taken { attempt, last_event, record: fields.collect() }) })
    }
}

impl Entry {
    /// Reads [`lease_entry`] back; gives the text back where it is none.
    fn read(text: String) -> Result<Self, String> {
        let parts = || {
            let mut parts = text.splitn(4, ' ');
            let fence = parts.next()?.parse().ok()?;
            let turn = codec::turn_id(parts.next()?).ok()?;
            let conversation = codec::conversation_id(parts.next()?).ok()?;
            let owner = codec::owner(parts.next()?)?;
            Some((fence, turn, Place { owner, conversation }))
        };
        match parts() {
            Some((fence, turn, place)) => Ok(Self { text, turn, fence, place }),
            None => Err(text),
        }
    }
}
