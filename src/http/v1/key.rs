//! Who is asking at the SDK door: a key in `Authorization: Bearer`, a browser by the cookie of `/chat`, or, while there is
//! no key, somebody on this machine.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::OpenAiError;
use crate::app::App;
use crate::config::{ApiKeys, LOCAL};
use crate::domain::conversation::Owner;
use crate::http::error::ApiError;
use crate::http::fault;
use crate::keys::ring::Ring;

/// When to come back to keys that cannot be read.
const KEYS_RETRY: Duration = Duration::from_secs(1);

/// Whom the door lets in.
pub struct Door {
    /// The keys of `API_KEYS`, which need no store.
    given: ApiKeys,
    /// The keys that this server has made.
    made: Ring,
    open: bool,
}

impl Door {
    /// A door for the keys of `API_KEYS` and those that `made` finds; `open` where it stands open until there is one.
    #[must_use]
    pub fn new(given: ApiKeys, made: Ring, open: bool) -> Self {
        Self { given, made, open }
    }

    /// The owner whose key this is; the header's value as it came. While there is no key at all, any is as good as none.
    async fn with_key(&self, shown: &[u8], headers: &HeaderMap) -> Result<Owner, OpenAiError> {
        let parts = shown.split_at_checked(7);
        let key = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer ")).map(|(_, key)| key.trim_ascii());
        if let Some(id) = key.and_then(|key| self.given.id_of(key)) {
            return Ok(Owner::ApiKey(id.to_owned()));
        }
        let made = self.made.keys().await.ok_or_else(keys_away)?;
        if let Some(id) = key.and_then(|key| made.id_of(key)) {
            return Ok(Owner::ApiKey(id.to_owned()));
        }
        if self.given.is_empty() && made.is_empty() {
            return self.unlocked(headers);
        }
        Err(if parts.is_none() { no_key() } else { unknown_key() })
    }

    /// The owner of a request that shows nothing.
    async fn without_key(&self, headers: &HeaderMap) -> Result<Owner, OpenAiError> {
        if !self.given.is_empty() || !self.made.keys().await.ok_or_else(keys_away)?.is_empty() {
            return Err(no_key());
        }
        self.unlocked(headers)
    }

    /// The owner of a request while there is no key.
    fn unlocked(&self, headers: &HeaderMap) -> Result<Owner, OpenAiError> {
        match self.open && is_for_this_machine(headers) {
            true => Ok(Owner::ApiKey(LOCAL.to_owned())),
            false => Err(no_keys_yet()),
        }
    }
}

/// A page whose name was made to point here asks for that name; it must not find the door open.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

fn no_key() -> OpenAiError {
    let message = "There is no API key in this request. Send one of this server's as Authorization: Bearer.";
    unauthorized("missing_api_key", message)
}

fn unknown_key() -> OpenAiError {
    let message = "This server does not know this API key. It takes its own, not the model provider's.";
    unauthorized("invalid_api_key", message)
}

fn no_keys_yet() -> OpenAiError {
    let message =
        "This door has no keys yet, and is shut until the operator makes one with `keys create` or sets API_KEYS.";
    unauthorized("no_api_keys", message)
}

fn unauthorized(code: &str, message: &str) -> OpenAiError {
    OpenAiError::new(StatusCode::UNAUTHORIZED, "authentication_error", code, message)
}

/// Nobody can say whether this is a key, or whether there is one at all.
fn keys_away() -> OpenAiError {
    let text = "The store, and the keys in it, cannot be reached at the moment.";
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text);
    error.retry_after(KEYS_RETRY).into()
}

/// Somebody who may use the door.
pub struct Caller(
    /// As an owner.
    pub Owner,
);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = OpenAiError;

    /// A key decides where one is shown; then a browser's session; then whether the door stands open.
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, OpenAiError> {
        let headers = &parts.headers;
        let owner = match headers.get(header::AUTHORIZATION) {
            Some(shown) => app.door.with_key(shown.as_bytes(), headers).await?,
            None => match session(app, headers).await? {
                Some(owner) => owner,
                None => app.door.without_key(headers).await?,
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::store::memory::Memory;

    fn door(open: bool) -> Door {
        Door::new(ApiKeys::default(), Ring::new(Arc::new(Memory::new(Arc::new(SystemClock)))), open)
    }

    #[tokio::test]
    async fn only_names_of_this_machine_find_an_open_door() {
        let open = door(true);
        let admitted = async |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            let shown = open.with_key(b"Bearer anything", &headers).await.map(|owner| owner.tag()).ok();
            let bare = open.without_key(&headers).await.map(|owner| owner.tag()).ok();
            assert_eq!(shown, bare, "{host}");
            bare
        };
        for host in ["localhost", "LocalHost:3000", "127.0.0.1:3000", "127.9.9.9", "[::1]:3000", "app.localhost:1"] {
            assert_eq!(admitted(host).await.as_deref(), Some("k:local"), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3000", "10.0.0.1", "[::2]"] {
            assert_eq!(admitted(host).await, None, "{host}");
        }
        assert!(open.without_key(&HeaderMap::new()).await.is_err());
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        assert!(door(false).without_key(&headers).await.is_err());
    }
}
