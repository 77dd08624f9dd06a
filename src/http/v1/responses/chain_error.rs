//! From why a response cannot go on to what an SDK is told.

use axum::http::StatusCode;

use crate::chain::ChainError;
use crate::chain::calls::Orphan;
use crate::http::error::ApiError;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::items::no_item;
use crate::turn::Refused;

impl From<ChainError> for OpenAiError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::UnknownResponse => no_previous(),
            ChainError::StillRunning => Self::locked("The previous response is not over yet."),
            ChainError::UnknownConversation => no_conversation(),
            ChainError::UnknownItem => no_item("input"),
            ChainError::Refused(refused) => of_refused(refused),
            ChainError::Store(error) => ApiError::from(error).into(),
        }
    }
}

/// The same for what an item reference names; `param` is the path to it.
pub(super) fn of_reference(error: ChainError, param: &str) -> OpenAiError {
    match error {
        ChainError::UnknownItem => no_item(param),
        other => other.into(),
    }
}

fn of_refused(refused: Refused) -> OpenAiError {
    match refused {
        Refused::TooLong(too_long) => {
            let message = format!(
                "The input takes {} tokens, and there is room for {}. With 'truncation': 'auto', old items are left out.",
                too_long.tokens, too_long.limit
            );
            OpenAiError::invalid("input", "context_length_exceeded", message)
        }
        Refused::Busy | Refused::QueueFull | Refused::WaitedTooLong | Refused::Moved => {
            OpenAiError::locked("Another response is being made in this conversation. Try again when it is over.")
        }
        Refused::UnknownConversation => no_conversation(),
        Refused::KeyReused => {
            let message = "This Idempotency-Key was used with another request.";
            OpenAiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_request_error",
                "idempotency_key_reused",
                message,
            )
        }
        other => ApiError::from(other).into(),
    }
}

/// The response that a request goes on from is not there.
pub(super) fn no_previous() -> OpenAiError {
    let message = "There is no previous response with this id.";
    OpenAiError::invalid("previous_response_id", "previous_response_not_found", message)
}

/// An output answers a call that was not made.
pub(super) fn no_call(output: &Orphan) -> OpenAiError {
    let Orphan { of, call_id } = output;
    let message = format!("No tool call found for {of} output with call_id {call_id}.");
    OpenAiError::invalid("input", "", message).without_code()
}

/// The conversation that a request names is not there.
pub(super) fn no_conversation() -> OpenAiError {
    OpenAiError::no_conversation("conversation")
}
