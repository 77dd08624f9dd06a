//! The one shape of every failure on the cookie door: `{"error", "details"?, "code"}`.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether this path belongs to the door of the SDKs, which has its own limits and says failures in OpenAI's shape.
#[must_use]
pub fn is_sdk_path(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// The body of every failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"error": "The prompt is missing.", "code": "invalid_request"}))]
pub struct ErrorBody {
    /// One sentence for a person.
    pub error: String,
    /// What else helps: the field, both numbers, the allowed values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub details: Option<String>,
    /// A stable word for a program.
    pub code: String,
}

/// A failure on its way to the client. What it says is safe to show; causes go to the log where they are known.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: ErrorBody,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// A failure without details.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, error: impl Into<String>) -> Self {
        let body = ErrorBody { error: error.into(), details: None, code: code.to_owned() };
        Self { status, body, retry_after: None }
    }

    /// A request that must be changed before it is sent again.
    #[must_use]
    pub fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", error)
    }

    /// Something that does not exist, or belongs to another owner.
    #[must_use]
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", error)
    }

    /// A defect of this server; what it is, the log says.
    #[must_use]
    pub fn defect() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal server error.")
    }

    /// With details.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.body.details = Some(details.into());
        self
    }

    /// The body of the failure.
    #[must_use]
    pub fn json(&self) -> String {
        // Three strings always have a JSON.
        serde_json::to_string(&self.body).unwrap_or_default()
    }

    /// With a time to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self.body)).into_response();
        if let Some(after) = self.retry_after {
            // Rounded up: a client that comes back early is turned away again.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        // For the door that says failures in another shape.
        response.extensions_mut().insert(self);
        response
    }
}

/// No such route.
pub async fn unknown_route(uri: Uri) -> ApiError {
    let details = match uri.path().len() > 1 && uri.path().ends_with('/') {
        true => "Addresses of this API end in no slash: leave it out. GET /docs lists every route.",
        false => "GET /docs lists every route.",
    };
    ApiError::not_found("There is nothing at this address.").details(details)
}

/// A route, but not by this method.
pub async fn wrong_method() -> ApiError {
    let error = "This address does not answer to this method.";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
}

/// A handler panicked. What it panicked with is not for the client, and may carry message text, so it is not for the
/// log either; the panic hook has logged the place.
#[must_use]
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::defect().into_response()
}
