//! The cookie door: `POST`, `GET` and `DELETE /chat`.

pub mod identity;
pub mod projection;
pub mod request;
pub mod retry;
pub mod turns;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use self::identity::{Origin, Visitor};
use self::projection::{ChatAnswer, ChatEvent, ChatFeed, ChatMessage};
use self::request::{ChatRequest, Wanted};
use self::retry::Retry;
use super::body::JsonBody;
use super::digits;
use super::error::{ApiError, ErrorBody};
use super::query::Query;
use crate::access::session::Session;
use crate::domain::conversation::Place;
use crate::domain::ids::{ConversationId, TurnId};
use crate::http::access_log;
use crate::http::app::App;
use crate::http::rate_limit;
use crate::metering::Permit;
use crate::store::{HistoryPage, IdempotencyKey, SessionUse};
use crate::tasks::off_runtime;
use crate::turn::{Accepted, Ask, OnBusy, Refused};

/// What a client is told whose session could not be deleted, or not to its end; it keeps its cookie, to ask again with.
const NOT_FORGOTTEN: &str = "The session and its history may still be there: send this request again.";

/// The most messages that `GET /chat` gives at once, and what it gives where the request does not say how many.
const PAGE: u16 = 1_000;

/// Say something, and get the model's answer.
///
/// The first request sets the cookie of a session; requests that send it back continue
/// the conversation. With `"stream": true`, or `Accept: text/event-stream`, the answer is Server-Sent Events, each with an
/// `id:` that counts up from 1: `started` (the turn's and the conversation's ids), `delta` (`{"content": "..."}`), then
/// `completed` (the same object as the plain answer), sent only after the turn is stored, or `error` (the same object as
/// every other error). A client that leaves does not end the turn: its answer is in `GET /chat` later. To a visitor without a
/// session a stream begins at once, so that the cookie is there before the model is called.
#[utoipa::path(post, path = "/chat", tag = "chat", request_body = ChatRequest, responses(
    (status = 200, description = "The answer, whole or as a stream of events.", content(
        (ChatAnswer = "application/json"),
        (ChatEvent = "text/event-stream"),
    ), headers(("Set-Cookie" = String, description = "The session, new or renewed."))),
    (status = 400, description = "The body is not right (`invalid_request`), the prompt is too long (`context_too_long`, \
        with both numbers), or the model is not allowed or not known (`unknown_model`, with those that are).", body = ErrorBody),
    (status = 403, description = "The request comes from another site that is not allowed.", body = ErrorBody),
    (status = 404, description = "The conversation, or the turn in `retry`, is not this session's.", body = ErrorBody),
    (status = 408, description = "The body took too long to arrive.", body = ErrorBody),
    (status = 409, description = "Too many turns of this conversation are waiting, or the wait was too long \
        (`conversation_busy`); or the turn was cancelled while this request waited for it (`turn_cancelled`); or the turn in \
        `retry` is running (`turn_running`), or has no question to ask again (`turn_not_retriable`).", body = ErrorBody),
    (status = 410, description = "The conversation was deleted while the turn ran.", body = ErrorBody),
    (status = 413, description = "The body is larger than 1 MiB.", body = ErrorBody),
    (status = 415, description = "The body is not JSON.", body = ErrorBody),
    (status = 429, description = "The visitor has asked as often as `VISITOR_RATE` lets it, or has as many requests under way \
        as one may have (`rate_limit_exceeded`); the model's provider is rate limiting (`rate_limited`), or the account behind \
        the server's key is out of money (`quota_exhausted`).", body = ErrorBody,
        headers(("Retry-After" = u64, description = "Seconds, where they are known."))),
    (status = 500, description = "A defect of the server.", body = ErrorBody),
    (status = 502, description = "The upstream refused the server's key, cannot be reached, or broke off.", body = ErrorBody),
    (status = 503, description = "The store is away, the upstream failed too often of late, or the server is stopping.", body = ErrorBody),
    (status = 504, description = "The upstream took too long.", body = ErrorBody),
))]
pub async fn post_chat(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let mut request = body.value;
    let streamed = request.wants_stream(&headers);
    let mut key = request::idempotency_key(&headers, &body.bytes)?;
    let known = app.sessions.read(&headers);
    let retry = Retry::of(&app, known.as_ref(), &mut request).await?;
    if let Some(retry) = &retry {
        key.get_or_insert_with(|| retry.key());
    }
    let visitor = Visitor::of(&app, known, key.as_ref());
    let permit = app.metering.permit(&visitor.session.owner(), &request.wish())?;
    let wanted = validate(&app, permit, request, streamed, key).await?;
    let (Visitor { session, origin }, accepted) = ask_as_visitor(&app, visitor, &wanted, retry.as_ref()).await?;
    access_log::note_owner(&session.owner());
    if let Some(retry) = &retry {
        retry.take_place(&app).await;
    }
    let Accepted { conversation, reader, on_leave, rate } = accepted;
    let feed = projection::feed(conversation, reader).with_leave(on_leave);
    let mut answer = answer(&app, feed, streamed, origin).await.into_response();
    rate_limit::tell(answer.headers_mut(), rate);
    Ok(with_cookie(app.sessions.set(&session), answer))
}

/// Validates, which counts the prompt's tokens.
async fn validate(
    app: &Arc<App>,
    permit: Permit,
    request: ChatRequest,
    streamed: bool,
    key: Option<IdempotencyKey>,
) -> Result<Wanted, ApiError> {
    let app = app.clone();
    off_runtime(request.text_bytes(&permit), move || request.validate(permit, &app.chat, streamed, key)).await
}

/// Asks in the visitor's session, or in a new one where that has ended.
async fn ask_as_visitor(
    app: &App,
    mut visitor: Visitor,
    wanted: &Wanted,
    retry: Option<&Retry>,
) -> Result<(Visitor, Accepted), ApiError> {
    let max_age_ms = app.sessions.max_age_ms();
    loop {
        if visitor.origin != Origin::Cookie && wanted.names_existing_conversation() {
            return Err(Refused::UnknownConversation.into());
        }
        let mut ask = ask_for(app, &visitor.session, visitor.session_use(max_age_ms), wanted);
        if retry.is_some_and(Retry::only_joins) {
            // No conversation has so many items, so that nothing can begin.
            (ask.expected_items, ask.on_busy) = (Some(u64::from(u32::MAX)), OnBusy::Reject);
        }
        match app.turns.ask(ask).await {
            Err(Refused::Moved) => return Err(retry::not_retriable()),
            Err(Refused::UnknownSession) if visitor.origin != Origin::Fresh => visitor = Visitor::fresh(app),
            other => return Ok((visitor, other?)),
        }
    }
}

fn ask_for(app: &App, session: &Session, session_use: SessionUse, wanted: &Wanted) -> Ask {
    let turn = TurnId::fresh(&*app.ids, &*app.clock);
    let owner = session.owner();
    Ask {
        permit: wanted.permit().for_owner(owner.clone()),
        place: Place {
            owner,
            conversation: wanted.conversation(session, || ConversationId::fresh(&*app.ids, &*app.clock)),
        },
        session: session_use,
        create_conversation: !wanted.names_existing_conversation(),
        hidden: false,
        expected_items: None,
        request: wanted.turn_request(&turn, &*app.ids, &*app.clock),
        turn,
        idempotency: wanted.idempotency(),
        on_busy: wanted.on_busy(),
        drop_if_unheard: wanted.cancels_on_disconnect(),
    }
}

/// The whole answer, or the stream of it from its first event on; a failure before that keeps its status. A visitor who has no
/// cookie yet gets it at once, with the header of the stream: one who leaves before the first event can come back.
async fn answer(app: &App, mut feed: ChatFeed, streamed: bool, origin: Origin) -> Result<Response, ApiError> {
    let patience = if origin == Origin::Cookie { app.first_event_wait } else { Duration::ZERO };
    match streamed {
        true => feed.stream(patience).await,
        false => Ok(axum::Json(feed.whole().await?).into_response()),
    }
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// At most this many, the newest.
    #[param(minimum = 1, maximum = 1000, default = 1000, example = 50)]
    limit: Option<u16>,
    /// Only messages before this one; the number is in the `Link` header of the page after it.
    #[param(value_type = Option<u64>, minimum = 1, example = 41)]
    before: Option<String>,
    /// A conversation other than the session's main one.
    #[param(pattern = "^conv_[0-9A-Za-z_-]{1,64}$", example = "conv_0199f3a65a6e7c1b8d2f4a6b8c0d2e4f")]
    conversation_id: Option<String>,
    /// Adds id, number, turn, status and time to each message.
    #[serde(default)]
    details: bool,
}

/// The session's messages, oldest first.
///
/// Without a session, or with one that has ended, there are none; a script of a page is given a session then, so that all that
/// it sends from now on is of one. Where there are older ones, the `Link` header names the
/// page with them: `</chat?limit=50&before=41>; rel="next"`.
#[utoipa::path(get, path = "/chat", tag = "chat", params(HistoryQuery), responses(
    (status = 200, description = "The messages.", body = [ChatMessage],
        headers(("Link" = String, description = "The page with older messages, where there are any."))),
    (status = 400, description = "A parameter is not right.", body = ErrorBody),
    (status = 404, description = "The conversation is not this session's.", body = ErrorBody),
    (status = 500, description = "A defect of the server.", body = ErrorBody),
    (status = 503, description = "The store is away.", body = ErrorBody),
))]
pub async fn get_chat(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(PAGE);
    let before = query.before.as_deref().map(|text| digits::read(text).filter(|before| *before > 0).ok_or(()));
    let (true, Ok(before)) = ((1..=PAGE).contains(&limit), before.transpose()) else {
        return Err(ApiError::invalid(format!("`limit` goes from 1 to {PAGE}, and `before` from 1.")));
    };
    let named = query.conversation_id.as_deref().map(request::conversation_id).transpose()?;
    let page = match app.sessions.read(&headers) {
        None => None,
        Some(session) => read_page(&app, &session, named.as_ref(), before, limit).await?.map(|page| (session, page)),
    };
    match (page, named) {
        (Some((session, page)), _) => Ok(show_page(&app, &session, &query, limit, &page)),
        (None, None) => {
            let nothing = axum::Json([(); 0]).into_response();
            Ok(match identity::for_page(&app, &headers).await {
                Some(session) => with_cookie(app.sessions.set(&session), nothing),
                None => nothing,
            })
        }
        (None, Some(_)) => Err(Refused::UnknownConversation.into()),
    }
}

async fn read_page(
    app: &App,
    session: &Session,
    named: Option<&ConversationId>,
    before: Option<u64>,
    limit: u16,
) -> Result<Option<HistoryPage>, ApiError> {
    let conversation = named.cloned().unwrap_or_else(|| session.key().main_conversation());
    let place = Place { owner: session.owner(), conversation };
    access_log::note_owner(&place.owner);
    let now_ms = app.clock.now_ms();
    let max_age_ms = app.sessions.max_age_ms();
    let Some(page) = app.store.history(&place, before, usize::from(limit), now_ms).await? else {
        // A session whose conversations were all opened with `new` has no main one, and is used all the same.
        let is_used = named.is_none() && app.store.renew_session(&place.owner, max_age_ms, now_ms).await?;
        return Ok(is_used.then(|| HistoryPage { items: Vec::new(), has_more: false, session_expires_at_ms: None }));
    };
    let expires_at_ms = page.session_expires_at_ms;
    // Reading renews, too, but not by a write each time: only once a hundredth of the session's life has passed.
    if expires_at_ms.is_some_and(|at| at < now_ms + max_age_ms - max_age_ms / 100) {
        app.store.renew_session(&place.owner, max_age_ms, now_ms).await?;
    }
    Ok(Some(page))
}

fn show_page(app: &App, session: &Session, query: &HistoryQuery, limit: u16, page: &HistoryPage) -> Response {
    let messages: Vec<ChatMessage> =
        page.items.iter().filter_map(|stored| ChatMessage::of(stored, query.details)).collect();
    let mut response = with_cookie(app.sessions.set(session), axum::Json(messages).into_response());
    if let Some(oldest) = page.items.first().filter(|_| page.has_more) {
        let mut link = format!("<{}/chat?limit={limit}&before={}", app.base_path, oldest.seq);
        if let Some(conversation) = &query.conversation_id {
            link.push_str("&conversationId=");
            link.push_str(conversation);
        }
        link.push_str(if query.details { "&details=true>; rel=\"next\"" } else { ">; rel=\"next\"" });
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

/// End the session: it and its history are gone, everywhere, at once.
#[utoipa::path(delete, path = "/chat", tag = "chat", responses(
    (status = 204, description = "Gone, or there was nothing.",
        headers(("Set-Cookie" = String, description = "Takes the cookie from the browser."))),
    (status = 403, description = "The request comes from another site that is not allowed.", body = ErrorBody),
    (status = 500, description = "A defect of the server.", body = ErrorBody),
    (status = 503, description = "The store is away, or has no room: the session may still be there, and so is its cookie. To be sent again.", body = ErrorBody),
))]
pub async fn delete_chat(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(session) = app.sessions.read(&headers) {
        access_log::note_owner(&session.owner());
        let forgotten = app.turns.forget(&session.owner()).await;
        forgotten.map_err(|error| ApiError::from(error).details(NOT_FORGOTTEN))?;
    }
    Ok(with_cookie(app.sessions.clear(), StatusCode::NO_CONTENT.into_response()))
}

/// The answer to a request that used its session, which is renewed by that.
async fn renewed(app: &App, session: &Session, response: Response) -> Result<Response, ApiError> {
    access_log::note_owner(&session.owner());
    app.store.renew_session(&session.owner(), app.sessions.max_age_ms(), app.clock.now_ms()).await?;
    Ok(with_cookie(app.sessions.set(session), response))
}

fn with_cookie(cookie: HeaderValue, mut response: Response) -> Response {
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}
