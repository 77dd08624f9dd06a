//! Who asks: session cookies and API keys in, an [`Owner`] out. What a refusal looks like is each door's business.

pub mod alive;
pub mod keys;
pub mod session;
pub mod session_secret;

use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use self::keys::cache::KeyCache;
use crate::config::{ApiKeys, LOCAL, key_hash};
use crate::domain::conversation::Owner;
use crate::domain::ids::SessionKey;

/// The headers that proxies add, besides `X-Forwarded-*`.
const FORWARDED: [&str; 8] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-host",
    "cf-connecting-ip",
    "true-client-ip",
];

/// Why a request has no owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There are keys, and the request shows none.
    #[error("the request shows no API key")]
    NoKey,
    /// The request shows a key that is not one of this server's.
    #[error("the API key is unknown")]
    UnknownKey,
    /// There are no keys, and a request of this kind needs one.
    #[error("there are no API keys yet")]
    NoKeysYet,
    /// The store cannot be asked which keys there are.
    #[error("the API keys cannot be read")]
    KeysUnavailable,
}

/// What let a request in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The cookie of a session.
    Session(SessionKey),
    /// A key of `API_KEYS`, which the process takes as long as it runs.
    GivenKey {
        /// Its owner's id.
        name: String,
    },
    /// A key that the server made.
    MadeKey {
        /// Its owner's id. Several keys may be one owner's, and each ends by itself.
        name: String,
        /// Its SHA-256.
        hash: [u8; 32],
    },
    /// None: the request comes from the server's own machine, and there are no keys.
    Local,
}

impl Credential {
    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match self {
            Self::Session(key) => Owner::Session(key.clone()),
            Self::GivenKey { name } | Self::MadeKey { name, .. } => Owner::ApiKey(name.clone()),
            Self::Local => Owner::ApiKey(LOCAL.to_owned()),
        }
    }
}

/// The keys that there are at one moment.
pub(crate) struct KnownKeys<'a> {
    given: &'a ApiKeys,
    made: Arc<ApiKeys>,
}

impl KnownKeys<'_> {
    /// Whether a request with this credential, which is no session, would be let in.
    fn takes(&self, credential: &Credential) -> bool {
        match credential {
            Credential::MadeKey { hash, .. } => self.made.owner_of(hash).is_some(),
            Credential::Local => self.given.is_empty() && self.made.is_empty(),
            Credential::Session(_) | Credential::GivenKey { .. } => true,
        }
    }

    /// Whether any key is left that is this owner's.
    fn has_owner(&self, owner: &Owner) -> bool {
        match owner {
            Owner::ApiKey(id) if id == LOCAL => self.takes(&Credential::Local),
            Owner::ApiKey(id) => self.given.has_owner(id) || self.made.has_owner(id),
            Owner::Session(_) => true,
        }
    }
}

/// Which API keys the server takes.
pub struct KeyAccess {
    /// The keys of `API_KEYS`, which need no store.
    given: ApiKeys,
    /// The keys that this server has made.
    made: KeyCache,
    open: bool,
}

impl KeyAccess {
    /// The keys of `API_KEYS` and those that `made` finds. `open` lets requests of this machine in while there is no key.
    #[must_use]
    pub fn new(given: ApiKeys, made: KeyCache, open: bool) -> Self {
        Self { given, made, open }
    }

    /// The keys that there are; `None` where they cannot be read.
    async fn known(&self) -> Option<KnownKeys<'_>> {
        Some(KnownKeys { given: &self.given, made: self.made.keys().await? })
    }

    /// What lets a request in that shows `authorization`, the header's value. While there is no key at all, the value does
    /// not matter.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn with_key(&self, authorization: &[u8], headers: &HeaderMap) -> Result<Credential, Denied> {
        let parts = authorization.split_at_checked(7);
        let key = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer ")).map(|(_, key)| key.trim_ascii());
        let hash = key.map(key_hash);
        if let Some(name) = hash.and_then(|hash| self.given.owner_of(&hash)) {
            return Ok(Credential::GivenKey { name: name.to_owned() });
        }
        let made = self.made.keys().await.ok_or(Denied::KeysUnavailable)?;
        if let Some((hash, name)) = hash.and_then(|hash| Some((hash, made.owner_of(&hash)?))) {
            return Ok(Credential::MadeKey { name: name.to_owned(), hash });
        }
        if self.given.is_empty() && made.is_empty() {
            return self.unlocked(headers);
        }
        Err(if parts.is_none() { Denied::NoKey } else { Denied::UnknownKey })
    }

    /// What lets a request in that shows neither key nor session.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn without_key(&self, headers: &HeaderMap) -> Result<Credential, Denied> {
        if !self.given.is_empty() || !self.made.keys().await.ok_or(Denied::KeysUnavailable)?.is_empty() {
            return Err(Denied::NoKey);
        }
        self.unlocked(headers)
    }

    /// What lets a request in while there is no key.
    fn unlocked(&self, headers: &HeaderMap) -> Result<Credential, Denied> {
        match self.open && is_for_this_machine(headers) && !is_forwarded(headers) {
            true => Ok(Credential::Local),
            false => Err(Denied::NoKeysYet),
        }
    }
}

/// Whether a proxy says that it passes the request on for another client. Its `Host` may be one that the proxy made up.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| FORWARDED.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-"))
}

/// A page whose name was made to point at this machine asks for that name; it must not be let in without a key.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderValue;

    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::store::memory::Memory;

    fn access(open: bool) -> KeyAccess {
        KeyAccess::new(ApiKeys::default(), KeyCache::new(Arc::new(Memory::new(Arc::new(SystemClock)))), open)
    }

    #[tokio::test]
    async fn only_names_of_this_machine_find_an_open_door() {
        let open = access(true);
        let admitted = async |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            let shown = open.with_key(b"Bearer anything", &headers).await.map(|shown| shown.owner().tag()).ok();
            let bare = open.without_key(&headers).await.map(|bare| bare.owner().tag()).ok();
            assert_eq!(shown, bare, "{host}");
            bare
        };
        for name in ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Anything", "CF-Connecting-IP"] {
            let headers = HeaderMap::from_iter([
                (header::HOST, HeaderValue::from_static("localhost")),
                (name.parse().unwrap(), HeaderValue::from_static("127.0.0.1")),
            ]);
            assert!(open.without_key(&headers).await.is_err(), "{name}");
            assert!(open.with_key(b"Bearer anything", &headers).await.is_err(), "{name}");
        }
        for host in ["localhost", "LocalHost:3000", "127.0.0.1:3000", "127.9.9.9", "[::1]:3000", "app.localhost:1"] {
            assert_eq!(admitted(host).await.as_deref(), Some("k:local"), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3000", "10.0.0.1", "[::2]"] {
            assert_eq!(admitted(host).await, None, "{host}");
        }
        assert!(open.without_key(&HeaderMap::new()).await.is_err());
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        assert!(access(false).without_key(&headers).await.is_err());
    }
}
