//! Answers to requests that reach no handler, because their header cannot be read: the same shape as every other failure, in
//! place of the bare status line that the HTTP library would send.

use axum::http::{HeaderValue, StatusCode};
use std::time::{Duration, UNIX_EPOCH};

use crate::http::app::App;
use crate::http::error::{ApiError, is_sdk_path};
use crate::http::guard;
use crate::http::v1::error::OpenAiError;

/// The status of an answer that begins with these bytes.
pub(super) fn status_of(answer: &[u8]) -> StatusCode {
    let status = answer.get("HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3));
    status.and_then(|digits| StatusCode::from_bytes(digits).ok()).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The whole answer, after which the connection ends. `line` is the request's first line, as far as it came.
pub(super) fn bytes(app: &App, status: StatusCode, line: &[u8]) -> Vec<u8> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let (method, target, version) = (words.next(), words.next().unwrap_or_default(), words.next());
    let status = match version {
        Some(version) if status == StatusCode::BAD_REQUEST && is_other_version(version) => {
            StatusCode::HTTP_VERSION_NOT_SUPPORTED
        }
        _ => status,
    };
    let error = error(status);
    let body = match is_sdk_path(path_of(target)) {
        true => OpenAiError::from(error).json(),
        false => error.json(),
    };
    let now = UNIX_EPOCH + Duration::from_millis(app.clock.now_ms().try_into().unwrap_or_default());
    let request_id = guard::request_id(app);
    let header = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nx-request-id: {}\r\ndate: {}\r\n\r\n",
        body.len(),
        request_id.as_ref().and_then(|id: &HeaderValue| id.to_str().ok()).unwrap_or_default(),
        httpdate::fmt_http_date(now),
    );
    match method {
        Some("HEAD") => header.into_bytes(),
        _ => [header, body].concat().into_bytes(),
    }
}

/// Whether this is a version of HTTP, and none that this server speaks.
fn is_other_version(version: &str) -> bool {
    version.strip_prefix("HTTP/").is_some_and(|number| {
        number.starts_with(|first: char| first.is_ascii_digit()) && !matches!(number, "1.0" | "1.1")
    })
}

/// The path of a request's target, which may be a whole URL.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    path.split('?').next().unwrap_or_default()
}

fn error(status: StatusCode) -> ApiError {
    let (code, text, details) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "header_too_large",
            "The request's header is too large.",
            "It may have 64 KiB and 100 fields; a browser's cookies of other services on this host may be the cause.",
        ),
        StatusCode::URI_TOO_LONG => ("uri_too_long", "The request's address is too long.", "It may have 64 KiB."),
        StatusCode::REQUEST_TIMEOUT => (
            "header_timeout",
            "The request's header took too long to arrive.",
            "The operator can allow more time with HEADER_TIMEOUT.",
        ),
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => (
            "http_version_not_supported",
            "This version of HTTP is not spoken here.",
            "This server speaks HTTP/1.1; a proxy before it may speak others.",
        ),
        _ => {
            let text = "The request is not valid HTTP/1.1.";
            let details = "Its first line or one of its header fields, such as Content-Length, cannot be read.";
            ("invalid_request", text, details)
        }
    };
    ApiError::new(status, code, text).details(details)
}
