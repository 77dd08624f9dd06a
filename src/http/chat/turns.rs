//! `/chat/turns`: find a turn again, read it from any event on, stop it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::projection::{self, ChatEvent, ChatUsage};
use super::{renewed, request};
use crate::access::session::Session;
use crate::domain::conversation::Place;
use crate::domain::ids::TurnId;
use crate::domain::item::{Item, Role};
use crate::domain::turn::{TurnRecord, TurnRequest};
use crate::http::access_log;
use crate::http::app::App;
use crate::http::digits;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::query::Query;
use crate::http::sse;
use crate::turn::cancel::Cancelled;
use crate::turn::reader::Next;

/// The most turns that are listed.
const MOST_TURNS: u16 = 100;

/// How many are listed where the request does not say.
const SOME_TURNS: u16 = 20;

/// A turn, as a reloaded page needs it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatTurn {
    /// The turn's id.
    #[schema(example = "turn_0199f3a65a6e7c1b8d2f4a6b8c0d2e51")]
    turn: String,
    /// The conversation that it belongs to.
    #[schema(example = "conv_0199f3a65a6e7c1b8d2f4a6b8c0d2e4f")]
    conversation_id: String,
    /// `running`, `completed`, `failed`, `cancelled` or `interrupted`.
    #[schema(example = "running")]
    status: &'static str,
    /// What was asked: the text of the newest message of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Hello, what is your name?")]
    prompt: Option<String>,
    /// 1; 2 where it was run again after its server died, which costs again.
    #[schema(minimum = 1, example = 1)]
    attempt: u32,
    /// The number of its last event: read on with `?after=` less than this.
    #[schema(example = 17)]
    last_event: u64,
    /// What all attempts cost together, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    usage: Option<ChatUsage>,
    /// Why it is not completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<ErrorBody>,
    /// When it began, in milliseconds since the Unix epoch.
    created_at: i64,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ended_at: Option<i64>,
}

impl From<TurnRecord> for ChatTurn {
    fn from(record: TurnRecord) -> Self {
        Self {
            turn: record.id.to_string(),
            conversation_id: record.place.conversation.to_string(),
            status: record.status.as_str(),
            prompt: prompt_of(&record.request),
            attempt: record.attempt,
            last_event: record.last_event,
            usage: record.usage.map(ChatUsage::from),
            error: record.fault.as_ref().map(|fault| ApiError::from(fault).body),
            created_at: record.created_at_ms,
            ended_at: record.ended_at_ms,
        }
    }
}

/// The text of the newest message of the user that a turn was asked.
pub(super) fn prompt_of(request: &TurnRequest) -> Option<String> {
    let messages = request.input.iter().rev().filter_map(Item::message);
    messages.into_iter().find(|message| message.role == Role::User).map(|message| message.text)
}

/// Which turns.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TurnsQuery {
    /// At most this many, the newest.
    #[param(minimum = 1, maximum = 100, default = 20, example = 5)]
    limit: Option<u16>,
    /// A conversation other than the session's main one.
    #[param(pattern = "^conv_[0-9A-Za-z_-]{1,64}$", example = "conv_0199f3a65a6e7c1b8d2f4a6b8c0d2e4f")]
    conversation_id: Option<String>,
}

/// The conversation's latest turns, newest first.
///
/// A page that was reloaded finds the running one here and reads on.
#[utoipa::path(get, path = "/chat/turns", tag = "turns", params(TurnsQuery), responses(
    (status = 200, description = "The turns; none without a session.", body = [ChatTurn]),
    (status = 400, description = "A parameter is not right.", body = ErrorBody),
    (status = 404, description = "The conversation is not this session's.", body = ErrorBody),
    (status = 500, description = "A defect of the server.", body = ErrorBody),
    (status = 503, description = "The store is away.", body = ErrorBody),
))]
pub async fn list_turns(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Query<TurnsQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(SOME_TURNS);
    if !(1..=MOST_TURNS).contains(&limit) {
        return Err(ApiError::invalid(format!("`limit` goes from 1 to {MOST_TURNS}.")));
    }
    let named = query.conversation_id.as_deref().map(request::conversation_id).transpose()?;
    let session = app.sessions.read(&headers);
    let records = match &session {
        None => None,
        Some(session) => {
            let conversation = named.clone().unwrap_or_else(|| session.key().main_conversation());
            app.store.turns(&Place { owner: session.owner(), conversation }, usize::from(limit)).await?
        }
    };
    match (session, records) {
        (Some(session), Some(records)) => {
            let turns: Vec<ChatTurn> = records.into_iter().map(ChatTurn::from).collect();
            renewed(&app, &session, axum::Json(turns).into_response()).await
        }
        _ if named.is_none() => Ok(axum::Json([(); 0]).into_response()),
        _ => Err(ApiError::not_found("There is no such conversation.")),
    }
}

/// From where on to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// The number of the last event that was seen; 0 for the whole turn. `Last-Event-ID` wins over it.
    #[param(value_type = Option<u64>, example = 6)]
    after: Option<String>,
}

/// The same in a header, as an `EventSource` sends it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "for the document; the header is read as it is")]
pub struct Cursor {
    /// The number of the last event that was seen.
    #[param(rename = "Last-Event-ID", pattern = "^[0-9]{0,19}$", example = "6")]
    last_event_id: Option<String>,
}

/// A turn's events after the last one that was seen, once, in order, live while it runs.
///
/// The cursor is `Last-Event-ID`, as an `EventSource` sends it when it reconnects, or `?after=N`. The events are those of
/// `POST /chat`, and two more: `restarted`, when the turn runs again after its server died (discard what was shown), and
/// `reconnect`, when this server stops and the turn goes on elsewhere or later (come back with the same cursor).
///
/// An `EventSource` ends for good at any other status than 200. So a reader that sends `Accept: text/event-stream` gets,
/// where coming back will help, a stream that says `retry:` and `reconnect` and ends, in place of a 503.
///
/// Try it: `curl -N -b cookiejar.txt "http://localhost:3000/chat/turns/$TURN/events?after=6"`
#[utoipa::path(get, path = "/chat/turns/{turn}/events", tag = "turns", params(
    ("turn" = String, Path, description = "The turn's id, from `started`.", example = "turn_0199f3a65a6e7c1b8d2f4a6b8c0d2e51"),
    Cursor, EventsQuery,
), responses(
    (status = 200, description = "The events.", content((ChatEvent = "text/event-stream"))),
    (status = 204, description = "All have been seen, and none will come: an `EventSource` stops here."),
    (status = 400, description = "The cursor is not a number.", body = ErrorBody),
    (status = 404, description = "The turn is not this session's.", body = ErrorBody),
    (status = 410, description = "The turn ended longer than `RESUME_WINDOW` ago; its message is in the history.", body = ErrorBody),
    (status = 500, description = "A defect of the server.", body = ErrorBody),
    (status = 503, description = "The store is away, or the server is stopping.", body = ErrorBody),
))]
pub async fn read_turn(
    State(app): State<Arc<App>>,
    turn: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> Result<Response, ApiError> {
    let comes_back = sse::are_accepted(&headers);
    match read_events(&app, turn, &headers, &query, comes_back).await {
        Err(error) if comes_back && error.status == StatusCode::SERVICE_UNAVAILABLE => {
            Ok(projection::come_back(&error))
        }
        other => other,
    }
}

async fn read_events(
    app: &App,
    turn: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    query: &EventsQuery,
    comes_back: bool,
) -> Result<Response, ApiError> {
    let after = cursor(headers, query.after.as_deref())?;
    let (session, turn) = owned_turn(app, headers, turn)?;
    let owner = session.owner();
    let Some(record) = app.store.turn(&owner, &turn).await? else { return Err(no_such_turn()) };
    let mut reader = app.turns.read(&owner, &turn, after);
    let first = match reader.look().await {
        None => Vec::new(),
        Some(Next::Events(events)) => events,
        Some(Next::Done) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Some(other) => return Err(other.into()),
    };
    let feed = projection::feed(record.place.conversation, reader).shown(|chat| chat.coming_back(comes_back));
    renewed(app, &session, feed.stream_from(&first)).await
}

/// Stop a turn; what was shown of it is stored.
///
/// The body may be empty. A turn that had ended is left as it is; the answer says how it ended either way.
#[utoipa::path(post, path = "/chat/turns/{turn}/cancel", tag = "turns", params(
    ("turn" = String, Path, description = "The turn's id.", example = "turn_0199f3a65a6e7c1b8d2f4a6b8c0d2e51"),
), responses(
    (status = 200, description = "The turn as it is now: `cancelled`, or as it had ended before.", body = ChatTurn),
    (status = 403, description = "The request comes from another site that is not allowed.", body = ErrorBody),
    (status = 404, description = "The turn is not this session's.", body = ErrorBody),
    (status = 500, description = "A defect of the server.", body = ErrorBody),
    (status = 503, description = "The store is away.", body = ErrorBody),
))]
pub async fn cancel_turn(
    State(app): State<Arc<App>>,
    turn: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (session, turn) = owned_turn(&app, &headers, turn)?;
    let record = match app.turns.cancel(&session.owner(), &turn).await? {
        Cancelled::Unknown => return Err(no_such_turn()),
        Cancelled::EndedBefore(record) | Cancelled::Stopped(record) => record,
    };
    renewed(&app, &session, axum::Json(ChatTurn::from(record)).into_response()).await
}

fn owned_turn(
    app: &App,
    headers: &HeaderMap,
    turn: Result<Path<String>, PathRejection>,
) -> Result<(Session, TurnId), ApiError> {
    let session = app.sessions.read(headers).ok_or_else(no_such_turn)?;
    let Path(turn) = turn.map_err(|_| no_such_turn())?;
    let turn = TurnId::parse(&turn).ok_or_else(no_such_turn)?;
    access_log::note_owner(&session.owner());
    access_log::note_turn(&turn);
    Ok((session, turn))
}

pub(super) fn no_such_turn() -> ApiError {
    ApiError::not_found("There is no such turn.")
}

/// The cursor; 0 where there is none. One that cannot be read is refused: a replay from the start would show everything
/// twice.
fn cursor(headers: &HeaderMap, after: Option<&str>) -> Result<u64, ApiError> {
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let (header, after) = (header.filter(|value| !value.is_empty()).map(digits::read), after.map(digits::read));
    if header == Some(None) || after == Some(None) {
        return Err(bad_cursor());
    }
    Ok(header.or(after).flatten().unwrap_or(0))
}

fn bad_cursor() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_cursor", "The cursor is not the number of an event.")
}
