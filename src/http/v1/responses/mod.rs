//! `/v1/responses`: turns as OpenAI's Responses have them, on whatever model there is.

pub mod ask;
mod chain_error;
pub mod compact;
pub mod events;
pub mod object;
pub mod request;
pub mod socket;
pub mod stored;
pub mod stream;
pub mod tokens;
pub mod tools;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;

use self::request::Wanted;
use self::stream::ResponseFeed;
use super::answer;
use super::caller::Caller;
use super::error::{OpenAiError, OpenAiErrorBody};
use super::tokenizer::loaded;
use crate::chain::backing::Backing;
use crate::domain::conversation::Owner;
use crate::http::app::App;
use crate::http::body;
use crate::turn::scratch::ScratchSpace;

/// Make a response, as OpenAI's Responses do: plain, as a stream of events, or in the background.
///
/// It goes on from `previous_response_id`, or from a `conversation`, to which its input and output are added. Functions are
/// the only tools; a parameter that cannot be honoured is a 400 that names it. A stored response (`store`, true by default)
/// is made to its end when its client leaves, and can be read again from any event with `GET /v1/responses/{response_id}`.
#[utoipa::path(post, path = "/v1/responses", tag = "responses", operation_id = "create_response",
    security((), ("key" = [])),
    request_body(content = serde_json::Value, description = "As OpenAI describes it.",
        example = json!({"model": "demo", "input": "Hello!"})),
    responses(
        (status = 200, description = "The response; with `stream`, its events.", content(
            (serde_json::Value = "application/json", example = json!({"id": "resp_1", "object": "response", "status": "completed", "created_at": 1764000000, "model": "demo",
            "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello!", "annotations": []}]}]})),
            (String = "text/event-stream", example = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0}\n\n"),
        )),
        (status = "4XX", description = "The request cannot be answered as it is; `conversation_locked` (409) where another \
            response is being made in the conversation.", body = OpenAiErrorBody),
        (status = "5XX", description = "The model or this server failed.", body = OpenAiErrorBody),
    ))]
pub async fn create(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let headers = request.headers().clone();
    let bytes = body::object(request, &app).await?;
    let (how, mut response) = begin(&app, &owner, &headers, &bytes).await?;
    match how {
        How::Background => Ok(answer::written(response.projection().queued())),
        How::Whole => Ok(answer::written(response.whole().await?)),
        How::Stream => response.stream(app.first_event_wait).await,
    }
}

/// How a response is answered with.
enum How {
    Background,
    Whole,
    Stream,
}

async fn begin(
    app: &Arc<App>,
    owner: &Owner,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<(How, ResponseFeed), OpenAiError> {
    let key = ask::key_of(headers, bytes)?;
    let wanted = Wanted::read(bytes, &app.metering, owner)?;
    let how = match (wanted.background, wanted.stream) {
        (_, true) => How::Stream,
        (true, false) => How::Background,
        (false, false) => How::Whole,
    };
    loaded(wanted.permit.model()).await?;
    let stored = stored_backing(app, owner);
    if wanted.is_kept() {
        let asked = ask::ask(app, &stored, &wanted, key, None).await?;
        return Ok((how, stream::asked(asked, None)));
    }
    let space = app.scratch.space();
    let asked = ask::ask(app, &scratch_backing(app, &space), &wanted, None, Some(&stored)).await?;
    Ok((how, stream::asked(asked, Some(space))))
}

/// The responses of this owner that are stored.
fn stored_backing(app: &App, owner: &Owner) -> Backing {
    Backing {
        owner: owner.clone(),
        turns: app.turns.clone(),
        store: app.store.clone(),
        ids: app.ids.clone(),
        clock: app.clock.clone(),
        hides_unstored: true,
    }
}

/// The responses in a scratch space.
fn scratch_backing(app: &App, space: &ScratchSpace) -> Backing {
    Backing {
        owner: space.owner().clone(),
        turns: space.turns().clone(),
        store: space.store().clone(),
        ids: app.ids.clone(),
        clock: app.clock.clone(),
        hides_unstored: false,
    }
}
