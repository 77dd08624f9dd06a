//! Responses over a WebSocket: one request a frame, one event a frame, one response after another.
//!
//! Source: the WebSocket part of the Open Responses specification. Responses that are not to be stored live with their
//! socket: the next one may go on from them.

mod heard;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use self::heard::{CREATE, Cancel, Frame, Heard, unknown};
use super::ask;
use super::request::Wanted;
use super::stored::no_response;
use super::stream::{self, ResponseFeed};
use super::{scratch_backing, stored_backing};
use crate::access::alive::Alive;
use crate::chain::start::Continues;
use crate::domain::conversation::Owner;
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnStatus;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::fault;
use crate::http::feed::Lead;
use crate::http::sse::KEEP_ALIVE;
use crate::http::v1::caller::{LiveCaller, ended};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, missing};
use crate::http::v1::tokenizer::loaded;
use crate::metering::Metering;
use crate::tasks::InFlightRequest;
use crate::tasks::json_off_runtime;
use crate::turn::cancel::Cancelled;
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
    waiting: VecDeque<Frame>,
}

impl Talk {
    /// Makes responses until the client leaves or the server stops. A response that is being made then has the grace period
    /// to end.
    async fn go_on(mut self, in_flight: InFlightRequest, alive: &Alive) {
        // Why it ended, the server's state says, unless the credential has.
        // Boxed: by value, every layer around it would hold all of it on the stack.
        let answering = alive.unless_ended(in_flight.unless_stopped(Box::pin(self.answer_all()))).await;
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
        self.fail(error, None).await?;
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
            match self.begin(asked).await {
                Ok(response) => self.answer(response).await?,
                Err(Failed { error, previous, stream }) => {
                    self.forget(previous.as_ref()).await;
                    self.fail(&error, stream.as_deref()).await?;
                }
            }
        }
        Ok(())
    }

    /// The next request for a response; a client that says nothing is asked whether it is there.
    async fn hear(&mut self) -> Result<Frame, Gone> {
        let mut silent = 0;
        loop {
            match tokio::time::timeout(KEEP_ALIVE, self.socket.recv()).await {
                Ok(Some(Ok(Message::Text(text)))) => match self.app.bodies.room_of_message(text.len()).await {
                    Ok(room) => match Heard::of(text, room) {
                        Heard::Create(frame) => return Ok(frame),
                        Heard::Cancel(cancel) => self.cancel(&cancel, None).await?,
                    },
                    Err(error) => self.fail(&error.into(), None).await?,
                },
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => silent = 0,
                Ok(Some(Ok(Message::Binary(_)))) => self.fail(&no_text(), None).await?,
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Err(Gone),
                Err(_) if silent == 2 => return Err(Gone),
                Err(_) => {
                    silent += 1;
                    self.socket.send(Message::Ping(Vec::new().into())).await.map_err(|_| Gone)?;
                }
            }
        }
    }

    async fn begin(&mut self, asked: Frame) -> Result<Begun, Failed> {
        let (metering, owner) = (self.app.metering.clone(), self.owner.clone());
        let reading = json_off_runtime(asked.text.len(), move || read(&asked, &metering, &owner)).await;
        let Read { wanted, previous, stream } = reading;
        match self.ask(wanted).await {
            Ok((wanted, feed)) => Ok(Begun { wanted, feed, stream }),
            Err(error) => Err(Failed { error, previous, stream }),
        }
    }

    async fn ask(&mut self, wanted: Result<Wanted, OpenAiError>) -> Result<(Wanted, ResponseFeed), OpenAiError> {
        let wanted = Wanted { stream: true, ..wanted? };
        loaded(wanted.permit.model()).await;
        let (stored, scratch) = (stored_backing(&self.app, &self.owner), scratch_backing(&self.app, &self.space));
        let (backing, fallback) = if wanted.is_kept() { (stored, scratch) } else { (scratch, stored) };
        let asked = ask::ask(&self.app, &backing, &wanted, None, Some(&fallback)).await?;
        Ok((wanted, stream::asked(asked, None)))
    }

    async fn answer(&mut self, begun: Begun) -> Result<(), Gone> {
        let Begun { wanted, feed: mut response, stream } = begun;
        let told = match response.lead::<Vec<String>>(self.app.first_event_wait).await {
            Lead::Failed(error) => self.fail(&error, stream.as_deref()).await,
            Lead::Stream(first, last) => self.tell_all(&mut response, (first, last), &wanted, stream.as_deref()).await,
        };
        self.forget_what_failed(&wanted, &response).await;
        if !wanted.is_kept()
            && let Err(error) = self.space.keep(response.turn().clone()).await
        {
            tracing::error!(%error, "older responses of a socket could not be dropped");
        }
        told
    }

    async fn tell_all(
        &mut self,
        response: &mut ResponseFeed,
        (first, last): (Vec<String>, bool),
        wanted: &Wanted,
        stream: Option<&str>,
    ) -> Result<(), Gone> {
        let (mut frames, mut last) = (first, last);
        loop {
            for frame in frames.drain(..) {
                self.tell(frame, stream).await?;
            }
            if last {
                return Ok(());
            }
            tokio::select! {
                biased;
                heard = self.socket.recv() => self.overhear(heard, (response.turn(), wanted)).await?,
                next = response.next::<Vec<String>>() => (frames, last) = next,
            }
        }
    }

    /// What comes while a response is being made.
    async fn overhear(
        &mut self,
        heard: Option<Result<Message, axum::Error>>,
        (turn, wanted): (&TurnId, &Wanted),
    ) -> Result<(), Gone> {
        match heard {
            Some(Ok(Message::Text(text))) => {
                // A wait for room would hold up the response.
                let room = match self.app.bodies.room_of_message_now(text.len()) {
                    Ok(room) => room,
                    Err(error) => return self.fail(&error.into(), None).await,
                };
                match Heard::of(text, room) {
                    Heard::Cancel(cancel) => self.cancel(&cancel, Some((turn, wanted))).await,
                    Heard::Create(_) if self.waiting.len() >= MOST_WAITING => {
                        let text = "Too many requests are waiting on this socket already.";
                        let status = StatusCode::TOO_MANY_REQUESTS;
                        self.fail(&OpenAiError::new(status, "rate_limit_error", "too_many_waiting", text), None).await
                    }
                    Heard::Create(frame) => {
                        self.waiting.push_back(frame);
                        Ok(())
                    }
                }
            }
            Some(Ok(Message::Binary(_))) => self.fail(&no_text(), None).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Gone),
        }
    }

    /// Cancels the response that is being made, or another one by its id. What was said of it is kept, and its own last
    /// event tells that it has ended.
    async fn cancel(&mut self, cancel: &Cancel, current: Option<(&TurnId, &Wanted)>) -> Result<(), Gone> {
        let named = cancel.response.as_deref().map(TurnId::of_response);
        let (turn, is_here) = match (named, current) {
            (None, Some((turn, wanted))) => (turn.clone(), !wanted.is_kept()),
            (Some(Some(named)), Some((turn, wanted))) if named == *turn => (named, !wanted.is_kept()),
            (Some(Some(named)), _) => (named, false),
            (None, None) => return self.fail(&nothing_to_cancel(), cancel.stream.as_deref()).await,
            (Some(None), _) => return self.fail(&no_response(), cancel.stream.as_deref()).await,
        };
        let backing = match is_here {
            true => scratch_backing(&self.app, &self.space),
            false => stored_backing(&self.app, &self.owner),
        };
        let error = match backing.turns.cancel(&backing.owner, &turn).await {
            Ok(Cancelled::Stopped(_)) => return Ok(()),
            Ok(Cancelled::EndedBefore(_)) => nothing_to_cancel(),
            Ok(Cancelled::Unknown) => no_response(),
            Err(error) => ApiError::from(error).into(),
        };
        self.fail(&error, cancel.stream.as_deref()).await
    }

    /// A response that failed takes the one that it went on from with it, where that lives on this socket: the client
    /// cannot know how much of it was taken in.
    async fn forget_what_failed(&mut self, wanted: &Wanted, response: &ResponseFeed) {
        let Continues::Response(previous) = &wanted.continues else { return };
        let backing = match wanted.is_kept() {
            true => stored_backing(&self.app, &self.owner),
            false => scratch_backing(&self.app, &self.space),
        };
        let record = backing.store.turn(&backing.owner, response.turn()).await;
        if let Ok(Some(record)) = record
            && matches!(record.status, TurnStatus::Failed | TurnStatus::Interrupted)
        {
            self.forget(Some(previous)).await;
        }
    }

    async fn forget(&mut self, previous: Option<&TurnId>) {
        let Some(previous) = previous else { return };
        let scratch = scratch_backing(&self.app, &self.space);
        if let Err(error) = scratch.store.delete_turn(&scratch.owner, previous).await {
            tracing::error!(%error, "a response could not be forgotten");
        }
    }

    /// Sends an event, with the id of the stream that the client counts it to.
    async fn tell(&mut self, frame: String, stream: Option<&str>) -> Result<(), Gone> {
        let frame = match (stream, frame.strip_prefix('{')) {
            (Some(stream), Some(members)) => format!(r#"{{"stream_id":{},{members}"#, json!(stream)),
            _ => frame,
        };
        self.socket.send(Message::Text(frame.into())).await.map_err(|_| Gone)
    }

    async fn fail(&mut self, error: &OpenAiError, stream: Option<&str>) -> Result<(), Gone> {
        let mut object = json!(error.object());
        // The specification of Open Responses wants a code in every frame.
        if object["code"].is_null() {
            object["code"] = object["type"].take();
            object["type"] = object["code"].clone();
        }
        let frame = json!({"type": "error", "status": error.status().as_u16(), "error": object});
        self.tell(frame.to_string(), stream).await
    }
}

/// A response that has begun.
struct Begun {
    wanted: Wanted,
    feed: ResponseFeed,
    stream: Option<String>,
}

/// Why none has.
struct Failed {
    error: OpenAiError,
    /// What it was to go on from.
    previous: Option<TurnId>,
    stream: Option<String>,
}

/// What a frame asks for.
struct Read {
    wanted: Result<Wanted, OpenAiError>,
    previous: Option<TurnId>,
    stream: Option<String>,
}

fn read(asked: &Frame, metering: &Metering, owner: &Owner) -> Read {
    let mut fields = match Fields::read(asked.text.as_bytes()) {
        Ok(fields) => fields,
        Err(error) => return Read { wanted: Err(error), previous: None, stream: None },
    };
    let stream = fields.text("stream_id").ok().flatten();
    let previous = fields.seen("previous_response_id").and_then(TurnId::of_response);
    let wanted = match fields.text("type") {
        Ok(Some(kind)) if kind == CREATE => Wanted::of(fields, metering, owner),
        Ok(Some(kind)) => Err(unknown(&kind)),
        Ok(None) => Err(missing("type")),
        Err(error) => Err(error),
    };
    Read { wanted, previous, stream }
}

fn nothing_to_cancel() -> OpenAiError {
    let message = "There is no response in progress to cancel.";
    OpenAiError::invalid("response_id", "response_cancel_not_active", message)
}

fn no_text() -> OpenAiError {
    OpenAiError::invalid("type", "invalid_type", "Requests are text frames.")
}
