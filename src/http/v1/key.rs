//! Who is asking at the SDK door: a key in `Authorization: Bearer`, or, while there is none, somebody on this machine.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::OpenAiError;
use crate::app::App;
use crate::config::{ApiKeys, LOCAL};
use crate::domain::conversation::Owner;

/// Whom the door lets in.
#[derive(Debug, Clone)]
pub struct Door {
    keys: ApiKeys,
    open: bool,
}

impl Door {
    /// A door for these keys; `open` where it stands open until there is one.
    #[must_use]
    pub fn new(keys: ApiKeys, open: bool) -> Self {
        Self { keys, open }
    }

    /// The owner whom a request's headers show.
    fn admit(&self, headers: &HeaderMap) -> Result<Owner, OpenAiError> {
        if self.keys.is_empty() {
            return match self.open && is_for_this_machine(headers) {
                true => Ok(Owner::ApiKey(LOCAL.to_owned())),
                false => Err(no_keys_yet()),
            };
        }
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let Some((scheme, key)) = given.and_then(|value| value.split_at_checked(7)) else {
            return Err(unauthorized(
                "missing_api_key",
                "There is no API key in this request. Send one of this server's as Authorization: Bearer.",
            ));
        };
        let known = scheme.eq_ignore_ascii_case(b"bearer ").then(|| self.keys.id_of(key.trim_ascii())).flatten();
        let owner = known.map(|id| Owner::ApiKey(id.to_owned()));
        owner.ok_or_else(|| {
            unauthorized(
                "invalid_api_key",
                "This server does not know this API key. It takes its own, not the model provider's.",
            )
        })
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

fn no_keys_yet() -> OpenAiError {
    let message = "This door has no keys yet, and is shut until the operator sets API_KEYS.";
    unauthorized("no_api_keys", message)
}

fn unauthorized(code: &str, message: &str) -> OpenAiError {
    OpenAiError::new(StatusCode::UNAUTHORIZED, "authentication_error", code, message)
}

/// Somebody who may use the door.
pub struct Caller(
    /// As an owner.
    pub Owner,
);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = OpenAiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, OpenAiError> {
        let owner = app.door.admit(&parts.headers)?;
        match app.ready.is_stopping() {
            true => Err(crate::http::fault::stopping().into()),
            false => Ok(Self(owner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_machine_find_an_open_door() {
        let door = Door::new(ApiKeys::default(), true);
        let admitted = |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            door.admit(&headers).map(|owner| owner.tag()).ok()
        };
        for host in ["localhost", "LocalHost:3000", "127.0.0.1:3000", "127.9.9.9", "[::1]:3000", "app.localhost:1"] {
            assert_eq!(admitted(host).as_deref(), Some("k:local"), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3000", "10.0.0.1", "[::2]"] {
            assert_eq!(admitted(host), None, "{host}");
        }
        assert!(door.admit(&HeaderMap::new()).is_err());
        let shut = Door::new(ApiKeys::default(), false);
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        assert!(shut.admit(&headers).is_err());
    }
}
