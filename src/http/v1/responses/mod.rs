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

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;

use self::request::Wanted;
use self::stream::ResponseFeed;
use super::answer;
use super::caller::{LiveCaller, body_of, while_alive};
use super::error::OpenAiError;
use super::schemas::{self, CreateResponse, ResponseEvents};
use super::tokenizer::loaded;
use crate::chain::backing::Backing;
use crate::domain::conversation::Owner;
use crate::domain::rate::RateLeft;
use crate::http::app::App;
use crate::http::{body, rate_limit};
use crate::tasks::json_off_runtime;
use crate::turn::scratch::ScratchSpace;

/// Make a response, as OpenAI's Responses do: plain, as a stream of events, or in the background.
///
/// It goes on from `previous_response_id`, or from a `conversation`, to which its input and output are added. A parameter
/// that would change the answer and cannot be honoured is a 400 that names it. Where another response is being made in the
/// conversation, the answer is a 409 (`conversation_locked`). A stored response (`store`, true by default) is made to its end
/// when its client leaves, and can be read again from any event with `GET /v1/responses/{response_id}`.
///
/// The same goes over a WebSocket: `GET /v1/responses` with its handshake opens one. Each text frame from the client is
/// `{"type": "response.create", ...}` with the fields of this request; each frame from the server is one event, as a stream
/// has them, or `{"type": "error", "status", "error"}`. Responses are made one after another, and `{"type": "response.cancel"}`
/// ends the one that is being made. With `"store": false` they live with the socket, until one that goes on from them fails.
/// What a person says meanwhile is sent as `{"type": "response.steer", "previous_response_id", "input"}`: the response ends as
/// `incomplete` (`steered`), and the next one, asked for as it was, answers that.
/// Frames carry the `stream_id` of the request that they answer.
///
/// With `"context_management": [{"type": "compaction", "compact_threshold": N}]` a prompt of more than N tokens, or of more than
/// the model takes, is compacted first: the output begins with an item of type `compaction`, and what stands before it is in no
/// later prompt, but stays listed. With `{"type": "compaction_trigger"}` as the last item of the input that is all that is done.
///
/// `"generate": false` stores what was said for a later request to go on from, and asks no model. An output of a call that is
/// neither in the input nor in what the request goes on from is a 400; in a history that comes whole such outputs, and calls
/// without an output, are kept and left out of the prompt.
#[utoipa::path(post, path = "/v1/responses", tag = "responses", operation_id = "create_response",
    request_body = CreateResponse,
    responses((status = 200, description = "The response; with `stream`, its events.",
        content((schemas::Response = "application/json"), (ResponseEvents = "text/event-stream")))))]
pub async fn create(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let headers = request.headers().clone();
    let bytes = body_of(&alive, body::object(request, &app)).await?;
    let (how, rate, mut response) = begin(&app, &owner, headers, bytes).await?;
    let mut answer = match how {
        How::Background => {
            response.told(true);
            answer::written(response.projection().queued())
        }
        How::Whole => answer::written(while_alive(&alive, response.whole()).await??),
        How::Stream => stream::live(response, alive, app.first_event_wait).await?,
    };
    rate_limit::tell(answer.headers_mut(), rate);
    Ok(answer)
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
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(How, Option<RateLeft>, ResponseFeed), OpenAiError> {
    let (metering, reader) = (app.metering.clone(), owner.clone());
    let (key, wanted) = json_off_runtime(bytes.len(), move || {
        let key = ask::key_of(&headers, &bytes)?;
        Ok::<_, OpenAiError>((key, Wanted::read(&bytes, &metering, &reader)?))
    })
    .await?;
    let how = match (wanted.background, wanted.stream) {
        (_, true) => How::Stream,
        (true, false) => How::Background,
        (false, false) => How::Whole,
    };
    loaded(wanted.permit.model()).await;
    let stored = stored_backing(app, owner);
    if wanted.is_kept() {
        let asked = ask::ask(app, &stored, &wanted, key, None).await?;
        return Ok((how, asked.accepted.rate, stream::asked(asked, None)));
    }
    let space = app.scratch.space();
    let asked = ask::ask(app, &scratch_backing(app, &space), &wanted, None, Some(&stored)).await?;
    Ok((how, asked.accepted.rate, stream::asked(asked, Some(space))))
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
