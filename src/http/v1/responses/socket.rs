//! Responses over a WebSocket: one request a frame, one event a frame, one response after another.
//!
//! Source: the WebSocket part of the Open Responses specification. Responses that are not to be stored live with their
//! socket: the next one may go on from them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::ask;
use super::request::Wanted;
use super::stream::{self, ResponseFeed};
use super::{scratch_backing, stored_backing};
use crate::access::alive::Alive;
use crate::chain::start::Continues;
use crate::domain::conversation::Owner;
use crate::domain::turn::TurnStatus;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::fault;
use crate::http::feed::Lead;
use crate::http::sse::KEEP_ALIVE;
use crate::http::v1::caller::{LiveCaller, ended};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, wrong_value};
use crate::http::v1::tokenizer::loaded;
use crate::tasks::InFlightRequest;
use crate::tasks::json_off_runtime;
use crate::turn::scratch::ScratchSpace;

/// How many requests may wait for the response before them.
const MOST_WAITING: usize = 8;

/// How long a client may take to close its side of the socket when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Opens a WebSocket. A document of this kind cannot say what goes over it; `POST /v1/responses` tells in words.
pub async fn open(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, OpenAiError> {
    let upgrade = upgrade.map_err(|_| no_handshake())?;
    if !is_from_here(&app, &headers) {
        let text = "This request comes from another site, which is not allowed to make it.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", text).into());
    }
    let in_flight = app.in_flight.enter();
    let Some(place) = app.places.socket() else { return Ok(no_place()) };
    let upgrade = upgrade.max_message_size(app.bodies.v1.bytes).max_frame_size(app.bodies.v1.bytes);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let space = app.scratch.space();
        let talk = Talk { app, owner, space, socket, waiting: VecDeque::new() };
        talk.go_on(in_flight, &alive).await;
        drop(place);
    }))
}

/// The connection ends with this answer: kept open, it would take the place of a plain request.
fn no_place() -> Response {
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", "Too many sockets are open.");
    let error = OpenAiError::from(error.retry_after(KEEP_ALIVE));
    ([(header::CONNECTION, HeaderValue::from_static("close"))], error).into_response()
}

fn no_handshake() -> OpenAiError {
    let text = "Responses are made with POST; GET opens a WebSocket, and this is no handshake of one.";
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", text).into()
}

/// Browsers let pages of every site open sockets, and send cookies along; they tell whose page it is.
fn is_from_here(app: &App, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").is_some_and(|(_, authority)| host == Some(authority));
    own || app.origins.iter().any(|allowed| allowed == origin)
}

/// The client has gone.
struct Gone;

/// A socket, and what lives with it.
struct Talk {
    app: Arc<App>,
    owner: Owner,
    space: ScratchSpace,
    socket: WebSocket,
    /// Requests that came while a response was being made.
    waiting: VecDeque<String>,
}

impl Talk {
    /// Makes responses until the client leaves or the server stops. A response that is being made then has the grace period
    /// to end.
    async fn go_on(mut self, in_flight: InFlightRequest, alive: &Alive) {
        // Why it ended, the server's state says, unless the credential has.
        let answering = alive.unless_ended(in_flight.unless_stopped(self.answer_all())).await;
        let farewell = match answering {
            None => Some((ended(alive.credential()), close_code::POLICY)),
            Some(_) if self.app.ready.is_stopping() => Some((fault::stopping().into(), close_code::AWAY)),
            Some(_) => None,
        };
        if let Some((error, code)) = farewell {
            // A client that does not hear it does not hold the stop.
            let _ = tokio::time::timeout(FAREWELL, self.say_goodbye(&error, code)).await;
        }
    }

    /// Says why the socket ends, and closes it as the protocol wants it.
    async fn say_goodbye(&mut self, error: &OpenAiError, code: u16) -> Result<(), Gone> {
        self.fail(error).await?;
        let close = CloseFrame { code, reason: error.object().code.clone().unwrap_or_default().into() };
        self.socket.send(Message::Close(Some(close))).await.map_err(|_| Gone)?;
        while let Some(Ok(_)) = self.socket.recv().await {}
        Ok(())
    }

    async fn answer_all(&mut self) -> Result<(), Gone> {
        while !self.app.ready.is_stopping() {
            let asked = match self.waiting.pop_front() {
                Some(asked) => asked,
                None => match self.app.clone().ready.unless_stopping(self.hear()).await {
                    Some(heard) => heard?,
                    None => break,
                },
            };
            match self.begin(&asked).await {
                Ok(response) => self.answer(response).await?,
                Err(error) => self.fail(&error).await?,
            }
        }
        Ok(())
    }

    /// The next request; a client that says nothing is asked whether it is there.
    async fn hear(&mut self) -> Result<String, Gone> {
        let mut silent = 0;
        loop {
            match tokio::time::timeout(KEEP_ALIVE, self.socket.recv()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Ok(text.as_str().to_owned()),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => silent = 0,
                Ok(Some(Ok(Message::Binary(_)))) => self.fail(&no_text()).await?,
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Err(Gone),
                Err(_) if silent == 2 => return Err(Gone),
                Err(_) => {
                    silent += 1;
                    self.socket.send(Message::Ping(Vec::new().into())).await.map_err(|_| Gone)?;
                }
            }
        }
    }

    async fn begin(&mut self, asked: &str) -> Result<(Wanted, ResponseFeed), OpenAiError> {
        let (metering, owner, asked) = (self.app.metering.clone(), self.owner.clone(), asked.to_owned());
        let wanted = json_off_runtime(asked.len(), move || {
            let mut fields = Fields::read(asked.as_bytes())?;
            if fields.text("type")?.as_deref() != Some("response.create") {
                return Err(wrong_value("type", &["response.create"]));
            }
            Wanted::of(fields, &metering, &owner)
        });
        let wanted = Wanted { stream: true, ..wanted.await? };
        loaded(wanted.permit.model()).await;
        let (stored, scratch) = (stored_backing(&self.app, &self.owner), scratch_backing(&self.app, &self.space));
        let (backing, fallback) = if wanted.is_kept() { (stored, scratch) } else { (scratch, stored) };
        let asked = ask::ask(&self.app, &backing, &wanted, None, Some(&fallback)).await?;
        Ok((wanted, stream::asked(asked, None)))
    }

    async fn answer(&mut self, (wanted, mut response): (Wanted, ResponseFeed)) -> Result<(), Gone> {
        let told = match response.lead::<Vec<String>>(self.app.first_event_wait).await {
            Lead::Failed(error) => self.fail(&error).await,
            Lead::Stream(first, last) => self.tell_all(&mut response, first, last).await,
        };
        self.forget_what_failed(&wanted, &response).await;
        if !wanted.is_kept()
            && let Err(error) = self.space.keep(response.turn().clone()).await
        {
            tracing::error!(%error, "older responses of a socket could not be dropped");
        }
        told
    }

    async fn tell_all(&mut self, response: &mut ResponseFeed, first: Vec<String>, last: bool) -> Result<(), Gone> {
        let (mut frames, mut last) = (first, last);
        loop {
            for frame in frames.drain(..) {
                self.tell(frame).await?;
            }
            if last {
                return Ok(());
            }
            tokio::select! {
                biased;
                heard = self.socket.recv() => self.overhear(heard).await?,
                next = response.next::<Vec<String>>() => (frames, last) = next,
            }
        }
    }

    /// Whatever comes while a response is being made.
    async fn overhear(&mut self, heard: Option<Result<Message, axum::Error>>) -> Result<(), Gone> {
        match heard {
            Some(Ok(Message::Text(_))) if self.waiting.len() >= MOST_WAITING => {
                let text = "Too many requests are waiting on this socket already.";
                let error =
                    OpenAiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "too_many_waiting", text);
                self.fail(&error).await
            }
            Some(Ok(Message::Text(text))) => {
                self.waiting.push_back(text.as_str().to_owned());
                Ok(())
            }
            Some(Ok(Message::Binary(_))) => self.fail(&no_text()).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Gone),
        }
    }

    /// A response that failed takes the one that it went on from with it, where that lives on this socket: the client
    /// cannot know how much of it was taken in.
    async fn forget_what_failed(&mut self, wanted: &Wanted, response: &ResponseFeed) {
        let Continues::Response(previous) = &wanted.continues else { return };
        if wanted.is_kept() {
            return;
        }
        let scratch = scratch_backing(&self.app, &self.space);
        let record = scratch.response(response.turn()).await;
        if let Ok(Some(record)) = record
            && matches!(record.status, TurnStatus::Failed | TurnStatus::Interrupted)
            && let Err(error) = scratch.store.delete_turn(&scratch.owner, previous).await
        {
            tracing::error!(%error, "a response could not be forgotten");
        }
    }

    async fn tell(&mut self, frame: String) -> Result<(), Gone> {
        self.socket.send(Message::Text(frame.into())).await.map_err(|_| Gone)
    }

    async fn fail(&mut self, error: &OpenAiError) -> Result<(), Gone> {
        let frame = json!({"type": "error", "status": error.status().as_u16(), "error": error.object()});
        self.tell(frame.to_string()).await
    }
}

fn no_text() -> OpenAiError {
    OpenAiError::invalid("type", "invalid_type", "Requests are text frames.")
}
