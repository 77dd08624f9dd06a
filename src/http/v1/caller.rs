//! The owner of a request at the SDK door: by a key in `Authorization: Bearer`, by the cookie of `/chat`, or, while there is
//! no key, by coming from this machine.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::OpenAiError;
use crate::access::Denied;
use crate::domain::conversation::Owner;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::fault;

/// When to come back to keys that cannot be read.
const KEYS_RETRY: Duration = Duration::from_secs(1);

impl From<Denied> for OpenAiError {
    fn from(denied: Denied) -> Self {
        let (code, message) = match denied {
            Denied::NoKey => (
                "missing_api_key",
                "There is no API key in this request. Send one of this server's as Authorization: Bearer.",
            ),
            Denied::UnknownKey => (
                "invalid_api_key",
                "This server does not know this API key. It takes its own, not the model provider's.",
            ),
            Denied::NoKeysYet => (
                "no_api_keys",
                "This door has no keys yet, and is shut until the operator makes one with `keys create` or sets API_KEYS.",
            ),
            Denied::KeysUnavailable => {
                let text = "The store, and the keys in it, cannot be reached at the moment.";
                let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text);
                return error.retry_after(KEYS_RETRY).into();
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", code, message)
    }
}

/// The owner of a request.
pub struct Caller(pub Owner);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = OpenAiError;

    /// A key decides where one is shown; then a browser's session; then whether the door stands open.
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, OpenAiError> {
        let headers = &parts.headers;
        let owner = match headers.get(header::AUTHORIZATION) {
            Some(shown) => app.keys.with_key(shown.as_bytes(), headers).await?,
            None => match session(app, headers).await? {
                Some(owner) => owner,
                None => app.keys.without_key(headers).await?,
            },
        };
        match app.ready.is_stopping() {
            true => Err(fault::stopping().into()),
            false => Ok(Self(owner)),
        }
    }
}

/// The browser session whose cookie this is, renewed by its use. One that has ended counts as none.
async fn session(app: &App, headers: &HeaderMap) -> Result<Option<Owner>, OpenAiError> {
    let Some(session) = app.sessions.read(headers) else { return Ok(None) };
    let owner = session.owner();
    let renewed = app.store.renew_session(&owner, app.sessions.max_age_ms(), app.clock.now_ms()).await;
    Ok(renewed.map_err(ApiError::from)?.then_some(owner))
}
