//! `POST /v1/chat/completions`: passed on with the server's key, and back as it comes. Nothing is kept, unless the request
//! says `store: true`; then it can be read again at `stored`.

pub mod ask;
pub mod keep;
pub mod outgoing;
pub mod stored;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use tokio::time::timeout;

use self::ask::{Asked, ask};
use self::keep::Keeper;
use self::outgoing::Phase;
use super::answer;
use super::caller::{LiveCaller, body_of, while_alive};
use super::error::OpenAiError;
use super::schemas::{ChatCompletion, ChatCompletionChunks, CreateChatCompletion};
use crate::http::app::App;
use crate::http::{body, fault};
use crate::metering::Completed;

/// Answer a list of messages, as OpenAI's Chat Completions do. Every field goes to the model as it is.
///
/// With `store: true` the completion is kept with its messages and `metadata`, for this key or session: it is durable before
/// the answer has its last byte. If it cannot be stored, the answer is an error, and a stream's last event.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai", operation_id = "create_chat_completion",
    request_body = CreateChatCompletion,
    responses((status = 200, description = "The completion; with `stream`, its chunks.",
        content((ChatCompletion = "application/json"), (ChatCompletionChunks = "text/event-stream")))))]
pub async fn create(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let in_flight = app.in_flight.enter();
    let Asked { ask, permit, order } = ask(body_of(&alive, body::object(request, &app)).await?, &app, &owner)?;
    let keeper = order.map(|order| Keeper::new(app.clone(), owner, order));
    // A plain answer has one status only, which its end decides.
    let patience = if ask.stream { app.first_event_wait } else { Duration::MAX };
    let mut answering = Box::pin(async move {
        let completed = permit.start().await?.complete(ask).await?;
        kept(completed, keeper).await
    });
    let answered = while_alive(&alive, in_flight.unless_stopped(timeout(patience, &mut answering))).await?;
    Ok(match answered.ok_or_else(fault::stopping)? {
        Ok(Ok(Completed::Plain(body))) => answer::written(body),
        Ok(Ok(Completed::Events(chunks))) => outgoing::respond(Phase::Streaming(chunks), in_flight, alive),
        Ok(Err(error)) => return Err(error),
        Err(_still_waiting) => outgoing::respond(Phase::Answering(answering), in_flight, alive),
    })
}

/// An answer that is kept, or will have been when its last byte goes on.
async fn kept(completed: Completed, keeper: Option<Keeper>) -> Result<Completed, OpenAiError> {
    Ok(match (completed, keeper) {
        (completed, None) => completed,
        (Completed::Plain(body), Some(keeper)) => Completed::Plain(keeper.plain(body).await?),
        (Completed::Events(chunks), Some(keeper)) => Completed::Events(keeper.events(chunks).await?),
    })
}
