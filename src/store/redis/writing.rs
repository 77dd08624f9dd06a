//! A turn's life: begun, written to, ended.

use redis::{Cmd, Pipeline, Value};

use super::codec::{self, EndArg, ItemArg, Items, JsonArg};
use super::connection::{Again, Request};
use super::keys::Base;
use super::reading::{loaded, most_tokens};
use super::scripts::SCRIPTS;
use super::tries::role_args;
use super::{Redis, faults};
use crate::domain::conversation::{Conversation, Owner, Place};
use crate::domain::event::Event;
use crate::domain::rate::{Rate, RateLeft};
use crate::store::{
    AppendEvents, Appended, BeginTurn, Begun, FinishTurn, Finished, KeyRole, Notice, SessionUse, Started, StoreError,
};

/// The longest time that Redis is asked to keep something: 300 years, which leaves its own sums room.
const LONGEST_MS: i64 = 300 * 365 * 24 * 3_600_000;

/// What `begin.lua` has of the session: how it is used, and for how long it lasts.
type Session = (&'static str, i64);

impl Redis {
    pub(super) async fn begin(&self, begin: &BeginTurn) -> Result<Begun, StoreError> {
        let session = match (&begin.place.owner, begin.session) {
            (Owner::ApiKey(_), SessionUse::Renew(_) | SessionUse::OfKey(_)) => return Ok(Begun::UnknownSession),
            (Owner::ApiKey(_), _) => ("k", 0),
            (Owner::Session(_), SessionUse::None) => ("n", 0),
            (Owner::Session(_), SessionUse::Renew(ms)) => ("r", duration_ms(ms)),
            (Owner::Session(_), SessionUse::Create(ms)) => ("c", duration_ms(ms)),
            (Owner::Session(_), SessionUse::OfKey(ms)) => ("o", duration_ms(ms)),
        };
        let base = self.keys.base_of(&begin.place);
        let lease = lease_entry(1, begin.turn.as_str(), &begin.place);
        let lease_until = self.connection.server_ms().saturating_add(begin.lease_ms);
        let given_up_ms = self.connection.given_up_ms();
        let make = |again| {
            // What says where to look comes first: it is harmless where the turn is then not begun.
            let mut pipeline = Pipeline::with_capacity(4);
            pipeline.cmd("ZADD").arg(&self.leases).arg(lease_until).arg(&lease);
            if let Owner::ApiKey(id) = &begin.place.owner {
                let conversation = begin.place.conversation.as_str();
                pipeline.cmd("SET").arg(self.keys.pointer(id, begin.turn.as_str())).arg(conversation);
                if begin.create_conversation {
                    self.enlist(&mut pipeline, &begin.place, begin.hidden, begin.now_ms);
                }
            }
            pipeline.add_command(self.begin_call(begin, &base, session, again, given_up_ms));
            let last = pipeline.len() - 1;
            Request::Among(pipeline, last)
        };
        match self.connection.call(Again::Yes, make).await? {
            answer @ Value::Array(_) => started(answer, begin),
            refusal => {
                let refusal = codec::bytes(refusal)?;
                let refusal = codec::utf8(&refusal)?;
                self.take_back(begin, &lease, refusal).await;
                refused(refusal)
            }
        }
    }

    fn begin_call(
        &self,
        begin: &BeginTurn,
        base: &Base,
        (session, max_age_ms): Session,
        again: bool,
        given_up_ms: i64,
    ) -> Cmd {
        let conversation = &begin.place.conversation;
        let mut keys = vec![
            base.session(),
            base.turns(),
            base.head(conversation),
            base.items(conversation),
            base.order(conversation),
            base.events(&begin.turn),
        ];
        let owner = &begin.place.owner;
        let key = begin.idempotency.as_ref().map(|asked| match asked.role {
            KeyRole::Join => self.keys.idempotency(base, owner, &asked.key),
            KeyRole::FirstTry | KeyRole::Retry { .. } => self.keys.tries(base, owner, &asked.key),
        });
        keys.extend(key.clone());
        let rate = begin.rate.map(|rate| (self.keys.rate(&owner.tag(), Some(base)), rate));
        keys.extend(rate.iter().map(|(key, _)| key.clone()));
        let request = &begin.request;
        let size = request.instructions.len() + request.input.iter().map(|item| item.json.len() + 256).sum::<usize>();
        let mut call = SCRIPTS.begin.call(&keys, 1024 + size);
        call.arg(base.as_str()).arg(session).arg(max_age_ms).arg(begin.now_ms);
        call.arg(match (begin.create_conversation, begin.hidden) {
            (false, _) => "0",
            (true, false) => "1",
            (true, true) => "h",
        });
        call.arg(u8::from(again));
        call.arg(begin.turn.as_str()).arg(conversation.as_str());
        call.arg(begin.lease_ms.min(LONGEST_MS)).arg(&self.server);
        call.arg(begin.budget.loaded_tokens()).arg(begin.budget.fixed_tokens);
        call.arg(Event::Started { attempt: 1 }.to_json()).arg(JsonArg(request)).arg(given_up_ms);
        match begin.expected_items {
            Some(count) => call.arg(count),
            None => call.arg(""),
        };
        call.arg(most_tokens(&begin.budget));
        match &rate {
            Some((key, rate)) => call.arg(key).arg(rate.per_ms.saturating_mul(1000)).arg(rate.share_us()),
            None => call.arg("").arg("").arg(""),
        };
        if let (Some(asked), Some(key)) = (&begin.idempotency, &key) {
            call.arg(key).arg(&asked.fingerprint).arg(duration_ms(asked.keep_ms));
            let (role, instead_of) = role_args(&asked.role);
            call.arg(role).arg(instead_of);
        }
        call
    }

    /// The turn was not begun, so no server needs to look for it; and where another turn, which no server runs, has the
    /// conversation, it is made sure that it is found. Failing is harmless: what says where to look is checked before use.
    async fn take_back(&self, begin: &BeginTurn, lease: &str, answer: &str) {
        let made_nothing = begin.create_conversation && self.is_missing(&begin.place).await;
        let make = |_| {
            let mut pipeline = Pipeline::with_capacity(4);
            pipeline.cmd("ZREM").arg(&self.leases).arg(lease);
            if let Owner::ApiKey(id) = &begin.place.owner {
                pipeline.cmd("DEL").arg(self.keys.pointer(id, begin.turn.as_str()));
            }
            if made_nothing {
                self.delist(&mut pipeline, &begin.place);
            }
            if let Some((fence, orphan)) = answer.strip_prefix('O').and_then(|orphan| orphan.split_once(' ')) {
                pipeline.cmd("ZADD").arg(&self.leases).arg(0).arg(lease_entry(fence, orphan, &begin.place));
            }
            Request::All(pipeline)
        };
        if let Err(error) = self.connection.call(Again::Yes, make).await {
            tracing::debug!(%error, "an entry in the index of leases stays until it is looked at");
        }
    }

    pub(super) async fn append(&self, append: &AppendEvents) -> Result<Appended, StoreError> {
        let base = self.keys.base_of(&append.place);
        let make = |_| {
            let mut keys = vec![base.head(&append.place.conversation), base.events(&append.turn)];
            keys.extend(session_of(&base, &append.place));
            let mut call = SCRIPTS.append.call(&keys, 256 + append.events.len() * 128);
            call.arg(append.turn.as_str()).arg(append.fence).arg(append.lease_ms.min(LONGEST_MS));
            call.arg(&self.server).arg(&self.channel);
            call.arg(append.events.first().map_or(1, |event| event.seq));
            append.events.iter().for_each(|event| {
                call.arg(event.event.to_json());
            });
            Request::One(call)
        };
        match codec::number(&self.connection.call(Again::Yes, make).await?)? {
            0 => Ok(Appended::Stored { cancel_requested: false }),
            1 => Ok(Appended::Stored { cancel_requested: true }),
            -1 => Ok(Appended::Fenced),
            _ => Err(events_are_missing()),
        }
    }

    pub(super) async fn finish(&self, finish: FinishTurn) -> Result<Finished, StoreError> {
        let base = self.keys.base_of(&finish.place);
        let lease = lease_entry(finish.fence, finish.turn.as_str(), &finish.place);
        let make = |_| {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(self.finish_call(&finish, &base));
            // The entry is this fence's own: a server that has taken the turn over has another one.
            pipeline.cmd("ZREM").arg(&self.leases).arg(&lease);
            Request::Among(pipeline, 0)
        };
        match codec::number(&self.connection.call(Again::Yes, make).await?)? {
            1 => {
                self.notices.tell(Notice::Events(finish.turn));
                self.notices.tell(Notice::Free(finish.place.conversation));
                Ok(Finished::Stored)
            }
            0 => Ok(Finished::Fenced),
            _ => Err(events_are_missing()),
        }
    }

    fn finish_call(&self, finish: &FinishTurn, base: &Base) -> Cmd {
        let conversation = &finish.place.conversation;
        let mut keys = vec![base.head(conversation), base.items(conversation), base.turns(), base.events(&finish.turn)];
        keys.extend(session_of(base, &finish.place));
        let size = finish.items.iter().map(|item| item.json.len() + 160).sum::<usize>();
        let mut call = SCRIPTS.finish.call(&keys, 1024 + size * 2);
        call.arg(finish.turn.as_str()).arg(conversation.as_str()).arg(finish.fence).arg(EndArg(finish));
        call.arg(finish.keep_events_ms.min(LONGEST_MS)).arg(&self.server).arg(&self.channel);
        call.arg(finish.events.first().map_or(1, |event| event.seq)).arg(finish.items.len());
        match &finish.answer {
            Some(answer) => call.arg(JsonArg(answer)),
            None => call.arg(""),
        };
        for item in &finish.items {
            call.arg(ItemArg { item, created_at_ms: finish.now_ms });
        }
        for event in &finish.events {
            call.arg(event.event.to_json());
        }
        call
    }

    /// Redis counts its time itself.
    pub(super) async fn take(&self, account: &str, rate: Rate) -> Result<Result<RateLeft, i64>, StoreError> {
        let base = codec::owner(account).and_then(|owner| self.keys.session_base(&owner));
        let key = self.keys.rate(account, base.as_ref());
        let make = |_| {
            let mut call = SCRIPTS.take_rate.call(&[&key], 128);
            call.arg(rate.per_ms.saturating_mul(1000)).arg(rate.share_us());
            Request::One(call)
        };
        // Not again: what was taken by a call whose answer was lost would be taken twice.
        let answer = codec::bytes(self.connection.call(Again::No, make).await?)?;
        let used_us: i64 = codec::parse(codec::utf8(&answer)?)?;
        Ok(if used_us < 0 { Err(-used_us) } else { Ok(rate.left_after(used_us)) })
    }

    pub(super) async fn renew(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        let renewed = self.use_session(owner, max_age_ms, now_ms, false).await?;
        if renewed == 2 {
            tracing::warn!("a session is not renewed, because redis takes no writes");
        }
        Ok(renewed > 0)
    }

    pub(super) async fn make_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<(), StoreError> {
        self.use_session(owner, max_age_ms, now_ms, true).await.map(drop)
    }

    /// What `renew.lua` gives.
    async fn use_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64, create: bool) -> Result<i64, StoreError> {
        let Some(base) = self.keys.session_base(owner) else { return Ok(0) };
        let make = |_| {
            let mut call = SCRIPTS.renew.call(&[base.session()], 128);
            call.arg(base.as_str()).arg(duration_ms(max_age_ms)).arg(now_ms).arg(u8::from(create));
            Request::One(call)
        };
        codec::number(&self.connection.call(Again::Yes, make).await?)
    }

    /// When a session expires. Redis counts its time itself.
    pub(super) async fn session_expiry(&self, owner: &Owner, now_ms: i64) -> Result<Option<i64>, StoreError> {
        let Some(base) = self.keys.session_base(owner) else { return Ok(None) };
        let left_ms = codec::number(&self.command(redis::cmd("PTTL").arg(base.session())).await?)?;
        Ok((left_ms > 0).then(|| now_ms.saturating_add(left_ms)))
    }

    /// A plain command that can be repeated.
    pub(super) async fn command(&self, cmd: &Cmd) -> Result<Value, StoreError> {
        self.connection.call(Again::Yes, |_| Request::One(cmd.clone())).await
    }
}

/// The key of the session that must live for a write, where the owner is one.
pub(super) fn session_of(base: &Base, place: &Place) -> Option<String> {
    matches!(place.owner, Owner::Session(_)).then(|| base.session())
}

/// An entry of the index of leases.
pub(super) fn lease_entry(fence: impl std::fmt::Display, turn: &str, place: &Place) -> String {
    format!("{fence} {turn} {} {}", place.conversation, place.owner.tag())
}

pub(super) fn duration_ms(ms: i64) -> i64 {
    ms.clamp(1, LONGEST_MS)
}

fn events_are_missing() -> StoreError {
    StoreError::Broken("events before these are missing".into())
}

fn refused(answer: &str) -> Result<Begun, StoreError> {
    let (kind, mut rest) = answer.split_at_checked(1).ok_or_else(faults::unreadable)?;
    match kind {
        "B" | "O" => {
            let _fence = codec::take(&mut rest, ' ')?;
            Ok(Begun::Busy { running: codec::turn_id(rest)?, orphaned: kind == "O" })
        }
        "D" => {
            let turn = codec::turn_id(codec::take(&mut rest, ' ')?)?;
            Ok(Begun::Duplicate { turn, conversation: codec::conversation_id(rest)? })
        }
        "K" => Ok(Begun::KeyReused),
        "M" => Ok(Begun::Moved),
        "U" => Ok(Begun::UnknownConversation),
        "X" => Ok(Begun::UnknownSession),
        "R" => Ok(Begun::RateLimited { wait_ms: codec::parse(rest)? }),
        "L" => Err(StoreError::Unavailable("redis came to the call too late".into())),
        _ => Err(faults::unreadable()),
    }
}

fn started(answer: Value, begin: &BeginTurn) -> Result<Begun, StoreError> {
    let mut items = Items::read(answer)?;
    let line = std::mem::take(&mut items.line);
    let mut line = line.as_str();
    let conversation = Conversation {
        id: begin.place.conversation.clone(),
        version: codec::take_number(&mut line, ' ')?,
        item_count: codec::take_number(&mut line, ' ')?,
        total_tokens: codec::take_number(&mut line, ' ')?,
        created_at_ms: codec::take_number(&mut line, ' ')?,
        running: Some(begin.turn.clone()),
    };
    // Less than none: the turn had begun, and what was left of the rate then is not known any more.
    let used_us: i64 = codec::take_number(&mut line, ' ')?;
    let rate = begin.rate.filter(|_| used_us >= 0).map(|rate| rate.left_after(used_us));
    Ok(Begun::Started(Started { fence: 1, rate, conversation, history: loaded(line, items)? }))
}
