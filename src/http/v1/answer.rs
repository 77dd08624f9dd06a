//! Answers of this door: JSON, from a value or as it is written already.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::json::json_of;

/// A value as an answer.
pub fn json(value: &impl Serialize) -> Response {
    written(json_of(value))
}

/// An answer that is JSON already.
pub fn written(json: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json.into()).into_response()
}
