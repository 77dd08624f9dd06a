//! `POST /v1/chat/completions`: passed on with the server's key, and back as it comes. Nothing is kept.

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
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::error::{OpenAiError, OpenAiErrorBody};
use super::key::Caller;
use crate::app::App;
use crate::config::ChatConfig;
use crate::domain::turn::{Fault, FaultKind};
use crate::http::{body, fault};
use crate::tasks::Guest;
use crate::upstream::forward::{Ask, Chunks, Completed};

/// What is looked at of a request. The rest is the model's business, and goes on byte for byte.
#[derive(Deserialize)]
struct Sketch<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    n: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    max_completion_tokens: Option<&'a RawValue>,
}

/// A key that is there, also where its value is null.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Answer a list of messages, as OpenAI's Chat Completions do. Every field goes to the model as it is; `model` may be left
/// out.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai", operation_id = "create_chat_completion",
    security((), ("key" = [])),
    request_body(content = serde_json::Value, description = "As OpenAI describes it.",
        example = json!({"model": "demo", "messages": [{"role": "user", "content": "Hello!"}]})),
    responses(
        (status = 200, description = "The completion; with `stream`, its chunks as Server-Sent Events.",
            content(
                (serde_json::Value = "application/json", example = json!({"id": "chatcmpl-1", "object": "chat.completion",
                    "created": 1764000000, "model": "demo", "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                    "message": {"role": "assistant", "content": "Hello!", "refusal": null}}]})),
                (String = "text/event-stream", example = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n")
            )),
        (status = "4XX", description = "The request cannot be answered as it is.", body = OpenAiErrorBody),
        (status = "5XX", description = "The model or this server failed.", body = OpenAiErrorBody),
    ))]
pub async fn create(State(app): State<Arc<App>>, _: Caller, request: Request) -> Result<Response, OpenAiError> {
    let guest = app.guests.enter();
    let ask = ask(body::object(request, &app).await?, &app.chat)?;
    let completed = guest.unless_leaving(app.upstream.complete(ask)).await.ok_or_else(fault::stopping)??;
    Ok(match completed {
        Completed::Plain(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Completed::Events(chunks) => events(chunks, guest),
    })
}

/// Holds a request to the rules of this server.
fn ask(body: Bytes, rules: &ChatConfig) -> Result<Ask, OpenAiError> {
    let sketch: Sketch<'_> = serde_json::from_slice(&body).map_err(|error| body::explain(&error))?;
    for (name, value) in [("max_tokens", sketch.max_tokens), ("max_completion_tokens", sketch.max_completion_tokens)] {
        let most = u64::from(rules.max_tokens_limit);
        if number(name, value)?.is_some_and(|tokens| tokens > most) {
            let message = format!("{name} may be {most} at most.");
            return Err(OpenAiError::invalid(name, "integer_above_max_value", message));
        }
    }
    let stream = match sketch.stream.map(RawValue::get) {
        None | Some("null" | "false") => false,
        Some("true") => true,
        Some(_) => return Err(OpenAiError::invalid("stream", "invalid_type", "stream must be true or false.")),
    };
    let choices = number("n", sketch.n)?.map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX));
    let body = match sketch.model.map(|model| serde_json::from_str::<String>(model.get())) {
        None => with_model(&body, &rules.default_model),
        Some(Ok(model)) if rules.allowed_models.allows(&model) => body,
        Some(Ok(_)) => return Err(OpenAiError::no_model()),
        Some(Err(_)) => return Err(OpenAiError::invalid("model", "invalid_type", "model must be a name.")),
    };
    Ok(Ask { body, stream, choices })
}

fn number(name: &str, value: Option<&RawValue>) -> Result<Option<u64>, OpenAiError> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            OpenAiError::invalid(
                name,
                "invalid_type",
                format!("{name} must be a number, without a fraction and not below 0."),
            )
        }),
    }
}

/// The request with this model in front of what else it says.
fn with_model(body: &Bytes, model: &str) -> Bytes {
    let start = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
    let rest = body.get(start..).unwrap_or_default();
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    let model = format!("{{\"model\":{}{comma}", serde_json::Value::from(model));
    [model.as_bytes(), rest].concat().into()
}

fn events(chunks: Chunks, guest: Guest) -> Response {
    let leaving = Box::pin(guest.leaving());
    let body = Body::from_stream(Outgoing { chunks: Some(chunks), leaving, _guest: guest });
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
    _guest: Guest,
}

impl Outgoing {
    fn last(&mut self, fault: Fault) -> Poll<Option<Result<Bytes, Infallible>>> {
        tracing::warn!(upstream.fault = fault.kind.code(), "a completion failed after it had begun");
        self.chunks = None;
        Poll::Ready(Some(Ok(OpenAiError::from(fault).event().into())))
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(chunks) = &mut this.chunks else { return Poll::Ready(None) };
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
