//! Reads JSON bodies, within their size and time, and says what is wrong with those that are not fit.

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use std::sync::Arc;

use super::error::ApiError;
use crate::http::app::App;

/// A JSON body of this shape, and the bytes that it was read from.
pub struct JsonBody<T> {
    /// The value.
    pub value: T,
    /// What came over the wire.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let bytes = object(request, app).await?;
        let value = serde_json::from_slice(&bytes).map_err(|error| explain(&error))?;
        Ok(Self { value, bytes })
    }
}

/// The bytes of a JSON object; that they are valid is for their reader to find out.
///
/// # Errors
/// When it is none, or too large, or too slow.
pub async fn object(request: Request, app: &App) -> Result<Bytes, ApiError> {
    require_json(request.headers())?;
    let bytes = app.bodies.read(request).await?;
    require_object(&bytes)?;
    Ok(bytes)
}

/// The same where a request may also have no body at all.
///
/// # Errors
/// When there is one that is no JSON object, or too large, or too slow.
pub async fn object_or_nothing(request: Request, app: &App) -> Result<Bytes, ApiError> {
    if request.body().is_end_stream() && !request.headers().contains_key(header::CONTENT_TYPE) {
        return Ok(Bytes::new());
    }
    object(request, app).await
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |text: &str| ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text);
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(unsupported("Send the body without a Content-Encoding."));
    }
    match is_json(headers) {
        true => Ok(()),
        false => Err(unsupported("Send the body as JSON, with Content-Type: application/json.")),
    }
}

/// Whether a body is JSON, by what its headers say.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The parser alone would also take an array, as the fields in their order.
fn require_object(bytes: &[u8]) -> Result<(), ApiError> {
    match bytes.trim_ascii_start().first() {
        None | Some(b'{') => Ok(()),
        Some(_) => Err(ApiError::invalid("The body is not a JSON object.")),
    }
}

/// What is wrong with a body, in words that quote nothing of it.
#[must_use]
pub fn explain(error: &serde_json::Error) -> ApiError {
    let text = if error.is_data() { "The body does not have the right shape." } else { "The body is not valid JSON." };
    let message = error.to_string();
    let details = match is_of_half_a_character(&message) {
        true => HALF_A_CHARACTER.to_owned(),
        // An unknown field's name may be long.
        false => without_quoted(&message).chars().take(300).collect(),
    };
    ApiError::invalid(text).details(details)
}

/// What a page sends that cuts a text by its length in JavaScript.
const HALF_A_CHARACTER: &str = "A text in it has half of a character, a lone surrogate such as \\ud83d: cut texts between whole \
    characters.";

fn is_of_half_a_character(message: &str) -> bool {
    message.starts_with("lone leading surrogate") || message.starts_with("unexpected end of hex escape")
}

/// The parser quotes a text that stands where something else should. It may be a user's words, which are for no error.
fn without_quoted(message: &str) -> String {
    if message.starts_with("unknown variant ") {
        let allowed = message.rfind(", expected ").map_or("", |at| &message[at..]);
        return format!("unknown word{allowed}");
    }
    let Some((before, quoted)) = message.split_once(" \"").filter(|_| message.starts_with("invalid ")) else {
        return message.to_owned();
    };
    let mut escaped = false;
    let end = quoted.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    format!("{before}{}", end.map_or("", |end| &quoted[end + 1..]))
}
