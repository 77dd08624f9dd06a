//! Cookie <-> session: mints, signs, reads and clears the session cookie.
//!
//! The cookie is `secret.signature`, both base64url: 256 random bits, and their HMAC-SHA256 under `SESSION_SECRET`. The
//! store only ever sees the secret's SHA-256.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cookie::{Cookie, SameSite};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::domain::conversation::Owner;
use crate::domain::ids::{Ids, SessionKey};
use crate::store::IdempotencyKey;

/// Sets the signature apart from whatever else the same secret may sign one day.
const PURPOSE: &[u8] = b"openai-backend session v1\0";

/// Sets the secrets that follow from idempotency keys apart likewise.
const OF_KEY: &[u8] = b"openai-backend session of key v1\0";

/// The fewest characters of an idempotency key that opens a session, and how many different ones they are: every UUID has
/// them.
const LONG_KEY: usize = 32;
const DISTINCT: usize = 6;

/// A session whose cookie this server signed. Whether it still exists, the store knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    secret: [u8; 32],
    key: SessionKey,
}

impl Session {
    /// A new session.
    #[must_use]
    pub fn mint(ids: &dyn Ids) -> Self {
        Self::of(ids.secret())
    }

    fn of(secret: [u8; 32]) -> Self {
        Self { secret, key: SessionKey::of_secret(&secret) }
    }

    /// The key under which the store has it.
    #[must_use]
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// The session as an owner.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::Session(self.key.clone())
    }
}

/// How cookies are made.
pub struct SessionCookies {
    /// The first signs, all verify.
    signers: Vec<Hmac<Sha256>>,
    /// The cookie's name.
    name: String,
    path: String,
    max_age: Duration,
    same_site: SameSite,
    secure: bool,
}

impl SessionCookies {
    /// Cookies of this name, signed with the first of `secrets`, which must not be empty, for what is below `path`, which has
    /// no slash at its end. `secure` where the site is https.
    #[must_use]
    pub fn new(
        secrets: &[SecretSlice<u8>],
        name: String,
        path: &str,
        max_age: Duration,
        same_site: SameSite,
        secure: bool,
    ) -> Self {
        let signer = |secret: &SecretSlice<u8>| {
            Hmac::<Sha256>::new_from_slice(secret.expose_secret()).expect("HMAC takes keys of every length")
        };
        let secure = secure || same_site == SameSite::None;
        // Browsers drop a cookie of this prefix that is not for the whole host.
        let is_for_the_host = path.is_empty() || name.to_ascii_lowercase().starts_with("__host-");
        let path = if is_for_the_host { "/" } else { path }.to_owned();
        Self { signers: secrets.iter().map(signer).collect(), name, path, max_age, same_site, secure }
    }

    /// How long an unused session lives, in milliseconds.
    #[must_use]
    pub fn max_age_ms(&self) -> i64 {
        i64::try_from(self.max_age.as_millis()).unwrap_or(i64::MAX)
    }

    /// The session of a visitor without a cookie whose first request has this idempotency key and body: the same for the same
    /// request, so that a visitor who left before the answer finds it by sending the request again. `None` for a key that
    /// could be guessed, since who has the request has the session.
    #[must_use]
    pub fn of_key(&self, key: &IdempotencyKey) -> Option<Session> {
        let distinct: BTreeSet<u8> = key.key.bytes().collect();
        let signer = self.signers.first().filter(|_| key.key.len() >= LONG_KEY && distinct.len() >= DISTINCT)?;
        let parts = [OF_KEY, key.fingerprint.as_bytes(), b"\0", key.key.as_bytes()];
        let signed = parts.iter().fold(signer.clone(), |signer, part| signer.chain_update(part)).finalize();
        Some(Session::of(signed.into_bytes().into()))
    }

    /// The session in a request's cookies; `None` where there is none that this server signed.
    #[must_use]
    pub fn read(&self, headers: &HeaderMap) -> Option<Session> {
        // Other applications on the same host may set cookies that are not UTF-8; they must not hide ours.
        let lines = headers.get_all(header::COOKIE).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let values = lines.flat_map(Cookie::split_parse).filter_map(Result::ok);
        values.filter(|cookie| cookie.name() == self.name).find_map(|cookie| self.verify(cookie.value()))
    }

    fn verify(&self, value: &str) -> Option<Session> {
        let (secret, signature) = value.split_once('.')?;
        let secret: [u8; 32] = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let signed = |signer: &Hmac<Sha256>| {
            signer.clone().chain_update(PURPOSE).chain_update(secret).verify_slice(&signature).is_ok()
        };
        self.signers.iter().any(signed).then(|| Session::of(secret))
    }

    /// The header that gives a session to the browser, or renews it there.
    #[must_use]
    pub fn set(&self, session: &Session) -> HeaderValue {
        let signature = self.signers.first().map(|signer| {
            let signed = signer.clone().chain_update(PURPOSE).chain_update(session.secret).finalize();
            URL_SAFE_NO_PAD.encode(signed.into_bytes())
        });
        let value = format!("{}.{}", URL_SAFE_NO_PAD.encode(session.secret), signature.unwrap_or_default());
        self.header(value, self.max_age)
    }

    /// The header that takes the session from the browser.
    #[must_use]
    pub fn clear(&self) -> HeaderValue {
        self.header(String::new(), Duration::ZERO)
    }

    fn header(&self, value: String, max_age: Duration) -> HeaderValue {
        let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        let cookie = Cookie::build((self.name.as_str(), value))
            .http_only(true)
            .path(self.path.as_str())
            .max_age(cookie::time::Duration::seconds(seconds))
            .same_site(self.same_site)
            .secure(self.secure)
            // A front end on another site gets its cookie in a jar of its own.
            .partitioned(self.same_site == SameSite::None)
            .build();
        HeaderValue::from_str(&cookie.to_string()).expect("base64url and attributes are valid in a header")
    }
}
