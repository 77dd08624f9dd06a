//! Why a socket is not opened.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::sse::KEEP_ALIVE;
use crate::http::v1::error::OpenAiError;

/// The connection ends with this answer: kept open, it would take the place of a plain request.
pub(super) fn no_place() -> Response {
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", "Too many sockets are open.");
    let error = OpenAiError::from(error.retry_after(KEEP_ALIVE));
    ([(header::CONNECTION, HeaderValue::from_static("close"))], error).into_response()
}

pub(super) fn no_handshake() -> OpenAiError {
    let text = "Responses are made with POST; GET opens a WebSocket, and this is no handshake of one.";
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", text).into()
}

/// Browsers let pages of every site open sockets, and send cookies along; they tell whose page it is.
pub(super) fn is_from_here(app: &App, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").is_some_and(|(_, authority)| host == Some(authority));
    own || app.origins.iter().any(|allowed| allowed == origin)
}
