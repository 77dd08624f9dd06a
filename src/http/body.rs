//! Reads JSON bodies, within their size and time, and says what is wrong with those that are not fit.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::sync::Arc;

use super::error::ApiError;
use crate::app::App;

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
        require_json(request.headers())?;
        let bytes = read(request.into_body(), app).await?;
        let value = serde_json::from_slice(&bytes).map_err(|error| explain(&error))?;
        Ok(Self { value, bytes })
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |text: &str| ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text);
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(unsupported("Send the body without a Content-Encoding."));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        true => Ok(()),
        false => Err(unsupported("Send the body as JSON, with Content-Type: application/json.")),
    }
}

async fn read(body: Body, app: &App) -> Result<Bytes, ApiError> {
    let collected = Limited::new(body, app.max_body_bytes).collect();
    match tokio::time::timeout(app.body_timeout, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = "The body is too large.";
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text)
                .details(format!("At most {} bytes are read.", app.max_body_bytes)))
        }
        Ok(Err(_)) => Err(ApiError::invalid("The body ended before it was whole.")),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body took too long to arrive.")),
    }
}

fn explain(error: &serde_json::Error) -> ApiError {
    let text = if error.is_data() { "The body does not have the right shape." } else { "The body is not valid JSON." };
    // The parser quotes offending values, which may be long.
    let details: String = error.to_string().chars().take(300).collect();
    ApiError::invalid(text).details(details)
}
