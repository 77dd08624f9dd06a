//! Turns whose server went away are found and given to one caller each.
//!
//! The index of leases lies in a slot of its own, so it can say only where to look: an entry may be too early, or left
//! over. Whether a turn is to be had is decided in the turn's own slot, by one script. After each look the entry is set
//! right; an entry carries the fence that it was made for, so that nobody removes a successor's.

use redis::{Pipeline, Value};

use super::connection::{Again, Request};
use super::scripts::SCRIPTS;
use super::writing::{lease_entry, session_of};
use super::{Redis, codec, faults};
use crate::domain::conversation::Place;
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnRecord;
use crate::store::StoreError;

/// How many entries are looked at together, and how often in one call.
const BATCH: usize = 64;
const BATCHES: usize = 32;

struct Entry {
    text: String,
    turn: TurnId,
    fence: u64,
    place: Place,
}

impl Redis {
    pub(super) async fn adopt(&self, lease_ms: i64, limit: usize) -> Result<Vec<TurnRecord>, StoreError> {
        let mut adopted = Vec::new();
        for _ in 0..BATCHES {
            let wanted = BATCH.min(limit - adopted.len());
            if wanted == 0 {
                break;
            }
            let entries = self.expired_entries(wanted).await?;
            if entries.is_empty() {
                break;
            }
            adopted.extend(self.adopt_those(entries, lease_ms).await?);
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

    async fn adopt_those(&self, texts: Vec<String>, lease_ms: i64) -> Result<Vec<TurnRecord>, StoreError> {
        let mut tidy = Pipeline::with_capacity(texts.len());
        let (entries, foreign): (Vec<_>, Vec<_>) = texts.into_iter().map(Entry::read).partition(Result::is_ok);
        for text in foreign.into_iter().filter_map(Result::err) {
            tidy.cmd("ZREM").arg(&self.leases).arg(text);
        }
        let entries: Vec<Entry> = entries.into_iter().filter_map(Result::ok).collect();
        let mut adopted = Vec::new();
        if !entries.is_empty() {
            let answers = self.connection.call(Again::No, |_| Request::All(self.adopt_calls(&entries, lease_ms)));
            let Value::Array(answers) = answers.await? else { return Err(faults::unreadable()) };
            for (entry, answer) in entries.iter().zip(answers) {
                let state = if answer == Value::Nil { None } else { Some(codec::strings(answer)?) };
                self.set_right(entry, state.as_deref(), &mut tidy);
                if let Some(state) = state.filter(|state| state[0] == "1") {
                    adopted.push(codec::adopted(&entry.place.owner, entry.turn.as_str(), &state)?);
                }
            }
        }
        // A wrong entry is looked at again; what was taken over is not to be lost for it.
        if let Err(error) = self.connection.call(Again::Yes, |_| Request::All(tidy.clone())).await {
            tracing::debug!(%error, "the index of leases could not be set right");
        }
        Ok(adopted)
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

    /// `state` begins with whether the turn was taken over, its fence, and its lease; there is none where it has ended.
    fn set_right(&self, entry: &Entry, state: Option<&[String]>, tidy: &mut Pipeline) {
        let fence = match state {
            Some([_, fence, lease, ..]) => {
                let right = lease_entry(fence, entry.turn.as_str(), &entry.place);
                tidy.cmd("ZADD").arg(&self.leases).arg(lease).arg(right);
                fence.parse().ok()
            }
            _ => None,
        };
        if fence != Some(entry.fence) {
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
