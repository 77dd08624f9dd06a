//! From a frame to the response that it asks for.

use serde_json::{Map, Value};

use super::heard::{CREATE, Frame, unknown};
use super::steering::Pending;
use crate::domain::conversation::Owner;
use crate::domain::ids::TurnId;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, missing};
use crate::http::v1::responses::request::Wanted;
use crate::http::v1::responses::stream::ResponseFeed;
use crate::metering::Metering;

/// A response that has begun.
pub(super) struct Begun {
    pub(super) wanted: Wanted,
    pub(super) feed: ResponseFeed,
    pub(super) stream: Option<String>,
    /// How it was asked for, but for what was said.
    pub(super) base: Map<String, Value>,
}

/// Why none has.
pub(super) struct Failed {
    pub(super) error: OpenAiError,
    /// What it was to go on from.
    pub(super) previous: Option<TurnId>,
    pub(super) stream: Option<String>,
}

/// What a frame asks for.
pub(super) struct Read {
    pub(super) wanted: Result<Wanted, OpenAiError>,
    pub(super) previous: Option<TurnId>,
    pub(super) stream: Option<String>,
    pub(super) base: Map<String, Value>,
}

/// Reads a frame, with what is pending for the response that it goes on from.
pub(super) fn read(asked: &Frame, pending: &mut Option<Pending>, (metering, owner): (&Metering, &Owner)) -> Read {
    let mut fields = match Fields::read(asked.text.as_bytes()) {
        Ok(fields) => fields,
        Err(error) => return Read { wanted: Err(error), previous: None, stream: None, base: Map::new() },
    };
    let base = fields.without(&["input", "previous_response_id", "generate"]);
    let stream = fields.text("stream_id").ok().flatten();
    if let Some(pending) = pending.take_if(|pending| pending.is_for(fields.seen("previous_response_id"))) {
        let input = fields.take("input");
        fields.put("input", pending.before(input));
    }
    let previous = fields.seen("previous_response_id").and_then(TurnId::of_response);
    let wanted = match fields.text("type") {
        Ok(Some(kind)) if kind == CREATE => Wanted::of(fields, metering, owner),
        Ok(Some(kind)) => Err(unknown(&kind)),
        Ok(None) => Err(missing("type")),
        Err(error) => Err(error),
    };
    Read { wanted, previous, stream, base }
}

/// Nothing is being made.
pub(super) fn nothing_to_cancel() -> OpenAiError {
    let message = "There is no response in progress to cancel.";
    OpenAiError::invalid("response_id", "response_cancel_not_active", message)
}

/// A frame of bytes.
pub(super) fn no_text() -> OpenAiError {
    OpenAiError::invalid("type", "invalid_type", "Requests are text frames.")
}
