//! What is deleted: a turn, a conversation, all that an owner has.
//!
//! What an API key has lies in many slots. What leads to a thing from other slots is found with the thing's help, so a
//! deletion that was cut off in between leaves at most a name that leads nowhere, and can be repeated.

use redis::{Pipeline, Value};

use super::connection::{Again, Request};
use super::keys::Base;
use super::reading::is_session;
use super::scripts::SCRIPTS;
use super::writing::lease_entry;
use super::{Redis, codec, faults};
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, TurnId};
use crate::store::{Notice, StoreError};

impl Redis {
    pub(super) async fn drop_turn(&self, owner: &Owner, turn: &TurnId) -> Result<bool, StoreError> {
        let Some(base) = self.base_of_turn(owner, turn).await? else { return Ok(false) };
        let make = |again| {
            let mut call = SCRIPTS.delete_turn.call(&[base.session(), base.turns()], 256);
            call.arg(base.as_str()).arg(is_session(owner)).arg(turn.as_str()).arg(u8::from(again));
            call.arg(&self.server).arg(&self.channel);
            Request::One(call)
        };
        let found = match self.connection.call(Again::Yes, make).await? {
            Value::Nil => return Ok(false),
            found => codec::strings(found)?,
        };
        let [key, conversation] = found.as_slice() else { return Err(faults::unreadable()) };
        self.notices.tell(Notice::Cancel(turn.clone()));
        let Owner::ApiKey(id) = owner else { return Ok(true) };
        let mut rest = Pipeline::with_capacity(4);
        self.forget_pointer(&mut rest, id, turn.as_str(), Some(key.as_bytes()).filter(|key| !key.is_empty()));
        if !conversation.is_empty() {
            let conversation = codec::conversation_id(conversation)?;
            self.delist(&mut rest, &Place { owner: owner.clone(), conversation });
        }
        self.send(&rest).await?;
        Ok(true)
    }

    pub(super) async fn drop_conversation(&self, place: &Place) -> Result<bool, StoreError> {
        let base = self.keys.base_of(place);
        if let Owner::ApiKey(id) = &place.owner {
            self.forget_pointers(id, &base).await?;
        }
        let conversation = &place.conversation;
        let make = |again| {
            let keys = [
                base.session(),
                base.head(conversation),
                base.items(conversation),
                base.order(conversation),
                base.turns(),
                base.list(),
            ];
            let mut call = SCRIPTS.delete_conversation.call(&keys, 256);
            call.arg(base.as_str()).arg(is_session(&place.owner)).arg(conversation.as_str());
            call.arg(&self.server).arg(&self.channel).arg(u8::from(again));
            Request::One(call)
        };
        let running = match self.connection.call(Again::Yes, make).await? {
            Value::Nil => return Ok(false),
            running => codec::bytes(running)?,
        };
        let mut rest = Pipeline::with_capacity(4);
        if let Some((fence, turn)) = codec::utf8(&running)?.split_once(' ') {
            let turn = codec::turn_id(turn)?;
            rest.cmd("ZREM").arg(&self.leases).arg(lease_entry(fence, turn.as_str(), place));
            // It may have begun after the others' pointers were looked for.
            if let Owner::ApiKey(id) = &place.owner {
                self.forget_pointer(&mut rest, id, turn.as_str(), None);
            }
            self.notices.tell(Notice::Cancel(turn));
        }
        if let Owner::ApiKey(_) = &place.owner {
            self.delist(&mut rest, place);
        }
        self.send(&rest).await?;
        Ok(true)
    }

    /// Takes a conversation that is gone out of what leads to it from its API key. The ids of conversations that are made
    /// are fresh, so no request makes this one anew meanwhile.
    pub(super) fn delist(&self, rest: &mut Pipeline, place: &Place) {
        let lists = self.keys.lists_base(&place.owner);
        rest.cmd("ZREM").arg(lists.list()).arg(place.conversation.as_str());
        rest.cmd("SREM").arg(lists.hidden()).arg(place.conversation.as_str());
    }

    pub(super) async fn forget(&self, owner: &Owner) -> Result<(), StoreError> {
        let tag = owner.tag();
        let message = format!("{} o {tag}", self.server);
        match owner {
            Owner::Session(_) => {
                if let Some(base) = self.keys.session_base(owner) {
                    let running = self.forget_slot(&base, &message, None).await?;
                    self.send(&self.lease_ends(&running, &tag)).await?;
                }
            }
            Owner::ApiKey(id) => self.forget_api_key(owner, id, &message).await?,
        }
        self.notices.tell(Notice::OwnerGone(tag));
        Ok(())
    }

    /// Gives the turns that were running there: fence, turn, conversation.
    async fn forget_slot(
        &self,
        base: &Base,
        message: &str,
        conversation: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let make = |_| {
            let keys =
                [base.session(), base.list(), base.hidden(), base.turns(), base.documents(), base.documents_order()];
            let mut call = SCRIPTS.forget.call(&keys, 256);
            call.arg(base.as_str()).arg(message).arg(&self.channel).arg(conversation);
            Request::One(call)
        };
        codec::strings(self.connection.call(Again::Yes, make).await?)
    }

    /// Takes turns that were running out of the index of leases.
    fn lease_ends(&self, running: &[String], tag: &str) -> Pipeline {
        let mut rest = Pipeline::with_capacity(running.len() + 2);
        for turn in running {
            rest.cmd("ZREM").arg(&self.leases).arg(format!("{turn} {tag}"));
        }
        rest
    }

    /// An API key's conversations lie in many slots, and go one after another. What leads to them goes last, so that a
    /// deletion that was cut off can be repeated.
    async fn forget_api_key(&self, owner: &Owner, id: &str, message: &str) -> Result<(), StoreError> {
        let lists = self.keys.lists_base(owner);
        loop {
            let mut some = codec::strings(self.command(redis::cmd("ZRANGE").arg(lists.list()).arg(0).arg(99)).await?)?;
            if some.is_empty() {
                let hidden = self.command(redis::cmd("SRANDMEMBER").arg(lists.hidden()).arg(100)).await?;
                some = codec::strings(hidden)?;
            }
            if some.is_empty() {
                break;
            }
            for conversation in some {
                self.forget_one_of(owner, id, codec::conversation_id(&conversation)?).await?;
            }
        }
        let documents = self.keys.documents_base(owner);
        self.command(redis::cmd("UNLINK").arg(documents.documents()).arg(documents.documents_order())).await?;
        self.command(redis::cmd("PUBLISH").arg(&self.channel).arg(message)).await.map(drop)
    }

    async fn forget_one_of(&self, owner: &Owner, id: &str, conversation: ConversationId) -> Result<(), StoreError> {
        let place = Place { owner: owner.clone(), conversation };
        let base = self.keys.base_of(&place);
        self.forget_pointers(id, &base).await?;
        let running = self.forget_slot(&base, "", Some(place.conversation.as_str())).await?;
        let mut rest = self.lease_ends(&running, &owner.tag());
        self.delist(&mut rest, &place);
        self.send(&rest).await
    }

    /// Removes what leads to a conversation's turns from other slots.
    async fn forget_pointers(&self, id: &str, base: &Base) -> Result<(), StoreError> {
        let fields = codec::strings(self.command(redis::cmd("HKEYS").arg(base.turns())).await?)?;
        let turns: Vec<&str> = fields.iter().map(String::as_str).filter(|field| is_turn(field)).collect();
        for some in turns.chunks(500) {
            let mut keys = redis::cmd("HMGET");
            keys.arg(base.turns());
            some.iter().for_each(|turn| {
                keys.arg(format!("{turn}#"));
            });
            let Value::Array(keys) = self.command(&keys).await? else { return Err(faults::unreadable()) };
            let mut remove = Pipeline::with_capacity(some.len() * 2);
            for (turn, key) in some.iter().zip(keys) {
                let key = if key == Value::Nil { None } else { Some(codec::bytes(key)?) };
                self.forget_pointer(&mut remove, id, turn, key.as_deref());
            }
            self.send(&remove).await?;
        }
        Ok(())
    }

    /// Removes what leads to one turn of an API key: where it is, and its idempotency key, while that is the turn's.
    fn forget_pointer(&self, remove: &mut Pipeline, id: &str, turn: &str, key: Option<&[u8]>) {
        remove.cmd("DEL").arg(self.keys.pointer(id, turn));
        if let Some(key) = key {
            let mut call = SCRIPTS.forget_key.call(&[key], 64);
            call.arg(turn);
            remove.add_command(call);
        }
    }

    async fn send(&self, commands: &Pipeline) -> Result<(), StoreError> {
        if commands.is_empty() {
            return Ok(());
        }
        self.connection.call(Again::Yes, |_| Request::All(commands.clone())).await.map(drop)
    }
}

/// Whether this field of a conversation's turns names one, and not a part of what is known about it.
fn is_turn(field: &str) -> bool {
    !field.ends_with(['?', '+', '!', '#'])
}
