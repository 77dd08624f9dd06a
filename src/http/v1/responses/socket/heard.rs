//! What a client says on a socket: a response to be made, to be cancelled or to be steered, or an event that this server does not know.

use std::borrow::Cow;

use axum::extract::ws::Utf8Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use crate::http::body_limits::Room;
use crate::http::v1::error::OpenAiError;

/// The client events that are no more than a few names. What is longer asks for a response.
const SHORT: usize = 4 * 1024;

/// The event that asks for a response.
pub(super) const CREATE: &str = "response.create";

/// The event that steers one.
const STEER: &str = "response.steer";

/// The event that cancels one.
const CANCEL: &str = "response.cancel";

/// A frame of a client.
pub(super) enum Heard {
    /// A response is to be made.
    Create(Frame),
    /// A response is to be cancelled.
    Cancel(Cancel),
    /// The person says something else while a response is being made.
    Steer(Box<Steer>),
}

/// A frame that asks for a response, with the room that it takes among all bodies.
pub(super) struct Frame {
    /// What it says.
    pub(super) text: Utf8Bytes,
    /// None for a short one.
    pub(super) _room: Option<Room>,
}

impl Frame {
    /// One that this server makes for itself.
    pub(super) fn own(text: String) -> Self {
        Self { text: text.into(), _room: None }
    }
}

/// A response is to be cancelled.
#[derive(Debug)]
pub(super) struct Cancel {
    /// Which one; without an id it is the one that is being made.
    pub(super) response: Option<String>,
    /// The stream that the client counts its events to.
    pub(super) stream: Option<String>,
}

/// What the person says while a response is being made.
#[derive(Debug, Deserialize)]
pub(super) struct Steer {
    /// The response.
    pub(super) previous_response_id: Option<String>,
    /// A text, or messages.
    #[serde(default)]
    pub(super) input: Value,
    /// The stream that the client counts its events to.
    pub(super) stream_id: Option<String>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    response_id: Option<String>,
    stream_id: Option<String>,
}

impl Heard {
    /// What the text of a frame asks for. One that is no event at all is taken to ask for a response, and fails as such.
    pub(super) fn of(text: Utf8Bytes, room: Option<Room>) -> Self {
        // SDKs name the event first.
        let names_steer = text
            .as_bytes()
            .get(..SHORT.min(text.len()))
            .is_some_and(|head| memmem::find(head, STEER.as_bytes()).is_some());
        if names_steer
            && let Ok(Head { kind: Some(kind), .. }) = serde_json::from_str::<Head<'_>>(&text)
            && kind == STEER
            && let Ok(steer) = serde_json::from_str(&text)
        {
            return Self::Steer(steer);
        }
        let head = (text.len() <= SHORT).then(|| serde_json::from_str::<Head<'_>>(&text).ok()).flatten();
        match head {
            Some(Head { kind: Some(kind), response_id: response, stream_id: stream }) if kind == CANCEL => {
                Self::Cancel(Cancel { response, stream })
            }
            _ => Self::Create(Frame { text, _room: room }),
        }
    }
}

/// An event that is none of those that a client may send.
pub(super) fn unknown(kind: &str) -> OpenAiError {
    let shown: String = kind.chars().take(64).collect();
    let message =
        format!("Unknown event type: '{shown}'. Supported event types are: '{CREATE}', '{CANCEL}', '{STEER}'.");
    OpenAiError::invalid("type", "invalid_value", message)
}
