//! The owner of a request at the SDK door: by a key in `Authorization: Bearer`, by the cookie of `/chat`, or, while there is
//! no key, by coming from this machine.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::OpenAiError;
use crate::access::alive::Alive;
use crate::access::{Credential, Denied};
use crate::domain::conversation::Owner;
use crate::http::access_log;
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

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, OpenAiError> {
        Ok(Self(credential(parts, app).await?.owner()))
    }
}

/// The owner of a request that may go on for long, which hears when that owner ends.
pub struct LiveCaller {
    /// The owner.
    pub owner: Owner,
    /// Tells when what let it in ends.
    pub alive: Alive,
}

impl FromRequestParts<Arc<App>> for LiveCaller {
    type Rejection = OpenAiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, OpenAiError> {
        let credential = credential(parts, app).await?;
        Ok(Self { owner: credential.owner(), alive: app.watch.enter(credential) })
    }
}

/// What is said to a client whose credential ends while it is served.
#[must_use]
pub fn ended(credential: &Credential) -> OpenAiError {
    match credential {
        Credential::Session(_) => fault::session_ended().into(),
        Credential::GivenKey { .. } | Credential::MadeKey { .. } => {
            let message = "This API key has been revoked.";
            OpenAiError::new(StatusCode::UNAUTHORIZED, "authentication_error", "invalid_api_key", message)
        }
        Credential::Local => Denied::NoKey.into(),
    }
}

/// What `work` gives.
///
/// # Errors
/// Where the client's credential ends before.
pub async fn while_alive<T>(alive: &Alive, work: impl Future<Output = T>) -> Result<T, OpenAiError> {
    alive.unless_ended(work).await.ok_or_else(|| ended(alive.credential()))
}

/// A request's body.
///
/// # Errors
/// What `reading` fails with, and where the client's credential ends before the body is whole.
pub async fn body_of(
    alive: &Alive,
    reading: impl Future<Output = Result<Bytes, ApiError>>,
) -> Result<Bytes, OpenAiError> {
    Ok(while_alive(alive, reading).await??)
}

/// A key decides where one is shown; then a browser's session; then whether the door stands open.
async fn credential(parts: &Parts, app: &App) -> Result<Credential, OpenAiError> {
    let headers = &parts.headers;
    let credential = match headers.get(header::AUTHORIZATION) {
        Some(shown) => app.keys.with_key(shown.as_bytes(), headers).await?,
        None => match session(app, headers).await? {
            Some(session) => session,
            None => app.keys.without_key(headers).await?,
        },
    };
    access_log::note_owner(&credential.owner());
    match app.ready.is_stopping() {
        true => Err(fault::stopping().into()),
        false => Ok(credential),
    }
}

/// The browser session whose cookie this is, renewed by its use. One that has ended counts as none.
async fn session(app: &App, headers: &HeaderMap) -> Result<Option<Credential>, OpenAiError> {
    let Some(session) = app.sessions.read(headers) else { return Ok(None) };
    let owner = session.owner();
    let renewed = app.store.renew_session(&owner, app.sessions.max_age_ms(), app.clock.now_ms()).await;
    Ok(renewed.map_err(ApiError::from)?.then(|| Credential::Session(session.key().clone())))
}
