//! From a request to a turn that runs: its start point, its items, its key.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::chain_error::{no_call, of_reference};
use super::object::Head;
use super::request::Wanted;
use crate::chain::backing::Backing;
use crate::chain::start::{Continues, StartPoint};
use crate::chain::{begin, calls, references};
use crate::domain::ids::{ItemId, TurnId};
use crate::domain::item::Item;
use crate::domain::json::json_of;
use crate::domain::turn::{TurnRecord, TurnRequest, TurnStatus};
use crate::http::app::App;
use crate::http::chat::request::idempotency_key;
use crate::http::error::ApiError;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::items::{InputItem, NewItem};
use crate::http::v1::tokenizer::text_bytes;
use crate::store::{IdempotencyKey, KeyRole, SessionUse, Try};
use crate::tasks::off_runtime;
use crate::turn::{Accepted, Ask, OnBusy};

/// For how long an SDK that sends a request again by itself can join it.
const RESEND_WITHIN: Duration = Duration::from_secs(60);

/// A response that comes to be.
pub struct Asked {
    /// The turn, from its first event on.
    pub accepted: Accepted,
    /// Its head.
    pub head: Head,
    /// The id of its message.
    pub answer_id: ItemId,
}

/// The key of a request: the client's own, or, for SDKs that send again without one, a digest of the body.
///
/// # Errors
/// When the client's key has not the form of one.
pub fn key_of(headers: &HeaderMap, body: &[u8]) -> Result<Option<IdempotencyKey>, OpenAiError> {
    if let Some(key) = idempotency_key(headers, body)? {
        return Ok(Some(key));
    }
    let Some(count) = headers.get("x-stainless-retry-count").and_then(|count| count.to_str().ok()) else {
        return Ok(None);
    };
    let role = match count.parse::<u32>() {
        Ok(0) => KeyRole::FirstTry,
        Ok(_) => KeyRole::Retry { instead_of: None },
        Err(_) => return Ok(None),
    };
    let fingerprint = URL_SAFE_NO_PAD.encode(Sha256::digest(body));
    let keep_ms = i64::try_from(RESEND_WITHIN.as_millis()).unwrap_or(i64::MAX);
    Ok(Some(IdempotencyKey { key: fingerprint.clone(), fingerprint, keep_ms, role }))
}

/// Asks. A response that is not in `backing` may go on from one in `fallback`.
///
/// # Errors
/// Why there is to be no response; nothing was spent.
pub async fn ask(
    app: &App,
    backing: &Backing,
    wanted: &Wanted,
    key: Option<IdempotencyKey>,
    fallback: Option<&Backing>,
) -> Result<Asked, OpenAiError> {
    let (asked, joined) = ask_once(app, backing, wanted, key.clone(), fallback).await?;
    let is_retry = |key: &IdempotencyKey| matches!(key.role, KeyRole::Retry { .. });
    let (Some(joined), Some(key)) = (joined, key.filter(is_retry)) else { return Ok(asked) };
    // What failed without a word has left no more than its question, so that sending it again means trying it again.
    if joined.answer.is_some() || joined.status != TurnStatus::Failed {
        return Ok(asked);
    }
    if let Some(on_leave) = asked.accepted.on_leave {
        on_leave.told(true);
    }
    let useless = Try { turn: joined.id, conversation: joined.place.conversation.clone() };
    let key = IdempotencyKey { role: KeyRole::Retry { instead_of: Some(useless) }, ..key };
    let (anew, _) = ask_once(app, backing, wanted, Some(key), fallback).await?;
    if joined.request.is_of_a_conversation() {
        let question = joined.request.input.iter().map(|item| &item.id);
        backing.turns.withdraw_question(&joined.place, question).await;
    }
    Ok(anew)
}

/// The turn, and its record where it is one that was there before.
async fn ask_once(
    app: &App,
    backing: &Backing,
    wanted: &Wanted,
    key: Option<IdempotencyKey>,
    fallback: Option<&Backing>,
) -> Result<(Asked, Option<TurnRecord>), OpenAiError> {
    let turn = TurnId::fresh(&*app.ids, &*app.clock);
    let start = StartPoint::find(backing, fallback, &wanted.continues).await?;
    let backings: Vec<&Backing> = [backing].into_iter().chain(fallback).collect();
    let request = request(&backings, &start, &turn, wanted).await?;
    if let Some(orphan) = calls::unanswerable(backing, &start, &request.input).await? {
        return Err(no_call(&orphan));
    }
    let ask = |start: &StartPoint| Ask {
        place: start.place.clone(),
        session: SessionUse::None,
        create_conversation: start.create,
        hidden: start.create,
        expected_items: start.expected_items,
        request: request.clone(),
        permit: wanted.permit.clone(),
        turn: turn.clone(),
        idempotency: key.clone(),
        on_busy: OnBusy::Reject,
        drop_if_unheard: !wanted.store,
    };
    let accepted = begin::begin(backing, start, ask).await?;
    if *accepted.reader.turn() == turn {
        let head = Head::new(&turn, app.clock.now_ms(), &request);
        return Ok((Asked { accepted, head, answer_id: request.answer_id }, None));
    }
    let joined = backing.store.turn(&backing.owner, accepted.reader.turn()).await.map_err(ApiError::from)?;
    let joined = joined.ok_or_else(|| ApiError::not_found("The response of this Idempotency-Key is gone."))?;
    let answer_id = joined.request.answer_id.clone();
    Ok((Asked { accepted, head: Head::of(&joined), answer_id }, Some(joined)))
}

async fn request(
    backings: &[&Backing],
    start: &StartPoint,
    turn: &TurnId,
    wanted: &Wanted,
) -> Result<TurnRequest, OpenAiError> {
    let mut shown = wanted.shown.clone();
    let (previous, conversation) = match &wanted.continues {
        Continues::Nothing => (None, None),
        Continues::Response(previous) => (Some(previous.response_id()), None),
        Continues::Conversation(id) => (None, Some(json!({"id": id.as_str()}))),
    };
    shown.insert("previous_response_id".to_owned(), previous.into());
    shown.insert("conversation".to_owned(), conversation.into());
    Ok(TurnRequest {
        model: wanted.permit.model().to_owned(),
        instructions: wanted.instructions.clone(),
        input: input(backings, start, turn, wanted).await?,
        answer_id: ItemId::answer_of(turn),
        temperature: None,
        max_tokens: wanted.permit.answer_tokens(),
        stream: wanted.stream || wanted.background,
        options: (!wanted.options.is_empty()).then(|| json_of(&wanted.options)),
        shown: Some(json_of(&shown)),
        whole_history: wanted.whole_history,
        tools: wanted.tools.clone(),
        aim: wanted.aim,
    })
}

async fn input(
    backings: &[&Backing],
    start: &StartPoint,
    turn: &TurnId,
    wanted: &Wanted,
) -> Result<Vec<Item>, OpenAiError> {
    let mut input = Vec::with_capacity(wanted.input.len());
    let mut referred: HashSet<&ItemId> = HashSet::new();
    for (place, given) in wanted.input.iter().enumerate() {
        match given {
            InputItem::New(new) => input.push(TurnItem::New(ItemId::input_of(turn, new.kind, place), new.clone())),
            // An item is in a conversation once.
            InputItem::Reference(id) if !referred.insert(id) => {}
            InputItem::Reference(id) => {
                let found = references::resolve(backings, start, id).await;
                let found = found.map_err(|error| of_reference(error, &format!("input[{place}].id")))?;
                input.extend(found.map(|item| TurnItem::Stored(Item { turn: Some(turn.clone()), ..item })));
            }
        }
    }
    let (turn, model) = (turn.clone(), wanted.permit.model().to_owned());
    let counted = off_runtime(text_bytes(&wanted.input), move || {
        let item = |item| match item {
            TurnItem::New(id, new) => new.item(id, Some(turn.clone()), &model),
            TurnItem::Stored(item) => item,
        };
        input.into_iter().map(item).collect()
    });
    Ok(counted.await)
}

/// An item on its way into a turn.
enum TurnItem {
    New(ItemId, NewItem),
    Stored(Item),
}
