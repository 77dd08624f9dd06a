//! Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, with the headers that SDKs go by.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::turn::{Fault, FaultKind};
use crate::http::error::ApiError;
use crate::http::fault::{self, Meaning};
use crate::metering::{AtCapacity, NotAllowed, NotStarted, Rejected};
use crate::turn::reader::Next;

static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The body of every failure at this door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"error": {"message": "There is no such model.", "type": "invalid_request_error", "param": "model",
    "code": "model_not_found"}}))]
pub struct OpenAiErrorBody {
    /// What failed.
    pub error: OpenAiErrorObject,
}

/// A failure as OpenAI says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenAiErrorObject {
    /// For a person.
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error`, `api_error`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The parameter that is wrong, where it is one.
    #[schema(required)]
    pub param: Option<String>,
    /// A stable word for a program.
    #[schema(required)]
    pub code: Option<String>,
}

/// A failure on its way to an SDK.
#[derive(Debug, Clone)]
pub struct OpenAiError {
    status: StatusCode,
    error: OpenAiErrorObject,
    retry_after: Option<Duration>,
    /// What the SDK is told about sending it again, where its own rules would be wrong.
    should_retry: Option<bool>,
}

impl OpenAiError {
    /// A failure of this type and code.
    #[must_use]
    pub fn new(status: StatusCode, kind: &str, code: &str, message: impl Into<String>) -> Self {
        let error = OpenAiErrorObject {
            message: message.into(),
            kind: kind.to_owned(),
            param: None,
            code: Some(code.to_owned()),
        };
        Self { status, error, retry_after: None, should_retry: None }
    }

    /// A request that must be changed before it is sent again.
    #[must_use]
    pub fn invalid(param: &str, code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message).param(param)
    }

    /// A model that is not there, or not for this door.
    #[must_use]
    pub fn no_model() -> Self {
        let message =
            "There is no such model here, or requests may not use it. GET /v1/models lists those that they may.";
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", message).param("model")
    }

    /// Another response is being made in the conversation. SDKs try again by themselves.
    #[must_use]
    pub fn locked(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_request_error", "conversation_locked", message)
            .should_retry(true)
            .retry_after(Duration::from_secs(1))
    }

    /// There is no such conversation of this owner; `param` names it.
    #[must_use]
    pub fn no_conversation(param: &str) -> Self {
        let message = "There is no conversation with this id.";
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "conversation_not_found", message).param(param)
    }

    /// About this parameter.
    #[must_use]
    pub fn param(mut self, param: &str) -> Self {
        self.error.param = Some(param.to_owned());
        self
    }

    /// The same without a code, as OpenAI has it in places.
    #[must_use]
    pub fn without_code(mut self) -> Self {
        self.error.code = None;
        self
    }

    /// Come back after this long.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether an SDK should send the same again, where its own rules would be wrong.
    #[must_use]
    pub fn should_retry(mut self, should: bool) -> Self {
        self.should_retry = Some(should);
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What it says.
    #[must_use]
    pub fn object(&self) -> &OpenAiErrorObject {
        &self.error
    }

    /// The last event of a stream that fails after it began.
    #[must_use]
    pub fn event(self) -> String {
        format!("data: {}\n\n", self.json())
    }

    /// The body of the failure.
    #[must_use]
    pub fn json(&self) -> String {
        // Four strings always have a JSON.
        serde_json::to_string(&OpenAiErrorBody { error: self.error.clone() }).unwrap_or_default()
    }
}

/// The type that goes with a status, where nothing better is known.
fn kind_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..500 | 505 => "invalid_request_error",
        _ => "api_error",
    }
}

impl From<ApiError> for OpenAiError {
    fn from(failure: ApiError) -> Self {
        let ApiError { status, body, retry_after } = failure;
        let message = match body.details {
            Some(details) => format!("{} {details}", body.error),
            None => body.error,
        };
        Self { retry_after, ..Self::new(status, kind_of(status), &body.code, message) }
    }
}

impl From<Next> for OpenAiError {
    /// What a reader got instead of events.
    fn from(next: Next) -> Self {
        ApiError::from(next).into()
    }
}

impl From<NotAllowed> for OpenAiError {
    fn from(reason: NotAllowed) -> Self {
        match &reason {
            NotAllowed::Model { .. } => Self::no_model(),
            NotAllowed::Choices { .. } => Self::from(ApiError::from(reason)).param("n"),
            NotAllowed::Field(name) => {
                let name = name.clone();
                Self::from(ApiError::from(reason)).param(&name)
            }
            NotAllowed::Route(_) | NotAllowed::Tokens { .. } => ApiError::from(reason).into(),
        }
    }
}

impl From<AtCapacity> for OpenAiError {
    fn from(full: AtCapacity) -> Self {
        ApiError::from(full).into()
    }
}

impl From<NotStarted> for OpenAiError {
    fn from(not_started: NotStarted) -> Self {
        ApiError::from(not_started).into()
    }
}

impl From<Fault> for OpenAiError {
    fn from(fault: Fault) -> Self {
        Rejected::from(fault).into()
    }
}

impl From<Rejected> for OpenAiError {
    fn from(rejected: Rejected) -> Self {
        let Rejected { fault, status, code, param } = rejected;
        let (status, kind, our_code) = meaning(fault.kind, status);
        let code = code.filter(|_| fault.kind == FaultKind::UpstreamRefused && status.is_client_error());
        let mut message = fault.message;
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let mut error = Self::new(status, kind, code.as_deref().unwrap_or(our_code), message);
        error.retry_after = fault.retry_after_ms.map(Duration::from_millis);
        error.error.param = match fault.kind {
            FaultKind::UnknownModel => Some("model".to_owned()),
            FaultKind::ContextTooLong => Some("messages".to_owned()),
            FaultKind::UpstreamRefused => param,
            _ => None,
        };
        // SDKs try every 429 and 5xx again; these two stay as they are until the operator does something.
        let hopeless = matches!(fault.kind, FaultKind::UpstreamRefusedKey | FaultKind::QuotaExhausted);
        error.should_retry = hopeless.then_some(false);
        error
    }
}

/// Status, type and code of a fault; `upstream` is the status that the upstream gave.
fn meaning(kind: FaultKind, upstream: Option<u16>) -> (StatusCode, &'static str, &'static str) {
    // What is passed on keeps the status that it was answered with, as far as the request may be the reason.
    let kind = match kind {
        FaultKind::UpstreamMisaddressed if upstream.is_some() => FaultKind::UpstreamRefused,
        kind => kind,
    };
    let Meaning { status, openai } = fault::meaning(kind);
    let status = match upstream {
        Some(status @ (400 | 404 | 409 | 413 | 415 | 422)) if kind == FaultKind::UpstreamRefused => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)
        }
        // It refuses the way of asking, which is the operator's to mend.
        Some(_) if kind == FaultKind::UpstreamRefused => StatusCode::BAD_GATEWAY,
        _ => status,
    };
    openai.unwrap_or((status, kind_of(status), kind.code()))
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let (status, retry_after, should_retry) = (self.status, self.retry_after, self.should_retry);
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = (status, [json], self.json()).into_response();
        let headers = response.headers_mut();
        if let Some(after) = retry_after {
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1);
            headers.insert(header::RETRY_AFTER, ms.div_ceil(1000).into());
            headers.insert(RETRY_AFTER_MS.clone(), ms.into());
        }
        if let Some(again) = should_retry {
            let again = HeaderValue::from_static(if again { "true" } else { "false" });
            headers.insert(SHOULD_RETRY.clone(), again);
        }
        response
    }
}

/// What failed in a layer that serves both doors is said in this door's shape when it was asked for here.
pub fn put_in_shape(response: &mut Response) {
    let Some(failure) = response.extensions_mut().remove::<ApiError>() else { return };
    let (said, body) = OpenAiError::from(failure).into_response().into_parts();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    // `Allow`, CORS and the like stay.
    headers.extend(said.headers);
    *response.body_mut() = Body::new(body);
}
