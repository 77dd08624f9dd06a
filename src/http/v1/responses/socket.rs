//! Responses over a WebSocket: one request a frame, one event a frame, one response after another.
//!
//! Source: the WebSocket part of the Open Responses specification. Responses that are not to be stored live with their
//! socket: the next one may go on from them.

mod handshake;
mod heard;
mod reading;
mod steering;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

use self::handshake::{is_from_here, no_handshake, no_place};
use self::heard::{Cancel, Frame, Heard, Steer};
use self::reading::{Begun, Failed, Read, no_text, nothing_to_cancel, read};
use self::steering::{Accepted, Next, Pending};
use super::ask;
use super::request::Wanted;
use super::stored::no_response;
use super::stream::{self, ResponseFeed};
use super::{scratch_backing, stored_backing};
use crate::access::alive::Alive;
use crate::chain::backing::Backing;
use crate::chain::start::Continues;
use crate::domain::conversation::Owner;
use crate::domain::ids::TurnId;
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::fault;
use crate::http::feed::Lead;
use crate::http::sse::KEEP_ALIVE;
use crate::http::v1::caller::{LiveCaller, ended};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::tokenizer::loaded;
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
        let (waiting, steers) = (VecDeque::new(), Vec::new());
        let talk = Talk { app, owner, space, socket, waiting, steers, pending: None };
        talk.go_on(in_flight, &alive).await;
        drop(place);
    }))
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
    /// What is to be answered once the response that is being made has ended.
    steers: Vec<Accepted>,
    /// What is to be answered once the client has sent what its response waits for.
    pending: Option<Pending>,
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
                        Heard::Steer(steer) => self.steer(steer, None).await?,
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
        let mut pending = self.pending.take();
        let reading = json_off_runtime(asked.text.len(), move || {
            let read = read(&asked, &mut pending, (&metering, &owner));
            (read, pending)
        });
        let (Read { wanted, previous, stream, base }, pending) = reading.await;
        self.pending = pending;
        match self.ask(wanted).await {
            Ok((wanted, feed)) => Ok(Begun { wanted, feed, stream, base }),
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
        let Begun { wanted, feed: mut response, stream, base } = begun;
        let told = match response.lead::<Vec<String>>(self.app.first_event_wait).await {
            Lead::Failed(error) => self.fail(&error, stream.as_deref()).await,
            Lead::Stream(first, last) => self.tell_all(&mut response, (first, last), &wanted, stream.as_deref()).await,
        };
        let record = self.forget_what_failed(&wanted, &response).await;
        if told.is_ok() && !self.steers.is_empty() {
            self.go_on_steered(&response, record, base, stream.as_deref()).await?;
        }
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
                heard = self.socket.recv() => {
                    let number = response.projection().last_number();
                    self.overhear(heard, (response.turn(), wanted, number)).await?;
                },
                next = response.next::<Vec<String>>() => (frames, last) = next,
            }
        }
    }

    /// What comes while a response is being made.
    async fn overhear(
        &mut self,
        heard: Option<Result<Message, axum::Error>>,
        (turn, wanted, number): (&TurnId, &Wanted, u64),
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
                    Heard::Steer(steer) => self.steer(steer, Some((turn, wanted, number))).await,
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

    /// Takes what the person says while a response is being made: that response ends, and the next one answers it.
    async fn steer(&mut self, steer: Box<Steer>, current: Option<(&TurnId, &Wanted, u64)>) -> Result<(), Gone> {
        let stream = steer.stream_id.clone();
        let current = current.filter(|(turn, ..)| steer.is_for(&turn.response_id()));
        let event = match current {
            None => steer.failed("response_not_found", "No such response is being made on this socket."),
            Some(_) if self.steers.len() >= steering::MOST => {
                steer.failed("too_many_pending_steers", "Too much is waiting to be answered already.")
            }
            Some((turn, wanted, number)) => {
                let id = format!("steer_{:032x}", self.app.ids.public(self.app.clock.now_ms()));
                match steer.accept(id) {
                    Err((steer, why)) => steer.failed("invalid_input", &why),
                    Ok(accepted) => {
                        let event = accepted.told(number);
                        self.steers.push(accepted);
                        // One that has ended at this moment is gone on from all the same.
                        let _ = self.backing_of(wanted).turns.steer(turn);
                        event
                    }
                }
            }
        };
        self.tell(event.to_string(), stream.as_deref()).await
    }

    /// What was accepted while this response was being made is answered now, or once its calls have their outputs.
    async fn go_on_steered(
        &mut self,
        response: &ResponseFeed,
        record: Option<TurnRecord>,
        base: Map<String, Value>,
        stream: Option<&str>,
    ) -> Result<(), Gone> {
        let steers = std::mem::take(&mut self.steers);
        let ended = (response.turn().response_id(), response.projection().last_number());
        let (events, next) = steering::after(record, ended, base, steers);
        for event in events {
            self.tell(event.to_string(), stream).await?;
        }
        match next {
            Next::Nothing => {}
            Next::Waits(pending) => self.pending = Some(pending),
            Next::Asks(request) => self.waiting.push_front(Frame::own(request)),
        }
        Ok(())
    }

    fn backing_of(&self, wanted: &Wanted) -> Backing {
        match wanted.is_kept() {
            true => stored_backing(&self.app, &self.owner),
            false => scratch_backing(&self.app, &self.space),
        }
    }

    /// The response as it has ended. One that failed takes the one that it went on from with it, where that lives on this
    /// socket: the client cannot know how much of it was taken in.
    async fn forget_what_failed(&mut self, wanted: &Wanted, response: &ResponseFeed) -> Option<TurnRecord> {
        let backing = self.backing_of(wanted);
        let record = match backing.store.turn(&backing.owner, response.turn()).await {
            Ok(record) => record?,
            Err(error) => {
                tracing::warn!(%error, "how a response of a socket ended cannot be read");
                return None;
            }
        };
        if let Continues::Response(previous) = &wanted.continues
            && matches!(record.status, TurnStatus::Failed | TurnStatus::Interrupted)
        {
            self.forget(Some(previous)).await;
        }
        Some(record)
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
