//! From what went wrong inside to what the client is told: the one mapping to HTTP.

use std::time::Duration;

use axum::http::StatusCode;

use super::error::ApiError;
use crate::domain::turn::{Fault, FaultKind};
use crate::metering::{AtCapacity, NotAllowed, NotStarted, RateLimited};
use crate::store::StoreError;
use crate::turn::Refused;
use crate::turn::reader::Next;

/// When to come back to a store that is away.
const STORE_RETRY: Duration = Duration::from_secs(2);

/// When to come back to a server that has no place for another call.
const CAPACITY_RETRY: Duration = Duration::from_secs(1);

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store failed a request");
        let (code, text) = match error {
            StoreError::Unavailable(_) => ("store_unavailable", "The store cannot be reached at the moment."),
            StoreError::Full(_) => ("store_full", "The store has no room left."),
            StoreError::Broken(_) => ("store_failed", "The store failed."),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, text).retry_after(STORE_RETRY)
    }
}

impl From<NotAllowed> for ApiError {
    fn from(reason: NotAllowed) -> Self {
        match reason {
            NotAllowed::Model { allowed } => {
                Self::new(StatusCode::BAD_REQUEST, "unknown_model", "This model is not allowed here.")
                    .details(format!("Allowed: {allowed}."))
            }
            NotAllowed::Tokens { most } => Self::invalid(format!("`maxTokens` goes from 1 to {most}.")),
            NotAllowed::Route(route) => needs_key(&format!("Requests for {}", route.name())),
            NotAllowed::Choices { most } => needs_key(&format!("More than {most} answers to one request")),
            NotAllowed::Field(name) => needs_key(&format!("'{name}' with this value")),
        }
    }
}

impl From<AtCapacity> for ApiError {
    fn from(full: AtCapacity) -> Self {
        let error = match full {
            AtCapacity::Owner { most } => {
                let text = format!("This visitor has {most} requests to the model under way, and may have no more.");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", text)
            }
            AtCapacity::Server => {
                let text = "The server has as many requests to the model under way as it may have.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_overloaded", text)
            }
        };
        error.retry_after(CAPACITY_RETRY)
    }
}

impl From<RateLimited> for ApiError {
    fn from(limited: RateLimited) -> Self {
        let RateLimited { most, per_ms, wait_ms } = limited;
        let wait = Duration::from_millis(wait_ms.unsigned_abs());
        let text = format!("This visitor has asked {most} times in {}, and may ask no more often.", time_of(per_ms));
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", text)
            .details(format!("The next request may come in {} s.", wait.as_millis().div_ceil(1000)))
            .retry_after(wait)
    }
}

impl From<NotStarted> for ApiError {
    fn from(not_started: NotStarted) -> Self {
        match not_started {
            NotStarted::AtCapacity(full) => full.into(),
            NotStarted::RateLimited(limited) => limited.into(),
            NotStarted::Store(error) => error.into(),
        }
    }
}

/// A time of so many milliseconds, for a person.
fn time_of(ms: i64) -> String {
    match ms {
        1_000 => "a second".to_owned(),
        60_000 => "a minute".to_owned(),
        3_600_000 => "an hour".to_owned(),
        86_400_000 => "a day".to_owned(),
        ms => format!("{ms} ms"),
    }
}

/// Something that a browser's session may not do.
fn needs_key(what: &str) -> ApiError {
    let text = format!("{what} may cost more than a visitor is given, and needs an API key of this server.");
    ApiError::new(StatusCode::FORBIDDEN, "key_required", text)
        .details("The server's operator makes keys; requests send one as Authorization: Bearer.")
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLong(too_long) => {
                Self::new(StatusCode::BAD_REQUEST, "context_too_long", "The prompt is too long for the model.")
                    .details(format!("It takes {} tokens, and there is room for {}.", too_long.tokens, too_long.limit))
            }
            Refused::Busy => busy("conversation_busy", "The conversation is busy with an earlier request."),
            Refused::QueueFull => {
                busy("conversation_busy", "Too many requests are waiting for this conversation already.")
            }
            Refused::WaitedTooLong => {
                busy("conversation_busy", "The conversation was busy with an earlier request for too long.")
            }
            Refused::Moved => busy("conversation_busy", "The conversation has gone on meanwhile."),
            Refused::UnknownConversation => Self::not_found("There is no such conversation."),
            Refused::UnknownSession => session_ended(),
            Refused::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This Idempotency-Key was used with another request.",
            ),
            Refused::AtCapacity(full) => full.into(),
            Refused::RateLimited(limited) => limited.into(),
            Refused::Stopping => stopping(),
            Refused::Store(error) => error.into(),
        }
    }
}

fn busy(code: &str, text: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, text)
        .details("Turns of one conversation run one after another.")
        .retry_after(Duration::from_secs(1))
}

/// The server stops.
#[must_use]
pub fn stopping() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_stopping", "The server is shutting down.")
        .retry_after(Duration::from_secs(1))
}

/// The session ended after the request was let in.
#[must_use]
pub fn session_ended() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "session_ended", "The session is over.")
}

impl From<&Fault> for ApiError {
    fn from(fault: &Fault) -> Self {
        let error = Self::new(meaning(fault.kind).status, fault.kind.code(), fault.message.clone());
        match fault.retry_after_ms {
            Some(after) => error.retry_after(Duration::from_millis(after)),
            None => error,
        }
    }
}

/// What a kind of fault is over HTTP: the one table, of which each door shapes its body.
pub struct Meaning {
    /// The status.
    pub status: StatusCode,
    /// Status, type and code at the SDK door, where OpenAI has words of its own for it.
    pub openai: Option<(StatusCode, &'static str, &'static str)>,
}

/// The row of a kind. The code at the cookie door is [`FaultKind::code`].
#[must_use]
pub fn meaning(kind: FaultKind) -> Meaning {
    const REQUEST: &str = "invalid_request_error";
    let (status, openai) = match kind {
        FaultKind::RateLimited => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            (status, Some((status, "rate_limit_error", "rate_limit_exceeded")))
        }
        FaultKind::QuotaExhausted => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            (status, Some((status, "insufficient_quota", "insufficient_quota")))
        }
        FaultKind::ContextTooLong => {
            let status = StatusCode::BAD_REQUEST;
            (status, Some((status, REQUEST, "context_length_exceeded")))
        }
        FaultKind::UnknownModel => (StatusCode::BAD_REQUEST, Some((StatusCode::NOT_FOUND, REQUEST, "model_not_found"))),
        FaultKind::UpstreamRefused => (StatusCode::BAD_REQUEST, None),
        FaultKind::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, None),
        FaultKind::UpstreamRefusedKey
        | FaultKind::UpstreamMisaddressed
        | FaultKind::UpstreamUnavailable
        | FaultKind::UpstreamCut
        | FaultKind::UpstreamGarbage => (StatusCode::BAD_GATEWAY, None),
        FaultKind::BreakerOpen | FaultKind::StoreUnavailable | FaultKind::ServerStopped => {
            (StatusCode::SERVICE_UNAVAILABLE, None)
        }
        FaultKind::ConversationGone => (StatusCode::GONE, Some((StatusCode::GONE, "api_error", kind.code()))),
        FaultKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, None),
    };
    Meaning { status, openai }
}

impl From<Next> for ApiError {
    /// What a reader got instead of events.
    fn from(next: Next) -> Self {
        match next {
            Next::Leaving => stopping(),
            Next::Stalled => {
                let text = "The answer is whole, but the store does not take it at the moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text).retry_after(STORE_RETRY)
            }
            Next::Expired => Self::new(
                StatusCode::GONE,
                "events_expired",
                "The turn's events are no longer kept; its message is in the history.",
            ),
            Next::Unknown => Self::not_found("There is no such turn."),
            Next::Gone => Self::from(&Fault::new(FaultKind::ConversationGone, "the conversation was deleted")),
            Next::Failed(error) => error.into(),
            Next::Events(_) | Next::Done => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The turn ended without an end.")
            }
        }
    }
}
