//! `POST /v1/chat/completions`: passed on with the server's key, and back as it comes. Nothing is kept, unless the request
//! says `store: true`; then it can be read again at `stored`.

pub mod ask;
pub mod collect;
pub mod keep;
pub mod members;
pub mod stored;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use self::ask::{Asked, ask};
use self::keep::Keeper;
use super::answer;
use super::caller::{LiveCaller, body_of, ended, while_alive};
use super::error::OpenAiError;
use super::schemas::{ChatCompletion, ChatCompletionChunks, CreateChatCompletion};
use crate::access::alive::Alive;
use crate::domain::turn::{Fault, FaultKind};
use crate::http::app::App;
use crate::http::{body, fault};
use crate::metering::{Chunks, Completed};
use crate::tasks::InFlightRequest;

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
    let answering = async {
        let completed = permit.start()?.complete(ask).await?;
        kept(completed, keeper).await
    };
    let answered = while_alive(&alive, in_flight.unless_stopped(answering)).await?;
    Ok(match answered.ok_or_else(fault::stopping)?? {
        Completed::Plain(body) => answer::written(body),
        Completed::Events(chunks) => events(chunks, in_flight, alive),
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

fn events(chunks: Chunks, in_flight: InFlightRequest, alive: Alive) -> Response {
    let (leaving, ending) = (Box::pin(in_flight.stopped()), Box::pin(alive.ended()));
    let body = Body::from_stream(Outgoing { chunks: Some(chunks), leaving, ending, alive, _in_flight: in_flight });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// A stream on its way to the client; what goes wrong in it is its last event.
struct Outgoing {
    chunks: Option<Chunks>,
    leaving: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Resolves when the client's credential ends.
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    alive: Alive,
    _in_flight: InFlightRequest,
}

impl Outgoing {
    fn last(&mut self, fault: Fault) -> Poll<Option<Result<Bytes, Infallible>>> {
        tracing::warn!(upstream.fault = fault.kind.code(), "a completion failed after it had begun");
        self.last_event(OpenAiError::from(fault))
    }

    fn last_event(&mut self, error: OpenAiError) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.chunks = None;
        Poll::Ready(Some(Ok(error.event().into())))
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(chunks) = &mut this.chunks else { return Poll::Ready(None) };
        if this.ending.as_mut().poll(cx).is_ready() {
            return this.last_event(ended(this.alive.credential()));
        }
        match chunks.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => Poll::Ready(Some(Ok(bytes))),
            Poll::Ready(Some(Err(fault))) => this.last(fault),
            Poll::Ready(None) => {
                this.chunks = None;
                Poll::Ready(None)
            }
            Poll::Pending => match this.leaving.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    this.last(Fault::new(FaultKind::ServerStopped, "the server stopped before the answer was whole"))
                }
            },
        }
    }
}
